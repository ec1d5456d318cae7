"""What a command line names, found: images and videos, and how much there was besides."""

import glob
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ...errors import InputError

# By which files in folders and of patterns are taken; one named by itself is tried whatever it is.
# fmt: off
IMAGE_SUFFIXES = frozenset({
    '.avif', '.bmp', '.dib', '.gif', '.jfif', '.jp2', '.jpe', '.jpeg', '.jpg', '.mpo', '.pbm',
    '.pgm', '.png', '.pnm', '.ppm', '.tga', '.tif', '.tiff', '.webp',
})
# fmt: on
VIDEO_SUFFIXES = frozenset({'.avi', '.m4v', '.mkv', '.mov', '.mp4', '.webm'})

_FOLDER = 'folder (--recursive looks into it)'
_PLURALS = {
    _FOLDER: 'folders (--recursive looks into them)',
    'hidden file': 'hidden files',
    'broken link': 'broken links',
    'pipe or device': 'pipes and devices',
    'file without a suffix': 'files without a suffix',
}


@dataclass(frozen=True, slots=True)
class Source:
    """A file to predict on.

    Attributes:
        path: Where it is opened.
        name: What results call it: its path below the innermost folder that holds all inputs (of
            one folder, below it), with ``/`` between parts; bytes that are no UTF-8 are surrogates.
    """

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEO_SUFFIXES


@dataclass(frozen=True)
class Found:
    """Sources in order, no file twice, and the numbers of what was left out, by kind."""

    sources: list[Source]
    left_out: Counter[str]

    def describe_left_out(self) -> str:
        """Such as ``2 .txt, 1 hidden file``; empty where nothing was left out."""
        return ', '.join(
            f'{count:,} {kind if count == 1 else _PLURALS.get(kind, kind)}'
            for kind, count in sorted(self.left_out.items())
        )


def find_sources(
    inputs: Iterable[str],
    recursive: bool = False,
    without: Path | None = None,
    listing: BinaryIO | None = None,
) -> Found:
    """The images and videos among files, folders, patterns and lists.

    Args:
        inputs: Paths of files and folders; patterns (``*``, ``?``, ``[...]``, ``**``) that are no
            file's name; ``-`` for paths on standard input, one a line, or between null bytes
            (``find -print0``).
        recursive: Whether folders are looked into at any depth, once each.
        without: A folder below the inputs that is not looked into: that of the results.
        listing: Read in place of standard input.

    Raises:
        InputError: An input is not there, may not be read, or nothing of all is an image or video.
            What a list names and is not there is a source all the same: reading it fails.
    """
    search = _Search(recursive, without)
    for text in inputs:
        if text == '-':
            for line in _lines(listing or sys.stdin.buffer):
                search.add_listed(line)
        else:
            search.add(text)
    found = search.found()
    if not found.sources:
        left_out = found.describe_left_out()
        raise InputError(
            f'no image or video in {" ".join(map(shown, inputs))}'
            + (f'; left out: {left_out}' if left_out else '')
        )
    return found


def shown(name: str | os.PathLike) -> str:
    """A file's name for a terminal: line breaks, control codes and foreign bytes are escaped."""
    text = os.fspath(name)
    return text if text.isprintable() and text else ascii(text)[1:-1] or "''"


