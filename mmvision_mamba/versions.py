"""Which versions of the packages something was made with."""

from importlib import import_module


def package_versions(scope: str) -> dict[str, str]:
    """Of torch, MMEngine, mmcv, this package, and ``scope``, which is mmdet or mmseg."""
    names = ('torch', 'mmengine', 'mmcv', scope, 'mmvision_mamba')
    return {name: str(import_module(name).__version__) for name in names}
