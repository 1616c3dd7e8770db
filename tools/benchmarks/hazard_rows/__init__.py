"""Rows of tools/benchmarks/hazards.py: each re-creates a hazard beside what sdpn does and measures both."""
