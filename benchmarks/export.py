"""Exported models beside the models that they are of: time, memory, size, and accuracy.

    python benchmarks/export.py --build-only --work DIR     # exports take longer than all else
    python benchmarks/export.py --work DIR
    python benchmarks/export.py --scores CONFIG CHECKPOINT [--size 160 160] [--cfg-options K=V]

One image, two threads. Models are untrained; MambaVision-T stands beside timm's ConvNeXt-T in the
same place, exported the same way. Each format of a model runs in a process of its own, which is
asked for one prediction after the other, in turns with the others; a ratio is the median of the
rounds' ratios. Memory is the most that the process ever held, with its libraries.

``--scores`` exports a trained model in each precision, and has tools/test.py measure each on the
config's data. Tables are printed, and JSON is written to ``benchmarks/results/``.
"""

import argparse
import json
import logging
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
THREADS = 2
BACKBONES = ('mambavision_t', 'convnext_tiny')
# What is exported, and the config that it is of.
PARTS = {
    'backbone': 'upernet_mambavision_t_ade20k',
    'upernet': 'upernet_mambavision_t_ade20k',
    'mask_rcnn': 'mask_rcnn_mambavision_t_coco',
}
SIZES = {'backbone': ((512, 512), (800, 1344)), 'upernet': ((512, 512),)}
SIZES['mask_rcnn'] = ((800, 1344),)
# For int8's ranges, which untrained weights make no better by being exact.
CALIBRATED_ON = 2
SCORES = ('coco/bbox_mAP', 'coco/segm_mAP', 'mIoU')


def opened_model(part: str, backbone: str):
    """An untrained model as the exporter takes one."""
    import torch
    from mmengine.registry import MODELS, DefaultScope

    from mmvision_mamba.config import load_config
    from mmvision_mamba.inference.opening import OpenModel

    cfg = load_config(str(ROOT / 'configs' / f'{PARTS[part]}.py'))
    if backbone == 'convnext_tiny':
        cfg.model.backbone = dict(
            type='mmseg.TIMMBackbone',
            model_name=backbone,
            features_only=True,
            pretrained=False,
            out_indices=(0, 1, 2, 3),
            _delete_=True,
        )
        cfg.model.backbone.pop('_delete_')
        channels = [96, 192, 384, 768]
        part_of_maps = cfg.model.get('neck') or cfg.model.decode_head
        part_of_maps.in_channels = channels
        if 'auxiliary_head' in cfg.model:
            cfg.model.auxiliary_head.in_channels = channels[2]
    importlib_models(cfg.default_scope)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        torch.manual_seed(0)
        model = MODELS.build(cfg.model).eval().requires_grad_(False)
    if backbone == 'convnext_tiny':
        model.backbone.in_channels, model.backbone.out_indices = 3, (0, 1, 2, 3)
    if part == 'mask_rcnn':  # as many objects as a detector gives, which take their time too
        model.rpn_head.rpn_cls.bias.data.fill_(1)
        model.roi_head.bbox_head.fc_cls.weight.data.mul_(60)
    classes = tuple(map(str, range(150)))
    return OpenModel(cfg, model, classes, np.zeros((len(classes), 3), np.uint8))


def importlib_models(scope: str) -> None:
    """Register the models of a scope, and mmseg's, of which timm's backbone is one."""
    import importlib

    for name in {scope, 'mmseg'}:
        importlib.import_module(f'{name}.models')


def program_of(part: str, backbone: str, size: tuple[int, int]):
    from mmvision_mamba.export.programs import build_program

    what = 'backbone' if part == 'backbone' else 'model'
    return build_program(opened_model(part, backbone), what, size=size)


