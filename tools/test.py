"""Test a detector (box AP, mask AP) or a segmentor (mIoU, aAcc, mAcc), per class too."""

import argparse

from command_line import build_parser, tried_once
from start_up import end_at_once


def parse_args() -> argparse.Namespace:
    parser = build_parser(__doc__)
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint file, URL, hub repo id or name of published weights, or folder of '
        'export.py; not needed where CONFIG is a file of publish_model.py',
    )
    parser.add_argument(
        '--out',
        metavar='PATH',
        help='write the predictions: PATH.bbox.json and PATH.segm.json in COCO format, '
        'or a folder PATH of PNG label maps',
    )
    parser.add_argument('--tta', action='store_true', help='test at several scales and flipped')
    parser.add_argument('--show-dir', metavar='DIR', help='save images with drawn predictions')
    # Intermixed, because CHECKPOINT may stand behind options.
    return parser.parse_intermixed_args()


def main(args: argparse.Namespace) -> None:
    from mmvision_mamba.checkpoints import check_whole, trust_checkpoints
    from mmvision_mamba.checkpoints.published_files import SUFFIX
    from mmvision_mamba.cli import build_runner, read_config
    from mmvision_mamba.config import fit_to_machine
    from mmvision_mamba.datasets.checking.before_training import check_data
    from mmvision_mamba.engine.end_with_parent import end_with_agent
    from mmvision_mamba.errors import InputError
    from mmvision_mamba.standalone.description import is_exported
    from mmvision_mamba.weights import locate

    if args.launcher != 'none':
        end_with_agent()
    if args.checkpoint is None:
        if not args.config.endswith(SUFFIX):
            raise InputError(f'give CONFIG and CHECKPOINT: {args.config} alone cannot be tested')
        args.checkpoint = args.config
    if args.backbone and args.config.endswith(SUFFIX):
        raise InputError(
            f'--backbone {args.backbone}: {args.config} holds a trained model, which comes with '
            'its backbone; leave the option out, or give the config and a checkpoint'
        )
    cfg = read_config(args)
    if is_exported(args.checkpoint):
        from mmvision_mamba.inference.exported_testing import use_exported

        if args.tta:
            raise InputError(f'--tta: {args.checkpoint} is an exported model, run as it is')
        with trust_checkpoints(args.trust_checkpoint):
            use_exported(cfg, args.checkpoint)
        cfg.load_from = None
    else:
        cfg.load_from = str(locate(args.checkpoint))
        check_whole(cfg.load_from)
    check_data(cfg, ('test',))
    evaluators = cfg.test_evaluator
    for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
        if 'CocoMetric' in evaluator.type:
            evaluator.classwise = True
            evaluator.outfile_prefix = args.out
        elif args.out:
            evaluator.output_dir = args.out
    if args.show_dir:
        score_thr = cfg.default_hooks.get('visualization', {}).get('score_thr', 0.3)
        cfg.default_hooks.visualization = dict(
            type='DrawingHook', folder=args.show_dir, score_thr=score_thr
        )
    fit_to_machine(cfg)
    cfg.runner_type = 'TestingRunner'
    if args.tta:
        if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
            raise InputError(f'--tta: {args.config} has no tta_model and tta_pipeline')
        if args.show_dir:
            load_truth(cfg.tta_pipeline, cfg.test_dataloader.dataset.pipeline)
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        cfg.model = dict(**cfg.tta_model, module=cfg.model)
    with trust_checkpoints(args.trust_checkpoint):
        build_runner(cfg).test()


def load_truth(tta_pipeline: list[dict], pipeline: list[dict]) -> None:
    """Have a pipeline of test-time augmentation load annotations as the one without does."""
    loads = [step for step in pipeline if step['type'] == 'LoadAnnotations']
    for step in tta_pipeline:
        if step['type'] == 'TestTimeAug' and 'LoadAnnotations' not in str(step):
            *others, pack = step['transforms']
            step['transforms'] = [*others, *([load] for load in loads), pack]


if __name__ == '__main__':
    end_at_once('the test is cut off, and reports nothing', status=1)
    with tried_once():
        arguments = parse_args()  # before the imports, which take seconds
        from mmvision_mamba.cli import Console, run

        run(main, arguments, console=Console(arguments.verbose))
