"""Boxes and masks held against annotations in COCO's format."""
