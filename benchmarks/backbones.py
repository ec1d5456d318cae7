"""Latency, memory, parameters and FLOPs of the backbones beside timm's, in one run and harness.

    python benchmarks/backbones.py
    python benchmarks/backbones.py --models 'mambavision_t' --sizes 512x512 --what train --with-cp
    python benchmarks/backbones.py --growth

Every model is a pyramid at strides 4 to 32, without stochastic depth. Machines are noisy, so the
models take turns: each is timed once in each round, and the reported ratio is the median over the
rounds of a model's time over that of timm/convnext_tiny in the same round. All the models of a
size are in memory at once. Writes JSON, and a plot beside it, to ``benchmarks/results/``.
"""

import argparse
import copy
import fnmatch
import math
import re
from pathlib import Path
from statistics import median
from typing import NamedTuple

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import timm
import torch
from machine import machine
from matplotlib.ticker import NullLocator
from measure import Workload, added_bytes, seconds
from recording import record, result_path
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from torch import nn

from mmvision_mamba.analysis.flops import count_flops, count_parameters
from mmvision_mamba.backbones import MambaOut, MambaVision
from mmvision_mamba.backbones.mambavision import ARCHITECTURES, WINDOW_PADDINGS

BASELINE = 'timm/convnext_tiny'
TIMM_OPTIONS = {
    BASELINE: {},
    'timm/swin_tiny_patch4_window7_224': {},
    'timm/resnet50': dict(out_indices=(1, 2, 3, 4)),  # 0 is its stem
    'timm/mambaout_tiny': {},
}
SIZES = ((224, 224), (512, 512), (800, 1344))
GROWTH_SIZES = tuple((side, side) for side in (256, 384, 512, 768, 1024, 1536, 2048))
# MambaVision's windows, as in its recipes: classification (None: the arch's own), ADE20K, and COCO
# for every other size and for growth.
COCO_WINDOWS = (8, 8, 112, 56)
WINDOWS = {(224, 224): None, (512, 512): (8, 8, 64, 32)}
DTYPES = ('float32', 'tf32', 'bfloat16', 'float16')
ADDED = 'the most that torch allocates in a call'
CAPTION = (
    f'x ConvNeXt-T: over {BASELINE}; of times, the median of the ratios of the rounds. '
    f'Memory: parameters, optimizer state, input, and {ADDED}. GFLOPs: one forward pass of one '
    'image, a multiply-add counted as 2 (papers often count it as 1).'
)
GROWTH_CAPTION = (
    'MP: megapixels. x previous area: of the value per megapixel; 1 is linear growth. '
    f'Added: {ADDED}, which is memory less parameters, optimizer state and input.'
)
HEADINGS = {
    'ms': 'ms',
    'images_per_s': 'images/s',
    'times_convnext_tiny': 'x ConvNeXt-T',
    'times_own_timm': "x timm's own",
    'memory_mb': 'memory MB',
    'memory_times_convnext_tiny': 'x ConvNeXt-T',
    'params_m': 'params M',
    'gflops': 'GFLOPs',
}
GROWTH_HEADINGS = {
    'ms': 'ms',
    'ms_per_mp': 'ms / MP',
    'ms_per_mp_growth': 'x previous area',
    'memory_mb': 'memory MB',
    'added_mb': 'added MB',
    'added_mb_per_mp': 'added MB / MP',
    'added_mb_per_mp_growth': 'x previous area',
}
# Written to a file, a table must not be cut to 80 columns.
console = Console(width=max(Console().width, 140))


class Variant(NamedTuple):
    """What is timed: 'inference', 'train' or 'train+cp' (activations recomputed), and how."""

    what: str
    compiled: bool
    dtype: str
    channels_last: bool = False

    def __str__(self) -> str:
        layout = ', channels-last' if self.channels_last else ''
        return f'{self.what}, {"compiled" if self.compiled else "eager"}, {self.dtype}{layout}'


def known_models() -> list[str]:
    vision = [f'mambavision_{arch}:{mode}' for arch in ARCHITECTURES for mode in WINDOW_PADDINGS]
    return [*vision, *timm.list_models('mambaout_*'), *TIMM_OPTIONS]


