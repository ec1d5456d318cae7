"""Published weights: their names, their files, and whether all of one arrives in a model."""

import hashlib
import logging
import math
import os
import re
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError, HTTPError
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors import safe_open
from safetensors.torch import save_file

from mmvision_mamba.backbones import MambaOut, MambaVision
from mmvision_mamba.checkpoints import download
from mmvision_mamba.checkpoints.meta_model import build_on_meta
from mmvision_mamba.config import load_config
from mmvision_mamba.errors import InputError
from mmvision_mamba.publishing import publish
from mmvision_mamba.weights import PUBLISHED, locate, main

CONFIGS = Path(__file__).parents[2] / 'configs'
TINY = dict(dim=16, in_dim=8, depths=(1, 1, 3, 2), num_heads=(1, 2, 2, 4))
PUBLISHED_ARCHS = {
    't': (80, 32, (1, 3, 8, 4), False),
    's': (96, 64, (3, 3, 7, 5), False),
    'b': (128, 64, (3, 3, 10, 5), True),
}
COMMIT = '0123456789' * 4


def published_names(dim, in_dim, depths, layer_scale) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a published MambaVision without classifier, from its description."""
    names = {}

    def norm(name, width, batch):
        for suffix in ('weight', 'bias', *(('running_mean', 'running_var') if batch else ())):
            names[f'{name}.{suffix}'] = (width,)
        if batch:
            names[f'{name}.num_batches_tracked'] = ()

    def layer(name, *shape, bias=True):
        names[f'{name}.weight'] = shape
        if bias:
            names[f'{name}.bias'] = shape[:1]

    layer('patch_embed.conv_down.0', in_dim, 3, 3, 3, bias=False)
    norm('patch_embed.conv_down.1', in_dim, True)
    layer('patch_embed.conv_down.3', dim, in_dim, 3, 3, bias=False)
    norm('patch_embed.conv_down.4', dim, True)
    for i, depth in enumerate(depths):
        width = dim * 2**i
        for j in range(depth):
            block = f'levels.{i}.blocks.{j}'
            if i < 2:
                for k in (1, 2):
                    layer(f'{block}.conv{k}', width, width, 3, 3)
                    norm(f'{block}.norm{k}', width, True)
                continue
            norm(f'{block}.norm1', width, False)
            norm(f'{block}.norm2', width, False)
            layer(f'{block}.mlp.fc1', 4 * width, width)
            layer(f'{block}.mlp.fc2', width, 4 * width)
            if layer_scale:
                names[f'{block}.gamma_1'] = names[f'{block}.gamma_2'] = (width,)
            attends = j >= (depth // 2 if depth % 2 == 0 else depth // 2 + 1)
            mixer = f'{block}.mixer'
            if attends:
                layer(f'{mixer}.qkv', 3 * width, width)
                layer(f'{mixer}.proj', width, width)
                continue
            half, rank = width // 2, -(-width // 16)
            layer(f'{mixer}.in_proj', width, width, bias=False)
            layer(f'{mixer}.conv1d_x', half, 1, 3, bias=False)
            layer(f'{mixer}.conv1d_z', half, 1, 3, bias=False)
            layer(f'{mixer}.x_proj', rank + 16, half, bias=False)
            layer(f'{mixer}.dt_proj', half, rank)
            names[f'{mixer}.A_log'] = (half, 8)
            names[f'{mixer}.D'] = (half,)
            layer(f'{mixer}.out_proj', width, width, bias=False)
        if i < 3:
            layer(f'levels.{i}.downsample.reduction.0', 2 * width, width, 3, 3, bias=False)
    return names


def tensors(names: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Zeros of these shapes, in as little room as a reader of the file allows."""
    sizes = [math.prod(shape) for shape in names.values()]
    shared = torch.zeros(max(*sizes, sum(sizes) // 12))
    return {name: shared[:size].view(shape) for size, (name, shape) in zip(sizes, names.items())}


def classifier(dim: int) -> dict[str, torch.Tensor]:
    return tensors({'norm.weight': (8 * dim,), 'head.weight': (10, 8 * dim), 'head.bias': (10,)})


def tiny_classifier() -> dict[str, torch.Tensor]:
    """A whole ImageNet checkpoint of a small network, every value 0.25."""
    names = published_names(16, 8, TINY['depths'], False)
    weights = {name: torch.full(shape, 0.25) for name, shape in names.items()}
    return weights | classifier(16)


@pytest.fixture
def log():
    """Calling it gives what MMEngine's logger was told since."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = MMLogger.get_instance('weights')
    logger.addHandler(handler)
    yield lambda: '\n'.join(messages)
    MMLogger._instance_dict.pop('weights')


# The table


def test_the_table_names_what_was_published_with_its_licence_and_scores():
    assert PUBLISHED['mambavision_t.in1k'].repo == 'nvidia/MambaVision-T-1K'
    assert PUBLISHED['mambavision_l2_512.in21k'].filename == 'mambavision_L2_21k_240m_512.pth.tar'
    assert PUBLISHED['mambavision_l2_512.in21k'].arch == 'l2'
    assert PUBLISHED['mambaout_tiny.in1k'].repo == 'timm/mambaout_tiny.in1k'
    cascade = PUBLISHED['cascade_mask_rcnn_mambavision_s_coco']
    assert cascade.repo == 'nvidia/cascade_mask_rcnn_mamba_vision_small_3x_coco'
    assert cascade.filename == 'cascade_mask_rcnn_mamba_vision_small_3x_coco.pth'
    assert cascade.scores == {'box AP': 52.3, 'mask AP': 45.2}
    upernet = PUBLISHED['upernet_mambavision_l3_ade20k']
    assert upernet.repo == 'nvidia/mamba_vision_160k_ade20k-640x640_l3_21k'
    assert (upernet.input_size, upernet.scores, upernet.params) == (640, {'mIoU': 53.2}, 780)
    families = [entry.family for entry in PUBLISHED.values()]
    assert (families.count('MambaVision'), families.count('MambaOut') >= 12) == (18, True)
    for entry in PUBLISHED.values():
        assert (
            entry.licence
            == {'MambaVision': 'CC-BY-NC-SA-4.0', 'MambaOut': 'apache-2.0'}[entry.family]
        )


@pytest.mark.parametrize('name', PUBLISHED)
def test_every_name_has_its_backbone_and_every_model_its_config(name):
    entry = PUBLISHED[name]
    with torch.device('meta'):
        MODELS.build(dict(type=entry.family, arch=entry.arch))
    if entry.kind == 'model':
        backbone = Config.fromfile(CONFIGS / f'{name}.py').model.backbone
        assert (backbone.type, backbone.arch) == (entry.family, entry.arch)


def test_list_prints_a_line_for_each(capsys):
    main(['list'])
    printed = capsys.readouterr().out
    assert all(f' {name} ' in printed for name in PUBLISHED)
    assert 'CC-BY-NC-SA-4.0' in printed
    assert 'box AP 51.1, mask AP 44.3' in printed


# Where files are found


class Hub(ThreadingHTTPServer):
    """A hub on this machine: files, and what is wrong with serving each."""

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list] = {}
        self.ranges: list[str | None] = []
        self.closing = threading.Event()

    @property
    def address(self) -> str:
        return f'http://127.0.0.1:{self.server_port}'

    def publish(self, name: str, content: bytes) -> None:
        entry = PUBLISHED[name]
        self.files[f'/{entry.repo}/resolve/main/{entry.filename}'] = content


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        faults = self.server.faults.get(self.path, [])
        fault = faults[0] if faults else None
        if fault in (429, 500) or (body and fault) or self.path not in self.server.files:
            if len(faults) > 1:
                faults.pop(0)
            if fault == 'moved':
                return self.head(302, {'Location': self.path + '.moved'})
            if fault is None or isinstance(fault, int):
                return self.head(fault or 404, {})
        content = self.server.files[self.path]
        begin = int(re.sub(r'\D', '', self.headers.get('Range') or '') or 0)
        sent = content[begin:]
        if body:
            self.server.ranges.append(self.headers.get('Range'))
        self.head(
            206 if begin else 200,
            {
                'X-Repo-Commit': COMMIT,
                'ETag': f'"{hashlib.sha256(content).hexdigest()}"',
                'Content-Range': f'bytes {begin}-{len(content) - 1}/{len(content)}',
            },
            length=len(sent),
        )
        if not body:
            return None
        if fault == 'corrupt':
            sent = sent[:-1] + bytes([sent[-1] ^ 1])
        if fault in ('cut', 'stall'):
            self.wfile.write(sent[: len(sent) // 2])
            self.wfile.flush()
            if fault == 'stall':
                self.server.closing.wait(4)
            self.close_connection = True
            return None
        self.wfile.write(sent)
        return None

    def head(self, status: int, headers: dict, length: int = 0) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header('Content-Length', str(length))
        self.end_headers()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    constants = huggingface_hub.constants
    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, 'ENDPOINT', server.address)
        template = '/{repo_id}/resolve/{revision}/{filename}'
        monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', server.address + template)
        monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
        monkeypatch.setattr(constants, 'HF_HUB_DOWNLOAD_TIMEOUT', 1)
        monkeypatch.setattr(constants, 'DOWNLOAD_CHUNK_SIZE', 2**16)
        monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
        # Between its attempts the client waits for up to half a minute.
        monkeypatch.setattr('time.sleep', lambda seconds: None)
        yield server
        server.closing.set()
        server.shutdown()


@pytest.fixture(scope='module')
def content(tmp_path_factory) -> bytes:
    """A checkpoint's bytes."""
    path = tmp_path_factory.mktemp('content') / 'tiny.pth'
    torch.save(dict(state_dict=tiny_classifier()), path)
    return path.read_bytes()


@pytest.fixture(params=['hub', 'url'])
def source(request, hub, content):
    """A name to fetch, its path on the server, and the two places that may hold its file."""
    if request.param == 'hub':
        hub.publish('mambavision_t.in1k', content)
        return 'mambavision_t.in1k', next(iter(hub.files))
    hub.files['/tiny.pth'] = content
    return hub.address + '/tiny.pth', '/tiny.pth'


def left_behind(folder: Path) -> list[Path]:
    """Files of a kilobyte or more: of a download, whole or not."""
    return [f for f in folder.rglob('*') if f.is_file() and f.stat().st_size > 1000]


def test_a_file_is_downloaded_once(source, hub, content):
    name, path = source
    found = locate(name)
    assert found.read_bytes() == content
    hub.faults[path] = [500]
    assert locate(name) == found


@pytest.mark.slow
@pytest.mark.parametrize('fault', ['cut', 'stall'])
def test_a_download_that_breaks_off_goes_on_where_it_was(fault, source, hub, content):
    name, path = source
    hub.faults[path] = [fault, None]
    assert locate(name).read_bytes() == content
    first, second = hub.ranges
    assert first is None
    assert len(content) // 3 < int(re.fullmatch(r'bytes=(\d+)-', second)[1]) <= len(content) // 2


def test_a_redirect_is_followed(source, hub, content):
    name, path = source
    hub.faults[path] = ['moved']
    hub.files[path + '.moved'] = content
    assert locate(name).read_bytes() == content


@pytest.mark.parametrize('fault', [404, 429, 500, 'cut'])
def test_a_server_that_does_not_give_the_file_is_named_with_the_way_out(
    fault, source, hub, tmp_path
):
    name, path = source
    hub.faults[path] = [fault]
    if fault == 404:
        del hub.files[path]
    with pytest.raises(InputError) as error:
        locate(name)
    message = str(error.value)
    assert message.startswith(f'{hub.address}{path} could not be downloaded')
    assert 'fetch it elsewhere and put it at' in message
    if isinstance(fault, int):
        assert str(fault) in message
    by_hand = Path(re.search(r'put it at (\S+),', message)[1])
    assert by_hand.parent == tmp_path / 'torch' / 'hub' / 'checkpoints'
    assert left_behind(tmp_path) == []


def test_a_file_put_where_the_error_says_is_found(source, hub, content):
    name, path = source
    hub.faults[path] = [500]
    with pytest.raises(InputError) as error:
        locate(name)
    by_hand = Path(re.search(r'put it at (\S+),', str(error.value))[1])
    by_hand.parent.mkdir(parents=True, exist_ok=True)
    by_hand.write_bytes(content)
    assert locate(name) == by_hand


def test_a_damaged_download_is_said_and_removed(source, hub, content, tmp_path):
    name, path = source
    if name in PUBLISHED:
        hub.faults[path] = ['corrupt', None]  # the hub says the digest
    else:
        hub.files[path] = content[:-100]  # an address does not, but this is no archive any more
    with pytest.raises(InputError, match=r'(corrupted|truncated)(.|\n)*removed; try again'):
        locate(name)
    assert left_behind(tmp_path) == []
    hub.files[path] = content
    assert locate(name).read_bytes() == content


def test_the_digest_in_an_address_is_checked(hub, content, tmp_path):
    digest = hashlib.sha256(content).hexdigest()[:8]
    hub.files[f'/tiny-{digest}.pth'] = hub.files['/tiny-deadbeef.pth'] = content
    assert locate(f'{hub.address}/tiny-{digest}.pth').read_bytes() == content
    with pytest.raises(InputError, match='not deadbeef'):
        locate(f'{hub.address}/tiny-deadbeef.pth')
    assert [f.name for f in left_behind(tmp_path)] == [f'tiny-{digest}.pth']


def test_a_repo_id_gives_its_published_file_or_timms(hub, content, tmp_path):
    hub.publish('mambavision_t.in1k', content)
    assert locate('nvidia/MambaVision-T-1K').name == 'mambavision_tiny_1k.pth.tar'
    save_file({'w': torch.zeros(9)}, tmp_path / 'other')
    hub.files['/someone/else/resolve/main/model.safetensors'] = (tmp_path / 'other').read_bytes()
    assert locate('someone/else').name == 'model.safetensors'


def test_a_name_that_is_nothing_is_said_with_what_is_close():
    with pytest.raises(InputError, match=r'does not exist; did you mean mambavision_t\.in1k'):
        locate('mambavision_t_in1k')
    with pytest.raises(InputError, match=r'runs/epoch_1.pth does not exist'):
        locate('runs/epoch_1.pth')


@pytest.mark.slow
def test_the_command_fetches_from_a_mirror_and_says_when_it_may_not(hub, tmp_path):
    save_file({'w': torch.zeros(9)}, tmp_path / 'femto')
    content = (tmp_path / 'femto').read_bytes()
    hub.publish('mambaout_femto.in1k', content)
    command = [sys.executable, '-m', 'mmvision_mamba.weights', 'fetch', 'mambaout_femto.in1k']
    environment = dict(
        os.environ,
        HF_ENDPOINT=hub.address,
        HF_HOME=str(tmp_path / 'home'),
        TORCH_HOME=str(tmp_path / 'torch'),
        TQDM_POSITION='-1',  # a progress bar although this is no terminal
    )
    offline = dict(environment, HF_HUB_OFFLINE='1')

    def run(environment):
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    refused = run(offline)
    assert refused.returncode == 1
    assert 'put it at' in refused.stderr
    assert 'mambaout_femto.in1k.safetensors' in refused.stderr
    assert 'Traceback' not in refused.stderr + refused.stdout
    fetched = run(environment)
    assert 'Warning' not in fetched.stderr
    assert '100%' in fetched.stderr
    assert Path(fetched.stdout.split()[-1]).read_bytes() == content
    assert run(offline).stdout.split()[-1] == fetched.stdout.split()[-1]


# What loads


def pretrained(checkpoint, arch=TINY, family=MambaVision, **options) -> BaseModule:
    model = family(arch, init_cfg=dict(type='Pretrained', checkpoint=str(checkpoint)), **options)
    model.init_weights()
    return model


def test_a_classifier_loads_by_name_with_one_report_of_what_is_not_shared(hub, content, log):
    hub.publish('mambavision_t.in1k', content)
    model = pretrained('mambavision_t.in1k')
    for name, value in model.named_parameters():
        assert name.startswith('outnorm') or torch.all(value == 0.25), name
    logged = log()
    assert 'licence CC-BY-NC-SA-4.0' in logged
    assert 'not in the file, as expected (output norms): 8' in logged
    assert 'not used, as expected (classifier, stages not built): 3\n    norm.weight' in logged
    assert 'missing' not in logged
    assert 'unexpected' not in logged


@pytest.mark.parametrize(
    'wrap',
    [
        lambda weights: weights,
        lambda weights: dict(model=weights),
        lambda weights: dict(state_dict_ema=weights, state_dict={}),
        lambda weights: dict(state_dict={f'module.{k}': v for k, v in weights.items()}),
        lambda weights: dict(
            state_dict={f'backbone.{k}': v for k, v in weights.items()} | {'neck.w': torch.ones(1)}
        ),
    ],
)
def test_envelopes_reach_the_backbone(wrap, tmp_path):
    torch.save(wrap(tiny_classifier()), tmp_path / 'a.pth')
    assert torch.all(pretrained(tmp_path / 'a.pth').levels[3].blocks[1].mixer.qkv.weight == 0.25)


def test_stages_that_are_not_built_are_no_mistake(tmp_path):
    torch.save(tiny_classifier(), tmp_path / 'a.pth')
    pretrained(tmp_path / 'a.pth', out_indices=(0, 2))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda w: w.pop('levels.2.blocks.0.mixer.A_log'),
            r'missing: 1\n    levels.2.blocks.0.mix',
        ),
        (
            lambda w: w.update({'levels.3.blocks.0.mlp.fc1.bias': torch.zeros(7)}),
            r'of another shape: 1\n    levels.3.blocks.0.mlp.fc1.bias \(7,\), expected \(512,\)',
        ),
        (
            lambda w: w.update({'levels.2.blocks.3.norm1.bias': torch.zeros(64)}),
            r'unknown to it: 1\n    levels.2.blocks.3.norm1.bias',
        ),
    ],
)
def test_weights_of_another_backbone_raise_with_names_and_shapes(change, message, tmp_path):
    weights = tiny_classifier()
    change(weights)
    torch.save(weights, tmp_path / 'a.pth')
    with pytest.raises(InputError, match=message) as error:
        pretrained(tmp_path / 'a.pth')
    assert 'a.pth' in str(error.value)


