"""An exported model as one page, which predicts in a browser without a server or a network."""

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

from ...checkpoints.durable_files import whole_or_absent
from ...errors import InputError
from ...standalone.check import CHECK, parse_check
from ...standalone.data import read_json
from ...standalone.description import DESCRIPTION, Description, parse_description
from ...standalone.onnx_file import more_outputs, refuse_external_data
from .runtime import Runtime

_SITE = Path(__file__).parent / 'site'
_WORKER = ('images.js', 'results.js', 'check.js', 'worker.js')
_PAGE = ('drawing.js', 'files.js', 'page.js')
# What a browser's WebAssembly holds is 4 GB, and loading takes about three times the network's.
_LARGEST = 1_200_000_000
# Bytes in one element of the page: the text of any stays far below what browsers hold in one.
_CHUNK = 24_000_000
_WHAT = {'detection': 'Finds objects of {}.', 'segmentation': 'Gives each pixel one of {}.'}
# The page asks for nothing, and runs its own scripts alone: those of `script-src` by their digest,
# the worker and the runtime from memory.
_POLICY = (
    "default-src 'none'; script-src '{script}' 'wasm-unsafe-eval' blob:; worker-src blob:; "
    "style-src '{style}'; img-src blob:; base-uri 'none'; form-action 'none'"
)
_NOTICE = """Contains onnxruntime-web {version}, Copyright (c) Microsoft Corporation, under the MIT
License: permission is hereby granted, free of charge, to any person obtaining a copy of this
software and associated documentation files (the "Software"), to deal in the Software without
restriction, including without limitation the rights to use, copy, modify, merge, publish,
distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
Software is furnished to do so, subject to the following conditions: the above copyright notice and
this permission notice shall be included in all copies or substantial portions of the Software. THE
SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT
LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT.
IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""


def write_page(path: Path, folder: Path, runtime: Runtime) -> int:
    """Write an exported model's page, whole or not at all.

    Args:
        path: Of the page; what is there is replaced.
        folder: Of the exported model, which is read as a stranger's.
        runtime: What computes in the page.

    Returns:
        Its size in bytes.

    Raises:
        InputError: ``folder`` holds no model that a page can run, or ``path`` cannot be written.
    """
    value = read_json(folder / DESCRIPTION)
    description = parse_description(value, str(folder / DESCRIPTION))
    network = _network(folder, description)
    check = _read_check(folder / CHECK)
    if check is not None:
        network += more_outputs(_inner_maps(check, description))
    parts = _parts(description, runtime, len(network))
    data = _data(value, check, runtime, network)
    try:
        with whole_or_absent(path) as file:
            for text in _filled((_SITE / 'page.html').read_text(), parts, data):
                file.write(text.encode())
            return file.tell()
    except OSError as error:
        raise InputError(
            f'{error.strerror}: {path} was not written; make room, or give another file'
        ) from error


def _network(folder: Path, description: Description) -> bytes:
    path = folder / description.model
    if description.task == 'features':
        raise InputError(f'{folder} holds a backbone, which finds nothing in images by itself')
    if path.suffix != '.onnx':
        raise InputError(f'{path} is a program of PyTorch: a page runs ONNX')
    if not path.is_file():
        raise InputError(f'{folder} has no {path.name}, the model that its {DESCRIPTION} names')
    if description.input.dtype == 'float16':
        raise InputError(f'{path} takes float16, and a page gives float32 or uint8')
    if path.stat().st_size > _LARGEST:
        raise InputError(
            f'{path} has {path.stat().st_size / 1e6:,.0f} MB, and a page holds at most '
            f'{_LARGEST / 1e6:,.0f}: export a smaller model'
        )
    network = path.read_bytes()
    refuse_external_data(network, str(path))
    return network


def _read_check(path: Path) -> dict | None:
    if not path.is_file():
        return None
    value = read_json(path)
    parse_check(value, str(path))
    return value


def _inner_maps(check: dict, description: Description) -> list[str]:
    """Tensors within the network that its check looks at, which become outputs of it."""
    tensors = {entry['tensor'] for entry in check['maps']}
    return sorted(tensors - {None, description.input.name, *description.outputs})


def _parts(description: Description, runtime: Runtime, size: int) -> dict[str, str]:
    """What goes where in the page, beside its data."""
    style = (_SITE / 'style.css').read_text()
    page = '\n'.join((_SITE / name).read_text() for name in _PAGE)
    policy = _POLICY.format(script=_digest(page), style=_digest(style))
    versions = ', '.join(f'{name} {text}' for name, text in description.software.items())
    classes = len(description.classes)
    about = _WHAT[description.task].format('1 class' if classes == 1 else f'{classes} classes')
    return dict(
        policy=policy,
        title=html.escape(description.source or 'An exported model'),
        about=about,
        notice=_NOTICE.format(version=runtime.version),
        facts=html.escape(
            f'{size / 1e6:,.1f} MB in onnxruntime-web {runtime.version}; made with {versions}.'
        ),
        style=style,
        worker='\n'.join((_SITE / name).read_text() for name in _WORKER),
        page=page,
    )


def _digest(text: str) -> str:
    return 'sha256-' + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data(description: object, check: object, runtime: Runtime, network: bytes) -> Iterator[str]:
    """Elements that are no scripts, and hold what the page reads."""
    for name, value in (('description', description), ('check', check)):
        # No < in it: nothing ends the element but its end.
        text = json.dumps(value, allow_nan=False).replace('<', r'\u003c')
        yield f'<script type="application/json" id="{name}">{text}</script>\n'
    for name, content in (('script', runtime.script), ('wasm', runtime.wasm), ('model', network)):
        packed = gzip.compress(content, 6, mtime=0)
        for start in range(0, len(packed), _CHUNK):
            text = base64.b64encode(packed[start : start + _CHUNK]).decode()
            yield f'<script type="text/plain" data-of="{name}">{text}</script>\n'


def _filled(template: str, parts: dict[str, str], data: Iterator[str]) -> Iterator[str]:
    for place, text in enumerate(re.split(r'\{\{(\w+)\}\}', template)):
        if place % 2 == 0:
            yield text
        elif text == 'data':
            yield from data
        else:
            yield parts[text]
