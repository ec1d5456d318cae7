"""Where modules once stood that configs and published files name: imports from there still work."""

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_PACKAGE = __package__
FORMER_PATHS = {
    f'{_PACKAGE}.{former}': f'{_PACKAGE}.{current}'
    for former, current in {
        'checkpoints.published_file': 'checkpoints.published_files',
        'checkpoints.publishing': 'publishing',
        'checkpoints.safe_load': 'checkpoints.reading',
        'datasets.indexed_masks': 'datasets.transforms.indexed_masks',
        'datasets.seg_transforms': 'datasets.transforms.seg_transforms',
        'engine.checkpoint_hook': 'engine.hooks.checkpoint',
        'engine.checkpoint_match': 'engine.hooks.checkpoint_match',
        'engine.coco_metric': 'evaluation.coco_metric',
        'engine.heap': 'engine.hooks.heap',
        'engine.hooks.drawing': 'inference.drawing.hook',
        'engine.mask_tta': 'evaluation.mask_tta',
        'engine.nonfinite': 'engine.hooks.nonfinite',
        'engine.preemption': 'engine.hooks.preemption',
        'engine.run_summary': 'engine.hooks.run_summary',
        'engine.throughput': 'engine.hooks.throughput',
    }.items()
}


class _FormerPathFinder(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, path=None, target=None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in FORMER_PATHS else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(FORMER_PATHS[spec.name])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # It has run under its own name; importing has put the former name's spec on it.
        module.__spec__ = module.__spec__.loader_state


sys.meta_path.append(_FormerPathFinder())
