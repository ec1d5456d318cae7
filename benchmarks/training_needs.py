"""What a recipe's training needs, worked out from a training step measured here: time and memory.

    python benchmarks/training_needs.py
    python benchmarks/training_needs.py --peak 312 --utilisation 0.1 --images-per-core 30

Each recipe's real model takes steps on two random images, a GPU's share, of the recipe's size: on
a GPU in the recipe's precision, on a CPU in float32, where models of over 200 million parameters
are counted only. The formulas are in docs/scaling.md.
"""

import argparse
from math import ceil
from pathlib import Path
from statistics import median

import torch
from machine import machine
from measure import added_bytes, seconds
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from recording import record, result_path
from rich.console import Console
from rich.table import Table

from mmvision_mamba.analysis.flops import count_parameters, model_flops
from mmvision_mamba.checkpoints.meta_model import build_on_meta
from mmvision_mamba.config import fit_to_machine, load_config
from mmvision_mamba.engine.sharding import backbone_blocks

ROOT = Path(__file__).resolve().parents[1]
# Height and width of a training image; COCO's is the largest of the recipe's scales.
RECIPES = {
    'cascade_mask_rcnn_mambavision_t_coco': (800, 1333),
    'upernet_mambavision_t_ade20k': (512, 512),
    'upernet_mambavision_l2_ade20k': (512, 512),
    'upernet_mambavision_l3_ade20k': (640, 640),
}
# Images to train on and to validate on; of COCO's 118,287, those with objects, as mmdet does.
IMAGES = {'coco': (117_266, 5_000), 'ade20k': (20_210, 2_000)}
OBJECTS = 7  # in a COCO image, on average
MOST_PARAMETERS_ON_CPU = 200e6
GPUS = (1, 8, 64)
PER_GPU = 2


def batch_of(cfg: Config, size: tuple[int, int], count: int = PER_GPU) -> dict:
    """Random images, by default a GPU's share, and annotations, as a data loader gives them."""
    if cfg.default_scope == 'mmdet':
        shapes = dict(image_shapes=(3, *size), num_items=[OBJECTS] * count, num_classes=80)
        return demo_mm_inputs(count, with_mask=True, **shapes)
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for _ in range(count)]
    samples = []
    for _ in range(count):
        labels = PixelData(data=torch.randint(0, 150, (1, *size)))
        sample = SegDataSample(gt_sem_seg=labels)
        sample.set_metainfo(dict(img_shape=size, ori_shape=size))
        samples.append(sample)
    return dict(inputs=images, data_samples=samples)


def measure(
    name: str, size: tuple[int, int], device: str, rounds: int, images: int = PER_GPU
) -> dict:
    """Seconds and bytes an image of training steps; bytes beyond weights and optimizer.

    Args:
        name: Of a config of this project, or ``mmdet::...``, one that mmdet ships.
    """
    cfg = load_config(name if '::' in name else str(ROOT / 'configs' / f'{name}.py'))
    fit_to_machine(cfg)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        # One process: SyncBN has nothing to synchronise with.
        model = revert_sync_batchnorm(MODELS.build(cfg.model)).to(device)
        wrapper = build_optim_wrapper(model.train(), cfg.optim_wrapper)
        batch = batch_of(cfg, size, images)

        def step() -> None:
            model.train_step(batch, wrapper)

        step()  # the optimizer makes its state
        times = [seconds(step, device) for _ in range(rounds)]
        activations = added_bytes(step, device)
    return dict(
        precision='mixed' if cfg.optim_wrapper.type == 'AmpOptimWrapper' else 'float32',
        images=images,
        seconds_per_image=median(times) / images,
        bytes_per_image=activations // images,
    )


