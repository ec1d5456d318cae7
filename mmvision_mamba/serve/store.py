"""The folder of what visitors uploaded and were shown, kept below a size."""

import threading
from contextlib import suppress
from pathlib import Path


class Store:
    """A folder that others write to.

    Args:
        folder: The folder.
        max_bytes: Of all files in it.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._lasting: frozenset[Path] = frozenset()
        self._lock = threading.Lock()

    def keep_what_is_there(self) -> None:
        """Never remove the files of this moment: the page's own."""
        self._lasting = frozenset(path for path, _, _ in self._files())

    def make_room(self) -> None:
        """Remove the oldest files until a half is free, if the whole is taken."""
        with self._lock:
            files = self._files()
            total = sum(size for _, size, _ in files)
            if total <= self._max_bytes:
                return
            for path, size, _ in sorted(files, key=lambda file: file[2]):
                if total <= self._max_bytes // 2:
                    return
                if path not in self._lasting:
                    path.unlink(missing_ok=True)
                    total -= size

    def _files(self) -> list[tuple[Path, int, float]]:
        """Path, bytes and time of change of each, of which any may vanish meanwhile."""
        found = []
        for path in self.folder.rglob('*'):
            with suppress(FileNotFoundError):
                if path.is_file():
                    status = path.stat()
                    found.append((path, status.st_size, status.st_ctime))
        return found
