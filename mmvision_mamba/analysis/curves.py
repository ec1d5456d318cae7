"""Images of training curves."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from ..checkpoints.durable_files import DurableLocalBackend
from ..errors import InputError
from .run_logs import Curve, RunLog

_COLORS = colormaps['tab10'].colors
# A mean over this part of a curve's points lies over the raw one.
_SMOOTHING = 1 / 25


def draw_run(log: RunLog, title: str) -> Figure:
    """Losses, learning rate and metrics of one run, one below the other, over iterations."""
    rate = [key for key in ('base_lr', 'lr') if key in log.training][:1]
    parts = {key: log.parts(key) for key in log.main_metrics()}
    lone = [key for key in parts if not parts[key]]
    metrics = [[key, *parts[key]] for key in parts if parts[key]] + [lone]
    panels = [(_draw_losses, log.losses()), (_draw_rate, rate)]
    panels += [(_draw_metrics, keys) for keys in metrics]
    panels = [(draw, keys) for draw, keys in panels if keys]
    figure, axes = _panels(len(panels))
    figure.suptitle(title)
    for ax, (draw, keys) in zip(axes, panels):
        draw(ax, log, keys)
        _legend(ax)
    return figure


def draw_comparison(logs: Mapping[str, RunLog], keys: Sequence[str]) -> Figure:
    """A panel for each key with a curve for each run, over iterations.

    Args:
        logs: By the label of the run.
        keys: Each known to at least one run.
    """
    figure, axes = _panels(len(keys))
    for ax, key in zip(axes, keys):
        for color, (label, log) in zip(_cycle(len(logs)), logs.items()):
            if key in log.metrics:
                curve = log.metrics[key]
                ax.plot(curve.iterations, curve.values, 'o-', ms=4, color=color, label=label)
            elif key in log.training:
                _draw_smoothed(ax, log.training[key], color=color, label=label)
        ax.set_ylabel(key)
    _legend(axes[0])
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write the image, replacing another as a whole; the format is the name's suffix.

    Raises:
        InputError: matplotlib writes no such format.
    """
    suffix = Path(path).suffix.removeprefix('.')
    formats = figure.canvas.get_supported_filetypes()
    if suffix not in formats:
        raise InputError(f'{path}: images are written as {", ".join(sorted(formats))}')
    image = io.BytesIO()
    figure.savefig(image, format=suffix, dpi=120)
    DurableLocalBackend().put(image.getvalue(), path)


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(11, 1 + 2.8 * count), layout='constrained')
    axes = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
    for ax in axes:
        ax.grid(alpha=0.25)
        ax.spines[['top', 'right']].set_visible(False)
        ax.xaxis.set_major_formatter(EngFormatter(sep=''))
    axes[-1].set_xlabel('iteration')
    return figure, axes


def _legend(ax: Axes) -> None:
    """Beside the panel, where it hides nothing."""
    ax.legend(loc='upper left', bbox_to_anchor=(1, 1), fontsize='small', frameon=False)


def _draw_losses(ax: Axes, log: RunLog, keys: list[str]) -> None:
    """The total thick, its terms thin."""
    for color, key in zip(['black', *_cycle(len(keys))], keys):
        if key == 'loss':
            _draw_smoothed(ax, log[key], color=color, label='loss (total)')
        else:
            curve = log[key]
            ax.plot(curve.iterations, smooth(curve.values), lw=1, color=color, label=key)
    ax.set_ylim(bottom=0)
    ax.set_ylabel('loss')


def _draw_rate(ax: Axes, log: RunLog, keys: list[str]) -> None:
    for key in keys:
        ax.plot(log[key].iterations, log[key].values, color='black', label=key)
    ax.ticklabel_format(axis='y', style='sci', scilimits=(0, 0))
    ax.set_ylabel('learning rate')


def _draw_metrics(ax: Axes, log: RunLog, keys: list[str]) -> None:
    """Main metrics thick and with their best; parts of one thin."""
    main = log.main_metrics()
    for color, key in zip(_cycle(len(keys)), keys):
        curve = log[key]
        label, width = key, 1
        if key in main:
            iteration, best = curve.best() or (0, float('nan'))
            label, width = f'{key}\nbest {best:.4g} at {iteration:,}', 2.5
        ax.plot(curve.iterations, curve.values, 'o-', ms=3, lw=width, color=color, label=label)
    ax.set_ylabel('validation')


def _draw_smoothed(ax: Axes, curve: Curve, *, color, label: str) -> None:
    ax.plot(curve.iterations, curve.values, lw=0.8, color=color, alpha=0.25)
    ax.plot(curve.iterations, smooth(curve.values), lw=2, color=color, label=label)


def smooth(values: Sequence[float]) -> np.ndarray:
    """A running mean over a fixed part of the points, fewer at the ends; NaN stays around NaN."""
    window = np.ones(2 * int(len(values) * _SMOOTHING / 2) + 1)
    return np.convolve(values, window, 'same') / np.convolve(np.ones(len(values)), window, 'same')


def _cycle(count: int) -> list:
    return [_COLORS[i % len(_COLORS)] for i in range(count)]
