"""What visitors upload and are shown stays below a size."""

import os

from mmvision_mamba.serve.store import Store


def written(path, size, seconds):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (seconds, seconds))
    return path


def test_nothing_is_removed_while_there_is_room(tmp_path):
    paths = [written(tmp_path / str(number) / 'a.png', 100, number) for number in range(5)]
    Store(tmp_path, 500).make_room()
    assert all(path.exists() for path in paths)


def test_the_oldest_are_removed_until_a_half_is_free(tmp_path):
    paths = [written(tmp_path / str(number) / 'a.png', 100, number) for number in range(6)]
    Store(tmp_path, 500).make_room()
    assert [path.exists() for path in paths] == [False] * 4 + [True] * 2


def test_the_pages_own_files_stay(tmp_path):
    own = written(tmp_path / 'example.png', 100, 0)
    store = Store(tmp_path, 150)
    store.keep_what_is_there()
    visitors = written(tmp_path / 'a' / 'a.png', 100, 1)
    store.make_room()
    assert own.exists()
    assert not visitors.exists()


def test_a_folder_that_nobody_wrote_to_is_empty(tmp_path):
    Store(tmp_path / 'none', 10).make_room()