def test_a_deeper_mambaout_does_not_pass_for_a_shallower_one(tmp_path):
    deep, shallow = (
        dict(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32)),
        dict(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)),
    )
    torch.save(MambaOut(deep).state_dict(), tmp_path / 'a.pth')
    pretrained(tmp_path / 'a.pth', deep, MambaOut)
    with pytest.raises(InputError, match=r'unknown to it: \d+\n    stages.2.blocks.1'):
        pretrained(tmp_path / 'a.pth', shallow, MambaOut)


@pytest.mark.slow
@pytest.mark.parametrize('arch', PUBLISHED_ARCHS)
@pytest.mark.parametrize('method', ['cascade_mask_rcnn', 'upernet'])
def test_a_published_model_loads_into_the_config_of_its_name_with_nothing_left(
    method, arch, hub, tmp_path
):
    name = f'{method}_mambavision_{arch}_' + ('ade20k' if method == 'upernet' else 'coco')
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    if method == 'upernet':
        import mmseg.models  # noqa: F401
    else:
        import mmdet.models  # noqa: F401
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.window_padding = 'full'
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    heads = {k: v.shape for k, v in model.state_dict().items() if not k.startswith('backbone.')}
    dim, in_dim, depths, layer_scale = PUBLISHED_ARCHS[arch]
    names = published_names(dim, in_dim, depths, layer_scale)
    for i in range(4):
        names[f'outnorm{i}.weight'] = names[f'outnorm{i}.bias'] = (dim * 2**i,)
    names = {f'backbone.{key}': shape for key, shape in names.items()} | heads
    torch.save(dict(meta={}, state_dict=tensors(names)), tmp_path / 'model.pth')
    hub.publish(name, (tmp_path / 'model.pth').read_bytes())
    load_checkpoint(model, name, strict=True)