def build(part: str, backbone: str, size: tuple[int, int], folder: Path) -> None:
    """Export a model in each precision, where that is not done."""
    from mmvision_mamba.export.compare import TOLERANCES
    from mmvision_mamba.export.exporter import export_onnx, in_precision
    from mmvision_mamba.export.proof_images import drawn_images

    files = {name: file_of(part, backbone, size, name, folder) for name in TOLERANCES}
    if all(path.exists() for path in files.values()):
        return
    program = program_of(part, backbone, size)
    export = export_onnx(program)
    for name, path in files.items():
        images = list(drawn_images([size] * CALIBRATED_ON))
        path.write_bytes(in_precision(export, program, name, images).model.SerializeToString())
        print(f'{path.name}: {path.stat().st_size / 1e6:.1f} MB', flush=True)


def file_of(part: str, backbone: str, size: tuple[int, int], precision: str, folder: Path) -> Path:
    return folder / f'{part}_{backbone}_{size[0]}x{size[1]}_{precision}.onnx'


def torch_call(part: str, backbone: str, size: tuple[int, int], folder: Path, compiled: bool):
    """A prediction by PyTorch; of a detector by mmdet's own, which is what one would export."""
    import torch

    torch.set_num_threads(THREADS)
    module = program_of(part, backbone, size).module
    if compiled:
        module = torch.compile(module)
    inputs = [torch.from_numpy(value) for value in given(part, size).values()]

    def call() -> None:
        with torch.inference_mode():
            module(*inputs)

    return call


def onnx_call(part: str, backbone: str, size: tuple[int, int], folder: Path, precision: str):
    """A prediction by onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    path = file_of(part, backbone, size, precision, folder)
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=['CPUExecutionProvider']
    )
    inputs = given(part, size)
    return lambda: session.run(None, inputs)


# How a format predicts: of a part, a backbone, a size and the folder of exports a call.
FORMATS: dict[str, Callable] = {
    'eager': lambda *model: torch_call(*model, compiled=False),
    'compiled': lambda *model: torch_call(*model, compiled=True),
    'onnx': lambda *model: onnx_call(*model, 'float32'),
    'fp16': lambda *model: onnx_call(*model, 'fp16'),
    'int8': lambda *model: onnx_call(*model, 'int8'),
}
FILES = {'onnx': 'float32', 'fp16': 'fp16', 'int8': 'int8'}


def given(part: str, size: tuple[int, int]) -> dict[str, np.ndarray]:
    image = np.random.default_rng(0).normal(size=(1, 3, *size)).astype(np.float32)
    more = dict(size=np.array(size)) if part == 'upernet' else {}
    return dict(image=image) | more


def serve(connection: Connection, model: tuple, name: str) -> None:
    """In a process of its own: predict whenever asked, and answer with the seconds."""
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    try:
        call = FORMATS[name](*model)
        call()
        call()
    except Exception as error:
        connection.send(f'{type(error).__name__}: {error}'[:300])
        return
    connection.send(None)
    while connection.recv() == 'predict':
        start, cpu_start = perf_counter(), process_time()
        call()
        connection.send((perf_counter() - start, process_time() - cpu_start))
    status = Path('/proc/self/status').read_text()
    connection.send(int(re.search(r'VmHWM:\s*(\d+)', status)[1]) / 1024)


def measure(model: tuple, formats: list[str], rounds: int) -> Iterator[dict]:
    """A row for each format of a model."""
    context = multiprocessing.get_context('spawn')
    doors, seconds, failed = {}, {name: [] for name in formats}, {}
    for name in formats:
        door, other = context.Pipe()
        context.Process(target=serve, args=(other, model, name), daemon=True).start()
        problem = door.recv()  # one after the other, so that none warms up while another does
        if problem is None:
            doors[name] = door
        else:
            failed[name] = problem
    for number in range(rounds):
        for name in list(doors)[:: 1 if number % 2 else -1]:
            doors[name].send('predict')
            seconds[name].append(doors[name].recv())
    part, backbone, (height, width), folder = model
    for name in formats:
        row = dict(model=f'{part} {backbone}', size=f'{height}x{width}', format=name)
        if name in failed:
            yield row | dict(failed=failed[name])
            continue
        doors[name].send('end')
        row['memory_mb'] = round(doors[name].recv())
        # The processor's seconds too, which a busy machine disturbs less.
        for place, kind in enumerate(('', 'cpu_')):
            times = [pair[place] for pair in seconds[name]]
            row[f'{kind}ms'] = round(1e3 * median(times), 1)
            for other in doors.keys() & {'eager', 'onnx'}:
                ratios = [a / pair[place] for a, pair in zip(times, seconds[other])]
                row[f'{kind}times_{other}'] = round(median(ratios), 3)
        if name in FILES:
            path = file_of(part, backbone, (height, width), FILES[name], folder)
            row['file_mb'] = round(path.stat().st_size / 1e6, 1)
        yield row


def scores(
    config: str, checkpoint: str, formats: list[str], size: list[int] | None, options: list[str]
) -> list[dict]:
    """A row for a trained model (``eager``), and for its export in each precision."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in formats:
            if name not in ('eager', *FILES):
                continue
            tested, row = checkpoint, dict(config=Path(config).stem, format=name)
            if name in FILES:
                tested = str(Path(temporary, name))
                sizes = ['--size', *map(str, size)] if size else []
                more = ['--precision', FILES[name], *sizes, *options]
                tool('export.py', config, checkpoint, '--out', tested, *more)
                row['file_mb'] = round(Path(tested, 'model.onnx').stat().st_size / 1e6, 1)
            printed = tool('test.py', config, tested, *options)
            found = re.findall(rf'({"|".join(SCORES)}): ([\d.]+)', printed)
            rows.append(row | {key: round(float(value), 4) for key, value in found})
    return rows


