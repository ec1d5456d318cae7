"""The digest that is written beside a file, by which alone the file is believed later."""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError
from .digests import sha256_of_open

SUFFIX = '.sha256'
# Bytes; a line is 64 digits and a file's name, and there are rarely more than two.
_LONGEST = 4096
_KINDS = {
    stat.S_IFLNK: 'a link',
    stat.S_IFDIR: 'a folder',
    stat.S_IFIFO: 'a pipe',
    stat.S_IFSOCK: 'a socket',
    stat.S_IFCHR: 'a device',
    stat.S_IFBLK: 'a device',
}


def digest_path(path: Path) -> Path:
    """Where the digest of a file stands: ``epoch_3.pth.sha256`` beside ``epoch_3.pth``."""
    return path.with_name(path.name + SUFFIX)


def digest_lines(path: Path, digests: list[str]) -> str:
    """What is written there, as ``sha256sum`` does, so that ``sha256sum -c`` checks it.

    Args:
        path: The file.
        digests: SHA-256 of what it holds, as 64 hexadecimal digits; while it is being replaced,
            of what it may hold.
    """
    return ''.join(f'{digest}  {path.name}\n' for digest in digests)


def read_digests(path: Path) -> list[str] | None:
    """The digests that stand beside a file; None where it has none.

    Raises:
        InputError: What stands there is not what :func:`digest_lines` wrote.
    """
    beside = digest_path(path)
    content = read_beginning(beside, _LONGEST + 1)
    if content is None:
        return None
    line = rb'([0-9a-f]{64})  ' + re.escape(os.fsencode(path.name)) + rb'\n'
    if len(content) > _LONGEST or not re.fullmatch(rb'(?:%b)+' % line, content):
        raise InputError(f'{beside.name} is damaged')
    return [digest.decode() for digest in re.findall(line, content)]


def has_its_digest(path: Path) -> bool:
    """Whether a file is byte for byte as it was written; False where no digest stands beside it.

    Raises:
        InputError: It is not; or it, or its digest, is damaged, cannot be read, or is no regular
            file, of which nothing is opened.
    """
    try:
        with open_regular(path) as file:
            digests = read_digests(path)
            if digests is None:
                return False
            found = sha256_of_open(file)
    except (OSError, ValueError) as error:  # ValueError: no name for a file
        reason = getattr(error, 'strerror', None) or error
        raise InputError(f'{path.name} cannot be read ({reason})') from error
    if found not in digests:
        raise InputError(f'{path.name} differs from its digest in {digest_path(path).name}')
    return True


def read_beginning(path: Path, count: int) -> bytes | None:
    """At most ``count`` bytes of a regular file; None where there is no such file.

    Raises:
        InputError: It is no regular file, or cannot be read.
    """
    try:
        with open_regular(path) as file:
            return file.read(count)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f'{path.name} cannot be read ({error.strerror})') from error


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file to read it, and nothing else: a pipe or a device may have no end.

    Raises:
        InputError: A link, whatever it leads to, or another kind of file.
        OSError: There is no such file, or it cannot be opened.
    """
    _check_regular(path, os.lstat(path))
    with open(path, 'rb', opener=_open_without_waiting) as file:
        _check_regular(path, os.fstat(file.fileno()))
        yield file


def _open_without_waiting(path: str, flags: int) -> int:
    # If it has become a link or a pipe meanwhile. Windows has neither flag.
    return os.open(path, flags | getattr(os, 'O_NOFOLLOW', 0) | getattr(os, 'O_NONBLOCK', 0))


def _check_regular(path: Path, status: os.stat_result) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise InputError(
            f'{path.name} is {_KINDS.get(kind, "of an unknown kind")}, not a regular file'
        )
