"""Report what a model gets right and wrong on a config's test data, as one HTML file.

MODEL is a checkpoint, as of test.py, which is run on the data; or predictions: predictions.json of
`predict.py --save coco --score 0`, PATH.bbox.json or PATH.segm.json of `test.py --out PATH`, or a
folder of PNG label maps of either.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from command_line import add_backbone, add_config_options, add_trust
from start_up import end_at_once

if TYPE_CHECKING:
    from mmvision_mamba.analysis.report.data import DetectionData
    from mmvision_mamba.analysis.report.detection.objects import Detections


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', metavar='CONFIG', help='config file, whose test data is taken')
    parser.add_argument('model', metavar='MODEL', help='checkpoint or predictions, see above')
    parser.add_argument(
        '--out', type=Path, default=Path('report.html'), help='(default: report.html)'
    )
    parser.add_argument(
        '--images',
        type=_count,
        default=6,
        metavar='N',
        help='how many of the worst images, and of the best, are shown (default: 6)',
    )
    parser.add_argument('--batch-size', type=_positive, default=1, help='images at a time')
    parser.add_argument('--device', default='auto', help='such as cpu, cuda:1 or mps')
    add_backbone(parser)
    add_config_options(parser, 'override the config')
    add_trust(parser)
    parser.add_argument('--verbose', action='store_true', help='show all messages, and tracebacks')
    # Intermixed, because MODEL may stand behind options.
    return parser.parse_intermixed_args()


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'{text} is not 0 or more')
    return int(text)


def _positive(text: str) -> int:
    if _count(text) < 1:
        raise argparse.ArgumentTypeError(f'{text} is not 1 or more')
    return int(text)


def main(args: argparse.Namespace) -> None:
    from mmvision_mamba.analysis.report.data import read_test_data
    from mmvision_mamba.analysis.report.writing import report_detections
    from mmvision_mamba.checkpoints.durable_files import DurableLocalBackend
    from mmvision_mamba.cli import parse_options
    from mmvision_mamba.datasets.checking.before_training import check_data
    from mmvision_mamba.errors import InputError
    from mmvision_mamba.inference.image_files import read_image
    from mmvision_mamba.pairing import load_paired

    if args.out.is_dir():
        raise InputError(f'--out {args.out} is a folder: give the name of a file')
    cfg = load_paired(args.config, args.backbone, parse_options(args.cfg_options))
    check_data(cfg, ('test',))
    data = read_test_data(cfg)
    found = find(args, data)
    title = f'{Path(args.model).name} on the test data of {Path(args.config).stem}'
    html, averages = report_detections(data, found, title, [], read_image, args.images)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    DurableLocalBackend().put_text(html, args.out)
    print('  '.join(f'{k}: {v:.3f}' for k, v in averages.items() if v == v))
    print(f'Report: {args.out}')


def find(args: argparse.Namespace, data: 'DetectionData') -> 'Detections':
    """Read predictions, or have the model predict."""
    from mmvision_mamba.analysis.report.detection.reading import read_detections
    from mmvision_mamba.checkpoints import trust_checkpoints
    from mmvision_mamba.cli import Console, parse_options
    from mmvision_mamba.errors import InputError
    from mmvision_mamba.inference.files.progress import ImageProgress
    from mmvision_mamba.inference.predict_data import detect_data
    from mmvision_mamba.inference.predictor import Predictor

    if args.model.endswith(('.pkl', '.pickle')):
        raise InputError(
            f'{args.model} is a pickle, which runs whatever its author put in it when it is read: '
            'give predictions as JSON, which test.py --out PATH and predict.py --save coco write'
        )
    if args.model.endswith('.json'):
        return read_detections(args.model, data.truth)
    with trust_checkpoints(args.trust_checkpoint):
        predictor = Predictor(
            args.config,
            args.model,
            device=args.device,
            batch_size=args.batch_size,
            cfg_options=parse_options(args.cfg_options),
            backbone=args.backbone,
        )
    Console.current.building = False
    with ImageProgress(Console.current, len(data.paths)) as progress:
        return detect_data(predictor, data, progress.advance)


if __name__ == '__main__':
    end_at_once('nothing is reported', status=1)
    arguments = parse_args()  # before the imports, which take seconds
    from mmvision_mamba.cli import Console, run

    run(main, arguments, console=Console(arguments.verbose))
