"""The digest of a file."""

import hashlib
from pathlib import Path

_CHUNK = 2**20


def sha256_of(path: str | Path) -> str:
    """The SHA-256 of a file's bytes as 64 hexadecimal digits, read in chunks.

    Raises:
        OSError: The file cannot be opened or read.
    """
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
