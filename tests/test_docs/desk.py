"""A folder to type commands of the pages in: tools, small configs, data, weights put there."""

import os
import re
import subprocess
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.registry import MODELS, DefaultScope
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
ONE_EPOCH = 'train_cfg = dict(max_epochs=1, val_interval=1)\n'
# What makes a tool end soon.
SHORTER = {
    'tools/train.py configs/': '--cfg-options train_cfg.max_iters=2',
    'tools/benchmark.py': '--size 64 64 --rounds 1',
}


class Desk:
    """Commands are typed in here, and have to end well.

    Args:
        folder: An empty one.
        python: What ``python`` is in the commands.
    """

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder, self._programs = folder, python.parent
        self._said: dict[str, str] = {}
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

    def type_in(self, command: str, **stand_ins: str) -> str:
        """Run a line of shell, unless it was run here before; returns all that it said.

        Args:
            command: As it stands on a page.
            stand_ins: What is typed in place of a name.
        """
        for name, path in stand_ins.items():
            command = re.sub(rf'(?<![\w/-]){re.escape(name)}(?!\w)', path, command)
        for tool, options in SHORTER.items():
            if tool in command:
                command += f' {options}'
        if command not in self._said:
            self._said[command] = self._run(command)
        return self._said[command]

    def _run(self, command: str) -> str:
        variables = dict(TORCH_HOME=str(self.folder), PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
        environment = dict(os.environ, **variables)
        environment['PATH'] = f'{self._programs}:{self.folder}/bin:{environment["PATH"]}'
        environment.pop('MMVISION_DATA', None)
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

    def lay_out(self, shapes: Path) -> None:
        """Put there what pages take for granted: data, images, a video, an untrained segmentor."""
        images = sorted((shapes / 'coco' / 'val2017').iterdir())
        (self.folder / 'data').mkdir()
        (self.folder / 'data' / 'shapes').symlink_to(shapes)
        (self.folder / 'data' / 'coco').symlink_to(shapes / 'coco')
        (self.folder / 'new_images').symlink_to(images[0].parent)
        (self.folder / 'photos' / 'of_today').mkdir(parents=True)
        (self.folder / 'photos' / 'of_today' / 'one.jpg').symlink_to(images[0])
        for name in ('photo.jpg', 'photos/two.jpg'):
            (self.folder / name).symlink_to(images[0])
        (self.folder / 'last').touch()
        os.utime(self.folder / 'last', (0, 0))
        image = cv2.imread(str(images[0]))
        cv2.imwrite(str(self.folder / 'scan.tif'), cv2.resize(image, (1100, 64)))
        size = image.shape[1::-1]
        video = cv2.VideoWriter(
            str(self.folder / 'clip.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), 5, size
        )
        video.write(np.ascontiguousarray(image))
        video.release()
        (self.folder / 'own.py').write_text(f"_base_ = 'configs/{DETECTOR}.py'\n" + ONE_EPOCH)
        work_dir = self.folder / 'work_dirs' / 'a_upernet'
        work_dir.mkdir(parents=True)
        cfg = load_config(str(self.folder / 'configs' / f'{SEGMENTOR}.py'))
        cfg.dump(work_dir / f'{SEGMENTOR}.py')
        with DefaultScope.overwrite_default_scope('mmseg'):
            weights = MODELS.build(cfg.model).state_dict()
        torch.save(dict(state_dict=weights, meta={}), work_dir / 'iter_1.pth')


def _put_by_hand(path: Path, config: Path) -> None:
    backbone = MODELS.build(load_config(str(config)).model.backbone)
    weights = {k: v for k, v in backbone.state_dict().items() if not k.startswith('outnorm')}
    if path.suffix == '.safetensors':
        save_file(weights, path)
    else:
        torch.save(dict(state_dict=weights), path)