def test_a_published_detector_says_how_it_was_trained(hub, content, log):
    hub.publish('cascade_mask_rcnn_mambavision_t_coco', content)
    CheckpointLoader.load_checkpoint('cascade_mask_rcnn_mambavision_t_coco')
    assert "window_padding='full'" in log()


@pytest.mark.slow
@pytest.mark.parametrize(
    ('arch', 'prefix', 'wanted'),
    [
        ('t', '', ['MambaVision t: ', 'not used, as expected (classifier']),
        ('b', 'backbone.', ['a whole model; beside the backbone it has neck', 'MambaVision b: ']),
    ],
)
def test_check_says_which_model_a_file_is_of(arch, prefix, wanted, tmp_path, capsys):
    dim, *rest = PUBLISHED_ARCHS[arch]
    weights = tensors(published_names(dim, *rest))
    weights |= {} if prefix else classifier(dim)
    weights = {prefix + name: value for name, value in weights.items()}
    weights |= {'neck.w': torch.zeros(1)} if prefix else {}
    torch.save(dict(state_dict=weights), tmp_path / 'a.pth')
    main(['check', str(tmp_path / 'a.pth')])
    printed = capsys.readouterr().out
    assert all(text in printed for text in wanted), printed


def checked(path: Path, weights: dict | bytes) -> str:
    """What ``check`` ends with where it does not exit 0."""
    torch.save(weights, path) if isinstance(weights, dict) else path.write_bytes(weights)
    with pytest.raises(SystemExit) as ended:
        main(['check', str(path)])
    assert ended.value.code.startswith('error: ')
    return ended.value.code


