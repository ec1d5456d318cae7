"""Write MODEL_ZOO.md and model-index.yml from the table of published weights and the configs.

Parameters and FLOPs are measured; scores are the published ones.
"""

import argparse


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--check', action='store_true', help='write nothing; fail if a file is not current'
    )
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # before the imports, which take seconds

import copy
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
import yaml
from mmengine.config import Config
from mmengine.registry import MODELS

import mmvision_mamba  # noqa: F401  (registers the backbones)
from mmvision_mamba.analysis.flops import (
    MASKS,
    PROPOSALS,
    Flops,
    count_flops,
    count_parameters,
    model_flops,
)
from mmvision_mamba.checkpoints.meta_model import build_on_meta
from mmvision_mamba.cli import run
from mmvision_mamba.config import load_config
from mmvision_mamba.errors import InputError
from mmvision_mamba.weights import PUBLISHED, Published

ROOT = Path(__file__).resolve().parents[1]
PAPERS = {
    'MambaVision': (
        'MambaVision: A Hybrid Mamba-Transformer Vision Backbone',
        'https://arxiv.org/abs/2407.08083',
    ),
    'MambaOut': (
        'MambaOut: Do We Really Need Mamba for Vision?',
        'https://arxiv.org/abs/2405.07992',
    ),
}
METHODS = {
    'faster_rcnn': 'Faster R-CNN',
    'retinanet': 'RetinaNet',
    'dino': 'DINO',
    'mask_rcnn': 'Mask R-CNN',
    'cascade_mask_rcnn': 'Cascade Mask R-CNN',
    'rtmdet_ins': 'RTMDet-Ins',
    'mask2former': 'Mask2Former',
    'upernet': 'UperNet',
    'segformer': 'SegFormer',
}
LENGTHS = ('Epochs', 'Iterations')
# Height and width at which the field's tables count FLOPs.
SIZES = {'coco': (800, 1280), 'ade20k': (512, 2048)}
DATASETS = {'coco': 'COCO', 'ade20k': 'ADE20K'}
TASKS = {
    'box AP': 'Object Detection',
    'mask AP': 'Instance Segmentation',
    'mIoU': 'Semantic Segmentation',
    'mIoU(ms+flip)': 'Semantic Segmentation',
}
# Tables 2 and 3 of MambaOut's paper, whose weights were never released: scores, millions of
# parameters, billions of FLOPs.
WITHOUT_WEIGHTS = {
    'mask_rcnn_mambaout_tiny_coco': ({'box AP': 45.1, 'mask AP': 41.0}, 43, 262),
    'mask_rcnn_mambaout_small_coco': ({'box AP': 47.4, 'mask AP': 42.7}, 65, 354),
    'mask_rcnn_mambaout_base_coco': ({'box AP': 47.4, 'mask AP': 43.0}, 100, 495),
    'upernet_mambaout_tiny_ade20k': ({'mIoU': 47.4, 'mIoU(ms+flip)': 48.6}, 54, 938),
    'upernet_mambaout_small_ade20k': ({'mIoU': 49.5, 'mIoU(ms+flip)': 50.6}, 76, 1032),
    'upernet_mambaout_base_ade20k': ({'mIoU': 49.6, 'mIoU(ms+flip)': 51.0}, 112, 1178),
}
PAGE = f"""# Model zoo

Made by `tools/make_model_zoo.py` from the table of published weights
([`checkpoints/published.py`](mmvision_mamba/checkpoints/published.py)) and [`configs/`](configs):
edit those, not this page.

- **Published** columns are the figures of the backbones' authors
  ([MambaVision]({PAPERS['MambaVision'][1]}),
  [MambaOut]({PAPERS['MambaOut'][1]}), and their repositories). None of these scores
  was measured here. A dash means that nothing was published.
- **Parameters and FLOPs** are measured by this toolkit on what the config builds. One multiply-add
  is one FLOP, as in the published tables (torch counts it as two). Detectors are counted at
  800 x 1280, with the heads on {PROPOSALS} proposals and {MASKS} masks; segmentors at 512 x 2048,
  without the auxiliary head, which testing does not run but the parameters include. Those are the
  sizes of the published tables. DINO and Mask2Former have a dash: their deformable attention
  cannot be counted without computing it.
- FLOPs in parentheses leave **attention and the scan** out.
- Windows are padded **minimally**, the configs' own mode, or **in full**, as published MambaVision
  detectors and segmentors were trained and are to be tested (`window_padding='full'`).
- **Weights** are the authors', under the licence beside them. NVIDIA's, under CC-BY-NC-SA-4.0, are
  for non-commercial use, and what is built upon them is to be shared under the same licence. A
  dash: none were released.
- The **recipe** is the config's; `python tools/train.py CONFIG` follows it.

## Why measured and published figures differ

- *Parameters of backbones*: the published ones include the ImageNet classifier, which a pyramid
  does not have; it has output norms instead.
- *Parameters of MambaVision's detectors and segmentors*: the published tables are off by up to
  14 % from what the published configs build, which is the number measured here. They do not say
  how theirs were counted.
- *FLOPs of MambaVision*: the published ones leave attention and the scan out, so it is the numbers
  in parentheses that they are to be compared with. The backbones' agree. Those of detectors and
  segmentors lie between minimal and full padding; with which one they were counted is not said.
- *FLOPs of MambaOut*, which has neither attention nor scan, agree.

## Where the recipes' values come from

- *MambaVision, Cascade Mask R-CNN and UperNet*: the published configs and training logs:
  schedule, batch, learning rate, weight decay, precision, augmentation. The published training
  code dropped its configs' `drop_path_rate`, so that 0.2 was in force, which is what stands here.
- *MambaVision, Mask R-CNN; l2 with UperNet*: nothing was published. Mask R-CNN has mmdet's 1x
  schedule with the optimizer of Cascade Mask R-CNN, l2 the recipe of l3.
- *MambaOut, Mask R-CNN and UperNet*: schedule, batch, AdamW and its learning rate are the
  paper's. The drop path of UperNet is its author's: 0.3 for Tiny, 0.3 to 0.4 for Small (0.4
  here), 0.6 for Base ([yuweihao/MambaOut, issue
  251](https://github.com/yuweihao/MambaOut/issues/251)). What neither says is chosen here: weight
  decay 0.05, warm-up, and drop path 0.2 of Mask R-CNN.
- *MambaOut, Cascade Mask R-CNN*: nothing was published; the recipe is MambaVision's.
- *The other methods*: nothing was published for either family. They are mmdet's and mmseg's stock
  configs, named below, with the backbone's part of the recipe from those of other backbones:

  - *Faster R-CNN*: model: `faster-rcnn_r50_fpn_1x_coco`; AdamW, learning rate 0.0001, weight
    decay 0.05, drop path 0.2, warm-up and milestones: `mask-rcnn_swin-t-p4-w7_fpn_1x_coco`;
    learning rate 0.0002 of MambaVision b: that family's Cascade Mask R-CNN.
  - *RetinaNet*: model: `retinanet_r50_fpn_1x_coco`; AdamW, learning rate and weight decay 0.0001:
    `retinanet_pvt-t_fpn_1x_coco`; warm-up and drop path 0.2 as Faster R-CNN.
  - *DINO*: all of `dino-4scale_r50_8xb2-12e_coco` (learning rate and weight decay 0.0001,
    gradients clipped at 0.1, no warm-up, milestone 11, DETR's augmentation, images without
    objects kept); drop path 0.2: `dino-5scale_swin-l_8xb2-12e_coco`.
  - *RTMDet-Ins*: model, mosaics and averaged weights: `rtmdet-ins_l_8xb32-300e_coco`; group
    norms, colours, drop path 0.3, 100 epochs at batch 128, learning rate 0.001 and its schedule:
    `rtmdet_l_swin_b_4xb32-100e_coco` (8 GPUs with 16 images here, 4 with 32 there).
  - *Mask2Former, COCO*: all of `mask2former_swin-t-p4-w7-224_8xb2-lsj-50e_coco`, drop path 0.3
    too.
  - *Mask2Former, ADE20K*: all of `mask2former_swin-t_8xb2-160k_ade20k-512x512`, drop path 0.3
    too; of MambaOut Small and Base 0.4 and 0.6, as its author has it with UperNet on the same
    data (issue 251).
  - *SegFormer*: head, learning rate 0.00006 and ten times that in the head, weight decay 0.01 and
    warm-up: `segformer_mit-b0_8xb2-160k_ade20k-512x512`; drop path 0.1 of femto and kobe is that
    of its backbone, 0.3 of Tiny that of issue 251.

- *COCO panoptic* has no config: mmdet reads its maps and computes PQ by `panopticapi`, which is
  installed from its repository alone and is not among what this toolkit requires.
- *Layer-wise decay* of the learning rate, in all of those methods, is 0.9 a layer, which is
  0.14 at the stem of MambaOut Tiny and 0.17 at that of MambaVision t; it is 0.95 for MambaOut Small
  and Base, which are twice as deep. 0.9 is that of mmseg's
  `convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512`. In DINO and Mask2Former it stands in the
  place of the stock configs' flat tenth for the backbone; the configs of InternImage offer the two
  as alternatives for DINO (`dino_4scale_internimage_l_1x_coco_layer_wise_lr`, also 0.9, and
  `..._0.1x_backbone_lr`). `optim_wrapper.paramwise_cfg.layer_decay=1.0` turns it off.
- *Weight decay* spares norms, biases, layer scales, the scan's `A_log` and `D`, and the queries and
  level embeddings of Mask2Former.

## Where training here differs from the published

- *Weights are random* unless a config is told otherwise; the published models start from the
  ImageNet weights below (`--weights`, see [Weights](docs/weights.md)).
- *Batch norms of UperNet t, b and l3*: published models were trained on 16 GPUs with one image
  each, and the backbone's batch norms were not synchronised, so that their statistics are those
  of single images. The recipes here are for 8 GPUs with 2.
- *Validation on ADE20K*: every 10,000 iterations (t, s, b) and every 5,000 (l3) there, every
  16,000 here; every 5,000 in mmseg's Mask2Former. The best checkpoint is then chosen among fewer
  (`train_cfg.val_interval` and `default_hooks.checkpoint.interval`).
- *RTMDet-Ins* mixes images that its worker processes have kept from before, as the stock config
  does; a resumed run starts with none, so that its next images are others than those of a run that
  was never interrupted.
- *Windows* are padded minimally, and weight decay spares the scan's `A_log` and `D`, on which it
  fell in the published code.

"""


