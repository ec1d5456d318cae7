"""A published file from a stranger: only what is listed is let through, whatever else there is."""

import copy
import inspect
import json
import os
import struct
import sys
from functools import cache
from pathlib import Path

import mmcv.ops
import mmdet.registry
import mmengine.registry
import mmseg.registry
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry
from safetensors.torch import save_file
from torch import nn

from mmvision_mamba.checkpoints.meta_model import build_on_meta
from mmvision_mamba.checkpoints.published_files import (
    KEY,
    PublishedModel,
    allowlist,
    encode,
    is_published,
    model_parts,
    read_published,
)
from mmvision_mamba.checkpoints.published_files.allowlist import refuse_unlisted
from mmvision_mamba.config import load_config
from mmvision_mamba.datasets.checking.classes import state_reduce_zero_label
from mmvision_mamba.errors import InputError

CONFIGS = Path(__file__).parents[2] / 'configs'
SHIPPED = sorted(CONFIGS.glob('*.py'))
SEGMENTOR = CONFIGS / 'upernet_mambaout_demo_shapes.py'
DETECTOR = CONFIGS / 'mask_rcnn_mambavision_demo_shapes.py'
REGISTERING = (mmengine.registry, mmdet.registry, mmseg.registry)
DTYPES = {torch.float32: 'F32', torch.int64: 'I64'}


@pytest.fixture(scope='module', autouse=True)
def _everything_is_registered():
    from mmdet.utils import register_all_modules as register_mmdet
    from mmseg.utils import register_all_modules as register_mmseg

    import mmvision_mamba.evaluation.mask_tta  # noqa: F401

    register_mmdet(init_default_scope=False)
    register_mmseg(init_default_scope=False)
    yield
    DefaultScope._instance_dict.clear()


@cache
def loaded(path: Path) -> Config:
    return load_config(str(path))


@cache
def published(path: Path) -> PublishedModel:
    cfg = copy.deepcopy(loaded(path))
    state_reduce_zero_label(cfg.test_dataloader.dataset, cfg.default_scope)  # as publish does
    return PublishedModel(
        scope=cfg.default_scope,
        classes=['circle', 'star'],
        palette=[[0, 0, 0], [255, 255, 255]],
        metrics={'mIoU': 41.5},
        versions={'torch': '2'},
        **model_parts(cfg.to_dict()),
    )


def hollow_file(path: Path, model: nn.Module, text: str) -> Path:
    """A published file of ``model`` whose weights are a hole that takes no disk."""
    tensors, end = {}, 0
    for name, tensor in model.state_dict().items():
        start, end = end, end + tensor.nbytes
        dtype = DTYPES[tensor.dtype]
        tensors[name] = dict(dtype=dtype, shape=list(tensor.shape), data_offsets=[start, end])
    header = json.dumps({'__metadata__': {KEY: text}, **tensors}).encode()
    path.write_bytes(struct.pack('<Q', len(header)) + header)
    os.truncate(path, path.stat().st_size + end)
    return path


def forged(tmp_path: Path, text: str) -> Path:
    """A file whose header is any text at all."""
    path = tmp_path / 'theirs.safetensors'
    save_file({'x': torch.zeros(1)}, path, metadata={KEY: text})
    return path


def header(config: Path = SEGMENTOR, **changes) -> dict:
    """That of a good file, with values under dotted names (list items by number) replaced."""
    fields = json.loads(published(config).to_json())
    for path, value in changes.items():
        *parents, last = path.split('.')
        node = fields
        for name in parents:
            node = node[int(name)] if isinstance(node, list) else node[name]
        node[int(last) if isinstance(node, list) else last] = value
    return fields


