"""What MMEngine logged in a work dir, as curves over iterations.

Each start of a run has a folder there, named by its local time, with ``vis_data/scalars.json``:
an object a line, of training with ``iter`` (and ``epoch``), of validation with ``step`` alone. The
order of starts is that of ``starts.json``: clocks are set back, and time zones differ.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..checkpoints.durable_files import DurableLocalBackend
from ..errors import InputError

STARTS = 'starts.json'
_PATTERN = '*/vis_data/scalars.json'
# What stands in a line beside the scalars, or is no score although validation logs it.
_PLACES = ('iter', 'step', 'epoch')
_NO_METRICS = ('time', 'data_time')


@dataclass
class Curve:
    """One scalar over a run, in the order of iterations.

    Attributes:
        iterations: Iterations done when it was logged.
        values: As many.
    """

    iterations: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def best(self, *, lowest: bool = False) -> tuple[int, float] | None:
        """Iteration and value of the highest (lowest) value, the first of equals; NaN is none."""
        points = [p for p in zip(self.iterations, self.values) if not math.isnan(p[1])]
        sign = -1 if lowest else 1
        return max(points, key=lambda point: sign * point[1], default=None)

    def cut(self, iteration: int) -> None:
        """Drop what was logged at ``iteration`` or later."""
        kept = sum(i < iteration for i in self.iterations)
        del self.iterations[kept:], self.values[kept:]


@dataclass
class RunLog:
    """All scalars of a run.

    Attributes:
        training: Losses, ``lr``, ``time``, ``images_per_second``, ...
        metrics: What validation measured.
        starts: How often training was started, resumptions included.
    """

    training: dict[str, Curve] = field(default_factory=dict)
    metrics: dict[str, Curve] = field(default_factory=dict)
    starts: int = 0

    def __getitem__(self, key: str) -> Curve:
        return self.metrics[key] if key in self.metrics else self.training[key]

    def __contains__(self, key: str) -> bool:
        return key in self.metrics or key in self.training

    def __iter__(self) -> Iterator[str]:
        yield from self.metrics
        yield from self.training

    def cut(self, iteration: int) -> None:
        """Drop what was logged at ``iteration`` or later, and scalars of which nothing is left."""
        for curves in (self.training, self.metrics):
            for key, curve in list(curves.items()):
                curve.cut(iteration)
                if not curve.values:
                    del curves[key]

    def losses(self) -> list[str]:
        """Names of losses, the total first where there is one."""
        return sorted(
            (key for key in self.training if 'loss' in key), key=lambda key: key != 'loss'
        )

    def main_metrics(self) -> list[str]:
        """Metrics that are no part of another."""
        return [
            key
            for key in self.metrics
            if not any(key in self.parts(other) for other in self.metrics)
        ]

    def parts(self, metric: str) -> list[str]:
        """Metrics that a main one stands above, as coco/bbox_mAP above coco/bbox_mAP_50."""
        return [key for key in self.metrics if key.startswith(f'{metric}_')]


def note_start(work_dir: str | Path, folder: str, iteration: int) -> None:
    """Write down that a run is started, or goes on, after ``iteration``, logging in ``folder``."""
    path = Path(work_dir, STARTS)
    starts = [*_noted(path), dict(folder=folder, iteration=iteration)]
    DurableLocalBackend().put_text(json.dumps(starts, indent=2) + '\n', path)


def read_run(work_dir: str | Path) -> RunLog:
    """The curves of all starts of a run; where a resumed one went back, it replaces the earlier.

    A line that a killed run left unfinished is passed over. Where validation is logged by epoch
    (MMEngine's default), its metrics stand at the last iteration logged before.

    Raises:
        InputError: There are no logs in ``work_dir``, or one is damaged.
    """
    log = RunLog()
    for file, iteration in _starts(Path(work_dir)):
        lines = list(_lines(file))
        first = next((line['iter'] for line in lines if 'iter' in line), None)
        if first is None:
            continue
        log.starts += 1
        log.cut(first if iteration is None else iteration + 1)
        _add(log, lines)
    if not log.starts:
        raise InputError(
            f'no training is logged in {work_dir}: expected {Path(work_dir, _PATTERN)}, which '
            'LocalVisBackend writes, with at least one logged iteration'
        )
    return log


def _starts(work_dir: Path) -> list[tuple[Path, int | None]]:
    """Logs in the order of starts, each with the iteration that it went on after, where known.

    Those of which nothing is written down (of MMEngine alone) come first, by their time.
    """
    noted = enumerate(_noted(work_dir / STARTS))
    order = {start['folder']: (i, start['iteration']) for i, start in noted}
    files = [(*order.get(file.parts[-3], (-1, None)), file) for file in work_dir.glob(_PATTERN)]
    return [(file, iteration) for i, iteration, file in sorted(files, key=lambda f: (f[0], f[2]))]


def _noted(path: Path) -> list[dict]:
    try:
        return json.loads(path.read_text()) if path.is_file() else []
    except ValueError as error:
        raise InputError(f'{path} is not JSON: {error}; without it, starts go by time') from error


def _lines(file: Path) -> Iterator[dict]:
    texts = file.read_text().splitlines()
    for number, text in enumerate(texts, start=1):
        try:
            yield json.loads(text)
        except ValueError as error:
            if number < len(texts):
                raise InputError(f'line {number} of {file} is not JSON: {error}') from error


def _add(log: RunLog, lines: list[dict]) -> None:
    iteration = 0
    for line in lines:
        if 'iter' in line:
            curves, iteration = log.training, line['iter']
            place = iteration
        else:
            # A step below the iterations done is an epoch.
            curves, place = log.metrics, max(line['step'], iteration)
        for key, value in line.items():
            if key in _PLACES or (curves is log.metrics and key in _NO_METRICS):
                continue
            curve = curves.setdefault(key, Curve())
            curve.iterations.append(place)
            # COCO's sign that there are no objects of a size.
            undefined = value == -1 and 'mAP' in key
            curve.values.append(math.nan if undefined else float(value))
