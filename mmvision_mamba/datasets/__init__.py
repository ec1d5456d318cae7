from . import resumable  # noqa: F401  (registration)
from .shapes import (
    ADE_METAINFO,
    COCO_METAINFO,
    STUFF_CLASSES,
    THING_CLASSES,
    draw_shapes,
    drawn_shapes,
)

__all__ = [
    'ADE_METAINFO',
    'COCO_METAINFO',
    'STUFF_CLASSES',
    'THING_CLASSES',
    'draw_shapes',
    'drawn_shapes',
]
