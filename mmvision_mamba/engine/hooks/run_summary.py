"""What a training run came to, in two files of its work dir: summary.json and curves.png."""

import json
import logging
import math
import platform
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.dist import get_world_size, is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop

from ...analysis.run_logs import RunLog, note_start, read_run
from ...checkpoints.durable_files import DurableLocalBackend
from ...errors import InputError
from ...versions import package_versions

_SECONDS = 'training_seconds'
_ROOT = Path(__file__).parents[3]


@HOOKS.register_module()
class RunSummaryHook(Hook):
    """Write ``curves.png`` and ``summary.json`` after every validation and at the end of training.

    So a run that was killed has those of its last validation. Both are made of the logs in the
    work dir, of all starts of the run, and are replaced as a whole.
    """

    priority = 'LOWEST'  # after LoggerHook and CheckpointHook
    _start = None

    def before_train(self, runner) -> None:
        # In a resumed run: what passed until the checkpoint.
        earlier = runner.message_hub.runtime_info.get(_SECONDS, 0.0)
        self._start = time.monotonic() - earlier
        if is_main_process():
            note_start(runner.work_dir, runner.timestamp, runner.iter)

    def after_train_iter(
        self,
        runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | Sequence | None = None,
    ) -> None:
        runner.message_hub.update_info(_SECONDS, time.monotonic() - self._start)

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        if self._start is not None:
            self._write(runner, ended=False)

    def after_train(self, runner) -> None:
        self._write(runner, ended=True)

    @master_only
    def _write(self, runner, *, ended: bool) -> None:
        from ...analysis.curves import draw_run, save  # matplotlib takes a second to import

        work_dir = Path(runner.work_dir)
        try:
            log = read_run(work_dir)
        except InputError as error:
            print_log(f'No curves.png and summary.json: {error}', 'current', logging.WARNING)
            return
        summary = dict(
            _of_setup(runner),
            ended=ended,
            iterations=runner.iter,
            max_iterations=runner.max_iters,
            **_epochs(runner),
            seconds=round(time.monotonic() - self._start, 1),
            **_of_log(log),
            best_checkpoints=_best_checkpoints(runner),
        )
        text = json.dumps(summary, indent=2) + '\n'
        DurableLocalBackend().put_text(text, work_dir / 'summary.json')
        figure = draw_run(log, summary['config'])
        save(figure, work_dir / 'curves.png')


def _of_setup(runner) -> dict:
    """What the run was set up with."""
    # A runner that was not built from a config has an empty one.
    backbone = runner.cfg.get('model', {}).get('backbone', {})
    scope = runner.cfg.get('default_scope', 'mmengine')
    return dict(
        config=Path(runner.cfg.filename or runner.experiment_name).stem,
        backbone={key: backbone[key] for key in ('type', 'arch') if key in backbone},
        seed=runner.seed,
        processes=get_world_size(),
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu',
        versions=dict(python=platform.python_version(), **package_versions(scope)),
        commit=_commit(),
    )


def _of_log(log: RunLog) -> dict:
    """Losses and metrics, and the speed of the run."""
    facts = dict(
        starts=log.starts,
        losses={key: _finite(log[key].values[-1]) for key in log.losses()},
        metrics={key: _last_and_best(log, key) for key in log.metrics},
    )
    if 'images_per_second' in log.training:
        rates = log['images_per_second'].values
        facts['images_per_second'] = round(statistics.median(rates), 3)
    if 'memory' in log.training:
        facts['peak_memory_mb'] = max(log['memory'].values)
    return facts


def _last_and_best(log: RunLog, key: str) -> dict:
    curve = log[key]
    iteration, best = curve.best() or (None, None)
    return dict(
        last=_finite(curve.values[-1]),
        last_iteration=curve.iterations[-1],
        best=best,
        best_iteration=iteration,
    )


def _finite(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def _epochs(runner) -> dict:
    epochs = isinstance(runner.train_loop, EpochBasedTrainLoop)
    return dict(epochs=runner.epoch, max_epochs=runner.max_epochs) if epochs else {}


def _best_checkpoints(runner) -> list[str]:
    """Names of the files that CheckpointHook keeps as the best, as of ``save_best``."""
    infos = runner.message_hub.runtime_info.items()
    return [Path(path).name for key, path in infos if key.startswith('best_ckpt') and path]


def _commit() -> str | None:
    """Of this toolkit's checkout, with -dirty where files differ from it; None elsewhere."""
    if not (_ROOT / '.git').exists():
        return None
    command = ['git', '-C', _ROOT, 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*']
    try:
        return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        return None
