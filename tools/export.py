"""Export a detector, a segmentor or a backbone alone, and prove that it answers alike.

--format html makes one page of a whole model, or of the folder of an earlier export: it predicts in
any browser, without a server or a network.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from command_line import add_backbone, add_config_options, add_trust
from start_up import end_at_once

if TYPE_CHECKING:
    from mmvision_mamba.export.calibration import CalibrationImages
    from mmvision_mamba.export.programs import Program
    from mmvision_mamba.inference.opening import OpenModel

FORMATS = ('onnx', 'torch_export', 'aoti', 'html')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config',
        help='config file, name of a published model, work dir or published file; for html also '
        'an exported DIR',
    )
    parser.add_argument('weights', nargs='?', help='checkpoint of CONFIG, where it is a config')
    parser.add_argument(
        '--format',
        type=_format,
        default='onnx',
        help='onnx; torch_export, a program for PyTorch; aoti, one that is compiled for this '
        'processor; or html, a page (default: onnx)',
    )
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR', help='a new folder; FILE.html for html'
    )
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
    parser.add_argument(
        '--precision',
        choices=('float32', 'fp16', 'int8'),
        default='float32',
        help='fp16: weights of half the size, computed in float32; int8: convolutions and linears '
        'computed in 8 bits',
    )
    parser.add_argument(
        '--calibrate',
        type=Path,
        metavar='FOLDER',
        help="of images to take int8's ranges from (default: the config's training images where "
        'they are there, else drawn ones)',
    )
    parser.add_argument('--probabilities', action='store_true', help='those of all classes too')
    parser.add_argument(
        '--runtime',
        type=Path,
        metavar='PATH',
        help='onnxruntime-web for html: a folder that npm installed, or the archive of npm pack '
        '(default: npm fetches it once)',
    )
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
    args = parser.parse_intermixed_args()
    if args.format == 'html' and args.out.suffix != '.html':
        parser.error(f'argument --out: --format html writes one file, FILE.html, and no {args.out}')
    if args.format == 'html' and args.part != 'model':
        parser.error('argument --part: a page shows what a whole model finds, and no backbone')
    if args.calibrate is not None and args.precision != 'int8':
        parser.error('--calibrate is of --precision int8')
    if args.precision != 'float32' and args.format not in ('onnx', 'html'):
        parser.error(f'--precision {args.precision} is of the formats onnx and html')
    return args


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
    if args.format == 'html':
        export_page(args)
        return
    export_folder(args, args.out)
    opened_by = (
        'it runs by predict.py in it, and opens as a --model here'
        if args.format == 'onnx'
        else 'it opens as a --model here, with --trust-checkpoint'
    )
    print(f'{args.out} is written: {opened_by}')


def export_folder(args: argparse.Namespace, out: Path) -> None:
    from mmvision_mamba.errors import InputError
    from mmvision_mamba.export.folder import refuse_foreign

    refuse_foreign(out)
    if args.format in ('onnx', 'html'):
        try:
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
        except ModuleNotFoundError as error:
            raise InputError(
                f'exporting to onnx needs {error.name}: pip install onnx onnxscript onnxruntime'
            ) from error
    from mmvision_mamba.checkpoints import trust_checkpoints
    from mmvision_mamba.cli import parse_options
    from mmvision_mamba.config import config_name
    from mmvision_mamba.export.exporter import PROOF_SIZES, write_export
    from mmvision_mamba.export.programs import build_program
    from mmvision_mamba.export.proof_images import drawn_images, find_proof_images, real_images
    from mmvision_mamba.inference.opening import open_model

    if args.precision == 'int8':
        from mmvision_mamba.export.quantize import quantizer

        quantizer()  # or says what is missing
    paths = find_proof_images(args.images) if args.images else []
    with trust_checkpoints(args.trust_checkpoint):
        options = parse_options(args.cfg_options)
        opened = open_model(args.config, args.weights, options, args.backbone)
    inside = args.preprocess == 'inside'
    size = None if args.size is None else tuple(args.size)
    if size is not None and min(size) < 32:
        raise InputError(f'--size {size[0]} {size[1]}: expected 32 pixels or more either way')
    program = build_program(opened, args.part, inside, args.probabilities, size)
    sizes = PROOF_SIZES if size is None else [size] * 3
    calibration, proof, of_what = (), drawn_images(sizes), 'drawn'
    if args.precision == 'int8':
        images = calibration_of(args, opened, size)
        calibration, proof, of_what = images.calibration, images.proof, f'of {images.origin}'
        print(f'int8: calibrated on {len(calibration)} images of {images.origin}')
    with TemporaryDirectory() as folder:
        export, prove = _export(program, args, calibration, Path(folder))
        print(
            f'{export}; {"one image" if program.task == "detection" else "any number of images"} '
            f'of {"any height and width" if size is None else f"{size[1]} x {size[0]}"}'
        )
        for images, which in ((proof, of_what), (real_images(paths, opened, size), 'given')):
            for (height, width), off in prove(images):
                shown = ', '.join(f'{name} {value:.1e}' for name, value in off.items())
                print(f'{which}, {width} x {height}: largest differences from torch: {shown}')
        write_export(out, opened, program, export, config_name(args.config), args.precision)


def calibration_of(
    args: argparse.Namespace, opened: 'OpenModel', size: tuple[int, int] | None
) -> 'CalibrationImages':
    from mmvision_mamba.export.calibration import calibration_images, training_folder

    given = args.calibrate
    if given is None and args.config.endswith('.py'):  # else the paths in it are a stranger's
        given = training_folder(opened.cfg)
    return calibration_images(opened, size, given)


def _export(
    program: 'Program', args: argparse.Namespace, calibration: Sequence, folder: Path
) -> tuple:
    """An export of a format, and what proves it on images; a file of it may lie in a folder."""
    if args.format in ('onnx', 'html'):
        from mmvision_mamba.export.compare import TOLERANCES
        from mmvision_mamba.export.exporter import export_onnx, in_precision, prove

        export = in_precision(export_onnx(program), program, args.precision, calibration)
        proving = partial(prove, program, export.content, tolerance=TOLERANCES[args.precision])
        return export, proving
    from mmvision_mamba.export.torch_programs import export_torch, prove_torch

    export = export_torch(program, folder / 'model.pt2', compiled=args.format == 'aoti')
    return export, partial(prove_torch, program, export)


def export_page(args: argparse.Namespace) -> None:
    from mmvision_mamba.export.html.page import write_page
    from mmvision_mamba.export.html.runtime import find_runtime
    from mmvision_mamba.standalone.description import is_exported

    runtime = find_runtime(args.runtime)  # first, as an export takes minutes
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=args.out.parent) as beside:
        folder = Path(args.config)
        if not is_exported(folder):
            folder = Path(beside, 'exported')
            export_folder(args, folder)
        size = write_page(args.out, folder, runtime)
    print(f'{args.out} is written, {size / 1e6:.1f} MB: open it in a browser')


if __name__ == '__main__':
    end_at_once('nothing is exported', status=1)
    arguments = parse_args()  # before the imports, which take seconds
    from mmvision_mamba.cli import run

    run(main, arguments)
    sys.exit()
