"""The same person across recordings."""
