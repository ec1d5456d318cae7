"""Predicting on images that are too large to be computed, or to be seen well, at once."""

from .grid import Tiling
from .predicting import detect_in_tiles, segment_in_tiles

__all__ = ['Tiling', 'detect_in_tiles', 'segment_in_tiles']
