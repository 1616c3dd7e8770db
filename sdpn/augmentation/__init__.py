"""Augmentation of training crops and degradation of test recordings: noise, rooms, bands, speed, erasing."""
