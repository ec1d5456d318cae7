"""Train a detector or a segmentor."""

import argparse
import os
from pathlib import Path

from command_line import build_parser, tried_once


def parse_args() -> argparse.Namespace:
    parser = build_parser(__doc__)
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
    parser.add_argument('--seed', type=int, help='seed of every random generator')
    parser.add_argument(
        '--deterministic', action='store_true', help='deterministic algorithms where they exist'
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from mmvision_mamba.checkpoints import check_whole, trust_checkpoints
    from mmvision_mamba.cli import build_runner, read_config
    from mmvision_mamba.config import fit_to_machine
    from mmvision_mamba.datasets.checking.before_training import check_data
    from mmvision_mamba.engine.sharding import shard_training
    from mmvision_mamba.errors import InputError
    from mmvision_mamba.weights import locate

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
    _set_starting_point(cfg, args.resume)
    if cfg.get('load_from'):
        cfg.load_from = str(locate(cfg.load_from))
        check_whole(cfg.load_from)
    check_data(cfg, ('train', 'val'))
    fit_to_machine(cfg)
    runner = build_runner(cfg)
    with trust_checkpoints(args.trust_checkpoint):
        runner.train()


def _set_starting_point(cfg, resume: str | None) -> None:
    """Decide between a new run, which may not overwrite another, and going on with one."""
    from mmengine.logging import print_log

    from mmvision_mamba.checkpoints.resume import checkpoint_to_resume
    from mmvision_mamba.errors import InputError

    if resume is None and cfg.get('resume') and not cfg.get('load_from'):
        resume = 'auto'
    # A worker died, and torchrun started all again with their first arguments.
    restarted = int(os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)) > 0
    # A checkpoint that is named needs none of the work dir's, which are read whole to be believed.
    look = restarted or resume in (None, 'auto')
    newest = checkpoint_to_resume(cfg.work_dir) if look else None
    if resume == 'auto' or (restarted and newest):
        if newest is None:
            print_log(f'--resume: no run has begun in {cfg.work_dir}, starting one.', 'current')
        resume = newest
    elif resume is None and newest and not cfg.get('resume'):
        raise InputError(
            f'{cfg.work_dir} holds a run already (up to {Path(newest).name}): go on with it by '
            '--resume, or start a new one in another --work-dir'
        )
    cfg.resume = resume is not None or bool(cfg.get('resume') and cfg.get('load_from'))
    cfg.load_from = resume or cfg.get('load_from')


if __name__ == '__main__':
    with tried_once():
        arguments = parse_args()  # before the imports, which take seconds
        from mmvision_mamba.cli import Console, run

        run(main, arguments, console=Console(arguments.verbose))
