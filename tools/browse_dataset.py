"""Draw what a config's pipeline feeds the network, with annotations, before training on it."""

import argparse
from pathlib import Path

from command_line import add_backbone, add_config_options
from start_up import end_at_once

MODES = ('transformed', 'original', 'both')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', metavar='CONFIG', help='config file')
    parser.add_argument(
        '--split', choices=['train', 'val', 'test'], default='train', help='(default: train)'
    )
    parser.add_argument(
        '--mode',
        choices=MODES,
        default='transformed',
        help='as the pipeline gives images, as they are on disk, or both side by side '
        '(default: transformed)',
    )
    parser.add_argument(
        '--count', type=_positive, default=16, metavar='N', help='images (default: 16)'
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='of which images, and of augmentations (default: 0)'
    )
    parser.add_argument(
        '--out', type=Path, metavar='DIR', help='(default: browse/<config>_<split>)'
    )
    add_backbone(parser)
    add_config_options(parser, 'override the config')
    parser.add_argument('--verbose', action='store_true', help='show all messages, and tracebacks')
    return parser.parse_args()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text} is not 1 or more')
    return int(text)


def main(args: argparse.Namespace) -> None:
    from mmvision_mamba.cli import parse_options
    from mmvision_mamba.datasets.checking.before_training import check_data
    from mmvision_mamba.errors import InputError
    from mmvision_mamba.inference.drawing.samples import draw_samples
    from mmvision_mamba.pairing import load_paired

    out = args.out or Path('browse', f'{Path(args.config).stem}_{args.split}')
    if out.exists() and not out.is_dir():
        raise InputError(f'--out {out} is a file: give the name of a folder')
    if args.seed < 0:
        raise InputError(f'--seed {args.seed} is negative: give 0 or more')
    cfg = load_paired(args.config, args.backbone, parse_options(args.cfg_options))
    check_data(cfg, (args.split,))
    write(draw_samples(cfg, args.split, args.mode, args.count, args.seed), out, args.mode)


def write(drawn, out: Path, mode: str) -> None:
    """Write each image as a file, and all of them as one sheet."""
    from PIL import Image

    from mmvision_mamba.inference.drawing.annotate import contact_sheet

    out.mkdir(parents=True, exist_ok=True)
    captions = []

    def images():
        for each in drawn:
            Image.fromarray(each.image).save(out / f'{each.name}.jpg', quality=92)
            captions.append(each.caption)
            yield each.image

    columns = 2 if mode == 'both' else 4
    sheet = contact_sheet(images(), _lazily(captions), columns)
    Image.fromarray(sheet).save(out / 'sheet.png')
    print(f'{len(captions)} images and sheet.png: {out}')


def _lazily(captions: list[str]):
    """Captions that are there by the time that their images are."""
    place = 0
    while True:
        yield captions[place]
        place += 1


if __name__ == '__main__':
    end_at_once('nothing is drawn', status=1)
    arguments = parse_args()  # before the imports, which take seconds
    from mmvision_mamba.cli import Console, run

    run(main, arguments, console=Console(arguments.verbose))
