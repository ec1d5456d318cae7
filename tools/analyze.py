"""Report what a model gets right and wrong on a config's test data, as one HTML file.

MODEL is a checkpoint, as of test.py, which is run on the data, or a folder of export.py; or
predictions: predictions.json of `predict.py --save coco --score 0`, PATH.bbox.json or
PATH.segm.json of `test.py --out PATH`, or a folder of PNG label maps of either. With --against,
what changed from another model to this one, and whether that may be chance.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from command_line import add_backbone, add_config_options, add_trust
from start_up import end_at_once

if TYPE_CHECKING:
    from mmvision_mamba.analysis.report.data import DetectionData, SegmentationData
    from mmvision_mamba.analysis.report.detection.objects import Detections
    from mmvision_mamba.analysis.report.segmentation.reading import LabelMaps


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', metavar='CONFIG', help='config file, whose test data is taken')
    parser.add_argument('model', metavar='MODEL', help='checkpoint or predictions, see above')
    parser.add_argument(
        '--against', metavar='MODEL', help='checkpoint or predictions to compare with'
    )
    parser.add_argument(
        '--against-config',
        metavar='CONFIG',
        help='that the checkpoint to compare with was trained with (default: CONFIG)',
    )
    parser.add_argument(
        '--names',
        nargs=2,
        metavar='NAME',
        help='what the two are called in a comparison (default: A and B)',
    )
    parser.add_argument(
        '--draws',
        type=_positive,
        default=2000,
        metavar='N',
        help='how often images are drawn anew to tell a difference from chance (default: 2000)',
    )
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
    parser.add_argument(
        '--batch-size',
        type=_positive,
        metavar='N',
        help='images at a time, which detectors fill up to one size (default: as test.py)',
    )
    parser.add_argument('--device', default='auto', help='such as cpu, cuda:1 or mps')
    add_backbone(parser)
    add_config_options(parser, 'override the config')
    add_trust(parser)
    parser.add_argument('--verbose', action='store_true', help='show all messages, and tracebacks')
    # Intermixed, because MODEL may stand behind options.
    args = parser.parse_intermixed_args()
    for option in ('against_config', 'names'):
        if getattr(args, option) and not args.against:
            parser.error(f'--{option.replace("_", "-")} is of a comparison: give --against MODEL')
    return args


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'{text} is not 0 or more')
    return int(text)


def _positive(text: str) -> int:
    if _count(text) < 1:
        raise argparse.ArgumentTypeError(f'{text} is not 1 or more')
    return int(text)


def main(args: argparse.Namespace) -> None:
    from mmvision_mamba.analysis.report import writing
    from mmvision_mamba.analysis.report.data import read_test_data
    from mmvision_mamba.checkpoints.durable_files import DurableLocalBackend
    from mmvision_mamba.cli import parse_options
    from mmvision_mamba.datasets.checking.before_training import check_data
    from mmvision_mamba.errors import InputError
    from mmvision_mamba.inference.drawing.colors import class_palette
    from mmvision_mamba.inference.image_files import read_image
    from mmvision_mamba.pairing import load_paired

    if args.out.is_dir():
        raise InputError(f'--out {args.out} is a folder: give the name of a file')
    cfg = load_paired(args.config, args.backbone, parse_options(args.cfg_options))
    check_data(cfg, ('test',))
    data = read_test_data(cfg)
    found = [find(args, args.config, args.model, data)]
    if args.against:
        found.append(find(args, args.against_config or args.config, args.against, data))
    names = tuple(args.names or ('A', 'B'))
    title = _title(args, names)
    if data.task == 'segmentation':
        palette = class_palette(data.task, len(data.class_names), data.palette)
        one, two = writing.report_label_maps, writing.report_label_map_change
    else:
        palette = None
        one, two = writing.report_detections, writing.report_detection_change
    look = writing.Look(title, read_image, args.images, palette, args.draws)
    if args.against:
        html, differences = two(data, tuple(found), names, look)
        for key, value in differences.items():
            print(f'{key}: {names[0]} - {names[1]} = {value}, 95 % interval in brackets')
    else:
        html, averages = one(data, found[0], look)
        print('  '.join(f'{k}: {v:.3f}' for k, v in averages.items() if v == v))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    DurableLocalBackend().put_text(html, args.out)
    print(f'Report: {args.out}')


def _title(args: argparse.Namespace, names: tuple[str, str]) -> str:
    model, data = Path(args.model).name, f'the test data of {Path(args.config).stem}'
    if not args.against:
        return f'{model} on {data}'
    return f'{names[0]} ({model}) against {names[1]} ({Path(args.against).name}) on {data}'


def find(
    args: argparse.Namespace, config: str, model: str, data: 'DetectionData | SegmentationData'
) -> 'Detections | LabelMaps':
    """Read predictions, or have the model predict."""
    from mmvision_mamba.analysis.report.detection.reading import read_detections
    from mmvision_mamba.analysis.report.segmentation.reading import read_label_maps
    from mmvision_mamba.errors import InputError
    from mmvision_mamba.standalone.description import is_exported

    if model.endswith(('.pkl', '.pickle')):
        raise InputError(
            f'{model} is a pickle, which runs whatever its author put in it when it is read: give '
            'what test.py --out PATH writes, or predict.py'
        )
    is_folder = Path(model).is_dir() and not is_exported(model)
    if data.task == 'segmentation' and is_folder:
        return read_label_maps(model, data)
    if data.task == 'detection' and model.endswith('.json'):
        return read_detections(model, data.truth)
    if is_folder or model.endswith('.json'):
        wanted = dict(
            detection='predictions.json of predict.py or PATH.segm.json of test.py --out PATH',
            segmentation='a folder of PNG label maps',
        )
        raise InputError(
            f'{model}: {args.config} is of {data.task}, whose predictions are '
            f'{wanted[data.task]}; or give a checkpoint'
        )
    return _predict(args, config, model, data)


def _predict(
    args: argparse.Namespace, config: str, model: str, data: 'DetectionData | SegmentationData'
) -> 'Detections | LabelMaps':
    from mmvision_mamba.checkpoints import trust_checkpoints
    from mmvision_mamba.cli import Console, parse_options
    from mmvision_mamba.inference.files.progress import ImageProgress
    from mmvision_mamba.inference.predict_data import detect_data, segment_data
    from mmvision_mamba.inference.predictor import Predictor
    from mmvision_mamba.pairing import load_paired
    from mmvision_mamba.standalone.description import is_exported

    with trust_checkpoints(args.trust_checkpoint):
        if is_exported(model):
            predictor = Predictor(model, device=args.device, batch_size=args.batch_size or 1)
        else:
            own = config == args.config
            backbone = args.backbone if own else None
            options = parse_options(args.cfg_options) if own else None
            loader = load_paired(config, backbone, options).get('test_dataloader') or {}
            predictor = Predictor(
                config,
                model,
                device=args.device,
                batch_size=args.batch_size or loader.get('batch_size', 1),
                pad_batches=data.task == 'detection',
                cfg_options=options,
                backbone=backbone,
            )
    Console.current.building = False
    if data.task == 'segmentation':
        return segment_data(predictor, data, ImageProgress(Console.current, len(data)))
    with ImageProgress(Console.current, len(data.paths)) as progress:
        return detect_data(predictor, data, progress.advance)


if __name__ == '__main__':
    end_at_once('nothing is reported', status=1)
    arguments = parse_args()  # before the imports, which take seconds
    from mmvision_mamba.cli import Console, run

    run(main, arguments, console=Console(arguments.verbose))
