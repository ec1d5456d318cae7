"""Files of ``tools/publish_model.py``, read as a stranger's: held against an allowlist."""

from .file import (
    KEY,
    SUFFIX,
    PublishedModel,
    encode,
    is_published,
    model_parts,
    read_published,
)

__all__ = [
    'KEY',
    'SUFFIX',
    'PublishedModel',
    'encode',
    'is_published',
    'model_parts',
    'read_published',
]
