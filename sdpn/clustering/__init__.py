"""Embeddings to speakers: one clusterer per file, with a common interface. Needs no torch."""