@pytest.mark.slow
@pytest.mark.parametrize('config', SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_model_comes_back_with_its_weights_names_and_test_pipeline(config, tmp_path):
    cfg = copy.deepcopy(loaded(config))  # building changes some
    model = build_on_meta(cfg)
    path = hollow_file(tmp_path / 'm.safetensors', model, published(config).to_json())
    read = load_config(str(path))
    shapes = {name: x.shape for name, x in model.state_dict().items()}
    assert {name: x.shape for name, x in build_on_meta(read).state_dict().items()} == shapes
    pipeline = [dict(step) for step in cfg.test_dataloader.dataset.pipeline]
    if cfg.default_scope == 'mmseg':
        assert read.test_dataloader.dataset.reduce_zero_label
        next(step for step in pipeline if step['type'] == 'LoadAnnotations').update(
            reduce_zero_label=True
        )
    assert read.test_dataloader.dataset.pipeline == pipeline
    assert read.model.test_cfg.to_dict() == cfg.model.test_cfg.to_dict()
    assert read.get('tta_pipeline') == cfg.get('tta_pipeline')


COMMON = (
    *('mask_rcnn/mask-rcnn_r50_fpn_1x_coco', 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco'),
    *('cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco', 'retinanet/retinanet_r50_fpn_1x_coco'),
    *('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco', 'atss/atss_r50_fpn_1x_coco'),
    *('tood/tood_r50_fpn_1x_coco', 'gfl/gfl_r50_fpn_1x_coco', 'vfnet/vfnet_r50_fpn_1x_coco'),
    *('dino/dino-4scale_r50_8xb2-12e_coco', 'rtmdet/rtmdet-ins_tiny_8xb32-300e_coco'),
    *('mask2former/mask2former_r50_8xb2-lsj-50e_coco',),
    *('deformable_detr/deformable-detr_r50_16xb2-50e_coco', 'rtmdet/rtmdet_l_8xb32-300e_coco'),
    *('upernet/upernet_r50_4xb4-160k_ade20k-512x512', 'sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512'),
    *('fcn/fcn_r50-d8_4xb4-160k_ade20k-512x512', 'pspnet/pspnet_r50-d8_4xb4-160k_ade20k-512x512'),
    *('deeplabv3plus/deeplabv3plus_r50-d8_4xb4-160k_ade20k-512x512',),
    *('mask2former/mask2former_r50_8xb2-160k_ade20k-512x512',),
)


@pytest.mark.slow
@pytest.mark.parametrize('name', COMMON)
def test_the_common_methods_of_mmdet_and_mmseg_can_be_published_too(name, tmp_path):
    package = mmseg if 'ade20k' in name else mmdet
    config = Path(package.__path__[0], '.mim', 'configs', f'{name}.py')
    model = build_on_meta(load_config(str(config)))
    path = hollow_file(tmp_path / 'm.safetensors', model, published(config).to_json())
    assert set(build_on_meta(load_config(str(path))).state_dict()) == set(model.state_dict())


def names_of_all_registries() -> dict[str, set[str]]:
    """Names that anything is registered under, by the registries' own names (HOOKS, ...)."""
    names = {}
    for package in REGISTERING:
        for name, registry in vars(package).items():
            if isinstance(registry, Registry):
                names.setdefault(name, set()).update(registry.module_dict)
    return names


def is_let_through(scope: str, slot: str, name: str) -> bool:
    parts = dict(model=dict(type='FCNHead' if scope == 'mmseg' else 'FPN'))
    if slot in ('test_pipeline', 'tta_model', 'model'):
        parts[slot] = [dict(type=name)] if slot == 'test_pipeline' else dict(type=name)
    else:
        parts['model'][slot] = dict(type=name)
    try:
        refuse_unlisted(parts, scope, 'the file')
    except InputError:
        return False
    return True


@pytest.mark.slow
def test_of_all_that_is_registered_only_modules_transforms_and_their_parts_are_let_through():
    names = names_of_all_registries()
    assert len(set().union(*names.values())) > 800
    slots = ('model', 'test_pipeline', 'tta_model', *allowlist._SLOTS)
    for registry, registered in names.items():
        prefixed = {
            f'{prefix}.{name}'
            for prefix in ('mmdet', 'mmseg', 'mmengine', 'mmcv', 'root', 'mmvision_mamba')
            for name in registered
        }
        for name in registered | prefixed:
            for scope in allowlist.SCOPES:
                for slot in slots:
                    if is_let_through(scope, slot, name):
                        check_is_harmless_by_kind(scope, slot, name, registry)


def check_is_harmless_by_kind(scope: str, slot: str, name: str, registry: str) -> None:
    """That which MMEngine finds under the name is a class, of the kind that its place takes."""
    prefix, _, last = name.rpartition('.')
    packages = {'mmdet': mmdet.registry, 'mmseg': mmseg.registry}
    found = getattr(packages[prefix or scope], kind_of(slot)).get(last)
    assert inspect.isclass(found), (scope, slot, name, registry)
    expected = {'MODELS': nn.Module, 'TRANSFORMS': BaseTransform, 'TASK_UTILS': object}
    assert issubclass(found, expected[kind_of(slot)])
    package = found.__module__.split('.')[0]
    assert package in ('mmdet', 'mmseg', 'mmcv', 'mmengine', 'mmvision_mamba', 'torch')


def kind_of(slot: str) -> str:
    if slot == 'test_pipeline':
        return 'TRANSFORMS'
    layers = ('model', 'tta_model', 'dcn', 'roi_layer')
    return 'MODELS' if slot in layers or slot.endswith('_cfg') else 'TASK_UTILS'


def listed() -> list[tuple[str, str, str]]:
    """Scope, slot and name of every entry of the lists."""
    tables = dict(
        allowlist._SLOTS,
        model=allowlist._MODULES,
        test_pipeline=allowlist._TRANSFORMS,
        tta_model=allowlist._TTA_MODELS,
    )
    return [
        (scope, slot, name)
        for slot, table in tables.items()
        for scope, names in table.items()
        for name in names
    ]


def classes_listed() -> set[tuple[str, type]]:
    found = set()
    for scope, slot, name in listed():
        if slot == 'nms':
            assert inspect.isfunction(vars(sys.modules['mmcv.ops.nms'])[name])
        elif slot == 'roi_layer':
            found.add((slot, getattr(mmcv.ops, name)))
        else:
            package = mmseg.registry if scope == 'mmseg' else mmdet.registry
            found.add((slot, getattr(package, kind_of(slot)).get(name)))
    return found


def test_every_entry_of_the_lists_is_a_class_that_is_there():
    assert all(inspect.isclass(entry) for _, entry in classes_listed())
    assert len(listed()) > 150


@pytest.mark.parametrize(
    'value',
    ['/etc/passwd', 'http://localhost/x.pkl', 'x.pkl', 'os.system', 'mambavision_t.in1k', '', '~'],
)
def test_no_argument_of_any_listed_class_takes_a_path_a_url_or_a_name_of_something(value):
    arguments = {
        argument
        for _, entry in classes_listed()
        for base in inspect.getmro(entry)
        for argument in inspect.signature(base.__init__).parameters
    }
    assert {'init_cfg', 'pretrained', 'class_weight', 'backend_args', 'type'} <= arguments | {
        'type'
    }
    for argument in arguments - {'arch'}:  # looked up in a table of this package's
        for given in (value, [value], {'x': value}, {'type': value}):
            with pytest.raises(InputError, match='may not hold'):
                refuse_unlisted(dict(model={'type': 'FPN', argument: given}), 'mmdet', 'the file')


EVIL = dict(type='mmengine.call_command', cmd=['touch', 'trap'])
FORGERIES = {
    # Functions of the packages, by names that MMEngine would look up.
    'model': EVIL,
    'model.backbone': dict(type='mmengine.rmtree', path='trap'),
    'model.neck': dict(type='mmengine.put_text', obj='x', filepath='trap.py'),
    'model.decode_head': dict(type='mmengine.import_modules_from_strings', imports='antigravity'),
    'model.auxiliary_head': dict(type='mmdet.apis'),
    'model.data_preprocessor': dict(type='mmseg.apis.inference.init_model'),
    'model.backbone.type': 'os.system',
    'model.decode_head.type': 'antigravity',
    'test_pipeline': [EVIL],
    'test_pipeline.0': dict(type='mmdet.InferencerLoader'),
    'tta_model': dict(type='mmengine.Runner'),
    'tta_pipeline': [dict(type='TestTimeAug', transforms=[[EVIL]])],
    # Registered types that open, fetch, import or evaluate what their arguments say.
    'model.decode_head.loss_decode': dict(type='CrossEntropyLoss', class_weight='trap.pkl'),
    'model.backbone.init_cfg': dict(type='Pretrained', checkpoint='http://localhost/x.pkl'),
    'model.init_cfg': dict(type='Pretrained', checkpoint='trap.pkl'),
    'model.pretrained': 'trap.pkl',
    'model.teacher_config': 'trap.py',
    'model.decode_head.norm_cfg': dict(type='RFSearchHook'),
    'model.test_cfg': dict(nms=dict(type="exit('evaluated')")),
    'model.test_cfg.mode': "exit('evaluated')",
    'model.decode_head.sampler': dict(type='CameraMotionCompensation', warp_mode='exit()'),
    'model.backbone.arch': '../x',
    'test_pipeline.1': dict(type='LoadAnnotations', backend_args=dict(backend='http')),
    'test_pipeline.2': dict(type='LoadImageFromFile', file_client_args=dict(backend='x')),
    # Keys that mean something to MMEngine.
    'model._scope_': 'antigravity',
    'model._delete_': True,
    'model._base_': 1,
    'model.a b': 1,
    'model.__class__': 1,
    # What takes memory by its square.
    'model.data_preprocessor.size': [100000, 100000],
    'model.decode_head.channels': 10**9,
    'model.decode_head.dropout_ratio': 1e300,
    'test_pipeline.3': dict(type='Resize', scale=[100000, 100000]),
    'test_pipeline.4': dict(type='Resize', scale_factor=1000.0),
}


@pytest.mark.parametrize('place', FORGERIES)
def test_a_forged_part_is_refused_by_its_name_and_nothing_happens(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'trap').mkdir()
    fields = header()
    fields['test_pipeline'] += [{}, {}]
    *parents, last = place.split('.')
    node = fields
    for name in parents:
        node = node[int(name)] if isinstance(node, list) else node[name]
    node[int(last) if isinstance(node, list) else last] = FORGERIES[place]
    path = forged(tmp_path, json.dumps(fields))
    with pytest.raises(
        InputError, match=r'theirs\.safetensors: .*config must be given beside'
    ) as e:
        read_published(path)
    assert len(str(e.value)) < 500
    assert '\n' not in str(e.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['theirs.safetensors', 'trap']
    assert 'antigravity' not in sys.modules


@pytest.mark.parametrize(
    'field', ['config', 'dataset', 'test_dataloader', 'custom_imports', 'custom_hooks', 'work_dir']
)
def test_a_header_has_no_place_for_anything_else(field, tmp_path):
    path = forged(tmp_path, json.dumps({**header(), field: {}}))
    with pytest.raises(InputError, match=f'is damaged: TypeError: .*{field}'):
        read_published(path)


def test_of_the_first_format_the_model_alone_is_taken(tmp_path):
    """Those files hold a whole config; of what a stranger put around the model nothing is left."""
    evil = dict(type='mmengine.call_command', cmd='evil')
    cfg = load_config(str(SEGMENTOR))
    config = cfg.to_dict()
    config['model']['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint='evil.pkl')
    config['test_dataloader']['dataset'].update(
        type='mmengine.rmtree', data_root='evil', proposal_file='http://localhost/evil.pkl'
    )
    config.update(
        custom_imports=dict(imports=['evil']),
        custom_hooks=[evil],
        default_hooks=dict(logger=dict(type='LoggerHook', out_dir='evil')),
        optim_wrapper=dict(constructor='evil'),
        runner_type='evil',
        visualizer=dict(vis_backends=[dict(type='LocalVisBackend', save_dir='evil')]),
        test_evaluator=[dict(type='DumpResults', out_file_path='evil')],
        test_cfg=evil,
        work_dir='evil',
        load_from='evil',
        evil='evil',
    )
    fields = dict(format=1, config=encode(config), classes=['a'], metrics={}, versions={})
    path = hollow_file(tmp_path / 'old.safetensors', build_on_meta(cfg), json.dumps(fields))
    read = load_config(str(path))
    assert 'evil' not in repr(read.to_dict()).replace(str(tmp_path), '')
    assert read.model.decode_head.to_dict() == cfg.model.decode_head.to_dict()


def test_what_the_first_format_held_of_a_model_is_held_against_the_lists(tmp_path):
    config = dict(default_scope='mmseg', model=EVIL, test_pipeline=[])
    text = json.dumps(dict(format=1, config=config, classes=['a'], metrics={}, versions={}))
    with pytest.raises(InputError, match=r"model names the type 'mmengine\.call_command'"):
        read_published(forged(tmp_path, text))


GOOD = '{"format": 2, "scope": "mmseg", "model": '
TEXTS = {
    'nested': GOOD + '[' * 100_000,
    'nested_dicts': GOOD + '{"a":' * 100_000,
    'nested_tuples': GOOD + '{"__tuple__":[' * 900 + ']}' * 900 + '}',
    'duplicate': '{"format": 2, "format": 2}',
    'not_a_number': '{"format": NaN}',
    'infinite': '{"format": -Infinity}',
    'overflowing': '{"format": 1e999}',
    'digits': '{"format": ' + '9' * 5000 + '}',
    'integer': '{"format": ' + '9' * 4000 + '}',
    'long': '"' + 'x' * 2**20 + '"',
    'list': '[]',
    'null': 'null',
    'nothing': '',
    'text': '\x00\ud7ff',
    'tuple': '{"__tuple__": 5}',
    'format': '{"format": [[]]}',
    'newer': '{"format": 4}',
}


@pytest.mark.parametrize('kind', TEXTS)
def test_a_header_of_any_text_ends_in_one_sentence(kind, tmp_path):
    with pytest.raises(InputError, match=r'theirs\.safetensors is (damaged|of format)') as error:
        load_config(str(forged(tmp_path, TEXTS[kind])))
    assert '\n' not in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('scope', 'antigravity'),
        ('scope', ['mmdet']),
        ('scope', None),
        ('classes', 'circle'),
        ('classes', []),
        ('classes', ['circle\x1b[2J']),
        ('classes', ['x' * 101]),
        ('classes', [1]),
        ('classes', ['{{$HOME:x}}']),
        ('classes', ['\u202e']),
        ('tta_model', {'type': 'SegTTAModel', 'module': {}}),
        ('tta_model', []),
        ('tta_model', 'SegTTAModel'),
        ('palette', [[0, 0, 0]]),
        ('palette', [[0, 0, 256], [0, 0, 0]]),
        ('palette', [[0, 0, True], [0, 0, 0]]),
        ('palette', 'random'),
        ('metrics', {'mIoU': '41'}),
        ('metrics', {'x\n': 1}),
        ('metrics', [1]),
        ('versions', {'torch': 2}),
        ('test_pipeline', {'type': 'Resize'}),
        ('test_pipeline', ['Resize']),
        ('model', 'MaskRCNN'),
        ('model', [1, 2]),
        ('model', {}),
        ('model', {'type': 'FocalLoss'}),
        ('model', {'type': 'EncoderDecoder', 'backbone': 5}),
    ],
)
def test_a_field_of_another_kind_ends_in_one_sentence(field, value, tmp_path):
    with pytest.raises(InputError) as error:
        read_published(forged(tmp_path, json.dumps(header(**{field: value}))))
    assert '\n' not in str(error.value)
    assert len(str(error.value)) < 500


def test_a_long_header_is_not_read(tmp_path):
    path = tmp_path / 'long.safetensors'
    path.write_bytes(struct.pack('<Q', 50 * 2**20) + b'{')
    os.truncate(path, 60 * 2**20)
    with pytest.raises(InputError, match='has a header of 52428800 bytes'):
        read_published(path)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'model.decode_head.channels': 99_999}, 'are not of the model that it describes'),
        ({'model.decode_head.num_classes': 100_000}, 'are not of the model that it describes'),
        ({'model.auxiliary_head.num_convs': 100_000}, 'of far more layers than it has weights'),
        (
            {'model.auxiliary_head': {'type': 'PSPHead'}},
            'cannot be built: TypeError: .*missing 2 required',
        ),
    ],
)
def test_a_model_of_other_sizes_than_the_weights_takes_no_memory(change, message, tmp_path):
    text = json.dumps(header(**change))
    model = build_on_meta(load_config(str(SEGMENTOR)))
    path = hollow_file(tmp_path / 'big.safetensors', model, text)
    with pytest.raises(InputError, match=message):
        read_published(path)


def test_too_many_values_or_nested_too_deep_are_refused():
    deep = {}
    for _ in range(40):
        deep = {'a': deep}
    for value in (deep, [0] * 30_000):
        with pytest.raises(InputError, match='no model is described so'):
            refuse_unlisted(dict(model=dict(type='FPN', a=value)), 'mmdet', 'the file')


def test_another_file_is_not_taken_for_a_published_one(tmp_path):
    save_file({'x': torch.zeros(1)}, tmp_path / 'x.safetensors')
    assert not is_published(tmp_path / 'x.safetensors')
    assert not is_published(tmp_path / 'x.pth')
    assert is_published(forged(tmp_path, '{}'))
