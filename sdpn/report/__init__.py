"""One self-contained HTML page about an experiment. Needs no torch."""
