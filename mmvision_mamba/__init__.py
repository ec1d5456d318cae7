"""MambaVision and MambaOut backbones for detection and segmentation on OpenMMLab.

Importing the package registers its modules in MMEngine's root registries, where mmdet and mmseg
configs both find them; it imports neither of the two, nor mmcv.
"""

from . import backbones, datasets, engine, former_paths  # noqa: F401  (registration)

__version__ = '0.1.0'
