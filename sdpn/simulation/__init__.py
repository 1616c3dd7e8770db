"""Conversations with a ground truth, mixed from recordings of single speakers."""
