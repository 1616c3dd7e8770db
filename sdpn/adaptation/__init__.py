"""Adapting a model to recordings that nobody has annotated, and telling whether it became better."""
