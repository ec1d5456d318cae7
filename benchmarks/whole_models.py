"""Whole detectors and segmentors, trained and tested, with ours and others' backbones in one run.

    MMVISION_DATA=/path/to/data python benchmarks/whole_models.py mask_rcnn
    MMVISION_DATA=/path/to/data python benchmarks/whole_models.py cascade_mask_rcnn upernet

Everything but the backbone is this project's config: Swin-T and ResNet-50 are mmdet's and mmseg's
as their stock configs have them, ConvNeXt-T is timm's. A step is forward, backward and AdamW on one
real image at the recipe's size; "data" is its way from the file, which in the same process comes on
top. A test goes from image files to results, the metric included. The models take turns, and a
ratio is the median of the rounds' ratios.

Untrained models differ in what they propose and find, and with it in their cost, which training
would change. So all are given the same: the RPN's proposals, once made, are replaced by jittered
ground truth and drawn boxes, samplers draw by the same seed, and in tests scores are drawn.

Where there is no COCO or ADE20K under data or $MMVISION_DATA, the embedded data set is scaled up.
"""

import argparse
import copy
import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from statistics import median

import torch
from machine import machine
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.structures import InstanceData
from recording import record, result_path
from rich.console import Console
from rich.table import Table
from torch import Tensor

from mmvision_mamba.analysis.measuring import seconds
from mmvision_mamba.analysis.parts import drawn_objects, in_span, part_spans, parts_of, replaced
from mmvision_mamba.analysis.shares import part_span, step_shares
from mmvision_mamba.config import fit_to_machine, load_config
from mmvision_mamba.datasets import draw_shapes

ROOT = Path(__file__).resolve().parents[1]
METHODS = {'mask_rcnn': 'coco', 'cascade_mask_rcnn': 'coco', 'upernet': 'ade20k'}
STOCK = {
    'coco': {
        'swin_t': 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
        'resnet50': 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    },
    'ade20k': {
        'swin_t': 'mmseg::swin/'
        'swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py',
        'resnet50': 'mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py',
    },
}
CONVNEXT = dict(
    type='mmseg.TIMMBackbone',
    model_name='convnext_tiny',
    features_only=True,
    pretrained=False,
    drop_path_rate=0.2,
)
CONVNEXT_CHANNELS = [96, 192, 384, 768]
MODELS_COMPARED = ('mambavision_t', 'mambaout_tiny', 'swin_t', 'resnet50', 'convnext_t')
WHAT = ('step', 'data', 'test')
PROPOSALS, JITTERED = 1000, 300
KINDS = {
    'data_preprocessor': 'preprocessing',
    'backbone': 'backbone',
    'neck': 'neck',
    'rpn_head': 'RPN',
    'roi_head.bbox_roi_extractor': 'RoI pooling',
    'roi_head.bbox_head': 'box head',
    'roi_head.mask_roi_extractor': 'RoI pooling',
    'roi_head.mask_head': 'mask head',
    'decode_head': 'decode head',
    'auxiliary_head': 'auxiliary head',
}
# Methods of heads that make losses and their targets.
LOSSES = ('loss_by_feat', 'loss_and_target')
console = Console(width=max(Console().width, 150))


def model_config(method: str, name: str) -> Config:
    """This project's config of a method, with one of the backbones of :data:`MODELS_COMPARED`."""
    data = METHODS[method]
    own = name if name.startswith('mamba') else 'mambavision_t'
    cfg = load_config(str(ROOT / 'configs' / f'{method}_{own}_{data}.py'))
    if name == own:
        return cfg
    if name == 'convnext_t':
        backbone, channels = CONVNEXT, CONVNEXT_CHANNELS
    else:
        stock = load_config(STOCK[data][name]).model
        backbone = dict(stock.backbone, init_cfg=None)
        channels = (stock.neck if data == 'coco' else stock.decode_head).in_channels
    cfg.model.backbone = Config(dict(x=backbone)).x
    if data == 'coco':
        cfg.model.neck.in_channels = channels
    else:
        cfg.model.decode_head.in_channels = channels
        cfg.model.auxiliary_head.in_channels = channels[2]
    return cfg


