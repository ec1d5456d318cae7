"""MambaVision and MambaOut backbones for detection and segmentation on OpenMMLab.

Importing the package registers its modules in MMEngine's root registries, where mmdet and mmseg
configs both find them; it imports neither of the two, nor mmcv. It also installs the reader of
checkpoints, see :func:`mmvision_mamba.checkpoints.loader.install`.
"""

from . import backbones, datasets, engine, former_paths  # noqa: F401  (registration)
from .checkpoints import loader
from .inference import drawing_hook  # noqa: F401  (registration)

loader.install()

__version__ = '0.1.0'
