"""onnxruntime-web: what computes in the page, from the npm registry or a folder of the user's."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError

PACKAGE, VERSION = 'onnxruntime-web', '1.30.0'
# Of the package's archive, as the registry gives it in `dist.integrity`.
INTEGRITY = (
    'sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfK'
    'YQ=='
)
_SCRIPT, _WASM = 'dist/ort.wasm.bundle.min.mjs', 'dist/ort-wasm-simd-threaded.wasm'
_ABOUT = 'package.json'
_SECONDS = 600


@dataclass(frozen=True)
class Runtime:
    """onnxruntime for WebAssembly.

    Attributes:
        version: Of the package.
        script: An ES module.
        wasm: What it loads.
    """

    version: str
    script: bytes
    wasm: bytes


def find_runtime(given: Path | None = None) -> Runtime:
    """onnxruntime-web of a folder or an archive, or else of the cache, which npm fills.

    Args:
        given: A folder that npm has installed, such as ``node_modules/onnxruntime-web``, of any
            version; or the archive of ``npm pack`` of :data:`VERSION`.

    Raises:
        InputError: There is none, the archive is not the one it should be, or npm cannot fetch it.
    """
    if given is not None and given.is_dir():
        return _read(given, lambda name: (given / name).read_bytes())
    if given is not None and not given.is_file():
        raise InputError(f'--runtime {given}: no such folder or file')
    archive = given or _cached()
    _check(archive)
    return _of_archive(archive)


def _cached() -> Path:
    home = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    archive = Path(home, 'mmvision_mamba', f'{PACKAGE}-{VERSION}.tgz')
    if not archive.is_file():
        _fetch(archive)
    return archive


def _fetch(archive: Path) -> None:
    """Have npm fetch the package from the registry that it is set up for."""
    by_hand = (
        f'fetch it where there is a network with "npm pack {PACKAGE}@{VERSION}" and give the file '
        'as --runtime'
    )
    npm = shutil.which('npm')
    if npm is None:
        raise InputError(
            f'a page needs {PACKAGE}, which npm fetches, and there is no npm: install Node.js, or '
            f'{by_hand}'
        )
    archive.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place, which it takes once it is whole.
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        command = [npm, 'pack', '--silent', '--ignore-scripts', f'{PACKAGE}@{VERSION}']
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise InputError(
                f'npm did not fetch {PACKAGE} within {_SECONDS} s: {by_hand}'
            ) from error
        found = Path(folder, archive.name)
        if done.returncode or not found.is_file():
            said = ' '.join(done.stderr.split())[-300:] or f'exit status {done.returncode}'
            raise InputError(f'npm cannot fetch {PACKAGE} {VERSION} ({said}): {by_hand}')
        _check(found)
        found.replace(archive)


def _check(archive: Path) -> None:
    with archive.open('rb') as file:
        digest = hashlib.file_digest(file, 'sha512').digest()
    if f'sha512-{base64.b64encode(digest).decode()}' != INTEGRITY:
        raise InputError(
            f'{archive} is not {PACKAGE} {VERSION} as it was released: its SHA-512 is another; '
            'remove it, and it is fetched again'
        )


def _of_archive(archive: Path) -> Runtime:
    with tarfile.open(archive) as file:
        members = {member.name: member for member in file if member.isfile()}
        return _read(archive, lambda name: file.extractfile(members[f'package/{name}']).read())


def _read(source: Path, read) -> Runtime:
    try:
        about = json.loads(read(_ABOUT))
        name, version = about['name'], about['version']
        script, wasm = read(_SCRIPT), read(_WASM)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(
            f'--runtime {source} is no {PACKAGE} with {_SCRIPT} and {_WASM}; expected the folder '
            f'that "npm install {PACKAGE}@{VERSION}" makes, or the archive of npm pack'
        ) from error
    if name != PACKAGE or not re.fullmatch(r'\d[\w.-]{0,40}', str(version)):
        raise InputError(f'--runtime {source} is {name} {version}; expected {PACKAGE} {VERSION}')
    return Runtime(version, script, wasm)
