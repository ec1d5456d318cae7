"""Predict on images, folders and videos: drawn images, COCO JSON, label maps, tables.

INPUT is an image, a folder, a pattern such as 'photos/*.jpg' (in quotes or not), a video (MP4, MOV,
AVI, MKV, WebM), or - for paths on standard input, one a line or between null bytes.
"""

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from command_line import add_backbone, add_config_options, add_trust
from start_up import end_at_once

SAVE = ('image', 'coco', 'prelabels', 'png', 'csv')
# Each gets 128 and the number of the signal, as a shell has it for what a signal ended.
_STOPPED = 128


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('inputs', nargs='*', metavar='INPUT', help='what to predict on')
    parser.add_argument(
        '--model',
        help='config file, name of published weights, file of publish_model.py, work dir of a '
        'training, or folder of export.py',
    )
    parser.add_argument(
        '--verify',
        metavar='MODEL',
        help='hold a file of publish_model.py, or a folder of export.py, against the check that it '
        'carries, and do no more',
    )
    parser.add_argument(
        '--weights', help='checkpoint file, URL or published name; not needed where MODEL has them'
    )
    parser.add_argument(
        '--out', type=Path, metavar='DIR', help='where results go (default: predictions/<model>)'
    )
    parser.add_argument(
        '--save',
        type=_kinds,
        metavar='KIND,...',
        help='what is written, of image (drawn), coco (predictions.json), prelabels (the same, '
        'masks as polygons, for CVAT and Label Studio), png (label maps) and csv; default: '
        'image,coco for a detector, image,png for a segmentor',
    )
    parser.add_argument(
        '--score', type=_score, help='lowest score of an object that is written (default: 0.3)'
    )
    parser.add_argument(
        '--classes', nargs='+', action='extend', metavar='NAME', help='write objects of these alone'
    )
    parser.add_argument('--recursive', action='store_true', help='look into folders of folders')
    parser.add_argument('--batch-size', type=_positive, default=1, help='images at a time')
    parser.add_argument('--device', default='auto', help='such as cpu, cuda:1 or mps')
    parser.add_argument(
        '--amp',
        nargs='?',
        const='bfloat16',
        choices=['bfloat16', 'float16'],
        help='predict in mixed precision (default: bfloat16)',
    )
    parser.add_argument(
        '--tile',
        type=int,
        metavar='PIXELS',
        help='predict on larger images in tiles of this side, such as 1024, and merge the results',
    )
    parser.add_argument(
        '--overlap',
        type=float,
        metavar='SHARE',
        help='of a tile, that the next one has part in (default: 0.2)',
    )
    parser.add_argument(
        '--tile-exact',
        action='store_true',
        help='answer for larger images as if they were computed whole, by parts (UPerNet)',
    )
    parser.add_argument('--tta', action='store_true', help='predict at several scales and flipped')
    add_backbone(parser)
    add_config_options(parser, 'override the config')
    add_trust(parser)
    parser.add_argument('--verbose', action='store_true', help='show all messages, and tracebacks')
    # Intermixed, because an INPUT may stand behind options.
    args = parser.parse_intermixed_args()
    if args.verify is not None and (args.inputs or args.model):
        parser.error('--verify MODEL predicts on nothing: give it alone')
    if args.verify is None and not args.inputs:
        parser.error('the following arguments are required: INPUT')
    if args.verify is None and args.model is None:
        parser.error('the following arguments are required: --model')
    return args


def _kinds(text: str) -> list[str]:
    kinds = [kind.strip() for kind in text.split(',') if kind.strip()]
    for kind in kinds:
        if kind not in SAVE:
            close = difflib.get_close_matches(kind, SAVE, n=1)
            hint = f'did you mean {close[0]}?' if close else f'there are {", ".join(SAVE)}'
            raise argparse.ArgumentTypeError(f'{kind} is no kind of result; {hint}')
    if not kinds:
        raise argparse.ArgumentTypeError(f'names none of {", ".join(SAVE)}')
    return kinds


def _score(text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return score


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text} is not 1 or more')
    return int(text)


