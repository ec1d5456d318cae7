"""Which checkpoint an interrupted run goes on from."""

import re
import zipfile
import zlib
from pathlib import Path

from mmengine.logging import print_log

from ..errors import InputError

POINTER = 'last_checkpoint'


def checkpoint_to_resume(work_dir: str) -> str | None:
    """The newest whole checkpoint in ``work_dir``, or None where no run has begun.

    MMEngine follows the pointer file alone, and starts from scratch where it is missing. Here a
    folder that holds checkpoints never leads to a fresh start: the pointer's target is taken when
    it is whole, else the newest checkpoint that is; what is passed over is said.

    Raises:
        InputError: The folder has checkpoints and none is whole.
    """
    folder = Path(work_dir)
    candidates = [path for path in folder.glob('*_*.pth') if _progress(path) is not None]
    candidates.sort(key=_progress, reverse=True)
    pointer = folder / POINTER
    if pointer.is_file():
        # By name: the recorded path may be relative to the folder of an earlier call.
        pointed = folder / Path(pointer.read_text().strip()).name
        candidates = [pointed, *(path for path in candidates if path != pointed)]
    passed_over = []
    for path in candidates:
        if _is_whole(path):
            if passed_over:
                print_log(
                    f'--resume: {", ".join(passed_over)} cannot be read, going on from {path.name}',
                    'current',
                )
            return str(path)
        passed_over.append(path.name)
    if candidates:
        raise InputError(
            f'--resume: no checkpoint in {folder} can be read ('
            + ', '.join(passed_over[:3])
            + '); give a whole one with --resume FILE, or another --work-dir to start anew'
        )
    return None


def _progress(path: Path) -> tuple[int, int] | None:
    """Epochs and iterations in epoch_3.pth, epoch_3_iter_70.pth or iter_4000.pth, else None."""
    match = re.fullmatch(r'(?:epoch_(\d+))?_?(?:iter_(\d+))?\.pth', path.name)
    return match and (int(match[1] or 0), int(match[2] or 0))


def _is_whole(path: Path) -> bool:
    """Whether a file is a complete torch archive, every byte of it as written."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, zlib.error):
        return False
