"""Predicting on images that are too large to be computed, or to be seen well, at once."""
