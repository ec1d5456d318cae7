"""A whole segmentor's gradients in float32 against those in float64: what its kernels add up to.

    python benchmarks/gradient_accuracy.py configs/upernet_mambavision_b_ade20k.py

One training step's forward and backward on drawn images, as configured but for drop path and
dropout, which would draw other numbers in another dtype. Beside it the same with torch's batch
norms in place of ours, on channels-last maps as the backbone makes them, and on contiguous ones as
the published code runs. Errors are relative, of all gradients of the model as one vector:
||given - exact|| / ||exact||. Writes JSON to ``benchmarks/results/``.
"""

import argparse
import copy
import tempfile
from pathlib import Path

import mmcv
import torch
from machine import machine
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from recording import record, result_path
from torch import Tensor, nn

from mmvision_mamba.config import fit_to_machine, load_config
from mmvision_mamba.datasets import draw_shapes
from mmvision_mamba.ops import BatchNorm2d


def build(path: str) -> nn.Module:
    cfg = load_config(path)
    fit_to_machine(cfg)
    cfg.model.backbone.drop_path_rate = 0.0
    for head in ('decode_head', 'auxiliary_head'):
        cfg.model[head].dropout_ratio = 0.0
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model.train()


def draw_batch(size: int, classes: int) -> tuple[Tensor, list[SegDataSample]]:
    """Two drawn images, normalised, and label maps of as many classes as there are."""
    with tempfile.TemporaryDirectory() as folder:
        root = draw_shapes(Path(folder, 'shapes'), num_train=2, num_val=1, size=size)
        images = [
            mmcv.imresize(mmcv.imread(file), (size, size))
            for file in sorted(root.rglob('*.jpg'))[:2]
        ]
    inputs = torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in images])
    samples = []
    for _ in images:
        labels = torch.randint(classes, (1, size // 32, size // 32))
        labels = labels.repeat_interleave(32, 1).repeat_interleave(32, 2)
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=labels)))
        samples[-1].set_metainfo(dict(img_shape=(size, size)))
    return (inputs.double() - 120) / 58, samples


class ContiguousBatchNorm2d(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)


def with_batch_norms(model: nn.Module, kind: type[nn.BatchNorm2d]) -> nn.Module:
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, BatchNorm2d):
                norm = kind(child.num_features, child.eps, child.momentum)
                norm.load_state_dict(child.state_dict())
                setattr(module, name, norm)
    return model


def gradients(model: nn.Module, inputs: Tensor, samples: list[SegDataSample]) -> Tensor:
    losses = model.loss(inputs.to(next(model.parameters()).dtype), samples)
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    found = [p.grad.double().flatten() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return torch.cat(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config')
    parser.add_argument('--size', type=int, default=512, help='side of the images, of which two')
    parser.add_argument('--threads', type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = build(args.config)
    inputs, samples = draw_batch(args.size, model.decode_head.num_classes)
    exact = gradients(copy.deepcopy(model).double(), inputs, samples)

    def error(model: nn.Module) -> float:
        return float(f'{(gradients(model, inputs, samples) - exact).norm() / exact.norm():.1e}')

    errors = dict(
        ours=error(model),
        torchs_batch_norms=error(with_batch_norms(model, nn.BatchNorm2d)),
        torchs_contiguous=error(with_batch_norms(model, ContiguousBatchNorm2d)),
    )
    print(f'{args.config}, {machine("cpu")}: {errors}')
    path = result_path(f'gradient_accuracy_{Path(args.config).stem}', 'cpu')
    record(path, 'cpu', config=Path(args.config).name, size=args.size, errors=errors)


if __name__ == '__main__':
    main()
