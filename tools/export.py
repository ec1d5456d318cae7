"""Export a detector, a segmentor or a backbone alone, and prove that it answers alike."""

import argparse
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from command_line import add_backbone, add_config_options, add_trust
from start_up import end_at_once

if TYPE_CHECKING:
    from mmvision_mamba.export.programs import Program

FORMATS = ('onnx', 'torch_export', 'aoti')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config', help='config file, name of a published model, work dir or published file'
    )
    parser.add_argument('weights', nargs='?', help='checkpoint of CONFIG, where it is a config')
    parser.add_argument(
        '--format',
        type=_format,
        default='onnx',
        help='onnx; torch_export, a program for PyTorch; or aoti, one that is compiled for '
        'this processor (default: onnx)',
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='a new folder')
    parser.add_argument('--part', choices=('model', 'backbone'), default='model')
    parser.add_argument(
        '--preprocess',
        choices=('inside', 'outside'),
        default='outside',
        help='inside: the file takes bytes (N, H, W, 3), RGB, and normalises them itself',
    )
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help='of the only images that the file takes, in pixels; MambaVision needs it '
        '(default: any)',
    )
    parser.add_argument('--probabilities', action='store_true', help='those of all classes too')
    parser.add_argument(
        '--images',
        nargs='+',
        metavar='FILE',
        default=[],
        help='images, or folders of them, to prove it on, beside drawn ones',
    )
    add_backbone(parser)
    add_config_options(parser, 'override the config')
    add_trust(parser)
    # Intermixed, because WEIGHTS may stand behind options.
    return parser.parse_intermixed_args()


def _format(text: str) -> str:
    if text == 'torchscript':
        raise argparse.ArgumentTypeError(
            'TorchScript is no longer developed, and cannot record the scan: use onnx, '
            'or torch_export'
        )
    if text not in FORMATS:
        raise argparse.ArgumentTypeError(f'{text!r} is no format; there is {", ".join(FORMATS)}')
    return text


def main(args: argparse.Namespace) -> None:
    from mmvision_mamba.errors import InputError
    from mmvision_mamba.export.folder import refuse_foreign

    refuse_foreign(args.out)
    if args.format == 'onnx':
        try:
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
        except ModuleNotFoundError as error:
            raise InputError(
                f'exporting to onnx needs {error.name}: pip install onnx onnxscript onnxruntime'
            ) from error
    from mmvision_mamba.checkpoints import trust_checkpoints
    from mmvision_mamba.cli import parse_options
    from mmvision_mamba.export.exporter import PROOF_SIZES, write_export
    from mmvision_mamba.export.programs import build_program
    from mmvision_mamba.export.proof_images import drawn_images, find_proof_images, real_images
    from mmvision_mamba.inference.opening import open_model

    paths = find_proof_images(args.images) if args.images else []
    with trust_checkpoints(args.trust_checkpoint):
        options = parse_options(args.cfg_options)
        opened = open_model(args.config, args.weights, options, args.backbone)
    inside = args.preprocess == 'inside'
    size = None if args.size is None else tuple(args.size)
    if size is not None and min(size) < 32:
        raise InputError(f'--size {size[0]} {size[1]}: expected 32 pixels or more either way')
    program = build_program(opened, args.part, inside, args.probabilities, size)
    with TemporaryDirectory() as folder:
        export, prove = _export(program, args.format, Path(folder))
        print(
            f'{export}; {"one image" if program.task == "detection" else "any number of images"} '
            f'of {"any height and width" if size is None else f"{size[1]} x {size[0]}"}'
        )
        drawn = drawn_images(PROOF_SIZES if size is None else [size] * 3)
        for images, which in ((drawn, 'drawn'), (real_images(paths, opened, size), 'given')):
            for (height, width), off in prove(images):
                shown = ', '.join(f'{name} {value:.1e}' for name, value in off.items())
                print(f'{which}, {width} x {height}: largest differences from torch: {shown}')
        write_export(args.out, opened, program, export, Path(args.config).stem)
    if args.format == 'onnx':
        print(f'{args.out} is written: it runs by predict.py in it, and opens as a --model here')
    else:
        print(f'{args.out} is written: it opens as a --model here, with --trust-checkpoint')


def _export(program: 'Program', format: str, folder: Path) -> tuple:
    """An export of a format, and what proves it on images; a file of it may lie in a folder."""
    if format == 'onnx':
        from mmvision_mamba.export.exporter import export_onnx, prove

        export = export_onnx(program)
        return export, partial(prove, program, export.content)
    from mmvision_mamba.export.torch_programs import export_torch, prove_torch

    export = export_torch(program, folder / 'model.pt2', compiled=format == 'aoti')
    return export, partial(prove_torch, program, export)


if __name__ == '__main__':
    end_at_once('nothing is exported', status=1)
    arguments = parse_args()  # before the imports, which take seconds
    from mmvision_mamba.cli import run

    run(main, arguments)
    sys.exit()
