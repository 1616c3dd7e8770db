"""Files in and out: audio, Kaldi tables, RTTM/UEM, trials. Needs no torch."""
