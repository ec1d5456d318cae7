"""Which checkpoint an interrupted run goes on from."""

import re
import zipfile
from pathlib import Path

from ..errors import InputError

_POINTER = 'last_checkpoint'


def checkpoint_to_resume(work_dir: str) -> str | None:
    """The newest whole checkpoint in ``work_dir``, or None where no run has begun.

    MMEngine follows the pointer file alone, and starts from scratch where it is missing. Here a
    folder that holds checkpoints never leads to a fresh start: the pointer's target is taken when
    it is whole, else the newest checkpoint that is.

    Raises:
        InputError: The folder has checkpoints and none is whole.
    """
    folder = Path(work_dir)
    candidates = sorted(folder.glob('*_*.pth'), key=_progress, reverse=True)
    candidates = [path for path in candidates if _progress(path) >= 0]
    pointer = folder / _POINTER
    if pointer.is_file():
        # By name: the recorded path may be relative to the folder of an earlier call.
        pointed = folder / Path(pointer.read_text().strip()).name
        candidates = [pointed, *(path for path in candidates if path != pointed)]
    for path in candidates:
        if _is_whole(path):
            return str(path)
    if candidates:
        raise InputError(
            f'--resume: no checkpoint in {folder} can be read ('
            + ', '.join(path.name for path in candidates[:3])
            + '); give a whole one with --resume FILE, or another --work-dir to start anew'
        )
    return None


def _progress(path: Path) -> int:
    """Epochs or iterations in a name such as epoch_3.pth or iter_4000.pth, else -1."""
    match = re.fullmatch(r'(?:epoch|iter)_(\d+)\.pth', path.name)
    return int(match[1]) if match else -1


def _is_whole(path: Path) -> bool:
    """Whether a file is a complete torch archive: its directory, at the end, can be read."""
    return path.is_file() and zipfile.is_zipfile(path)