class _Search:
    def __init__(self, recursive: bool, without: Path | None) -> None:
        self.recursive = recursive
        self.left_out: Counter[str] = Counter()
        self._paths: dict[str, str] = {}  # as opened, by where it truly is
        self._bases: set[str] = set()
        self._folders: set[tuple[int, int]] = set()
        self._without = _identity(without) if without is not None and without.is_dir() else None

    def add(self, text: str) -> None:
        if os.path.isdir(text):
            self._bases.add(os.path.abspath(text))
            try:
                self._add_folder(text)
            except OSError as error:
                raise InputError(f'{shown(text)}: {error.strerror}') from error
        elif os.path.isfile(text):
            self._bases.add(os.path.dirname(os.path.abspath(text)))
            self._take(text)
        elif os.path.exists(text):
            raise InputError(f'{shown(text)} is neither a file nor a folder')
        elif os.path.islink(text):
            target = shown(os.readlink(text))
            raise InputError(f'{shown(text)} is a link to {target}, which is not there')
        elif glob.has_magic(text):
            self._add_pattern(text)
        else:
            raise InputError(f'{shown(text)}: no such file or folder')

    def add_listed(self, text: str) -> None:
        if os.path.isdir(text):
            self.add(text)
        else:
            self._bases.add(os.path.dirname(os.path.abspath(text)))
            self._take(text)

    def found(self) -> Found:
        root = os.path.commonpath(self._bases) if self._bases else ''
        sources = [
            Source(Path(path), os.path.relpath(os.path.abspath(path), root).replace(os.sep, '/'))
            for path in self._paths.values()
        ]
        return Found(sources, self.left_out)

    def _take(self, path: str) -> None:
        folder, name = os.path.split(os.path.abspath(path))
        where = os.path.join(_true_folder(folder), name)
        if where in self._paths:
            self.left_out['given twice'] += 1
        else:
            # Behind a tilde no home folder is looked for: the shell has done so.
            self._paths[where] = os.path.abspath(path) if path.startswith('~') else path

    def _take_by_suffix(self, path: str) -> None:
        suffix = os.path.splitext(path)[1].lower()
        if suffix in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            self._take(path)
        else:
            self.left_out[shown(suffix) if suffix else 'file without a suffix'] += 1

    def _add_pattern(self, pattern: str) -> None:
        matches = sorted(glob.iglob(pattern, recursive=True))
        if not matches:
            raise InputError(f'no file matches {shown(pattern)}')
        parts = Path(pattern).parts
        fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
        self._bases.add(os.path.abspath(os.path.join('', *parts[:fixed])))
        for path in matches:
            if os.path.isfile(path):
                self._take_by_suffix(path)
            elif not os.path.isdir(path):
                self._leave_out(path)

    def _add_folder(self, folder: str) -> None:
        identity = _identity(folder)
        if identity in self._folders:  # by another path, or as a link that leads back to it
            return
        self._folders.add(identity)
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            path = os.path.join(folder, name)
            if name.startswith('.'):
                self.left_out['hidden file'] += 1
            elif os.path.isfile(path):
                self._take_by_suffix(path)
            elif not os.path.isdir(path):
                self._leave_out(path)
            elif not self.recursive:
                self.left_out[_FOLDER] += 1
            else:
                self._add_subfolder(path)

    def _add_subfolder(self, folder: str) -> None:
        try:
            if _identity(folder) != self._without:
                self._add_folder(folder)
        except OSError as error:
            self.left_out[f'folder {shown(folder)}: {error.strerror}'] += 1

    def _leave_out(self, path: str) -> None:
        self.left_out['pipe or device' if os.path.exists(path) else 'broken link'] += 1


def _identity(folder: str | Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


@lru_cache(maxsize=1024)
def _true_folder(folder: str) -> str:
    return os.path.realpath(folder)


def _lines(stream: BinaryIO) -> Iterator[str]:
    text = stream.read()
    separator = b'\0' if b'\0' in text else b'\n'
    for line in text.split(separator):
        line = line.removesuffix(b'\r') if separator == b'\n' else line
        if line:
            yield os.fsdecode(line)


def output_names(names: list[str], keep: Iterable[str], suffix: str) -> list[str]:
    """Names of results, one of each source, that never fall together.

    ``a.tif`` gives ``a.png`` (for ``suffix='.png'``), or ``a.tif.png`` where ``a.jpg`` stands
    beside it and would give the same.

    Args:
        names: Of the sources, all different.
        keep: Suffixes, in small letters, of names that stay as they are.
        suffix: What other names end in.
    """
    keep = frozenset(keep)

    def named(name: str) -> str:
        path = PurePosixPath(name)
        return name if path.suffix.lower() in keep else str(path.with_suffix(suffix))

    short = [named(name) for name in names]
    counts = Counter(short)
    chosen = [
        new if counts[new] == 1 or new == name else f'{name}{suffix}'
        for new, name in zip(short, names)
    ]
    if len(set(chosen)) == len(names):
        return chosen
    return [f'{name}{suffix}' for name in names]
