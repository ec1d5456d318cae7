"""Short trainings from scratch on the embedded data set, that backbones can be compared by.

A backbone of some three million parameters is trained in the models and recipes of the demo's
configs (Mask R-CNN and UperNet), of which only the backbone and the length of training change.
Each training is a process of its own on one thread of the CPU. Rows are kept as they come, under
their whole setting: what was stopped goes on where it was, and benchmarks that ask for the same
training share it.
"""

import contextlib
import io
import json
import multiprocessing
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from machine import machine
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from recording import RESULTS
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
ROWS = RESULTS / 'short_trainings.jsonl'
PAGE = ROOT / 'docs' / 'research.md'
LEARNING_RATE = 1e-3
BATCH = 4
EVALUATIONS = 3
_SECONDS = 1800


@dataclass(frozen=True)
class Task:
    """A model, its data and recipe.

    Attributes:
        config: Name of the demo's config.
        iterations: Length of a training.
        metrics: Scores by the name that testing gives them, with the name and the value for which
            they are shown.
        stages: Whose maps the model reads.
    """

    config: str
    iterations: int
    metrics: Mapping[str, tuple[str, float]]
    stages: tuple[int, ...]


TASKS = {
    'detection': Task(
        'mask_rcnn_mambavision_demo_shapes',
        240,
        {'coco/bbox_mAP': ('box AP', 100), 'coco/segm_mAP': ('mask AP', 100)},
        (1, 2, 3),
    ),
    'segmentation': Task('upernet_mambaout_demo_shapes', 300, {'mIoU': ('mIoU', 1)}, (0, 1, 2, 3)),
}


@dataclass(frozen=True)
class Entry:
    """A backbone to be trained.

    Attributes:
        name: Of its row.
        backbone: Its config, without ``out_indices``.
        channels: Of its maps at strides 4, 8, 16, 32.
    """

    name: str
    backbone: Mapping
    channels: tuple[int, ...]


@MODELS.register_module()
class NormedFeatures(nn.Module):
    """timm's features, each through a LayerNorm, as ConvNeXt's and Swin's detectors have them."""

    def __init__(self, model_name: str, out_indices: Sequence[int], **options: object) -> None:
        super().__init__()
        import timm
        from timm.layers import LayerNorm2d

        self.net = timm.create_model(
            model_name, features_only=True, out_indices=out_indices, **options
        )
        self.norms = nn.ModuleList(map(LayerNorm2d, self.net.feature_info.channels()))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(norm(x) for norm, x in zip(self.norms, self.net(image)))


class Recorder(Hook):
    """Scores as they come, and the processor's time in training, which others' work does not slow.

    Attributes:
        curve: Of each validation, the iteration and the scores by name.
        seconds: Of the processor, in the iterations of training.
    """

    def __init__(self, metrics: Iterable[str]) -> None:
        self.metrics = set(metrics)
        self.curve: list[list] = []
        self.seconds = 0.0

    def before_train_iter(self, *_: object, **__: object) -> None:
        self.start = time.process_time()

    def after_train_iter(self, *_: object, **__: object) -> None:
        self.seconds += time.process_time() - self.start

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        scores = {key: round(float(metrics[key]), 4) for key in self.metrics}
        self.curve.append([runner.iter, scores])


def config_of(task: str, entry: Entry) -> Config:
    """The demo's config of a task around another backbone."""
    setting = TASKS[task]
    cfg = Config.fromfile(ROOT / 'configs' / f'{setting.config}.py')
    channels = [entry.channels[i] for i in setting.stages]
    cfg.model.backbone = dict(entry.backbone, out_indices=setting.stages)
    if task == 'detection':
        cfg.model.neck.in_channels = channels
    else:
        cfg.model.decode_head.in_channels = channels
        cfg.model.auxiliary_head.in_channels = channels[2]
    end = setting.iterations
    cfg.train_cfg = dict(type='ResumableIterLoop', max_iters=end, val_interval=end // EVALUATIONS)
    cfg.train_dataloader.batch_size = BATCH
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    cfg.train_dataloader.pop('batch_sampler', None)
    cfg.val_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=end // 10),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=end // 10, end=end, eta_min=1e-5),
    ]
    cfg.optim_wrapper.optimizer.lr = LEARNING_RATE
    cfg.default_hooks = dict(checkpoint=None, logger=dict(type='LoggerHook', interval=10 * end))
    cfg.log_processor = dict(by_epoch=False)
    cfg.log_level = 'ERROR'
    return cfg