@pytest.mark.slow
def test_check_of_an_unknown_model_fails_and_names_the_closest(tmp_path):
    deeper = tensors(published_names(80, 32, (1, 3, 9, 4), False))
    said = checked(tmp_path / 'a.pth', dict(state_dict=deeper))
    assert 'of no published arch; closest is\nMambaVision' in said
    resnet = {'conv1.weight': torch.zeros(64, 3, 7, 7), 'layer1.0.bn1.weight': torch.zeros(64)}
    said = checked(tmp_path / 'b.pth', resnet)
    assert said.endswith('b.pth: 2 tensors, of no backbone of this package')


@pytest.mark.parametrize(
    ('content', 'kind'),
    [
        (b'hello', 'is a text'),
        (b'', 'is empty'),
        (b'\n<!DOCTYPE html><html lang="en">\xff', 'is a web page'),
        (b'{"error": "Repository not found"}', 'is JSON'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:4d', 'pointer of a Git LFS'),
        (b'\x1f\x8b\x08\0\0', 'is a compressed archive'),
        (b'\x00\x01\x02\xff', 'is not one, or its beginning is damaged'),
    ],
)
@pytest.mark.parametrize('name', ['a.pth', 'a.safetensors'])
def test_check_says_what_a_file_is_that_is_no_checkpoint(name, content, kind, tmp_path):
    if name == 'a.safetensors' and content.startswith(b'\x00'):
        kind = 'is not a whole safetensors file'
    assert kind in checked(tmp_path / name, content)


def test_check_holds_a_published_model_against_the_config_in_its_header(tmp_path, capsys):
    cfg = load_config(str(CONFIGS / 'upernet_mambaout_demo_shapes.py'))
    model = build_on_meta(cfg)
    weights = {name: torch.zeros_like(v, device='cpu') for name, v in model.state_dict().items()}
    checkpoint = dict(state_dict=weights, meta=dict(dataset_meta=dict(classes=('circle', 'star'))))
    path = publish(cfg, checkpoint, {}, tmp_path, 'model')
    main(['check', str(path)])
    printed = capsys.readouterr().out
    assert f'{len(weights)} tensors, all of the EncoderDecoder of its own config' in printed
    with safe_open(path, framework='pt') as file:
        header = file.metadata()
    del weights['backbone.stem.conv1.weight']
    save_file(weights, tmp_path / 'less.safetensors', metadata=header)
    said = checked(tmp_path / 'less.safetensors', (tmp_path / 'less.safetensors').read_bytes())
    assert "1 differ in name or shape, such as 'backbone.stem.conv1.weight'" in said


# A hub that is not there, and many processes


class BlackHole:
    """A server that takes a connection and never answers."""

    def __init__(self) -> None:
        self.socket = socket.create_server(('127.0.0.1', 0))
        self.address = f'http://127.0.0.1:{self.socket.getsockname()[1]}'


@pytest.mark.parametrize('kind', ['refused', 'silent'])
@pytest.mark.parametrize('what', ['hub', 'url'])
def test_an_unreachable_server_is_asked_once_and_said(what, kind, hub, free_port, monkeypatch):
    waits = []
    monkeypatch.setattr('time.sleep', waits.append)
    monkeypatch.setattr(download, '_ANSWERS_WITHIN', 0.5)
    black_hole = BlackHole()
    address = f'http://127.0.0.1:{free_port}' if kind == 'refused' else black_hole.address
    template = '/{repo_id}/resolve/{revision}/{filename}'
    monkeypatch.setattr(huggingface_hub.constants, 'ENDPOINT', address)
    monkeypatch.setattr(
        huggingface_hub.constants, 'HUGGINGFACE_CO_URL_TEMPLATE', address + template
    )
    with black_hole.socket, pytest.raises(InputError, match='could not be downloaded') as error:
        locate('mambaout_femto.in1k' if what == 'hub' else f'{address}/a.pth')
    assert address in str(error.value)
    assert waits == []  # between its attempts the client would wait


def test_what_the_network_raises_is_known_by_its_base_class(free_port):
    """Last right for huggingface_hub 2.4.0, whose errors are httpx2's."""
    with pytest.raises(HTTPError):
        huggingface_hub.get_session().head(f'http://127.0.0.1:{free_port}')
    assert issubclass(HfHubHTTPError, HTTPError)


@pytest.mark.slow
def test_processes_that_share_a_folder_download_an_address_once(hub, content, tmp_path):
    hub.files['/tiny.pth'] = content
    program = f'from mmvision_mamba.weights import locate; print(locate("{hub.address}/tiny.pth"))'
    processes = [
        subprocess.Popen([sys.executable, '-c', program], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    found = {process.communicate()[0].split()[-1] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert Path(found.pop()).read_bytes() == content
    assert found == set()
    assert len(hub.ranges) == 1


@pytest.mark.parametrize('url', ['http://127.0.0.1:1/', 'http://[', 'https:///a.pth'])
def test_an_address_of_no_file_is_said(url, hub):
    with pytest.raises(InputError, match='is no address of a file'):
        locate(url)
