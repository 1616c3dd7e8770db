"""Diarization while the recording goes on."""