def use_fixed_size(cfg: Config) -> None:
    """Have training images be of one size, in place: multi-scale recipes draw one each step."""
    if cfg.default_scope == 'mmdet':
        steps = load_config(str(ROOT / 'configs' / 'mask_rcnn_mambavision_t_coco.py'))
        cfg.train_dataloader.dataset.pipeline = steps.train_dataloader.dataset.pipeline


def use_data(cfg: Config, images: int, temporary: Path) -> str:
    """Point the config at real data, else at drawn; returns which. Of each split a few images."""
    splits = [cfg[f'{split}_dataloader'].dataset for split in ('train', 'val')]
    for dataset in splits:
        dataset.indices = max(images, 2)
    if (
        Path(splits[0].data_root) / ('annotations' if 'coco' in splits[0].data_root else '')
    ).exists():
        return splits[0].data_root
    draw_shapes(temporary, num_train=images, num_val=images)
    demo = {'mmdet': 'mask_rcnn_mambavision', 'mmseg': 'upernet_mambaout'}[cfg.default_scope]
    drawn = load_config(str(ROOT / 'configs' / f'{demo}_demo_shapes.py'))
    for dataset, split in zip(splits, ('train', 'val')):
        other = drawn[f'{split}_dataloader'].dataset
        for key in ('type', 'ann_file', 'data_prefix', 'metainfo'):
            if key in other:
                dataset[key] = other[key]
        dataset.data_root = str(temporary / Path(other.data_root).name)
        dataset.pop('filter_cfg', None)
    return 'the embedded data set'


