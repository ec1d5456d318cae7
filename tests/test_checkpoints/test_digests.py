"""The digest of a file."""

import hashlib

import pytest

from mmvision_mamba.checkpoints.digests import sha256_of


@pytest.mark.parametrize('size', [0, 1, 2**20, 2**20 + 1])
def test_the_digest_is_of_every_byte(size, tmp_path):
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    (tmp_path / 'a').write_bytes(content)
    assert sha256_of(tmp_path / 'a') == hashlib.sha256(content).hexdigest()
