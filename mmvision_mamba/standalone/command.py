"""The command line of an exported model's folder."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .description import Description, read_description
from .errors import Deviation, InputError
from .files import Writer, find_images, take_folder
from .images import read_image
from .network import Model
from .verify import verify

SAVE = {'detection': ('image', 'coco'), 'segmentation': ('image', 'coco', 'png')}
_DEFAULT = {'detection': ('image', 'coco'), 'segmentation': ('image', 'png')}


def main(folder: Path, description: str, arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with its exit status where that is not 0.

    Args:
        folder: Of the exported model.
        description: Of the command, for ``--help``.
        arguments: In place of the process's.
    """
    args = _parse(description, arguments)
    try:
        status = _verify(folder) if args.verify else _predict(folder, args)
    except (InputError, Deviation) as error:
        print(f'error: {error}', file=sys.stderr)
        status = 1 if isinstance(error, Deviation) else 2
    except OSError as error:  # of a full disk, say
        print(f'error: {error.strerror}: {error.filename} was not written', file=sys.stderr)
        status = 2
    if status:
        sys.exit(status)


def _parse(description: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('inputs', nargs='*', metavar='IMAGE', help='an image, or a folder of them')
    parser.add_argument('--out', type=Path, metavar='OUT', help='folder for the results')
    parser.add_argument(
        '--save',
        type=lambda text: [kind.strip() for kind in text.split(',') if kind.strip()],
        metavar='KIND,...',
        help='of image (drawn), coco (predictions.json) and png (label maps); default: image,coco '
        'for a detector, image,png for a segmentor',
    )
    parser.add_argument('--score', type=float, help='lowest score of an object that is written')
    parser.add_argument(
        '--threads', type=int, default=0, help='to compute in (default: as many as there are cores)'
    )
    parser.add_argument(
        '--verify', action='store_true', help='hold the model against its check, and do no more'
    )
    args = parser.parse_args(arguments)
    if args.verify == bool(args.inputs):
        parser.error('give IMAGE ... and --out, or --verify alone')
    if args.inputs and args.out is None:
        parser.error('--out OUT lacks: where do results go?')
    if args.score is not None and not 0 <= args.score <= 1:
        parser.error(f'--score {args.score:g} is not between 0 and 1')
    if args.threads < 0:
        parser.error(f'--threads {args.threads} is not 0 or more')
    return args


def _verify(folder: Path) -> int:
    print(f'verified: {", ".join(verify(folder))}')
    return 0


def _predict(folder: Path, args: argparse.Namespace) -> int:
    description = read_description(folder)
    kinds = _kinds(description, args)
    images = find_images(args.inputs)
    take_folder(args.out, images.values())
    model = Model(folder, threads=args.threads)
    score = description.score_threshold if args.score is None else args.score
    writer = Writer(args.out, kinds, list(images), description, score)
    written, failed, status, started = 0, 0, 0, time.monotonic()
    try:
        for name, path in images.items():
            try:
                image = read_image(path)
                found = model.predict(image, f'image {path}')
            except InputError as error:
                print(f'passed over: {error}', flush=True)
                failed, status = failed + 1, 1
                continue
            writer.write(name, image, found)
            written += 1
    except KeyboardInterrupt:
        print('Ctrl-C: ended before the last image; what is written is whole')
        status = 130
    writer.finish()
    objects = f': {writer.objects:,} objects' if description.task == 'detection' else ''
    print(f'Predicted {written:,} images in {time.monotonic() - started:.1f} s{objects}')
    print(f'  {args.out}')
    if failed:
        print(f'Passed over: {failed:,}, named above')
    return status


def _kinds(description: Description, args: argparse.Namespace) -> Sequence[str]:
    """What is to be written.

    Raises:
        InputError: It is not what the model gives.
    """
    task = description.task
    if task == 'features':
        raise InputError(
            'the model is a backbone, which finds nothing in images by itself: --verify checks it, '
            'and onnxruntime runs it'
        )
    if task == 'segmentation' and args.score is not None:
        raise InputError('--score: a segmentor gives every pixel a class, and none a score')
    for kind in args.save or ():
        if kind not in SAVE[task]:
            raise InputError(
                f'--save {kind}: of a model for {task} there are {", ".join(SAVE[task])}'
            )
    return args.save or _DEFAULT[task]
