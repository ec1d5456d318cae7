"""The digest of a file."""

import hashlib
from pathlib import Path
from typing import BinaryIO

_CHUNK = 2**20


def sha256_of(path: str | Path) -> str:
    """The SHA-256 of a file's bytes as 64 hexadecimal digits, read in chunks.

    Raises:
        OSError: The file cannot be opened or read.
    """
    with open(path, 'rb') as file:
        return sha256_of_open(file)


def sha256_of_open(file: BinaryIO) -> str:
    """As :func:`sha256_of`, of what is left of an open file."""
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):  # hashlib.file_digest came with Python 3.11
        digest.update(chunk)
    return digest.hexdigest()
