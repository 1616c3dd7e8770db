"""Reading and writing files: audio, Kaldi tables, RTTM/UEM, trials. Needs no torch."""
