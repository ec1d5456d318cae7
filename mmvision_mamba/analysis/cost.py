"""What a model costs: parameters, FLOPs, memory, and the time of its parts on one image."""

import copy
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from ..checkpoints.meta_model import build_on_meta
from ..config import replace_sync_bn
from ..devices import give_float32
from ..errors import InputError
from .flops import count_parameters, model_flops
from .measuring import Stopwatch, added_bytes, seconds
from .parts import drawn_objects, kind_of, part_spans

POST_PROCESSING = 'post-processing'
KINDS = ('preprocessing', 'backbone', 'neck', 'heads', POST_PROCESSING)


@dataclass(frozen=True)
class Cost:
    """Of one image through a model, in testing.

    Attributes:
        name: Of the config.
        size: Height and width of the image, in pixels.
        parameters: Their number.
        flops: A multiply-add is two; None of a model that :func:`.flops.model_flops` cannot count.
        seconds: From the image, uint8 in memory, to results; the median of the rounds.
        parts: Seconds by part, each the median of the rounds: the model's attributes (see
            :func:`.parts.parts_of`), and ``post-processing``, which is all between and behind them:
            NMS, pasted masks, label maps.
        memory_bytes: Weights, and the most that torch allocates in a call.
    """

    name: str
    size: tuple[int, int]
    parameters: int
    flops: int | None
    seconds: float
    parts: dict[str, float]
    memory_bytes: int

    def by_kind(self) -> dict[str, float]:
        """Seconds of each of :data:`KINDS`; ``heads`` are all parts behind the neck."""
        times = dict.fromkeys(KINDS, 0.0)
        for part, value in self.parts.items():
            times[part if part == POST_PROCESSING else kind_of(part)] += value
        return times


def recipe_size(cfg: Config) -> tuple[int, int]:
    """Height and width that a config's images are brought to: of COCO's scale, lying down.

    Raises:
        InputError: The config does not say.
    """
    size = (cfg.model.get('data_preprocessor') or {}).get('size')
    if size:
        return tuple(size)
    steps = (cfg.get('test_dataloader') or {}).get('dataset', {}).get('pipeline') or []
    scales = [step['scale'] for step in steps if step['type'] == 'Resize' and 'scale' in step]
    if not scales:
        raise InputError('no Resize in the test pipeline says how large images are: give --size')
    return min(scales[-1]), max(scales[-1])


def measure_costs(
    configs: Sequence[tuple[str, Config]],
    size: tuple[int, int] | None,
    *,
    device: torch.device,
    amp: torch.dtype | None,
    rounds: int,
) -> Iterator[Cost]:
    """Build the models, untrained, and time them in turns on random images.

    Machines are noisy, so that in each round every model has one call. All are in memory at once.
    Detectors find as many objects as trained ones may: see :func:`.parts.drawn_objects`; those
    without a RoI head answer with all that their limits let through, whatever the score.

    Args:
        configs: Names and configs of mmdet or mmseg.
        size: Height and width in pixels; None for each config's own.
        device: Where the models run: a CPU, or a CUDA GPU.
        amp: Of mixed precision; None for float32.
        rounds: At least 1.

    Raises:
        InputError: A config is not of a model that predicts for single images.
    """
    runs = [_Run(name, cfg, size, device=device, amp=amp) for name, cfg in configs]
    for run in runs:
        run.warm_up()
    for _ in range(rounds):
        for run in runs:
            run.time()
    return (run.cost() for run in runs)


class _Run:
    """A model on its device, with an image, and what was measured of it."""

    def __init__(
        self,
        name: str,
        cfg: Config,
        size: tuple[int, int] | None,
        *,
        device: torch.device,
        amp: torch.dtype | None,
    ) -> None:
        if 'backbone' not in cfg.model:
            raise InputError(
                f'{name}: {cfg.model.type} has no backbone; measured is a detector or a segmentor '
                'of images'
            )
        self.name, self.size, self.device, self.amp = name, size or recipe_size(cfg), device, amp
        torch.manual_seed(0)
        replace_sync_bn(cfg.model)  # one process has nothing to synchronise, and a CPU no SyncBN
        _start_at_random(cfg.model)
        if 'score_thr' in (cfg.model.get('test_cfg') or {}):
            cfg.model.test_cfg.score_thr = 0.0  # untrained, no score is above a recipe's
        self.flops = _flops(cfg, self.size)
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            # Of a copy: some detectors change what they are built of.
            self.model = MODELS.build(copy.deepcopy(cfg.model))
            self.model.init_weights()
        self.model.to(device).eval()
        if amp is not None:
            give_float32(self.model)
        self.batch = _image(cfg, self.size)
        self.totals: list[float] = []
        self.parts: dict[str, list[float]] = defaultdict(list)

    def call(self) -> None:
        enabled = self.amp is not None
        with torch.no_grad(), torch.autocast(self.device.type, self.amp, enabled=enabled):
            self.model.test_step(self.batch)

    def warm_up(self) -> None:
        with drawn_objects(self.model):
            self.call()
            self.added = added_bytes(self.call, self.device.type)

    def time(self) -> None:
        watch = Stopwatch(self.device.type)
        with drawn_objects(self.model):
            self.totals.append(seconds(self.call, self.device.type))
            # By itself, because a GPU that is waited for between parts takes longer.
            with part_spans(self.model, watch.span), watch.span(POST_PROCESSING):
                self.call()
        for part, value in watch.seconds.items():
            self.parts[part].append(value)

    def cost(self) -> Cost:
        tensors = [*self.model.parameters(), *self.model.buffers()]
        return Cost(
            name=self.name,
            size=self.size,
            parameters=count_parameters(self.model),
            flops=self.flops,
            seconds=median(self.totals),
            parts={part: median(values) for part, values in self.parts.items()},
            memory_bytes=sum(tensor.nbytes for tensor in tensors) + self.added,
        )


def _start_at_random(node: dict | list | tuple) -> None:
    """Take weights to download out of a model's config, in place."""
    if isinstance(node, dict):
        if (node.get('init_cfg') or {}).get('type') == 'Pretrained':
            node['init_cfg'] = None
        if node.get('pretrained'):
            node['pretrained'] = None
    for child in node.values() if isinstance(node, dict) else node:
        if isinstance(child, dict | list | tuple):
            _start_at_random(child)


def _flops(cfg: Config, size: tuple[int, int]) -> int | None:
    try:
        flops = model_flops(
            build_on_meta(copy.deepcopy(cfg)), *(32 * math.ceil(side / 32) for side in size)
        )
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return None  # another structure, or one that reads values, which meta tensors lack
    return None if flops is None else flops.total


def _image(cfg: Config, size: tuple[int, int]) -> dict:
    """A random image and its description, as a data loader gives them."""
    image = torch.randint(256, (3, *size), dtype=torch.uint8)
    facts = dict(img_shape=size, ori_shape=size, pad_shape=size, scale_factor=(1.0, 1.0), img_id=0)
    if cfg.default_scope == 'mmseg':
        from mmseg.structures import SegDataSample as Sample
    else:
        from mmdet.structures import DetDataSample as Sample
    return dict(inputs=[image], data_samples=[Sample(metainfo=facts)])