@cache
def config(path: Path) -> Config:
    return load_config(str(path))


@cache
def measure(path: Path, window_padding: str | None = None) -> tuple[int, Flops | None]:
    """Parameters and FLOPs of a config's model; None where they cannot be counted."""
    cfg = copy.deepcopy(config(path))
    if window_padding:
        cfg.model.backbone.window_padding = window_padding
    model = build_on_meta(cfg)
    return count_parameters(model), model_flops(model, *SIZES[dataset(path)])


@cache
def measure_backbone(name: str) -> tuple[int, Flops]:
    """Parameters and FLOPs of a published backbone, at the size of its training images."""
    entry = PUBLISHED[name]
    backbone = dict(type=entry.family, arch=entry.arch)
    side = entry.input_size
    if entry.family == 'MambaVision':
        # One window a stage, as in classification at this size.
        backbone['window_size'] = (8, 8, side // 16, side // 32)
    with torch.device('meta'):
        net = MODELS.build(backbone).eval()
    return count_parameters(net), count_flops(net, side, side)


def dataset(path: Path) -> str:
    return path.stem.rsplit('_', 1)[1]


def method(path: Path) -> str:
    return METHODS[path.stem.split('_mamba')[0]]


def published(path: Path) -> tuple[dict[str, float], float | None, float | None]:
    """Published scores, millions of parameters and billions of FLOPs of a config's model."""
    if path.stem in PUBLISHED:
        entry = PUBLISHED[path.stem]
        return entry.scores, entry.params, entry.flops
    return WITHOUT_WEIGHTS.get(path.stem, ({}, None, None))


def recipe(cfg: Config) -> dict[str, str | int]:
    """What a training run of the config is, in the words of the model index."""
    loop, optimizer, backbone = cfg.train_cfg, cfg.optim_wrapper.optimizer, cfg.model.backbone
    default = inspect.signature(MODELS.get(backbone.type)).parameters['drop_path_rate'].default
    epochs = loop.get('max_epochs')
    return {
        **({'Epochs': epochs} if epochs else {'Iterations': loop.max_iters}),
        'Batch Size': cfg.auto_scale_lr.base_batch_size,
        'Optimizer': f'{optimizer.type}, lr {optimizer.lr:g}, decay {optimizer.weight_decay:g}',
        'Drop Path': backbone.get('drop_path_rate', default),
        'Precision': 'mixed' if cfg.optim_wrapper.type == 'AmpOptimWrapper' else 'float32',
    }


def url(entry: Published) -> str:
    return f'https://huggingface.co/{entry.repo}/resolve/main/{entry.filename}'


def giga(flops: Flops | None, digits: int = 0) -> str:
    """Billions of multiply-adds, and in parentheses those without attention and scan."""
    if flops is None:
        return '-'
    total, fewer = flops.total / 2e9, (flops.total - flops.attention_and_scan) / 2e9
    return f'{total:.{digits}f}' + (f' ({fewer:.{digits}f})' if fewer != total else '')


def model_row(path: Path, family: str) -> dict[str, str]:
    scores, params, flops = published(path)
    count, counted = measure(path)
    training = recipe(config(path))
    length = next(f'{training[unit]:,} {unit.lower()}' for unit in LENGTHS if unit in training)
    row = {
        'config': f'[`{path.stem}`](configs/{path.name})',
        'recipe': f'{length}, batch {training["Batch Size"]}, {training["Optimizer"]}, '
        f'drop path {training["Drop Path"]}, {training["Precision"]} precision',
    }
    row |= {f'{name}, published': f'{score:.1f}' for name, score in scores.items()}
    row |= {
        'params (M)': f'{count / 1e6:.2f}',
        'params, published': show(params),
        'FLOPs (G)': giga(counted),
    }
    if family == 'MambaVision':
        row['FLOPs, padded in full'] = giga(measure(path, 'full')[1])
    row['FLOPs, published'] = show(flops)
    if path.stem in PUBLISHED:
        entry = PUBLISHED[path.stem]
        row['weights'] = f'[{entry.licence}]({url(entry)})'
    return row


def backbone_row(entry: Published) -> dict[str, str]:
    count, counted = measure_backbone(entry.name)
    return {
        'weights': f'[`{entry.name}`]({url(entry)})',
        'licence': entry.licence,
        'pixels': str(entry.input_size),
        'top-1, published': show(entry.scores.get('top-1'), 1),
        'params (M)': f'{count / 1e6:.2f}',
        'params, published': show(entry.params, 1),
        'FLOPs (G)': giga(counted, 1),
        'FLOPs, published': show(entry.flops, 1),
    }


def show(figure: float | None, digits: int = 0) -> str:
    return '-' if figure is None else f'{figure:.{digits}f}'


def table(rows: list[dict[str, str]]) -> str:
    """A Markdown table; a row that lacks a column has a dash there."""
    columns = list(
        dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row)
    )
    cells = [columns, ['---'] * len(columns)]
    cells += [[row.get(name, '-') for name in columns] for row in rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in cells)


