"""Adaptation of a model to unlabelled recordings, and label-free evaluation of the result."""