def choose_models(patterns: list[str]) -> list[str]:
    """The known models that names, names without padding mode, globs or 'all' choose.

    The baseline of the ratios is always among them. A pattern that fits none ends the program.
    """
    chosen = {BASELINE}
    for pattern in patterns:
        found = [
            name
            for name in known_models()
            if pattern == 'all' or any(fnmatch.filter([name, name.split(':')[0]], pattern))
        ]
        if not found:
            raise SystemExit(f"no model {pattern!r}; give 'all' or some of: {known_models()}")
        chosen.update(found)
    return [name for name in known_models() if name in chosen]


def build(name: str, size: tuple[int, int], windows: tuple | None, with_cp: bool) -> nn.Module:
    """A model by one of :func:`known_models`, without stochastic depth, so that work is equal."""
    if name in TIMM_OPTIONS:
        options = dict(features_only=True, drop_path_rate=0.0, **TIMM_OPTIONS[name])
        if 'swin' in name:
            options['img_size'] = size  # it builds its masks for one size
        net = timm.create_model(name.removeprefix('timm/'), **options)
        # Block by block, as in ours; a net whose stages don't offer that (ResNet), stage by stage.
        stages = [module for module in net.children() if hasattr(module, 'grad_checkpointing')]
        for module in stages or [net]:
            module.grad_checkpointing = with_cp
        return net
    options = dict(drop_path_rate=0.0, with_cp=with_cp)
    family, _, padding = name.partition(':')
    arch = family.split('_', 1)[1]
    if not padding:
        return MambaOut(arch, **options)
    return MambaVision(arch, window_size=windows, window_padding=padding, **options)


def measure(
    names: list[str],
    size: tuple[int, int],
    windows: tuple | None,
    variant: Variant,
    args: argparse.Namespace,
) -> list[dict]:
    """A row per model, all at one size and variant, timed in turns."""
    torch.manual_seed(0)
    # One limit is shared by all the nets of a class; beyond it torch silently runs them eagerly.
    torch._dynamo.reset()
    torch._dynamo.config.recompile_limit = 8 * len(names)
    image = torch.randn(args.batch, 3, *size, device=args.device)
    calls, rows = {}, []
    for name in names:
        net = build(name, size, windows, variant.what == 'train+cp').to(args.device)
        flops = count_flops(copy.deepcopy(net).to('meta').eval(), *size).total
        calls[name] = Workload(
            net,
            image,
            training=variant.what != 'inference',
            compiled=variant.compiled,
            dtype=variant.dtype,
            channels_last=variant.channels_last,
        )
        # Compiles, and makes the optimizer's state.
        warm_up = seconds(calls[name], args.device)
        added, held = added_bytes(calls[name], args.device), calls[name].held_bytes()
        console.print(f'{size[0]}x{size[1]}, {variant}: {name} warmed up in {warm_up:.2f} s')
        model, _, padding = name.partition(':')
        rows.append(
            dict(
                model=model,
                padding=padding or None,
                size=f'{size[0]}x{size[1]}',
                what=variant.what,
                compiled=variant.compiled,
                dtype=variant.dtype,
                channels_last=variant.channels_last,
                batch=args.batch,
                memory_mb=round((held + added) / 1e6, 1),
                added_mb=round(added / 1e6, 1),
                params_m=round(count_parameters(net) / 1e6, 2),
                gflops=round(flops / 1e9, 2),
            )
        )
    rounds = {name: [] for name in names}
    for number in range(args.rounds):
        for name, call in calls.items():
            rounds[name].append(seconds(call, args.device))
        console.print(f'{size[0]}x{size[1]}, {variant}: round {number + 1} of {args.rounds}')

    def ratio(name: str, other: str) -> float | None:
        if other in rounds:
            return round(median(a / b for a, b in zip(rounds[name], rounds[other])), 3)

    base_memory = rows[names.index(BASELINE)]['memory_mb']
    for name, row in zip(names, rows):
        typical = median(rounds[name])
        row['ms'] = round(1e3 * typical, 2)
        row['images_per_s'] = round(args.batch / typical, 2)
        row['times_convnext_tiny'] = ratio(name, BASELINE)
        row['times_own_timm'] = ratio(name, f'timm/{name}')
        row['memory_times_convnext_tiny'] = round(row['memory_mb'] / base_memory, 3)
    return rows


