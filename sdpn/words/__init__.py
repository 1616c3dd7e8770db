"""Speakers for the words of a speech recogniser."""
