"""Waveforms to features: log-mel and filter banks, batched, on any device."""
