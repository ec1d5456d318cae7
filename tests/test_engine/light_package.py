"""For processes of tests that need a module or two of the engine's, and no heavy imports."""

from pathlib import Path

PACKAGE = Path(__file__).parents[2] / 'mmvision_mamba'
# A program's beginning: the packages without what their __init__ imports, which takes seconds.
LIGHT = f"""
import sys, types
for name, folder in (
    ('mmvision_mamba', {str(PACKAGE)!r}),
    ('mmvision_mamba.engine', {str(PACKAGE / 'engine')!r}),
):
    package = types.ModuleType(name)
    package.__path__ = [folder]
    sys.modules[name] = package
"""
