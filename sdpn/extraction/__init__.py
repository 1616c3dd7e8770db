"""Embedding extraction for whole corpora: read-ahead, batches by length, resumable, multi-process."""
