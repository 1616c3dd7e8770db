"""Kaldi data directories as a whole: validated, fixed, divided and combined."""
