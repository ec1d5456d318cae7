"""What a page is made of, and what is refused; what it does is tested in a browser."""

import base64
import json
import os
import re
import tarfile

import pytest

from mmvision_mamba.errors import InputError
from mmvision_mamba.export.html import page, runtime
from mmvision_mamba.export.html.page import write_page
from mmvision_mamba.export.html.runtime import Runtime, find_runtime

RUNTIME = Runtime('1.2.3', b'script', b'wasm')
DESCRIPTION = dict(
    format=1,
    task='detection',
    classes=['cat'],
    palette=[[1, 2, 3]],
    model='model.onnx',
    input=dict(
        name='image', layout='NCHW', dtype='float32', batch=1, height=None, width=None, multiple=1
    ),
    preprocessing=dict(
        inside=False,
        channel_order='RGB',
        mean=[0, 0, 0],
        std=[1, 1, 1],
        resize=None,
        pad_divisor=1,
        pad_value=0,
    ),
    outputs=['boxes', 'scores', 'labels'],
    score_threshold=0.3,
    mask_threshold=0.5,
    software={'torch': '2.11'},
    source='a "small" one',
)


@pytest.fixture
def exported(tmp_path):
    """A folder whose network is an empty file, which is one of ONNX's too."""
    folder = tmp_path / 'exported'
    folder.mkdir()
    (folder / 'model.onnx').touch()
    describe(folder)
    return folder


def describe(folder, **values) -> None:
    (folder / 'model.json').write_text(json.dumps(DESCRIPTION | values))


def test_a_page_is_one_file_that_names_no_other(exported, tmp_path):
    size = write_page(tmp_path / 'new' / 'page.html', exported, RUNTIME)
    text = (tmp_path / 'new' / 'page.html').read_text()
    assert size == len(text.encode())
    assert '{{' not in text
    assert not re.search(r'(src|href)\s*=\s*["\']', text)
    assert '<title>a &quot;small&quot; one</title>' in text
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['page.html']


def test_a_large_network_is_in_several_elements(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(page, '_CHUNK', 12)
    write_page(tmp_path / 'page.html', exported, RUNTIME)
    text = (tmp_path / 'page.html').read_text()
    parts = re.findall(r'data-of="script">([^<]+)<', text)
    assert len(parts) > 1
    assert page.gzip.decompress(b''.join(map(base64.b64decode, parts))) == b'script'


def test_what_no_page_can_run_is_refused(exported, tmp_path, monkeypatch):
    out = tmp_path / 'page.html'
    for values, words in (
        (dict(task='features', classes=[], palette=[]), 'holds a backbone'),
        (dict(model='model.pt2'), r'model\.pt2 is a program of PyTorch'),
        (dict(model='other.onnx'), r'has no other\.onnx'),
        (dict(input=DESCRIPTION['input'] | dict(dtype='float16')), 'takes float16'),
        (dict(classes=[1]), r'classes\.0 is 1'),
    ):
        describe(exported, **values)
        with pytest.raises(InputError, match=words):
            write_page(out, exported, RUNTIME)
    describe(exported)
    (exported / 'check.json').write_text('{}')
    with pytest.raises(InputError, match=r'check\.json has no format'):
        write_page(out, exported, RUNTIME)
    (exported / 'check.json').unlink()
    (exported / 'model.onnx').write_bytes(b'no network')
    with pytest.raises(InputError, match='is no ONNX file'):
        write_page(out, exported, RUNTIME)
    monkeypatch.setattr(page, '_LARGEST', 5)
    with pytest.raises(InputError, match='export a smaller model'):
        write_page(out, exported, RUNTIME)
    with pytest.raises(InputError, match='no such folder'):
        write_page(out, tmp_path / 'nothing', RUNTIME)
    assert not out.exists()


def test_a_page_that_cannot_be_written_is_said_so(exported, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match=r'page\.html was not written'):
        write_page(tmp_path / 'file' / 'page.html', exported, RUNTIME)


def write_package(folder, **about):
    (folder / 'dist').mkdir(parents=True)
    (folder / 'package.json').write_text(
        json.dumps(dict(name='onnxruntime-web', version='9.9.9') | about)
    )
    (folder / 'dist' / 'ort.wasm.bundle.min.mjs').write_bytes(b'script')
    (folder / 'dist' / 'ort-wasm-simd-threaded.wasm').write_bytes(b'wasm')
    return folder


def test_the_runtime_is_taken_from_a_folder_that_npm_installed(tmp_path):
    assert find_runtime(write_package(tmp_path)) == Runtime('9.9.9', b'script', b'wasm')


def test_what_is_no_runtime_is_named(tmp_path):
    with pytest.raises(InputError, match='no such folder or file'):
        find_runtime(tmp_path / 'nothing')
    with pytest.raises(InputError, match='is no onnxruntime-web with dist/ort'):
        find_runtime(tmp_path)
    for number, about in enumerate((dict(name='left-pad'), dict(version='1--><b>'))):
        with pytest.raises(InputError, match=r'expected onnxruntime-web 1\.30\.0'):
            find_runtime(write_package(tmp_path / str(number), **about))


def test_an_archive_that_is_not_the_released_one_is_refused(tmp_path, monkeypatch):
    write_package(tmp_path / 'package')
    archive = tmp_path / 'mmvision_mamba' / 'onnxruntime-web-1.30.0.tgz'
    archive.parent.mkdir()
    with tarfile.open(archive, 'w:gz') as file:
        file.add(tmp_path / 'package', 'package')
    with pytest.raises(InputError, match='its SHA-512 is another'):
        find_runtime(archive)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    with pytest.raises(InputError, match='remove it, and it is fetched again'):
        find_runtime()


def test_without_npm_one_learns_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(InputError, match=r'no npm: install Node\.js, or fetch .* as --runtime'):
        find_runtime()


@pytest.mark.skipif(runtime.shutil.which('npm') is None, reason='there is no npm here')
def test_without_a_registry_one_learns_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setenv('npm_config_cache', str(tmp_path / 'npm'))
    monkeypatch.setenv('npm_config_registry', 'http://127.0.0.1:9')
    monkeypatch.setenv('npm_config_fetch_retries', '0')
    for name in [name for name in os.environ if name.lower().endswith('_proxy')]:
        monkeypatch.delenv(name)
    with pytest.raises(InputError, match=r'npm cannot fetch onnxruntime-web 1\.30\.0 \(.+as --ru'):
        find_runtime()
    assert not list((tmp_path / 'mmvision_mamba').iterdir())


def test_the_tool_makes_a_page_of_an_exported_folder(exported, run_tool, tmp_path):
    folder = write_package(tmp_path / 'runtime')
    arguments = [exported, '--format', 'html', '--runtime', folder, '--out']
    done = run_tool('export.py', *arguments, 'page.html')
    assert re.fullmatch(r'page\.html is written, 0\.\d MB: .*\n', done.stdout)
    assert (tmp_path / 'page.html').is_file()
    refused = run_tool('export.py', *arguments, 'page', check=False)
    assert refused.returncode == 2
    assert 'argument --out: --format html writes one file, FILE.html, and no page' in refused.stderr