def count(name: str, size: tuple[int, int]) -> dict:
    """What needs no computing: parameters, FLOPs an image, bytes with and without FSDP."""
    model = build_on_meta(load_config(str(ROOT / 'configs' / f'{name}.py')))
    parameters = count_parameters(model)
    blocks = [count_parameters(block) for block in backbone_blocks(model)]
    rest = parameters - sum(blocks)
    return dict(
        parameters=parameters,
        # The backward pass computes each product's two gradients.
        flops_per_image=3 * model_flops(model, *size).total,
        checkpoint_bytes=12 * parameters,
        # Weights, gradients, AdamW's two moments; DDP's buckets; under FSDP, what is gathered.
        state_bytes=16 * parameters,
        ddp_bytes=20 * parameters,
        fsdp_bytes={n: 16 * parameters // n + 8 * rest + 12 * max(blocks) for n in GPUS[1:]},
    )


def needs(name: str, second: float, efficiency: float, images_per_core: float | None) -> list[dict]:
    """The run on 1, 8 and 64 GPUs that each take ``second`` seconds an image."""
    cfg = load_config(str(ROOT / 'configs' / f'{name}.py'))
    train, val = IMAGES[name.rsplit('_', 1)[1]]
    loop, base = cfg.train_cfg, cfg.auto_scale_lr.base_batch_size
    images = loop.max_epochs * train if 'max_epochs' in loop else loop.max_iters * base
    evaluations = loop.get('max_epochs', loop.get('max_iters')) // loop.val_interval
    rows = []
    for gpus in GPUS:
        batch = PER_GPU * gpus
        rate = 1 / second  # of one GPU
        speed = gpus * rate * (efficiency if gpus > 1 else 1)
        row = dict(
            gpus=gpus,
            batch=batch,
            lr_factor=batch / base,
            steps=loop.max_epochs * ceil(train / batch)
            if 'max_epochs' in loop
            else images // batch,
            training_hours=round(images / speed / 3600, 1),
            # A forward pass is a third of a training step.
            evaluation_hours=round(evaluations * val / speed / 3 / 3600, 1),
            images_per_second=round(speed, 1),
            per_gpu=round(rate, 1),
        )
        if images_per_core:
            row['workers_per_gpu'] = ceil(rate / images_per_core)
        rows.append(row)
    return rows


def show(title: str, rows: list[dict]) -> None:
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=150).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=3, help='steps to take the median of')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument(
        '--peak', type=float, help="estimate too: a GPU's TFLOP/s, as its maker says"
    )
    parser.add_argument('--utilisation', type=float, default=0.1, help='part of it that is reached')
    parser.add_argument('--efficiency', type=float, default=0.9, help='of several GPUs')
    parser.add_argument(
        '--images-per-core', type=float, help='images a second that one core of a loader prepares'
    )
    parser.add_argument('--output', type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    MMLogger.get_current_instance().setLevel('WARNING')  # not each parameter's weight decay
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    settings, recipes = {**vars(args), 'output': None}, {}
    output = args.output or result_path('training_needs')
    for name, size in RECIPES.items():
        recipe = recipes[name] = dict(size=size, counted=count(name, size))
        counted = recipe['counted']
        if device == 'cuda' or counted['parameters'] < MOST_PARAMETERS_ON_CPU:
            recipe['measured'] = measure(name, size, device, args.rounds)
            second = recipe['measured']['seconds_per_image']
            recipe['needs'] = needs(name, second, args.efficiency, args.images_per_core)
            show(f'{name}, {second:.3f} s an image measured on {machine()}', recipe['needs'])
        if args.peak:
            second = counted['flops_per_image'] / (args.peak * 1e12 * args.utilisation)
            recipe['estimate'] = needs(name, second, args.efficiency, args.images_per_core)
            show(f'{name}, {second:.3f} s an image estimated from FLOPs', recipe['estimate'])
        # After each, so that a machine that runs out of memory leaves what it did.
        record(output, settings=settings, recipes=recipes)
    show(
        'Counted, and measured bytes',
        [
            dict(
                recipe=name,
                parameters=f'{r["counted"]["parameters"] / 1e6:.1f} M',
                TFLOP=f'{r["counted"]["flops_per_image"] / 1e12:.2f}',
                checkpoint=gigabytes(r['counted']['checkpoint_bytes']),
                state=gigabytes(r['counted']['state_bytes']),
                DDP=gigabytes(r['counted']['ddp_bytes']),
                **{f'FSDP {n}': gigabytes(b) for n, b in r['counted']['fsdp_bytes'].items()},
                a_image=gigabytes(r['measured']['bytes_per_image']) if 'measured' in r else '-',
            )
            for name, r in recipes.items()
        ],
    )


def gigabytes(count: int) -> str:
    return f'{count / 1e9:.2f} GB'


if __name__ == '__main__':
    main()
