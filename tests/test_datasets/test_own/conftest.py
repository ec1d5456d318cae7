from pathlib import Path

import pytest

from mmvision_mamba.datasets import draw_shapes


@pytest.fixture(scope='session')
def drawn(tmp_path_factory) -> Path:
    """Twelve and four drawn images, in COCO's format and with label maps."""
    return draw_shapes(tmp_path_factory.mktemp('own') / 'shapes', num_train=12, num_val=4)
