"""Make a file to give away of a trained model: weights, what the model is, classes and metrics.

The file needs no config beside it: tools/test.py FILE tests it. A model of other types than those
that a published file may name is refused; --weights-only leaves its config out.
"""

import argparse
from functools import partial
from pathlib import Path

from command_line import add_backbone, add_config_options, add_trust


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='the config file that it was trained with')
    parser.add_argument('checkpoint', help='checkpoint file of tools/train.py')
    parser.add_argument(
        '--out-dir', default='.', metavar='DIR', help='where the file goes (default: here)'
    )
    parser.add_argument(
        '--metrics',
        nargs='+',
        action='extend',
        metavar='NAME=SCORE',
        help='scores to state, for instance coco/bbox_mAP=0.451; those of a best_*.pth are stated '
        'without',
    )
    add_backbone(parser)
    add_config_options(parser, 'override the config, as in training')
    parser.add_argument(
        '--weights-only',
        action='store_true',
        help='leave the config out; it then has to be given beside the file',
    )
    add_trust(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from mmvision_mamba.checkpoints import read_checkpoint
    from mmvision_mamba.cli import parse_options
    from mmvision_mamba.pairing import load_paired
    from mmvision_mamba.publishing import metrics_of_best, publish

    cfg = load_paired(args.config, args.backbone, parse_options(args.cfg_options))
    checkpoint = read_checkpoint(args.checkpoint, args.trust_checkpoint)
    metrics = {
        **metrics_of_best(checkpoint, Path(args.checkpoint).name),
        **parse_options(args.metrics, '--metrics'),
    }
    name, folder = Path(args.config).stem, Path(args.out_dir)
    check = None if args.weights_only else partial(make_check, args)
    print(publish(cfg, checkpoint, metrics, folder, name, args.weights_only, check))


def make_check(args: argparse.Namespace) -> dict | None:
    """What the model makes of a small image; None of one that takes other images than RGB."""
    from mmvision_mamba.checkpoints import trust_checkpoints
    from mmvision_mamba.cli import parse_options
    from mmvision_mamba.export.self_check import can_be_checked, record
    from mmvision_mamba.inference.opening import open_model

    with trust_checkpoints(args.trust_checkpoint):
        options = parse_options(args.cfg_options)
        opened = open_model(args.config, args.checkpoint, options, args.backbone)
    return record(opened) if can_be_checked(opened) else None


if __name__ == '__main__':
    arguments = parse_args()  # before the imports, which take seconds
    from mmvision_mamba.cli import run

    run(main, arguments)
