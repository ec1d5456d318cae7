"""Do the two families learn as fast as ResNet, Swin and ConvNeXt of their size?

All from scratch, through the same heads, recipe and budget: see ``short_training.py`` for how, and
docs/research.md, which this writes, for what came of it. ResNet and Swin are mmdet's, ConvNeXt is
timm's.

    python benchmarks/learning.py
"""

import argparse
import statistics
from collections.abc import Sequence

from ablation import mambaout, mambavision
from recording import RESULTS
from short_training import TASKS, Entry, rows_of, scores, train_all, write_table

ENTRIES = (
    mambavision('MambaVision, SSAA SA'),
    mambaout('MambaOut, all G'),
    Entry(
        'ResNet',
        dict(type='mmdet.ResNet', depth=18, base_channels=32, norm_cfg=dict(type='BN')),
        (32, 64, 128, 256),
    ),
    Entry(
        'Swin',
        dict(
            type='mmdet.SwinTransformer',
            embed_dims=32,
            depths=(2, 2, 4, 2),
            num_heads=(1, 2, 4, 8),
            drop_path_rate=0.0,
        ),
        (32, 64, 128, 256),
    ),
    Entry(
        'ConvNeXt',
        dict(
            type='NormedFeatures',
            model_name='convnext_atto',
            dims=(36, 72, 144, 288),
            depths=(2, 2, 6, 2),
        ),
        (36, 72, 144, 288),
    ),
)


# Of Okabe and Ito, which the colour-blind tell apart; markers do too.
STYLES = (('#0072b2', 'o'), ('#d55e00', 's'), ('#000000', '^'), ('#cc79a7', 'D'), ('#009e73', 'v'))
PLOT = RESULTS / 'learning.png'


def plot(seeds: Sequence[int]) -> None:
    """Each metric over the iterations: the mean of the seeds, and the range of them shaded."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    panels = [(task, key, name) for task in TASKS for key, (name, _) in TASKS[task].metrics.items()]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(12, 3.6), layout='constrained')
    for axis, (task, key, name) in zip(axes, panels):
        for entry, (colour, marker) in zip(ENTRIES, STYLES):
            rows = rows_of(entry, task, seeds)
            if not rows:
                continue
            iterations = [point[0] for point in rows[0]['curve']]
            values = [scores(rows, task, key, i) for i in range(len(iterations))]
            means = list(map(statistics.mean, values))
            label = f'{entry.name} ({len(rows)})'
            axis.plot(iterations, means, color=colour, marker=marker, label=label)
            low, high = list(map(min, values)), list(map(max, values))
            axis.fill_between(iterations, low, high, color=colour, alpha=0.12, linewidth=0)
        axis.set(title=name, xlabel='iterations', ylim=(0, None))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.savefig(PLOT, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seeds', type=int, default=3, help='how many (default: 3)')
    parser.add_argument('--table', action='store_true', help='of the trainings there are')
    args = parser.parse_args()
    if not args.table:
        train_all(ENTRIES, range(args.seeds))
    write_table('learning', ENTRIES, range(args.seeds))
    plot(range(args.seeds))


if __name__ == '__main__':
    main()
