"""A folder to type commands of the pages in: tools, small configs, weights put there by hand."""

import os
import subprocess
from pathlib import Path

import torch
from mmengine.registry import MODELS
from safetensors.torch import save_file
from small_detector import SMALL_DETECTOR

from mmvision_mamba.config import load_config
from mmvision_mamba.weights import PUBLISHED

ROOT = Path(__file__).parents[2]
DETECTOR = 'mask_rcnn_mambavision_t_coco'
SEGMENTOR = 'upernet_mambaout_tiny_ade20k'
WEIGHTS = {'mambavision_t.in1k': DETECTOR, 'mambaout_tiny.in1k': SEGMENTOR}
# As small as they can be, under the names that the pages give.
SMALL = {
    DETECTOR: "_base_ = '{configs}/mask_rcnn_mambavision_demo_shapes.py'\n" + SMALL_DETECTOR,
    SEGMENTOR: """
_base_ = '{configs}/upernet_mambaout_demo_shapes.py'
model = dict(
    backbone=dict(arch=dict(depths=(1, 1, 1, 1), dims=(16, 32, 48, 64))),
    decode_head=dict(in_channels=[16, 32, 48, 64], channels=16),
    auxiliary_head=dict(in_channels=48, channels=16),
)
""",
}


class Desk:
    """Commands are typed in here, and have to end well.

    Args:
        folder: An empty one.
        python: What ``python`` is in the commands.
    """

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder, self._programs = folder, python.parent
        (folder / 'tools').symlink_to(ROOT / 'tools')
        (folder / 'bin').mkdir()
        (folder / 'bin' / 'mmvision').write_text(
            f'#!/bin/sh\nexec python {ROOT}/mmvision.py "$@"\n'
        )
        (folder / 'bin' / 'mmvision').chmod(0o755)
        (folder / 'configs').mkdir()
        for name, text in SMALL.items():
            (folder / 'configs' / f'{name}.py').write_text(text.format(configs=ROOT / 'configs'))
        (folder / 'hub' / 'checkpoints').mkdir(parents=True)
        for name, config in WEIGHTS.items():
            path = folder / 'hub' / 'checkpoints' / PUBLISHED[name].local_name
            _put_by_hand(path, folder / 'configs' / f'{config}.py')

    def type_in(self, command: str, **variables: str) -> str:
        """Run a line of shell; returns all that it said."""
        environment = _environment(TORCH_HOME=str(self.folder), **variables)
        environment['PATH'] = f'{self._programs}:{self.folder}/bin:{environment["PATH"]}'
        if 'train.py' in command:
            command += ' --cfg-options train_cfg.max_iters=2'
        done = subprocess.run(
            ['bash', '-o', 'pipefail', '-c', command],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, f'{command}\n{said[-3000:]}'
        return said


def _environment(**variables: str) -> dict[str, str]:
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', **variables)
    if 'MMVISION_DATA' not in variables:
        environment.pop('MMVISION_DATA', None)
    return environment


def _put_by_hand(path: Path, config: Path) -> None:
    backbone = MODELS.build(load_config(str(config)).model.backbone)
    weights = {k: v for k, v in backbone.state_dict().items() if not k.startswith('outnorm')}
    if path.suffix == '.safetensors':
        save_file(weights, path)
    else:
        torch.save(dict(state_dict=weights), path)