class Contender:
    """A model with one backbone, its data and optimizer, and the three calls that are timed."""

    def __init__(self, method: str, name: str, args: argparse.Namespace, temporary: Path) -> None:
        cfg = model_config(method, name)
        use_fixed_size(cfg)
        self.data = use_data(cfg, args.images, temporary)
        fit_to_machine(cfg)
        self.name, self.cfg, self.images = name, cfg, args.images
        self.counts: Counter = Counter()
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            torch.manual_seed(0)
            self.model = revert_sync_batchnorm(MODELS.build(copy.deepcopy(cfg.model)))
            self.model.init_weights()
            self.wrapper = build_optim_wrapper(self.model, cfg.optim_wrapper)
            self.train_data = DATASETS.build(cfg.train_dataloader.dataset)
            self.val_data = DATASETS.build(cfg.val_dataloader.dataset)
        torch.manual_seed(0)
        self.batch = pseudo_collate([self.train_data[0]])
        for key in ('iter', 'epoch'):  # as MMEngine's loops do
            MessageHub.get_current_instance().update_info(key, 0)
        self.times: dict[str, list[float]] = {what: [] for what in WHAT}

    def step(self) -> None:
        torch.manual_seed(0)
        self.model.train()
        with self._equal_regions():
            self.model.train_step(self.batch, self.wrapper)

    def load(self) -> None:
        """What the data loader does for a step."""
        pseudo_collate([self.train_data[0]])

    def test(self) -> None:
        with DefaultScope.overwrite_default_scope(self.cfg.default_scope):
            evaluator = Evaluator(copy.deepcopy(self.cfg.val_evaluator))
        evaluator.dataset_meta = self.val_data.metainfo
        self.model.eval()
        with torch.no_grad(), self._equal_regions(), drawn_objects(self.model):
            for i in range(self.images):
                batch = pseudo_collate([self.val_data[i]])
                found = self.model.test_step(batch)
                self.counts['found'] += sum(
                    len(x.pred_instances) for x in found if 'pred_instances' in x
                )
                evaluator.process(data_samples=found, data_batch=batch)
        evaluator.evaluate(self.images)

    def calls(self) -> dict[str, Callable[[], None]]:
        return dict(zip(WHAT, (self.step, self.load, self.test)))

    def shares(self) -> dict[str, float]:
        """Seconds of a step by kind of part, in a profile, which slows small parts down."""
        with ExitStack() as stack:
            stack.enter_context(
                part_spans(self.model, lambda part: part_span(KINDS.get(part, part)))
            )
            for part, modules in parts_of(self.model).items():
                for module in modules:
                    for method in filter(lambda m: hasattr(module, m), LOSSES):
                        stack.enter_context(in_span(module, method, part_span, 'losses'))
                    if part == 'rpn_head':
                        stack.enter_context(in_span(module, 'predict_by_feat', part_span, 'RPN'))
            if hasattr(self.model, 'roi_head'):
                for owner in self._samplers():
                    method = 'sample' if hasattr(owner, 'sample') else 'assign'
                    stack.enter_context(in_span(owner, method, part_span, 'losses'))
            for method in ('step', 'zero_grad'):
                stack.enter_context(in_span(self.wrapper, method, part_span, 'optimizer'))
            return step_shares(self.step)

    def _samplers(self) -> list:
        head = self.model.roi_head
        owners = []
        for owner in (head.bbox_assigner, head.bbox_sampler):
            owners += owner if isinstance(owner, list) else [owner]
        return owners

    @contextmanager
    def _equal_regions(self) -> Iterator[None]:
        """Replace what the RPN proposes, after it has, and count what samplers draw."""
        if not hasattr(self.model, 'rpn_head'):
            yield
            return
        with ExitStack() as stack:
            propose = self.model.rpn_head.predict_by_feat

            @wraps(propose)
            def fixed(*args, batch_img_metas: list[dict], **kwargs) -> list[InstanceData]:
                made = propose(*args, batch_img_metas=batch_img_metas, **kwargs)
                return [self._proposals(meta, like) for meta, like in zip(batch_img_metas, made)]

            stack.enter_context(replaced(self.model.rpn_head, 'predict_by_feat', fixed))
            for sampler in self._samplers():
                if hasattr(sampler, 'sample'):
                    stack.enter_context(replaced(sampler, 'sample', self._counting(sampler.sample)))
            yield

    def _counting(self, sample: Callable) -> Callable:
        @wraps(sample)
        def counted(*args, **kwargs):
            drawn = sample(*args, **kwargs)
            self.counts['sampled'] += len(drawn.priors)
            self.counts['positive'] += len(drawn.pos_priors)
            return drawn

        return counted

    def _proposals(self, meta: dict, like: InstanceData) -> InstanceData:
        truth = next(
            (
                s.gt_instances.bboxes
                for s in self.batch['data_samples']
                if s.img_path == meta['img_path']
            ),
            None,
        )
        boxes = jittered_boxes(truth, meta['img_shape'])
        return InstanceData(
            bboxes=boxes.to(like.bboxes),
            scores=torch.linspace(1, 0, len(boxes)).to(like.bboxes),
            labels=torch.zeros(len(boxes), dtype=torch.long),
        )


def jittered_boxes(truth: Tensor | None, size: tuple[int, int]) -> Tensor:
    """Boxes ``(PROPOSALS, 4)``: first those near the truth, if any, then any in the image.

    Those near it are shifted and scaled by some percent, so that samplers take them as positive.
    """
    random = torch.Generator().manual_seed(0)
    limits = torch.tensor([size[1], size[0]] * 2, dtype=torch.float32)
    corners = torch.rand(PROPOSALS, 2, 2, generator=random).sort(1).values.flatten(1) * limits
    corners[:, 2:] = torch.maximum(corners[:, 2:], corners[:, :2] + 8).minimum(limits[2:])
    if truth is None or len(truth) == 0:
        return corners
    near = getattr(truth, 'tensor', truth)[torch.arange(JITTERED) % len(truth)]
    sides = (near[:, 2:] - near[:, :2]).repeat(1, 2)
    near = (near + sides * torch.empty(JITTERED, 4).uniform_(-0.1, 0.1, generator=random)).clamp(
        min=0
    )
    return torch.cat([near.minimum(limits), corners[JITTERED:]])


