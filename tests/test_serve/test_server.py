"""What programs get of a page, and what strangers do not."""

import json
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from mmvision_mamba.serve.page import Page

ROOT = Path(__file__).parents[2]
FILE = {'_type': 'gradio.FileData'}


class Client:
    """A program that knows HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip('/')

    def __call__(self, path: str, data: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def post(self, path: str, value: object) -> tuple[int, bytes]:
        return self(path, json.dumps(value).encode(), **{'Content-Type': 'application/json'})

    def upload(self, content: bytes, name: str = 'image.jpg') -> tuple[int, bytes]:
        boundary = uuid.uuid4().hex
        head = f'Content-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body = f'--{boundary}\r\n{head}'.encode() + content + f'\r\n--{boundary}--\r\n'.encode()
        kind = f'multipart/form-data; boundary={boundary}'
        return self('/gradio_api/upload', body, **{'Content-Type': kind})

    def uploaded(self, path: Path) -> str:
        status, answer = self.upload(path.read_bytes(), path.name)
        assert status == 200
        return json.loads(answer)[0]

    def predict(self, **arguments) -> tuple[str, object]:
        """The event that ends it, and its data."""
        status, answer = self.post('/gradio_api/call/v2/predict', arguments)
        if status != 200:
            return str(status), answer.decode()
        event = json.loads(answer)['event_id']
        _, answer = self(f'/gradio_api/call/predict/{event}')
        kind, data = re.search(r'event: (complete|error)\ndata: (.*)', answer.decode()).groups()
        return kind, json.loads(data)


@pytest.fixture(scope='module')
def client(served_page):
    return Client(served_page.url)


def test_a_program_gets_detections_in_cocos_format(client, served_page, images):
    kind, [found] = client.predict(image=dict(path=client.uploaded(images['image'])), score=0.05)
    assert kind == 'complete'
    assert found['model'] == next(iter(served_page.page.models))
    width, height = Image.open(images['image']).size
    assert (found['images'][0]['width'], found['images'][0]['height']) == (width, height)
    assert [category['name'] for category in found['categories']][:2] == ['circle', 'triangle']
    for annotation in found['annotations']:
        assert annotation['score'] >= 0.05
        assert annotation['segmentation']['size'] == [height, width]
    assert found['annotations']


def test_a_program_names_a_model(client, images):
    path = client.uploaded(images['image'])
    _, [found] = client.predict(image=dict(path=path), model='upernet_mambaout_demo_shapes')
    masks = [coco_mask.decode(each['segmentation']) for each in found['annotations']]
    assert (np.sum(masks, axis=0) == 1).all()  # every pixel has one class


@pytest.mark.skipif(shutil.which('curl') is None, reason='curl is not installed')
def test_the_documented_line_works(client, images, tmp_path):
    [line] = re.findall(r'^curl .*$', (ROOT / 'docs' / 'serve.md').read_text(), re.MULTILINE)
    shutil.copy(images['image'], tmp_path / 'image.jpg')
    line = line.replace('localhost:7860', urlsplit(client.url).netloc)
    done = subprocess.run(['bash', '-c', line], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.startswith('event: complete'), done
    assert '"annotations"' in done.stdout


def test_the_documented_python_works(client, images, tmp_path, monkeypatch):
    [lines] = re.findall(
        r'```python\n(.*?)```', (ROOT / 'docs' / 'serve.md').read_text(), re.DOTALL
    )
    shutil.copy(images['image'], tmp_path / 'image.jpg')
    monkeypatch.chdir(tmp_path)
    defined = {}
    exec(lines.replace('http://localhost:7860', client.url), defined)
    assert defined['found']['annotations']


def test_a_program_is_told_what_is_wrong(client, images):
    path = client.uploaded(images['image'])
    kind, said = client.predict(image=dict(path=path), model='/etc/passwd')
    assert kind == 'error'
    assert said['error'].startswith('There is no such model; there are: mask_rcnn')
    _, said = client.predict(image=dict(path=path), score=7)
    assert said['error'] == 'The score has to be a number from 0 to 1.'
    _, said = client.predict(image=dict(path=client.uploaded(images['text'])))
    assert 'not an image' in said['error']
    _, said = client.predict(image=dict(path=client.uploaded(images['large'])))
    assert said['error'].startswith('This image has 1501 × 2000 pixels')


def test_an_image_that_the_model_fails_on_does_not_end_the_page(client, images, tmp_path):
    Image.new('RGB', (5000, 1)).save(tmp_path / 'line.png')
    kind, said = client.predict(image=dict(path=client.uploaded(tmp_path / 'line.png')))
    assert (kind, said['error']) == ('error', 'The model failed on this image.')
    assert client.predict(image=dict(path=client.uploaded(images['image'])))[0] == 'complete'


PATHS = [
    '/etc/passwd',
    '/proc/self/environ',
    str(ROOT / 'README.md'),
    '../../../../etc/passwd',
    'file:///etc/passwd',
    'http://127.0.0.1:1/a.png',
    'https://example.com/a.png',
    'data:image/png;base64,iVBORw0KGgo=',
    ['/etc/passwd'],
    None,
]


@pytest.mark.parametrize('path', PATHS)
@pytest.mark.parametrize('meta', [{}, dict(meta=FILE)], ids=['', 'meta'])
def test_no_path_or_address_that_a_program_sends_is_opened(client, models, path, meta):
    kind, said = client.predict(image=dict(path=path, url=path, **meta))
    assert kind == '403'
    assert 'was not uploaded here' in said
    assert not models[0].calls


@pytest.mark.parametrize('path', ['/etc/passwd', 'https://example.com/a.png'])
def test_nor_one_in_the_place_of_another_value(client, served_page, images, path):
    file = dict(path=path, meta=FILE)
    image = dict(path=client.uploaded(images['image']))
    assert client.predict(image=image, model=file)[0] == '403'
    assert client.predict(image=image, score=[dict(deep=file)])[0] == '403'
    blocks = json.loads(client('/config')[1])
    for dependency in blocks['dependencies']:
        body = dict(fn_index=dependency['id'], session_hash='stranger')
        status, _ = client.post(
            '/gradio_api/queue/join', dict(body, data=[file] * len(dependency['inputs']))
        )
        assert status == 403
    copies = [each.name for each in served_page.page.uploads.rglob('*')]
    assert 'passwd' not in copies
    assert 'a.png' not in copies


def test_of_two_values_of_a_key_the_one_that_is_looked_at_is_used(client, images):
    path = client.uploaded(images['image'])
    body = f'{{"image": {{"path": "/etc/passwd", "path": "{path}"}}}}'.encode()
    kind = {'Content-Type': 'application/json'}
    assert client('/gradio_api/call/v2/predict', body, **kind)[0] == 200
    body = f'{{"image": {{"path": "{path}", "path": "/etc/passwd"}}}}'.encode()
    assert client('/gradio_api/call/v2/predict', body, **kind)[0] == 403


@pytest.mark.parametrize(
    'path',
    [
        '/gradio_api/file=/etc/passwd',
        '/gradio_api/file={root}/README.md',
        '/gradio_api/file={uploads}/../../../etc/passwd',
        '/gradio_api/file={uploads}/%2e%2e/%2e%2e/%2e%2e/etc/passwd',
        '/gradio_api/file=..%2f..%2f..%2fetc%2fpasswd',
        '/gradio_api/file=file:///etc/passwd',
        '/gradio_api/file=http://127.0.0.1:1/',
        '/gradio_api/file=https://example.com/',
        '/gradio_api/file=/https://example.com/',
        '/gradio_api/file/etc/passwd',
        '/gradio_api/proxy=https://example.com/',
        '/static/..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd',
        '/assets/..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd',
        '/gradio_api/custom_component/a/client/component/x.js',
        '/gradio_api/runs',
        '/gradio_api/run-history/buckets',
        '/gradio_api/vibe-code',
        '/gradio_api/dev/reload',
        '/gradio_api/deep_link?session_hash=a',
        '/gradio_api/openapi.json',
        '/gradio_api/mcp/sse',
        '/docs',
        '/openapi.json',
        '/monitoring',
        '/login_check',
        '/results/none/image.png',
    ],
)
def test_nothing_else_is_there_to_be_fetched(client, served_page, path):
    path = path.replace('{uploads}', str(served_page.page.uploads)).replace('{root}', str(ROOT))
    status, answer = client(path)
    assert status in (400, 403, 404)
    assert b'root:' not in answer


@pytest.mark.parametrize(
    'path',
    [
        '/gradio_api/run/predict',
        '/gradio_api/api/predict',
        '/gradio_api/component_server',
        '/gradio_api/process_recording',
        '/gradio_api/vibe-edit',
        '/gradio_api/run-history/connect',
        '/login',
        '/results/none/image.png',
    ],
)
def test_nothing_else_can_be_called(client, path):
    assert client.post(path, dict(data=[]))[0] == 404


def test_an_upload_stays_in_its_folder_whatever_it_is_called(client, served_page, images):
    content = images['image'].read_bytes()
    for name in ('../../../../tmp/evil.jpg', '/etc/cron.d/evil', '..\\evil.jpg', '..', ''):
        status, answer = client.upload(content, name)
        if status == 200:
            [path] = json.loads(answer)
            assert Path(path).resolve().is_relative_to(served_page.page.uploads)
        else:
            assert status == 400


def test_an_upload_of_too_many_bytes_is_refused(client):
    assert client.upload(bytes(4_000_001))[0] == 413


POSTS = (
    ('/gradio_api/upload', 'multipart/form-data; boundary=x'),
    ('/gradio_api/queue/join', 'application/json'),
)


def connect(url):
    where = urlsplit(url)
    return socket.create_connection((where.hostname, where.port), timeout=30)


@pytest.mark.parametrize(('path', 'kind'), POSTS)
def test_a_long_request_is_refused_before_it_is_read(served_page, path, kind):
    with connect(served_page.url) as connection:
        connection.sendall(
            f'POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n'
            'Content-Length: 1000000000\r\n\r\n'.encode()
        )
        assert b' 413 ' in connection.recv(100)


@pytest.mark.parametrize(('path', 'kind'), POSTS)
def test_a_request_that_does_not_say_how_long_it_is_is_cut_off(served_page, path, kind):
    with connect(served_page.url) as connection:
        connection.sendall(
            f'POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n'
            'Transfer-Encoding: chunked\r\n\r\n'.encode()
        )
        start = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        try:
            for _ in range(200):
                connection.sendall(b'%x\r\n%s\r\n' % (len(start), start))
                start = bytes(50_000)
        except ConnectionError:
            pass
        assert b' 413 ' in connection.recv(100)


def test_json_that_is_none_or_without_end_is_refused(client):
    kind = {'Content-Type': 'application/json'}
    for body in (b'{', b'[' * 500_000, b'\xff'):
        assert client('/gradio_api/queue/join', body, **kind)[0] == 400


def test_who_finds_the_queue_full_is_told(client, models, images):
    models[0].hold()
    body = dict(image=dict(path=client.uploaded(images['image'])))
    joined = [client.post('/gradio_api/call/v2/predict', body)[0] for _ in range(8)]
    assert joined[0] == 200
    assert joined[-1] == 503
    models[0].release()


def test_a_visitors_page_may_load_from_this_server_alone(client):
    with urllib.request.urlopen(client.url, timeout=60) as answer:
        policy = answer.headers['Content-Security-Policy']
    assert policy.startswith("default-src 'self' ")
    assert 'http' not in policy


def test_the_page_is_reached_from_this_machine_alone_unless_told_otherwise(served_page):
    where = urlsplit(served_page.url)
    assert where.hostname == '127.0.0.1'
    with pytest.raises(OSError, match='refused'):
        socket.create_connection(('127.0.0.2', where.port), 5)


def test_a_stranger_cannot_call_the_pages_own_functions_by_name(client):
    names = json.loads(client('/gradio_api/info')[1])['named_endpoints']
    assert list(names) == ['/predict']


def test_results_of_another_visitor_are_behind_a_token(served_page, models, images, client):
    page: Page = served_page.page
    token, *_ = page.analyse(client.uploaded(images['image']), next(iter(page.models)), None, 0.1)
    status, content = client(f'/results/{token}/coco.json?score=0.1')
    assert status == 200
    assert json.loads(content)['annotations']
    assert client(f'/results/{token}/image.png?opacity=nan')[0] == 400
    assert client(f'/results/{token}/label_map.png')[0] == 404
    assert client(f'/results/{token[:-1]}/coco.json')[0] == 404
