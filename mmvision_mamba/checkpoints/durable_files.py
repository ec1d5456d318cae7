"""Files that are there whole or not at all, whenever the process or the machine stops."""

import os
import uuid
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

PARTIAL = '.partial'
# Drawn by the thousand, and drawn again in no time: not worth waiting for the disk.
_IMAGES = {'.jpg', '.jpeg', '.png'}


class DurableLocalBackend(LocalBackend):
    """MMEngine's local files, each written whole or not at all."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write under a temporary name, wait for the disk (not for images), and then rename.

        Raises:
            OSError: The file cannot be written; what stood under its name still does.
        """
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Of its own, because MMEngine has every process write some files.
        partial = path.with_name(f'{path.name}.{uuid.uuid4().hex[:8]}{PARTIAL}')
        durable = path.suffix not in _IMAGES
        try:
            with open(partial, 'wb') as file:
                file.write(obj)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(partial, path)
        except OSError as error:
            error.filename = str(path)
            raise
        finally:
            partial.unlink(missing_ok=True)
        if durable:
            _sync_folder(path.parent)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        self.put(obj.encode(encoding), filepath)


def _sync_folder(folder: Path) -> None:
    if os.name == 'posix':  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# For every way in which MMEngine saves: its runners, its FSDP strategy, the best checkpoints.
register_backend('local', DurableLocalBackend, force=True, prefixes='')
