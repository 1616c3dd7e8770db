"""Embeddings to speakers: one clusterer per file behind one contract. Needs no torch."""
