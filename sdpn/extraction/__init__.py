"""Embeddings of whole corpora: read ahead, batched by length, resumable, in any number of processes."""