def label(row: dict) -> str:
    return f'{row["model"]}:{row["padding"]}' if row['padding'] else row['model']


def variant_of(row: dict) -> Variant:
    return Variant(row['what'], row['compiled'], row['dtype'], row['channels_last'])


def megapixels(row: dict) -> float:
    return math.prod(int(side) for side in row['size'].split('x')) / 1e6


def add_growth(rows: list[dict]) -> None:
    """Time and memory per pixel, and how many times those of the model's previous area they are."""
    before = {}
    for row in rows:
        previous = before.get((label(row), variant_of(row)))
        for name in ('ms', 'added_mb'):
            row[f'{name}_per_mp'] = round(row[name] / megapixels(row), 1)
            if previous:
                growth = row[f'{name}_per_mp'] / previous[f'{name}_per_mp']
                row[f'{name}_per_mp_growth'] = round(growth, 3)
        before[label(row), variant_of(row)] = row


def print_tables(rows: list[dict], variants: list[Variant], growth: bool, title: str) -> None:
    columns = GROWTH_HEADINGS if growth else HEADINGS
    caption = GROWTH_CAPTION if growth else CAPTION
    for variant in variants:
        table = Table(title=f'{title}\n{variant}', caption=caption, box=SIMPLE)
        table.add_column('model', no_wrap=True)
        table.add_column('size', no_wrap=True)
        for heading in columns.values():
            table.add_column(heading, justify='right')
        for row in rows:
            if variant_of(row) == variant:
                values = ['' if row.get(key) is None else str(row[key]) for key in columns]
                table.add_row(label(row), row['size'], *values)
        console.print(table)


def draw_bars(axis: plt.Axes, rows: list[dict]) -> None:
    """Time over ConvNeXt-T's: a group of bars per size, a bar per model."""
    names = list(dict.fromkeys(map(label, rows)))
    sizes = list(dict.fromkeys(row['size'] for row in rows))
    for i, name in enumerate(names):
        heights = [row['times_convnext_tiny'] for row in rows if label(row) == name]
        places = [k + 0.85 * ((i + 0.5) / len(names) - 0.5) for k in range(len(sizes))]
        colour = plt.get_cmap('turbo')((i + 0.5) / len(names))
        bars = axis.bar(places, heights, 0.85 / len(names), label=name, color=colour)
        box = dict(facecolor='white', edgecolor='none', pad=0.5)
        axis.bar_label(bars, fmt='%.2f', fontsize=7, rotation=90, padding=3, bbox=box)
    axis.axhline(1, color='black', linewidth=0.8, linestyle='--')
    axis.margins(y=0.2)
    axis.set_xticks(range(len(sizes)), sizes)
    axis.set_ylabel('time / ConvNeXt-T')


def draw_growth(axis: plt.Axes, rows: list[dict], key: str) -> None:
    """A quantity against the image's area, a line per model; linear growth dashed."""
    for name in dict.fromkeys(map(label, rows)):
        of_model = [row for row in rows if label(row) == name]
        areas, values = [megapixels(row) for row in of_model], [row[key] for row in of_model]
        axis.plot(areas, values, marker='o', markersize=4, label=name)
        if name == BASELINE:
            linear = [values[0] * area / areas[0] for area in areas]
            axis.plot(areas, linear, color='grey', linestyle='--', label='linear')
    axis.set(xscale='log', yscale='log', xlabel='image, HEIGHTxWIDTH', ylabel=GROWTH_HEADINGS[key])
    ticks = {row['size']: megapixels(row) for row in rows}
    axis.set_xticks(list(ticks.values()), list(ticks), rotation=45, ha='right', minor=False)
    axis.xaxis.set_minor_locator(NullLocator())
    axis.grid(alpha=0.3, which='both')


