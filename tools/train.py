"""Train a detector or a segmentor."""

import argparse
import os

from command_line import build_parser, tried_once
from start_up import end_at_once


def parse_args() -> argparse.Namespace:
    parser = build_parser(__doc__)
    parser.add_argument(
        '--data',
        metavar='DIR',
        help='train on the images and labels in DIR: COCO, YOLO, Pascal VOC, LabelMe, or label '
        'maps with classes.txt',
    )
    parser.add_argument(
        '--weights',
        metavar='NAME',
        help='start from published or own weights, of a backbone or of a whole model: a name '
        '(python -m mmvision_mamba.weights list), path, URL or hub repo id',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from CHECKPOINT, or from the newest whole one in the work dir',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='float16',
        choices=['float16', 'bfloat16'],
        help='train in mixed precision (default: float16, with a scaled loss)',
    )
    parser.add_argument(
        '--fsdp', action='store_true', help='keep a part of the model on each GPU, not a copy'
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the real batch size over auto_scale_lr.base_batch_size',
    )
    parser.add_argument(
        '--ema', action='store_true', help='validate and save an average of the last weights'
    )
    parser.add_argument(
        '--early-stop',
        nargs='?',
        type=int,
        const=5,
        metavar='N',
        help='end after N validations without a better score (default: 5)',
    )
    parser.add_argument('--seed', type=int, help='seed of every random generator')
    parser.add_argument(
        '--deterministic', action='store_true', help='deterministic algorithms where they exist'
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from mmvision_mamba.checkpoints import check_whole, trust_checkpoints
    from mmvision_mamba.checkpoints.starting_point import set_starting_point
    from mmvision_mamba.checkpoints.starting_weights import allow_other_classes, start_from
    from mmvision_mamba.cli import build_runner, parse_options, read_config
    from mmvision_mamba.config import fit_to_machine
    from mmvision_mamba.datasets.checking.before_training import check_data
    from mmvision_mamba.engine import stop_signals
    from mmvision_mamba.engine.console import Console
    from mmvision_mamba.engine.end_with_parent import end_with_agent
    from mmvision_mamba.engine.own_data import fit_to_own_data, write_config
    from mmvision_mamba.engine.sharding import shard_training
    from mmvision_mamba.engine.training_options import average_weights, stop_early
    from mmvision_mamba.engine.work_dir_lock import lock_work_dir
    from mmvision_mamba.errors import InputError
    from mmvision_mamba.inference.drawing.colors import palette_for
    from mmvision_mamba.weights import locate

    if args.launcher != 'none':
        end_with_agent()
        stop_signals.hold()  # several processes stop together, at the first place where all are
    cfg = read_config(args)
    if args.amp:
        cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype=args.amp)
    if args.fsdp:
        shard_training(cfg)
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise InputError(f'--auto-scale-lr: {args.config} has no auto_scale_lr.base_batch_size')
        cfg.auto_scale_lr.enable = True
    if args.seed is not None or args.deterministic:
        cfg.randomness = dict(seed=args.seed, deterministic=args.deterministic)
    lock_work_dir(cfg.work_dir, args.launcher)
    with trust_checkpoints(args.trust_checkpoint):  # one without a digest is read to be believed
        set_starting_point(cfg, args.resume)
        if args.weights and not cfg.resume:
            start_from(cfg, args.weights)
    if cfg.get('load_from'):
        cfg.load_from = str(locate(cfg.load_from))
        check_whole(cfg.load_from)
    if args.data:
        if cfg.load_from:
            allow_other_classes(cfg)
        options = parse_options(args.cfg_options)
        for line in fit_to_own_data(cfg, args.data, options, palette_for):
            Console.current.report(line)
    if args.ema:
        average_weights(cfg)
    if args.early_stop is not None:
        stop_early(cfg, args.early_stop)
    if args.data:
        Console.current.report(f'config: {write_config(cfg)}')
    check_data(cfg, ('train', 'val'))
    fit_to_machine(cfg)
    runner = build_runner(cfg)
    with trust_checkpoints(args.trust_checkpoint):
        runner.train()


if __name__ == '__main__':
    # Processes of torchrun's stop together: tools/launch.py keeps them deaf until they can.
    if 'TORCHELASTIC_RUN_ID' not in os.environ:
        end_at_once(
            'nothing is trained yet; --resume goes on from the last checkpoint, and starts anew '
            'where there is none',
            status=0,
        )
    with tried_once():
        arguments = parse_args()  # before the imports, which take seconds
        from mmvision_mamba.cli import Console, run

        run(main, arguments, console=Console(arguments.verbose))
