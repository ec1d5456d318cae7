"""The folder of an exported model, written whole or not at all."""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ..checkpoints.durable_files import sync_folder
from ..errors import InputError
from ..standalone.check import CHECK
from ..standalone.description import DESCRIPTION

_STANDALONE = Path(__file__).parents[1] / 'standalone'
_PROGRAM = 'predict.py'


def write_folder(
    folder: Path,
    model: bytes | Path,
    description: Mapping,
    check: Mapping | None = None,
    approve: Callable[[Path], object] | None = None,
) -> None:
    """Write an exported model: its network, model.json, predict.py and the check.

    It is written beside ``folder``, and takes its name once all of it is on the disk; an export
    that was there before is replaced.

    Args:
        folder: Not there, empty, or of an earlier export.
        model: The network's file, or its bytes.
        description: Of :func:`mmvision_mamba.export.description.describe`.
        check: Of :func:`mmvision_mamba.export.self_check.record`; None for none.
        approve: Called with the folder before it takes its name; what it raises keeps it from that.

    Raises:
        InputError: ``folder`` holds anything but an earlier export, or cannot be written to.
    """
    refuse_foreign(folder)
    folder = folder.absolute()
    beside = folder.with_name(f'.{folder.name[:50]}.{uuid.uuid4().hex[:8]}')
    part, old = Path(f'{beside}.partial'), Path(f'{beside}.old')
    try:
        part.mkdir(parents=True)
        for name, content in _files(model, description, check):
            _put(part / name, content)
        _sync_folders(part)
        if approve is not None:
            approve(part)
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise InputError(
            f'{error.strerror}: {folder} was not written; make room, or give another folder'
        ) from error
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for path in (part, old):
            shutil.rmtree(path, ignore_errors=True)


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds anything but an earlier export.

    Raises:
        InputError: It is a file, or holds what an export does not.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f'{folder} is a file: give a new folder')
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    foreign = sorted(names - {DESCRIPTION, CHECK, _PROGRAM, _STANDALONE.name, *_networks(names)})
    if foreign or (names and DESCRIPTION not in names):
        raise InputError(
            f'{folder} holds what is no export, such as {(foreign or sorted(names))[0]}: give a '
            'new folder'
        )


def _networks(names: set[str]) -> set[str]:
    return names & {'model.onnx', 'model.pt2'}


def _files(
    model: bytes | Path, description: Mapping, check: Mapping | None
) -> Iterator[tuple[str, bytes | Path]]:
    yield description['model'], model
    yield DESCRIPTION, _as_json(description)
    if check is not None:
        yield CHECK, _as_json(check)
    if description['model'].endswith('.onnx'):
        for path in sorted(_STANDALONE.glob('*.py')):
            name = path.name if path.name == _PROGRAM else f'{_STANDALONE.name}/{path.name}'
            yield name, path


def _as_json(value: Mapping) -> bytes:
    entries = (f' {json.dumps(key)}: {json.dumps(value[key], allow_nan=False)}' for key in value)
    return ('{\n' + ',\n'.join(entries) + '\n}\n').encode()


def _put(path: Path, content: bytes | Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open('wb') as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            with content.open('rb') as source:
                shutil.copyfileobj(source, file)
        file.flush()
        os.fsync(file.fileno())


def _sync_folders(folder: Path) -> None:
    for path in (*(path for path in folder.iterdir() if path.is_dir()), folder):
        sync_folder(path)