def plot(rows: list[dict], variants: list[Variant], growth: bool, title: str, path: Path) -> None:
    """A row of panels per variant: the ratio of times, or the growth of time and of memory."""
    bars = 0 if growth else len(rows) / len(variants)
    figure, axes = plt.subplots(
        len(variants),
        1 + growth,
        figsize=(max(12, 2 + 0.35 * bars), 1 + 3.5 * len(variants)),
        squeeze=False,
        layout='constrained',
    )
    for panels, variant in zip(axes, variants):
        of_variant = [row for row in rows if variant_of(row) == variant]
        if growth:
            draw_growth(panels[0], of_variant, 'ms')
            draw_growth(panels[1], of_variant, 'added_mb')
        else:
            draw_bars(panels[0], of_variant)
        for axis in panels:
            axis.set_title(str(variant), fontsize=10)
    axes[0, -1].legend(fontsize=8, loc='upper left', bbox_to_anchor=(1.01, 1))
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r'(\d+)x(\d+)', text)
    if not match or min(map(int, match.groups())) < 32:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not HEIGHTxWIDTH of at least 32 pixels a side, such as 800x1344'
        )
    return int(match[1]), int(match[2])


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--models',
        nargs='+',
        help="names, globs or 'all'; mambavision_t is both padding modes, mambavision_t:full one; "
        "default: the -T models and timm's",
    )
    parser.add_argument('--sizes', type=parse_size, nargs='+', help='such as 800x1344')
    parser.add_argument(
        '--what', nargs='+', choices=('inference', 'train'), help='default: both; growth: inference'
    )
    parser.add_argument('--with-cp', action='store_true', help='train with recomputation too')
    parser.add_argument('--compile', action='store_true', help='measure compiled too')
    parser.add_argument('--dtype', nargs='+', choices=DTYPES, default=['float32'])
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--growth', action='store_true', help='areas from 256² to 2048² instead')
    parser.add_argument('--output', type=Path, help='the JSON file; the plot lies beside it')
    args = parser.parse_args()
    if min(args.batch, args.threads, args.rounds) < 1:
        parser.error('--batch, --threads and --rounds must be at least 1')
    # Below the COCO windows' size, full padding makes all images equal: no growth to be seen.
    vision = 'mambavision_t:minimal' if args.growth else 'mambavision_t'
    args.models = args.models or [vision, 'mambaout_tiny', 'timm/*']
    args.sizes = args.sizes or (GROWTH_SIZES if args.growth else SIZES)
    args.what = args.what or (['inference'] if args.growth else ['inference', 'train'])
    if args.device == 'auto':
        args.device = 'cuda' if torch.cuda.is_available() else 'cpu'
    return args


def main() -> None:
    args = parse_args()
    names = choose_models(args.models)
    torch.set_num_threads(args.threads)
    where = machine(args.device)
    kind = 'backbones_growth' if args.growth else 'backbones'
    output = args.output or result_path(kind, args.device)
    variants = [
        Variant(what, compiled, dtype)
        for what in args.what + ['train+cp'] * args.with_cp
        for compiled in [False] + [True] * args.compile
        for dtype in args.dtype
    ]
    settings = {**vars(args), 'models': names, 'output': output.name}
    rows = []
    for size in args.sizes:
        windows = COCO_WINDOWS if args.growth else WINDOWS.get(size, COCO_WINDOWS)
        for variant in variants:
            rows += measure(names, size, windows, variant, args)
            if args.growth:
                add_growth(rows)
            # After every group, so that a machine that runs out of memory leaves what it did.
            record(output, args.device, timm=timm.__version__, settings=settings, rows=rows)
    title = f'Backbones, batch {args.batch}, {where}, torch {torch.__version__}'
    if args.growth:
        rows = sorted(rows, key=label)  # stable: a model's areas stay in order
    print_tables(rows, variants, args.growth, title)
    plot(rows, variants, args.growth, title, output.with_suffix('.png'))
    console.print(f'{output} and {output.with_suffix(".png")}')


if __name__ == '__main__':
    main()
