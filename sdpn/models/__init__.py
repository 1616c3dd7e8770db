"""Encoders, projection head and the embedder used by all other parts."""
