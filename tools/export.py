"""Export a detector, a segmentor or a backbone alone to ONNX, and prove that it answers alike.

--format html makes one page of a whole model, or of the folder of an earlier export: it predicts in
any browser, without a server or a network.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from command_line import add_config_options, add_trust
from start_up import end_at_once

FORMATS = ('onnx', 'html')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config',
        help='config file, name of a published model, work dir or published file; for html also '
        'an exported DIR',
    )
    parser.add_argument('weights', nargs='?', help='checkpoint of CONFIG, where it is a config')
    parser.add_argument('--format', type=_format, default='onnx', help=f'one of {FORMATS}')
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
    return args


def _format(text: str) -> str:
    if text == 'torchscript':
        raise argparse.ArgumentTypeError(
            'TorchScript is no longer developed, and cannot record the scan: use onnx'
        )
    if text not in FORMATS:
        raise argparse.ArgumentTypeError(f'{text!r} is no format; there is {", ".join(FORMATS)}')
    return text


def main(args: argparse.Namespace) -> None:
    if args.format == 'html':
        export_page(args)
    else:
        export_folder(args, args.out)
        print(f'{args.out} is written: it runs by predict.py in it, and opens as a --model here')


def export_folder(args: argparse.Namespace, folder: Path) -> None:
    from mmvision_mamba.errors import InputError
    from mmvision_mamba.export.folder import refuse_foreign

    refuse_foreign(folder)
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(
            f'exporting needs {error.name}: pip install onnx onnxscript onnxruntime'
        ) from error
    from mmvision_mamba.checkpoints import trust_checkpoints
    from mmvision_mamba.cli import parse_options
    from mmvision_mamba.config import config_name
    from mmvision_mamba.export.calibration import calibration_images, training_folder
    from mmvision_mamba.export.compare import TOLERANCES
    from mmvision_mamba.export.exporter import (
        PROOF_SIZES,
        export_onnx,
        in_precision,
        prove,
        write_export,
    )
    from mmvision_mamba.export.programs import build_program
    from mmvision_mamba.export.proof_images import drawn_images
    from mmvision_mamba.export.quantize import quantizer
    from mmvision_mamba.inference.opening import open_model

    if args.precision == 'int8':
        quantizer()
    with trust_checkpoints(args.trust_checkpoint):
        opened = open_model(args.config, args.weights, parse_options(args.cfg_options))
    inside = args.preprocess == 'inside'
    size = None if args.size is None else tuple(args.size)
    if size is not None and min(size) < 32:
        raise InputError(f'--size {size[0]} {size[1]}: expected 32 pixels or more either way')
    program = build_program(opened, args.part, inside, args.probabilities, size)
    calibration, proof = (), drawn_images(PROOF_SIZES if size is None else [size] * 3)
    if args.precision == 'int8':
        given = args.calibrate
        if given is None and args.config.endswith('.py'):  # else the paths in it are a stranger's
            given = training_folder(opened.cfg)
        images = calibration_images(opened, size, given)
        calibration, proof = images.calibration, images.proof
        print(f'int8: calibrated on {len(calibration)} images of {images.origin}')
    export = in_precision(export_onnx(program), program, args.precision, calibration)
    data = export.model.SerializeToString()
    print(
        f'opset {export.opset}, {len(data) / 1e6:.1f} MB, {export.operators.total()} operators, '
        f'{export.seconds:.0f} s; '
        + ('one image' if program.task == 'detection' else 'any number of images')
        + (' of any height and width' if size is None else f' of {size[1]} x {size[0]}')
    )
    for (height, width), off in prove(program, data, proof, TOLERANCES[args.precision]):
        shown = ', '.join(f'{name} {value:.1e}' for name, value in off.items())
        print(f'{width} x {height}: largest differences from torch: {shown}')
    write_export(folder, opened, program, export, config_name(args.config), args.precision)


def export_page(args: argparse.Namespace) -> None:
    from mmvision_mamba.export.html.page import write_page
    from mmvision_mamba.export.html.runtime import find_runtime
    from mmvision_mamba.standalone.description import is_exported

    runtime = find_runtime(args.runtime)  # first, as an export takes minutes
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out.parent) as beside:
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
