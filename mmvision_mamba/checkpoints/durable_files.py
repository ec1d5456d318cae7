"""Files that are there whole or not at all, whenever the process or the machine stops."""

import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mmengine.fileio import LocalBackend, register_backend

from ..errors import InputError
from .digest_files import digest_lines, digest_path, read_digests

# The file of MMEngine that names the newest checkpoint of a run.
POINTER = 'last_checkpoint'
_PARTIAL = re.compile(r'.+\.[0-9a-f]{8}\.partial')
# As MMEngine names them, by the time at which they begin.
_LOGS = re.compile(r'\d{8}_\d{6}')
# Drawn by the thousand, and drawn again in no time: not worth waiting for the disk.
_IMAGES = {'.jpg', '.jpeg', '.png'}


class DurableLocalBackend(LocalBackend):
    """MMEngine's local files, each written whole or not at all.

    Beside a checkpoint, and beside the file that names the newest, stands its SHA-256.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write under a temporary name, wait for the disk (not for images), and then rename.

        A digest is on the disk before its file has its name: a checkpoint never stands without.
        One that is replaced is believed until it is, because both digests are written.

        Raises:
            OSError: The file, which it names, cannot be written; what stood there still does.
        """
        try:
            self._put(obj, Path(filepath))
        except OSError as error:
            error.filename = str(filepath)
            raise

    def _put(self, obj: bytes, path: Path) -> None:
        digests = [hashlib.sha256(obj).hexdigest()] if _has_digest(path) else []
        replaced = _digests_of(path) if digests else []
        with whole_or_absent(path, durable=path.suffix not in _IMAGES) as file:
            file.write(obj)
            if digests:
                file.flush()
                os.fsync(file.fileno())
                self.put_text(digest_lines(path, digests + replaced), digest_path(path))
        if replaced:
            self.put_text(digest_lines(path, digests), digest_path(path))

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        self.put(obj.encode(encoding), filepath)

    def remove(self, filepath: str | Path) -> None:
        """Remove a file, and then its digest: a checkpoint never stands without."""
        super().remove(filepath)
        digest_path(Path(filepath)).unlink(missing_ok=True)


@contextmanager
def whole_or_absent(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """A new file to write to, which gets its name, and replaces what had it, once all went well.

    Args:
        path: Its name; folders that lack are made.
        durable: Whether to wait for the disk before it gets its name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of its own, because MMEngine has every process write some files; a long one would be too long.
    partial = path.with_name(f'{path.name[:50]}.{uuid.uuid4().hex[:8]}.partial')
    try:
        with open(partial, 'wb') as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        # On a disk that has become read-only it fails as well, and says nothing new.
        with suppress(OSError):
            partial.unlink()
    if durable:
        sync_folder(path.parent)


def clear_unfinished(work_dir: str | Path) -> None:
    """Remove what killed processes left half written in a run's folder and its folders of logs.

    Not in others below it, which may be of runs that are writing.
    """
    own = list(Path(work_dir).glob('*'))
    logs = [file for path in own if _LOGS.fullmatch(path.name) for file in path.rglob('*')]
    for path in own + logs:
        if _PARTIAL.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _has_digest(path: Path) -> bool:
    return path.suffix == '.pth' or path.name == POINTER


def _digests_of(path: Path) -> list[str]:
    """The digests of a file that is to be replaced, if it is one that can be believed at all."""
    if not path.is_file():
        return []
    try:
        return read_digests(path) or []
    except InputError:
        return []


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    if os.name == 'posix':  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# For every way in which MMEngine saves: its runners, its FSDP strategy, the best checkpoints.
register_backend('local', DurableLocalBackend, force=True, prefixes='')
