"""What a command line names is found, each file once, and what is left out is counted."""

import io
import os
from pathlib import Path

import pytest

from mmvision_mamba.errors import InputError
from mmvision_mamba.inference.files.sources import find_sources, output_names, shown


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    """A folder of files of every kind, which is the current one."""
    for name in (
        'in/b.JPG',
        'in/a.png',
        'in/clip.mp4',
        'in/notes.txt',
        'in/LICENSE',
        'in/.hidden.png',
        'in/deep/c.jpg',
        'in/deep/er/d.gif',
        'other/a.png',
        'in/x.jpg/inner.png',
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*inputs, **options):
    return [source.name for source in find_sources(inputs, **options).sources]


def test_a_folder_gives_its_images_and_videos_and_counts_the_rest(tree):
    os.symlink('nowhere', 'in/broken.png')
    os.mkfifo('in/pipe.jpg')
    found = find_sources(['in'])
    assert [source.name for source in found.sources] == ['a.png', 'b.JPG', 'clip.mp4']
    assert [source.is_video for source in found.sources] == [False, False, True]
    assert found.describe_left_out() == (
        '1 .txt, 1 broken link, 1 file without a suffix, 2 folders (--recursive looks into them), '
        '1 hidden file, 1 pipe or device'
    )


def test_recursion_keeps_the_folders_and_ends_where_links_lead_back(tree):
    os.symlink('..', 'in/deep/back')
    os.symlink('.', 'in/deep/er/itself')
    os.symlink('self', 'in/self')
    assert names('in', recursive=True) == [
        'a.png',
        'b.JPG',
        'clip.mp4',
        'deep/c.jpg',
        'deep/er/d.gif',
        'x.jpg/inner.png',
    ]


def test_a_linked_folder_is_looked_into(tree):
    os.symlink('../other', 'in/linked')
    assert 'linked/a.png' in names('in', recursive=True)


def test_the_folder_of_the_results_is_left_alone(tree):
    assert names('.', recursive=True, without=Path('in')) == ['other/a.png']


def test_the_same_name_in_two_folders_stays_apart(tree):
    assert names('in', 'other') == ['in/a.png', 'in/b.JPG', 'in/clip.mp4', 'other/a.png']
    assert names('in/a.png', 'other/a.png') == ['in/a.png', 'other/a.png']
    assert names('other/a.png') == ['a.png']


def test_a_file_given_twice_is_taken_once(tree):
    os.symlink('in', 'again')
    found = find_sources(['in', 'in/a.png', './in/../in/b.JPG', 'again/a.png'])
    assert len(found.sources) == 3
    assert found.left_out['given twice'] == 3


def test_patterns_are_matched_where_the_shell_left_them(tree):
    assert names('in/*.[jJ]*') == ['b.JPG']
    assert names('in/**/*.jpg') == ['deep/c.jpg']
    assert names('in/*') == ['a.png', 'b.JPG', 'clip.mp4']
    assert find_sources(['in/*']).left_out['.txt'] == 1


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tree):
    Path('in/a[1].png').touch()
    Path('in/a1.png').touch()
    assert names('in/a[1].png') == ['a[1].png']


def test_a_file_named_by_itself_is_tried_whatever_its_suffix(tree):
    assert names('in/LICENSE') == ['LICENSE']


@pytest.mark.parametrize('separator', [b'\n', b'\r\n', b'\0'])
def test_a_list_names_files_and_folders_one_a_line_or_between_null_bytes(tree, separator):
    listing = separator.join([b'in/a.png', b'', b'other', b'gone.png', b''])
    assert names('-', listing=io.BytesIO(listing)) == ['in/a.png', 'other/a.png', 'gone.png']


def test_names_of_any_bytes_are_found_and_shown_on_one_line(tree):
    odd = [b'in/new\nline.png', b'in/\xff\xfe.png', b'in/ -x y.png', b'in/' + b'x' * 251 + b'.png']
    for name in odd:
        Path(os.fsdecode(name)).touch()
    listing = io.BytesIO(b'\0'.join(odd))
    sources = find_sources(['-'], listing=listing).sources
    assert [os.fsencode(source.path) for source in sources] == odd
    assert all(source.path.exists() for source in sources)
    assert [shown(source.name) for source in sources][:3] == [
        'new\\nline.png',
        '\\udcff\\udcfe.png',
        ' -x y.png',
    ]
    assert {os.fsencode(source.name) for source in find_sources(['in']).sources} >= {
        name.removeprefix(b'in/') for name in odd
    }


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        ('gone.png', 'gone.png: no such file or folder'),
        ('', "'': no such file or folder"),
        ('in/*.bmp', 'no file matches in/*.bmp'),
        ('x' * 5000, 'no such file'),
        ('pipe', 'pipe is neither a file nor a folder'),
        ('broken', 'broken is a link to nowhere, which is not there'),
        ('empty', 'no image or video in empty'),
        ('other/../empty2', 'no image or video in other/../empty2; left out: 1 .txt'),
    ],
)
def test_an_input_that_gives_nothing_is_named(tree, given, said):
    os.mkfifo('pipe')
    os.symlink('nowhere', 'broken')
    Path('empty').mkdir()
    Path('empty2').mkdir()
    Path('empty2/a.txt').touch()
    with pytest.raises(InputError) as error:
        find_sources([given])
    assert said in str(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read every folder')
def test_a_folder_that_may_not_be_read_is_said(tree):
    Path('in/deep').chmod(0)
    try:
        found = find_sources(['in'], recursive=True)
        assert 'folder in/deep: Permission denied' in found.describe_left_out()
        with pytest.raises(InputError, match='in/deep: Permission denied'):
            find_sources(['in/deep'])
    finally:
        Path('in/deep').chmod(0o700)


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        (['a.jpg', 'b.tif'], ['a.jpg', 'b.png']),
        (['a.JPG', 'a.png'], ['a.JPG', 'a.png']),
        (['a.tif', 'a.png'], ['a.tif.png', 'a.png']),
        (['a.tif', 'a.bmp'], ['a.tif.png', 'a.bmp.png']),
        (['d/a.tif', 'a.png'], ['d/a.png', 'a.png']),
        (['a.tif', 'a.png', 'a.tif.png'], ['a.tif.png', 'a.png.png', 'a.tif.png.png']),
        (['noend', '.tif'], ['noend.png', '.tif.png']),
    ],
)
def test_results_never_share_a_name(given, expected):
    assert output_names(given, ('.jpg', '.png'), '.png') == expected
