"""Encoders, projection head and the embedder that everything downstream uses."""
