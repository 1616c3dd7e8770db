"""Recordings to turns: voice activity, windows, clustering, timeline."""
