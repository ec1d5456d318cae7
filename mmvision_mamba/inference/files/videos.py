"""Frames of videos, read and written through supervision and OpenCV."""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import supervision as sv

from ...errors import InputError
from .sources import shown

# Of a file without a rate, or with one that no player would follow.
_USUAL_RATE = 25.0
_HIGHEST_RATE = 240.0


class Video:
    """A video file that can be read.

    Attributes:
        rate: Frames a second.
        frames: How many there are, as the file states or OpenCV estimates; None where neither.

    Raises:
        InputError: It is none, or of a kind that is not read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not _is_container(path):
            raise InputError('it is no video in MP4, MOV, AVI, MKV or WebM format')
        # For FFmpeg a path that can be neither a URL nor a pattern of file names.
        self._name = os.path.abspath(path)
        if '%' in self._name or not _is_utf8(self._name):
            self._folder = tempfile.TemporaryDirectory()  # removed with this object
            self._name = os.path.join(self._folder.name, f'video{path.suffix.lower()}')
            os.symlink(os.path.abspath(path), self._name)
        try:
            info = sv.VideoInfo.from_video_path(self._name)
        except Exception as error:  # supervision's own, of no type of its own
            raise InputError('it cannot be decoded as a video') from error
        self.rate = info.fps if 0 < info.fps <= _HIGHEST_RATE else _USUAL_RATE
        self.frames = info.total_frames if (info.total_frames or 0) > 0 else None

    def __iter__(self) -> Iterator[np.ndarray]:
        """The frames in order, each (H, W, 3) uint8 RGB, turned as a player turns them."""
        for frame in sv.get_video_frames_generator(self._name):
            yield np.ascontiguousarray(frame[..., ::-1])

    def lacks(self, read: int) -> bool:
        """Whether so many frames are more than a second less than there are said to be."""
        return self.frames is not None and read < self.frames - self.rate


class VideoFile:
    """A video to write, which gets its name once it is whole.

    Args:
        path: Its name, ending in ``.mp4``.
        rate: Frames a second.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path = path
        self.rate = rate
        self.frames = 0
        self._partial = path.with_name(f'{uuid.uuid4().hex[:8]}.partial.mp4')
        self._sink: sv.VideoSink | None = None

    def write(self, frame: np.ndarray) -> None:
        """Append a frame, (H, W, 3) uint8 RGB, of the first one's size.

        Raises:
            OSError: The file cannot be written.
        """
        if self._sink is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._partial, 'wb'):  # says why, where OpenCV would only fail
                pass
            if not _is_utf8(str(self._partial)):
                raise InputError(f'OpenCV writes no video to {shown(self.path)}')
            height, width = frame.shape[:2]
            info = sv.VideoInfo(width=width, height=height, fps=self.rate)
            self._sink = sv.VideoSink(str(self._partial), info).__enter__()
        self._sink.write_frame(frame[..., ::-1])
        self.frames += 1

    def finish(self) -> None:
        """Close the file and give it its name.

        Raises:
            OSError: Frames are missing: OpenCV says nothing of a disk that is full.
        """
        if self._sink is None:
            return
        self._close()
        try:
            try:
                written = sv.VideoInfo.from_video_path(str(self._partial)).total_frames
            except Exception:  # supervision's own, of no type of its own
                written = 0
            if written != self.frames:
                raise OSError(None, 'Not all frames could be written', str(self.path))
            os.replace(self._partial, self.path)
        finally:
            self.discard()

    def discard(self) -> None:
        """Close and remove what was written."""
        self._close()
        with suppress(OSError):
            self._partial.unlink()

    def _close(self) -> None:
        if self._sink is not None:
            self._sink.__exit__(None, None, None)
            self._sink = None


def _is_container(path: Path) -> bool:
    """Whether a file begins as one of the formats: FFmpeg reads playlists too, which name files."""
    with open(path, 'rb') as file:
        head = file.read(12)
    is_mp4 = head[4:8] in (b'ftyp', b'moov', b'mdat', b'wide', b'free', b'skip')
    is_avi = head[:4] == b'RIFF' and head[8:] == b'AVI '
    return is_mp4 or is_avi or head[:4] == b'\x1a\x45\xdf\xa3'  # Matroska, of which WebM is one


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
