"""What models cost: parameters, FLOPs, time by part on one image, images a second, and memory."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from command_line import add_backbone, add_config_options

if TYPE_CHECKING:
    from rich.table import Table

    from mmvision_mamba.analysis.cost import Cost

SMALLEST = 32  # pixels of a side: the largest stride


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text} is not at least 1')
    return value


def side(text: str) -> int:
    value = int(text)
    if value < SMALLEST:
        raise argparse.ArgumentTypeError(f'{text} is less than {SMALLEST} pixels')
    return value


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Models are as their configs build them, untrained; a detector of regions is given '
        'scores by which it finds as many objects as a trained one may. Several take turns.',
    )
    parser.add_argument(
        'configs',
        nargs='+',
        metavar='CONFIG',
        help='config file, one that mmdet or mmseg ships (mmdet::PATH, mmseg::PATH), or a file of '
        'publish_model.py',
    )
    add_backbone(parser)
    add_config_options(parser, 'override the configs')
    parser.add_argument(
        '--size',
        nargs=2,
        type=side,
        metavar=('H', 'W'),
        help="of the image, in pixels (default: of each config's recipe)",
    )
    parser.add_argument('--device', default='auto', help='such as cpu or cuda:1')
    parser.add_argument(
        '--amp',
        nargs='?',
        const='bfloat16',
        choices=['bfloat16', 'float16'],
        help='in mixed precision (default: bfloat16)',
    )
    parser.add_argument(
        '--rounds', type=positive, default=5, help='to take the medians of (default: 5)'
    )
    parser.add_argument('--out', metavar='JSON', help='write the numbers to this file too')
    # Intermixed, because CONFIG may stand behind options.
    return parser.parse_intermixed_args()


def table(costs: 'list[Cost]', title: str) -> 'Table':
    from rich.table import Table

    from mmvision_mamba.analysis.cost import KINDS

    table = Table(
        title=title,
        caption='FLOPs: a multiply-add is two; -: not counted. Times in ms. Memory: weights, and '
        'the most that torch allocates in a call.',
    )
    table.add_column('config', overflow='fold')
    headings = ('H x W', 'params M', 'GFLOPs', *KINDS, 'all', 'images/s', 'memory MB')
    for heading in headings:
        table.add_column(heading, justify='right')
    for cost in costs:
        table.add_row(
            cost.name,
            f'{cost.size[0]} x {cost.size[1]}',
            f'{cost.parameters / 1e6:.1f}',
            '-' if cost.flops is None else f'{cost.flops / 1e9:.0f}',
            *(f'{1e3 * value:.1f}' for value in cost.by_kind().values()),
            f'{1e3 * cost.seconds:.1f}',
            f'{1 / cost.seconds:.2f}',
            f'{cost.memory_bytes / 1e6:.0f}',
        )
    return table


def main(args: argparse.Namespace) -> None:
    import json
    from dataclasses import asdict

    import torch
    from rich.console import Console as Screen

    from mmvision_mamba.analysis.cost import measure_costs
    from mmvision_mamba.analysis.machine import machine
    from mmvision_mamba.cli import parse_options
    from mmvision_mamba.devices import autocast_dtype, torch_device
    from mmvision_mamba.errors import InputError
    from mmvision_mamba.pairing import load_paired

    device = torch_device(args.device)
    if device.type not in ('cpu', 'cuda'):
        raise InputError(f'--device {args.device}: measured is a CPU or a CUDA GPU')
    if args.out:  # before minutes of measuring
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    options = parse_options(args.cfg_options)
    configs = [
        (_name(path, args.backbone), load_paired(path, args.backbone, options))
        for path in args.configs
    ]
    costs = list(
        measure_costs(
            configs,
            tuple(args.size) if args.size else None,
            device=device,
            amp=autocast_dtype(args.amp),
            rounds=args.rounds,
        )
    )
    where, precision = machine(device.type), args.amp or 'float32'
    screen = Screen()
    if not screen.is_terminal:
        screen = Screen(width=160)  # written to a file, a table must not be cut
    screen.print(table(costs, f'{where}, torch {torch.__version__}, {precision}, one image'))
    if args.out:
        content = dict(
            machine=where,
            torch=torch.__version__,
            precision=precision,
            rounds=args.rounds,
            models=[asdict(cost) | dict(seconds_by_kind=cost.by_kind()) for cost in costs],
        )
        Path(args.out).write_text(json.dumps(content, indent=1) + '\n')
        print(f'Numbers: {args.out}')


def _name(path: str, backbone: str | None) -> str:
    return ' '.join(filter(None, (Path(path.split('::')[-1]).stem, backbone)))


if __name__ == '__main__':
    arguments = parse_args()  # before the imports, which take seconds
    from mmvision_mamba.cli import Console, run

    run(main, arguments, console=Console())