def tool(name: str, *arguments: str) -> str:
    command = [sys.executable, ROOT / 'tools' / name, *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        sys.exit(f'{name} failed: {done.stderr[-2000:]}')
    return done.stdout + done.stderr


def show(rows: list[dict], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*(str(row.get(column, '')) for column in columns))
    Console(width=160).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=list(PARTS))
    parser.add_argument('--sizes', nargs='+', metavar='HxW', help='of those of the parts')
    parser.add_argument('--formats', nargs='+', choices=FORMATS, default=list(FORMATS))
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--work', type=Path, help='folder that keeps exports')
    parser.add_argument('--build-only', action='store_true', help='export, and measure nothing')
    parser.add_argument('--scores', nargs=2, metavar=('CONFIG', 'CHECKPOINT'))
    parser.add_argument('--size', nargs=2, type=int, help='that --scores exports at')
    parser.add_argument('--cfg-options', nargs='+', default=[], help='for --scores')
    parser.add_argument('--out', type=Path, help='JSON file (default: in benchmarks/results/)')
    args = parser.parse_args()
    os.environ['OMP_NUM_THREADS'] = str(THREADS)
    warnings.simplefilter('ignore')
    import torch
    from machine import machine
    from recording import record, result_path

    torch.set_num_threads(THREADS)
    kind = 'export_scores' if args.scores else 'export'
    out = args.out or result_path(kind, 'cpu')
    rows = json.loads(out.read_text())['rows'] if out.exists() else []
    if args.scores:
        options = ['--cfg-options', *args.cfg_options] if args.cfg_options else []
        found = scores(*args.scores, args.formats, args.size, options)
    else:
        found = list(predictions(args))
    if args.build_only:
        return
    show(found, f'{kind}, {machine("cpu")}')
    # Runs of other models stay.
    keys = [(row.get('model', row.get('config')), row.get('size'), row['format']) for row in found]
    kept = [
        row
        for row in rows
        if (row.get('model', row.get('config')), row.get('size'), row['format']) not in keys
    ]
    record(out, 'cpu', rounds=args.rounds, rows=kept + found)


def predictions(args: argparse.Namespace) -> Iterator[dict]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for part in args.parts:
            for size in SIZES[part]:
                if args.sizes and '{}x{}'.format(*size) not in args.sizes:
                    continue
                for backbone in BACKBONES:
                    build(part, backbone, size, folder)
                    if not args.build_only:
                        yield from measure(
                            (part, backbone, size, folder), args.formats, args.rounds
                        )


if __name__ == '__main__':
    main()