def main(args: argparse.Namespace) -> None:
    from mmvision_mamba.checkpoints import trust_checkpoints
    from mmvision_mamba.cli import Console, parse_options
    from mmvision_mamba.config import config_name
    from mmvision_mamba.errors import InputError
    from mmvision_mamba.inference.files.predict_files import (
        Wanted,
        count_images,
        describe,
        predict_files,
        take_folder,
    )
    from mmvision_mamba.inference.files.progress import ImageProgress
    from mmvision_mamba.inference.files.saving import DEFAULTS, make_savers
    from mmvision_mamba.inference.files.sources import find_sources, shown
    from mmvision_mamba.inference.predictor import Predictor

    console = Console.current
    model = Path(args.model)
    out = args.out or Path('predictions', model.name if model.is_dir() else config_name(args.model))
    found = find_sources(args.inputs, args.recursive, without=out)
    take_folder(out, found.sources)
    if args.overlap is not None and (args.tile is None or args.tile_exact):
        raise InputError('--overlap is that of tiles that are blended or merged: give --tile alone')
    console.report(f'{args.model}: building the model ...')
    with trust_checkpoints(args.trust_checkpoint):
        predictor = Predictor(
            args.model,
            args.weights,
            device=args.device,
            amp=args.amp,
            tta=args.tta,
            batch_size=args.batch_size,
            cfg_options=parse_options(args.cfg_options),
            tile=args.tile,
            overlap=0.2 if args.overlap is None else args.overlap,
            tile_exact=args.tile_exact,
            backbone=args.backbone,
        )
    _check_objects(args, predictor.task, predictor.class_names)
    wanted = Wanted(0.3 if args.score is None else args.score, args.classes or ())
    kinds = args.save or DEFAULTS[predictor.task]
    savers = make_savers(
        kinds, out, found.sources, predictor.class_names, predictor.palette, predictor.task
    )
    console.building = False
    total = count_images(found.sources)
    try:
        with ExitStack() as saving:
            for saver in savers:
                saving.enter_context(saver)
            progress = saving.enter_context(ImageProgress(console, total))
            tally = predict_files(predictor, found.sources, savers, wanted, progress)
    except OSError as error:
        raise InputError(
            f'{error.strerror}: {shown(error.filename or out)} was not written, nor was any file '
            'of all results; drawn images and label maps that are there are whole'
        ) from error
    for line in describe(tally, total, wanted, found, savers):
        console.report(line)
    if tally.stopped:
        sys.exit(_STOPPED + tally.stopped)
    if tally.failed:
        sys.exit(1)


def verify(args: argparse.Namespace) -> None:
    from mmvision_mamba.checkpoints import trust_checkpoints
    from mmvision_mamba.cli import Console
    from mmvision_mamba.export.self_check import verify
    from mmvision_mamba.standalone.errors import Deviation

    try:
        with trust_checkpoints(args.trust_checkpoint):
            names = verify(args.verify)
        Console.current.report(f'verified: {", ".join(names)}')
    except Deviation as error:
        sys.exit(f'error: {error}')


def _check_objects(args: argparse.Namespace, task: str, class_names: Sequence[str]) -> None:
    """Refuse options on objects of a model without any, and classes that it does not have."""
    from mmvision_mamba.errors import InputError

    if task == 'segmentation' and (args.classes or args.score is not None):
        option = '--classes' if args.classes else '--score'
        raise InputError(f'{option}: a segmentor gives every pixel a class, and none a score')
    for name in args.classes or ():
        if name not in class_names:
            close = difflib.get_close_matches(name, class_names, n=3, cutoff=0.5)
            some = ', '.join(class_names[:12])
            hint = f'did you mean {" or ".join(close)}?' if close else f'it has {some}'
            raise InputError(f'--classes {name}: no class of {args.model}; {hint}')


if __name__ == '__main__':
    end_at_once('nothing is predicted yet', status=1)
    # What FFmpeg prints of a damaged video is said in a sentence.
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
    arguments = parse_args()  # before the imports, which take seconds
    from mmvision_mamba.cli import Console, run

    command = main if arguments.verify is None else verify
    run(command, arguments, console=Console(arguments.verbose))