def measure(method: str, args: argparse.Namespace) -> dict:
    with tempfile.TemporaryDirectory() as temporary:
        contenders = [Contender(method, name, args, Path(temporary) / name) for name in args.models]
        for contender in contenders:
            warm_up = seconds(contender.step, 'cpu')
            console.print(f'{method}, {contender.name}: first step {warm_up:.1f} s')
        shares = {}
        for contender in contenders if not args.no_shares else ():
            shares[contender.name] = contender.shares()
            console.print(f'{method}, {contender.name}: profiled {shares[contender.name]}')
        for number in range(args.rounds):
            for what in args.what:
                for contender in contenders:
                    contender.times[what].append(seconds(contender.calls()[what], 'cpu'))
                taken = {c.name: round(c.times[what][-1], 3) for c in contenders}
                console.print(f'{method}: round {number + 1} of {args.rounds}, {what}: {taken}')
        rows = []
        for contender in contenders:
            contender.counts.clear()
            contender.step()
            row = dict(model=contender.name, counts=dict(contender.counts))
            for what in args.what:
                row[what] = round(
                    median(contender.times[what]) / (args.images if what == 'test' else 1), 3
                )
                for other in contenders:
                    pairs = zip(contender.times[what], other.times[what])
                    row[f'{what} / {other.name}'] = round(median(a / b for a, b in pairs), 3)
            if shares:
                row['shares'] = {k: round(v, 3) for k, v in shares[contender.name].items()}
            rows.append(row)
        return dict(data=Path(contenders[0].data).name, rows=rows)


def show(method: str, result: dict, args: argparse.Namespace) -> None:
    others = [name for name in ('swin_t', 'resnet50') if name in args.models]
    table = Table(
        title=f'{method}, {machine("cpu")}: seconds an image', caption='x: of the time of'
    )
    table.add_column('backbone')
    for what in args.what:
        table.add_column(what, justify='right')
        for other in others:
            table.add_column(f'x {other}', justify='right')
    for row in result['rows']:
        cells = [
            cell
            for what in args.what
            for cell in (row[what], *(row[f'{what} / {other}'] for other in others))
        ]
        table.add_row(row['model'], *map(str, cells))
    console.print(table)
    if args.no_shares:
        return
    kinds = list(dict.fromkeys(kind for row in result['rows'] for kind in row['shares']))
    table = Table('backbone', *kinds, title=f'{method}: seconds of a step, profiled')
    for row in result['rows']:
        table.add_row(row['model'], *(f'{row["shares"].get(kind, 0):.2f}' for kind in kinds))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('methods', nargs='*', metavar='METHOD', help=', '.join(METHODS))
    parser.add_argument('--models', nargs='+', choices=MODELS_COMPARED, default=MODELS_COMPARED)
    parser.add_argument('--what', nargs='+', choices=WHAT, default=WHAT)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--images', type=int, default=2, help='of a test (default 2)')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--no-shares', action='store_true', help='without profiles')
    parser.add_argument('--output', type=Path)
    args = parser.parse_args()
    for method in args.methods or METHODS:
        if method not in METHODS:
            parser.error(f'{method}: there are {", ".join(METHODS)}')
    torch.set_num_threads(args.threads)
    warnings.filterwarnings('ignore')
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    results = {}
    for method in args.methods or METHODS:
        results[method] = measure(method, args)
        show(method, results[method], args)
        settings = dict(rounds=args.rounds, images=args.images, batch=1)
        record(
            args.output or result_path('whole_models', 'cpu'),
            'cpu',
            settings=settings,
            methods=results,
        )


if __name__ == '__main__':
    main()
