import numpy as np
import pytest
from matplotlib import font_manager

from mmvision_mamba.inference import fonts

CACHES = (
    fonts.drawable_names,
    fonts.render,
    fonts._runs,
    fonts._file_with,
    fonts._files,
    fonts._characters,
)


@pytest.fixture
def installed(monkeypatch):
    """Make font files the installed ones, for a test."""

    def install(*paths):
        monkeypatch.setattr(font_manager, 'findSystemFonts', lambda: list(map(str, paths)))
        for cache in CACHES:
            cache.cache_clear()

    yield install
    for cache in CACHES:
        cache.cache_clear()


@pytest.fixture
def gray():
    def gray(height, width):
        return np.full((height, width, 3), 128, np.uint8)

    return gray
