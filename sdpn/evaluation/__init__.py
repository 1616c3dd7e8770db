"""Error rates of files: trials and RTTM against what is right, with confidence intervals. Needs no torch."""
