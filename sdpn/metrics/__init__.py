"""Metrics of diarization and verification, with confidence intervals. Needs no torch."""
