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
    'own_data',
]


def __getattr__(name: str):
    # What reads the formats of others is imported by who asks for it.
    if name == 'own_data':
        from .own import own_data

        return own_data
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