def configs(family: str) -> list[Path]:
    """A family's configs, the smaller model first."""
    paths = (ROOT / 'configs').glob(f'*_{family.lower()}_*.py')
    return sorted((p for p in paths if 'demo' not in p.name), key=lambda path: measure(path)[0])


def sections() -> Iterator[str]:
    for family in PAPERS:
        backbones = [e for e in PUBLISHED.values() if e.kind == 'backbone' and e.family == family]
        backbones.sort(key=lambda entry: measure_backbone(entry.name)[0])
        yield f'## {family}'
        yield f'### ImageNet backbones\n\n{table(list(map(backbone_row, backbones)))}'
        for key, name in DATASETS.items():
            paths = [path for path in configs(family) if dataset(path) == key]
            titles = [title for title in METHODS.values() if title in set(map(method, paths))]
            for title in titles:
                rows = [model_row(path, family) for path in paths if method(path) == title]
                yield f'### {title}, {name}\n\n{table(rows)}'


def index_entry(path: Path, family: str) -> dict:
    scores, params, flops = published(path)
    count, counted = measure(path)
    height, width = SIZES[dataset(path)]
    metadata = {
        'Training Data': DATASETS[dataset(path)],
        **recipe(config(path)),
        'Architecture': [family, method(path)],
        'Parameters (M)': round(count / 1e6, 2),
    }
    if counted is not None:
        metadata['FLOPs (G)'] = round(counted.total / 2e9)
        metadata['FLOPs Input Size'] = f'{height}x{width}'
    if scores:
        metadata['Scores'] = 'published by the authors, not measured here'
        metadata['Published Parameters (M)'] = params
        metadata['Published FLOPs (G)'] = flops
    entry = {
        'Name': path.stem,
        'In Collection': family,
        'Config': f'configs/{path.name}',
        'Metadata': metadata,
        'Results': [
            {'Task': task, 'Dataset': DATASETS[dataset(path)], 'Metrics': metrics}
            for task, metrics in by_task(scores).items()
        ],
    }
    if path.stem in PUBLISHED:
        metadata['Weights License'] = PUBLISHED[path.stem].licence
        entry['Weights'] = url(PUBLISHED[path.stem])
    return entry


def by_task(scores: dict[str, float]) -> dict[str, dict[str, float]]:
    tasks = dict.fromkeys(TASKS[name] for name in scores)
    return {task: {n: s for n, s in scores.items() if TASKS[n] == task} for task in tasks}


def index() -> dict:
    return {
        'Collections': [
            {
                'Name': family,
                'Paper': {'Title': title, 'URL': link},
                'README': 'MODEL_ZOO.md',
            }
            for family, (title, link) in PAPERS.items()
        ],
        'Models': [index_entry(path, family) for family in PAPERS for path in configs(family)],
    }


def pages() -> dict[Path, str]:
    """The two files and what is to be in them."""
    note = '# Made by tools/make_model_zoo.py: edit the table of weights and the configs instead.\n'
    return {
        ROOT / 'MODEL_ZOO.md': PAGE + '\n\n'.join(sections()) + '\n',
        ROOT / 'model-index.yml': note + yaml.safe_dump(index(), sort_keys=False, width=100),
    }


def main() -> None:
    args = parse_args()
    for path, text in pages().items():
        if not args.check:
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            raise InputError(f'{path.name} is not current: run tools/make_model_zoo.py')


if __name__ == '__main__':
    run(main)
