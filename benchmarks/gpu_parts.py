"""What ``gpu_report.py`` measures, part by part: the cases, the most telling first, and their rows.

Cases of a GPU are of the real sizes; those of a CPU are small, and there to run every part.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import backbones
import selective_scan as scans
import torch
from measure import seconds

from mmvision_mamba.datasets import draw_shapes
from mmvision_mamba.ops import selective_scan
from mmvision_mamba.ops.scan import triton as triton_scan

ROOT = Path(__file__).resolve().parents[1]
HALF = ('float16', 'bfloat16')
GRADIENTS = ('du', 'ddelta', 'dA', 'dB', 'dC', 'dD', 'dbias')
# Constants of triton.py that are worth another value on another GPU, and those to try.
CONSTANTS = dict(_PROGRAMS=(1024, 2048, 4096), _MIN_CHUNK=(16, 32, 64), _TILE_ELEMENTS=(16, 32, 64))
GPU_TESTS = ('tests/test_ops', 'tests/test_backbones', 'tests/test_engine/test_hooks')
CPU_TESTS = ('tests/test_layers.py',)
SWIN = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'


class Part(NamedTuple):
    """One part of the report."""

    title: str
    cases: Callable[[bool], list[dict]]  # of whether they are to be small
    measure: Callable[[dict, str], list[dict]]  # the rows of a case on a device


def shapes(small: bool) -> list[tuple[int, int, int]]:
    """Batch, length and D of the scans of MambaVision t and b; the longest at batch 1 first."""
    if small:
        return [(1, 49, 32), (2, 64, 32)]
    batches = (1, 2, 4, 8, 16)
    return [
        (batch, side * side, dim)
        for batch in batches
        for side, *dims, _ in reversed(scans.WINDOWS)
        for dim in dims
    ]


def own_backend(device: str) -> str:
    return 'triton' if device == 'cuda' else 'cpu'


# --- the scan ---------------------------------------------------------------------------------


def accuracy_cases(small: bool) -> list[dict]:
    dtypes = ('float32', *HALF, 'float64')
    return [
        dict(batch=batch, length=length, dim=dim, dtype=dtype)
        for (batch, length, dim), dtype in product(shapes(small), dtypes)
    ]


def measure_accuracy(case: dict, device: str) -> list[dict]:
    """The largest error of the output and of each gradient, over the largest value, to float64."""
    given = scans.leaves(
        case['batch'], case['length'], case['dim'], device, getattr(torch, case['dtype'])
    )
    if case['dtype'] == 'float64':
        given = [x.double() for x in given]  # a gradient has its parameter's type
    backend = own_backend(device)

    def run(inputs, backend):
        leaves = [x.detach().requires_grad_() for x in inputs]
        y = selective_scan(*leaves, delta_softplus=True, channels_last=True, backend=backend)
        return y.detach(), *torch.autograd.grad(y, leaves, torch.ones_like(y))

    own = run(given, backend)
    exact = run([x.double() for x in given], 'torch')
    errors = {
        name: _relative_error(value, true)
        for name, value, true in zip(('y', *GRADIENTS), own, exact)
    }
    return [case | dict(backend=backend) | errors]


def _relative_error(value, true) -> float:
    return float(f'{(value.double() - true).abs().max() / true.abs().max():.2e}')


def time_cases(small: bool) -> list[dict]:
    dtypes = ('float32',) if small else ('float32', 'bfloat16')
    return [
        dict(batch=batch, length=length, dim=dim, dtype=dtype, backward=backward)
        for (batch, length, dim), dtype, backward in product(shapes(small), dtypes, (False, True))
    ]


def measure_time(case: dict, device: str) -> list[dict]:
    """Of every backend there is; shares of what memory and exponentials alone would take."""
    args = argparse.Namespace(dtype=case['dtype'], rounds=9 if device == 'cuda' else 3)
    args.bandwidth = scans.bandwidth() if device == 'cuda' else None
    names = [
        name for name in scans.available_backends(device) if name not in ('reference', 'torch')
    ]
    shape = case['batch'], case['length'], case['dim']
    rows = scans.measure(shape, names, case['backward'], args, device)
    plan = {}
    if device == 'cuda':
        u, _, _, B, *_ = scans.leaves(*shape, device, getattr(torch, case['dtype']))
        of_plan = triton_scan._plan(u, B.unsqueeze(2))
        plan = dict(chunks=of_plan.chunks, tile=of_plan.tile, chunk_tiles=of_plan.chunk_tiles)
    return [
        row | dict(dtype=case['dtype']) | (plan if row['backend'] == 'triton' else {})
        for row in rows
    ]


def constant_cases(small: bool) -> list[dict]:
    """None on a CPU, whose kernel has no such constants."""
    return [] if small else [dict(batch=b, length=n, dim=d) for b, n, d in shapes(False)[:20]]


def measure_constants(case: dict, device: str) -> list[dict]:
    """Forward and backward at other constants: the fastest, and the time of the defaults."""
    given = scans.leaves(case['batch'], case['length'], case['dim'], device, torch.bfloat16)
    times = {}
    for values in product(*CONSTANTS.values()):
        with mock.patch.multiple(triton_scan, **dict(zip(CONSTANTS, values))):
            call = scans.call_of('triton', given, backward=True)
            call()
            times[values] = statistics.median(seconds(call, device) for _ in range(9))
    default = tuple(getattr(triton_scan, name) for name in CONSTANTS)
    best = min(times, key=times.get)
    named = {name.strip('_').lower(): value for name, value in zip(CONSTANTS, best)}
    return [case | dict(default_ms=1e3 * times[default], best_ms=1e3 * times[best]) | named]


def register_cases(small: bool) -> list[dict]:
    targets = ['sm_90']
    if not small:
        here = 'gfx942'
        if not torch.version.hip:
            here = 'sm_{}{}'.format(*torch.cuda.get_device_capability())
        targets = dict.fromkeys([here, 'sm_80', 'sm_90', 'sm_100', 'gfx942'])
    return [dict(target=target) for target in targets]


def measure_registers(case: dict, device: str) -> list[dict]:
    """By the assembler, for a GPU that need not be here."""
    import scan_kernels  # needs triton

    return scan_kernels.resources(case['target'], scan_kernels.real_arguments())


# --- backbones --------------------------------------------------------------------------------


def backbone_cases(size: tuple[int, int], compiled: bool) -> Callable[[bool], list[dict]]:
    def cases(small: bool) -> list[dict]:
        if small:
            settings = [(1, 'float32', False), (2, 'bfloat16', True)]
        else:
            dtypes = ('bfloat16', 'float32', 'tf32', 'float16')
            settings = product((1, 8, 32), dtypes, (False, True))
        return [
            dict(size=[64, 64] if small else list(size), compiled=compiled and not small)
            | dict(batch=batch, dtype=dtype, channels_last=channels_last)
            for batch, dtype, channels_last in settings
        ]

    return cases


def measure_backbones(case: dict, device: str) -> list[dict]:
    """Latency, throughput and memory of all, which take turns."""
    size = tuple(case['size'])
    variant = backbones.Variant('inference', case['compiled'], case['dtype'], case['channels_last'])
    names = backbones.choose_models(['mambavision_t:minimal', 'mambaout_tiny', 'timm/*'])
    if device == 'cpu':
        names = [name for name in names if 'swin' not in name and 'resnet' not in name]
    args = argparse.Namespace(
        batch=case['batch'], device=device, rounds=20 if device == 'cuda' else 1
    )
    windows = backbones.WINDOWS.get(size, backbones.COCO_WINDOWS)
    return backbones.measure(names, size, windows, variant, args)


# --- whole models -----------------------------------------------------------------------------


def training_cases(small: bool) -> list[dict]:
    if small:
        return [dict(recipe='upernet_mambavision_t_ade20k', size=[128, 128], images=2)]
    import training_needs  # mmdet and mmseg take seconds

    recipes = {name: list(size) for name, size in training_needs.RECIPES.items()}
    recipes[SWIN] = [800, 1333]
    return [
        dict(recipe=recipe, size=size, images=images)
        for images in (training_needs.PER_GPU, 1)
        for recipe, size in recipes.items()
    ]


def measure_training(case: dict, device: str) -> list[dict]:
    """A training step as the recipe says."""
    import training_needs

    rounds = 20 if device == 'cuda' else 1
    torch.manual_seed(0)
    found = training_needs.measure(
        case['recipe'], tuple(case['size']), device, rounds, case['images']
    )
    row = case | found
    row['seconds_per_iteration'] = found['seconds_per_image'] * case['images']
    if device == 'cuda':
        row['peak_gb'] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    return [row]


# --- the project's own tests and training -----------------------------------------------------


def test_cases(small: bool) -> list[dict]:
    return [dict(tests=path) for path in (CPU_TESTS if small else GPU_TESTS)]


def measure_tests(case: dict, device: str) -> list[dict]:
    """How many pass, and the names of those that fail."""
    environment = dict(os.environ)
    if device == 'cpu':
        environment['CUDA_VISIBLE_DEVICES'] = ''
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, 'report.xml')
        command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', case['tests']]
        command += [f'--junitxml={report}']
        subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        suite = ElementTree.parse(report).getroot().find('testsuite')
    failed = [
        test.get('name')
        for test in suite.iter('testcase')
        if test.find('failure') is not None or test.find('error') is not None
    ]
    total, skipped = int(suite.get('tests')), int(suite.get('skipped'))
    passed = total - skipped - len(failed)
    return [case | dict(passed=passed, skipped=skipped, failed=failed)]


def demo_cases(small: bool) -> list[dict]:
    detector = dict(config='mask_rcnn_mambavision_demo_shapes', images=480, options={})
    if small:
        options = {'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 1}
        return [detector | dict(images=8, options=options)]
    amp = {'optim_wrapper.type': 'AmpOptimWrapper', 'optim_wrapper.dtype': 'bfloat16'}
    segmentor = dict(config='upernet_mambaout_demo_shapes', images=480, options={})
    return [detector, detector | dict(options=amp), segmentor]


def measure_demo(case: dict, device: str) -> list[dict]:
    """A short training on the embedded data set by the command line, and its scores."""
    with tempfile.TemporaryDirectory() as folder:
        draw_shapes(Path(folder, 'shapes'), num_train=case['images'], num_val=case['images'] // 8)
        work_dir = Path(folder, 'work_dir')
        options = [f'{key}={value}' for key, value in case['options'].items()]
        command = [sys.executable, ROOT / 'tools/train.py', ROOT / f'configs/{case["config"]}.py']
        command += ['--work-dir', work_dir, '--seed', '0']
        command += ['--cfg-options', *options] if options else []
        environment = dict(os.environ, MMVISION_DATA=folder)
        if device == 'cpu':
            environment['CUDA_VISIBLE_DEVICES'] = ''
        done = subprocess.run(
            list(map(str, command)), env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f'train.py ended with {done.returncode}: {done.stderr[-300:]}')
        summary = json.loads((work_dir / 'summary.json').read_text())
    scores = {name: metric['last'] for name, metric in summary['metrics'].items()}
    kept = ('seconds', 'images_per_second', 'peak_memory_mb')
    return [case | {key: summary[key] for key in kept if key in summary} | dict(scores=scores)]


SIZES = {'224': (224, 224), '512': (512, 512), '800': (800, 1344)}
PARTS = {
    'scan_accuracy': Part('The scan against float64', accuracy_cases, measure_accuracy),
    'scan_time': Part('The time of the scan', time_cases, measure_time),
    'scan_registers': Part('Registers and spills', register_cases, measure_registers),
    'scan_constants': Part("The scan's constants", constant_cases, measure_constants),
    **{
        f'backbones_{name}{"_compiled" if compiled else ""}': Part(
            f'Backbones, {size[0]} x {size[1]}{", compiled" if compiled else ""}',
            backbone_cases(size, compiled),
            measure_backbones,
        )
        for compiled, (name, size) in product((False, True), reversed(SIZES.items()))
    },
    'training': Part('Training steps', training_cases, measure_training),
    'tests': Part("The suite's tests on this device", test_cases, measure_tests),
    'demo': Part('A short training', demo_cases, measure_demo),
}
