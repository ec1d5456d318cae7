"""MambaVision and MambaOut backbones for detection and segmentation on OpenMMLab.

Importing the package registers its modules in MMEngine's root registries, where mmdet and mmseg
configs both find them; it imports neither of the two, nor mmcv. It also installs the reader of
checkpoints, see :func:`mmvision_mamba.checkpoints.loader.install`. :class:`Predictor` is imported
when it is asked for.
"""

from typing import TYPE_CHECKING

from . import start_up

if start_up.in_own_command():
    start_up.make_quick()

# Imported for their registration.
from . import backbones, datasets, engine, former_paths  # noqa: F401
from .checkpoints import loader
from .inference.drawing import hook  # noqa: F401

if TYPE_CHECKING:
    from .inference.predictor import Predictor

__all__ = ['Predictor']

loader.install()

__version__ = '0.1.0'


def __getattr__(name: str):
    if name == 'Predictor':
        from .inference.predictor import Predictor

        return Predictor
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