def train(task: str, entry: Entry, seed: int, send: Connection) -> None:
    """Train once and send what there is to know of it, or ``dict(failed=...)``."""
    from mmengine.runner import Runner

    from mmvision_mamba.analysis.flops import count_flops, count_parameters
    from mmvision_mamba.config import fit_to_machine

    torch.set_num_threads(1)
    cfg = config_of(task, entry)
    cfg.randomness = dict(seed=seed)
    fit_to_machine(cfg)
    with (
        TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        cfg.work_dir = folder
        try:
            runner = Runner.from_cfg(cfg)
            recorder = Recorder(TASKS[task].metrics)
            runner.register_hook(recorder)
            runner.train()
        except Exception as error:  # of whatever kind: the others go on
            return send.send(dict(failed=f'{type(error).__name__}: {error}'[:300]))
    backbone = runner.model.backbone.to('meta')
    backbone.eval()  # which returns None of mmdet's ResNet
    iterations = TASKS[task].iterations
    send.send(
        dict(
            curve=recorder.curve,
            seconds_per_iteration=round(recorder.seconds / iterations, 4),
            parameters=count_parameters(backbone),
            flops=count_flops(backbone, 160, 160).total,
        )
    )


def bounded(task: str, entry: Entry, seed: int) -> dict:
    """What :func:`train` sends, from a process of its own."""
    context = multiprocessing.get_context('forkserver')
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=train, args=(task, entry, seed, send))
    process.start()
    send.close()
    try:
        result = dict(failed=f'not done within {_SECONDS} s')
        if receive.poll(_SECONDS):
            result = receive.recv()
    except EOFError:
        process.join(10)
        result = dict(failed=f'its process ended with exit status {process.exitcode}')
    process.kill()
    process.join()
    return result


def setting_of(task: str, entry: Entry, seed: int) -> dict:
    """All that a training depends on, as JSON gives it back."""
    setting = dict(
        task=task,
        backbone=dict(entry.backbone),
        iterations=TASKS[task].iterations,
        batch=BATCH,
        learning_rate=LEARNING_RATE,
        seed=seed,
    )
    return json.loads(json.dumps(setting))


def read_rows() -> list[dict]:
    lines = ROWS.read_text().splitlines() if ROWS.exists() else []
    return [json.loads(line) for line in lines]


def rows_of(entry: Entry, task: str, seeds: Iterable[int]) -> list[dict]:
    """The trainings of an entry that there are."""
    settings = [setting_of(task, entry, seed) for seed in seeds]
    return [row for row in read_rows() if row['setting'] in settings and 'failed' not in row]


def train_all(entries: Sequence[Entry], seeds: Iterable[int]) -> None:
    """Train what has no row yet: every entry with the first seed, then with the next."""
    preload = ['mmdet.models', 'mmseg.models', 'mmvision_mamba', 'short_training']
    multiprocessing.set_forkserver_preload(preload)
    for seed in seeds:
        for entry in entries:
            for task in TASKS:
                setting = setting_of(task, entry, seed)
                if any(row['setting'] == setting for row in read_rows()):
                    continue
                start = time.monotonic()
                row = dict(setting=setting, machine=machine('cpu'), torch=torch.__version__)
                row |= bounded(task, entry, seed)
                with ROWS.open('a') as file:
                    file.write(json.dumps(row) + '\n')
                said = row.get('failed') or json.dumps(row['curve'][-1][1])
                seconds = time.monotonic() - start
                print(f'{entry.name}, {task}, seed {seed}, {seconds:.0f} s: {said}', flush=True)


def scores(rows: Iterable[dict], task: str, metric: str, which: int = -1) -> list[float]:
    """Of each training, a metric at one of its validations, at the scale that is shown."""
    scale = TASKS[task].metrics[metric][1]
    return [scale * row['curve'][which][1][metric] for row in rows]


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation, such as ``31.2 ± 0.8``; one value has none."""
    if len(values) < 2:
        return ''.join(f'{value:.1f}' for value in values)
    return f'{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}'


def table(entries: Iterable[Entry], seeds: Sequence[int]) -> list[str]:
    """Lines of a table in Markdown, a line for each backbone."""
    names = [name for task in TASKS.values() for name, _ in task.metrics.values()]
    head = ['backbone', *names, 'trainings', 'parameters', 'FLOPs', 'seconds an iteration']
    lines = [f'| {" | ".join(head)} |', f'|{"---|" * len(head)}']
    for entry in entries:
        rows = {task: rows_of(entry, task, seeds) for task in TASKS}
        last = next((row for of_task in rows.values() for row in of_task), None)
        if last is None:
            continue
        cells = [
            spread(scores(rows[task], task, metric))
            for task, setting in TASKS.items()
            for metric in setting.metrics
        ]
        cells.append(' + '.join(str(len(of_task)) for of_task in rows.values()))
        cells += [f'{last["parameters"] / 1e6:.2f} M', f'{last["flops"] / 1e9:.2f} G']
        seconds = [[row['seconds_per_iteration'] for row in rows[task]] for task in TASKS]
        cells.append(', '.join(f'{min(of_task):.2f}' for of_task in seconds if of_task))
        lines.append(f'| {entry.name} | {" | ".join(cells)} |')
    return lines


def write_table(name: str, entries: Iterable[Entry], seeds: Sequence[int]) -> None:
    """Print the table, and put it into the page between the marks of its name."""
    lines = table(entries, seeds)
    print('\n'.join(lines))
    start, end = f'<!-- {name} -->', f'<!-- end of {name} -->'
    before, _, rest = PAGE.read_text().partition(start)
    after = rest.partition(end)[2]
    PAGE.write_text('\n'.join([f'{before}{start}', '', *lines, '', f'{end}{after}']))
