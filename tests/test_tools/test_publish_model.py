"""A published model is one file that can be tested anywhere, and that runs nothing of its own."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors import safe_open
from safetensors.torch import save_file

from mmvision_mamba.checkpoints.meta_model import build_on_meta
from mmvision_mamba.checkpoints.publishing import (
    KEY,
    metrics_of_best,
    portable_data_folder,
    publish,
    read_published,
)
from mmvision_mamba.config import load_config
from mmvision_mamba.errors import InputError

ROOT = Path(__file__).parents[2]
DETECTOR = ROOT / 'configs' / 'mask_rcnn_mambavision_demo_shapes.py'
SEGMENTOR = ROOT / 'configs' / 'upernet_mambaout_demo_shapes.py'
TOOL = ROOT / 'tools' / 'publish_model.py'
METRICS = {'mIoU': 41.5}


@pytest.fixture
def cfg():
    with portable_data_folder():
        return load_config(str(SEGMENTOR))


@pytest.fixture(scope='module')
def checkpoint():
    """As MMEngine writes one, of the segmentor."""
    shapes = build_on_meta(load_config(str(SEGMENTOR))).state_dict()
    return dict(
        state_dict={name: torch.zeros(x.shape, dtype=x.dtype) for name, x in shapes.items()},
        optimizer=dict(state={0: torch.ones(1000)}),
        meta=dict(dataset_meta=dict(classes=('circle', 'star'))),
    )


def header(path):
    with safe_open(path, framework='pt') as file:
        return json.loads(file.metadata()[KEY])


def printed_path(done):
    """The last line, behind MMEngine's log."""
    return Path(done.stdout.splitlines()[-1])


def with_config(tmp_path, config):
    """A file as another hand might make it."""
    fields = dict(format=1, config=config, classes=[], metrics={}, versions={})
    path = tmp_path / 'theirs.safetensors'
    save_file({'x': torch.zeros(1)}, path, metadata={KEY: json.dumps(fields)})
    return path


@pytest.mark.slow
def test_the_file_alone_gives_the_scores_of_config_and_checkpoint(shapes_data, run_tool, tmp_path):
    one_epoch = ('train_cfg.max_epochs=1', 'train_cfg.val_interval=1')
    one_epoch += ('default_hooks.checkpoint.interval=1',)
    data = dict(data=shapes_data)
    run_tool('train.py', DETECTOR, '--work-dir', 'run', '--cfg-options', *one_epoch, **data)
    [best] = (tmp_path / 'run').glob('best_*.pth')
    done = run_tool('publish_model.py', DETECTOR, best, '--out-dir', 'given', **data)
    published = tmp_path / printed_path(done)

    run_tool('test.py', DETECTOR, best, '--work-dir', 'theirs', **data)
    (tmp_path / 'elsewhere').mkdir()
    name = published.rename(tmp_path / 'elsewhere' / published.name).name
    run_tool('test.py', name, **data, cwd=tmp_path / 'elsewhere')

    def scores(folder):
        [path] = folder.glob('**/2*/2*.json')
        return {k: v for k, v in json.loads(path.read_text()).items() if k.startswith('coco/')}

    expected = scores(tmp_path / 'theirs')
    assert scores(tmp_path / 'elsewhere') == expected
    metrics = header(tmp_path / 'elsewhere' / name)['metrics']
    assert metrics == {name: score for name, score in expected.items() if name in metrics}
    assert 'coco/segm_mAP' in metrics


def test_it_holds_weights_classes_metrics_and_versions_but_no_optimizer(cfg, checkpoint, tmp_path):
    path = publish(cfg, checkpoint, METRICS, tmp_path, 'model')
    with safe_open(path, framework='pt') as file:
        assert set(file.keys()) == set(checkpoint['state_dict'])
    published = read_published(path)
    assert published.classes == ('circle', 'star')
    assert published.metrics == METRICS
    assert set(published.versions) == {'torch', 'mmengine', 'mmcv', 'mmseg', 'mmvision_mamba'}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_its_name_ends_in_its_hash_the_same_in_every_process(cfg, checkpoint, tmp_path):
    path = publish(cfg, checkpoint, METRICS, tmp_path / 'here', 'model')
    assert path.stem == f'model-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}'
    args = (SEGMENTOR, tmp_path / 'iter_4.pth')
    torch.save(checkpoint, args[1])
    done = subprocess.run(
        [sys.executable, TOOL, *args, '--out-dir', tmp_path / 'there', '--metrics', 'mIoU=41.5'],
        check=True,
        capture_output=True,
        text=True,
        env=dict(os.environ, MMVISION_DATA=str(tmp_path)),
    )
    assert printed_path(done).read_bytes() == path.read_bytes()


def test_it_is_not_overwritten(cfg, checkpoint, tmp_path):
    path = publish(cfg, checkpoint, METRICS, tmp_path, 'model')
    with pytest.raises(InputError, match=f'{path.name} exists already; nothing was written'):
        publish(cfg, checkpoint, METRICS, tmp_path, 'model')
    assert list(tmp_path.iterdir()) == [path]


def test_its_config_is_the_models_with_tuples_and_all(cfg, checkpoint, tmp_path, monkeypatch):
    monkeypatch.delenv('MMVISION_DATA', raising=False)
    path = publish(cfg, checkpoint, METRICS, tmp_path, 'model')
    config = load_config(str(SEGMENTOR)).to_dict()
    for of_the_run in ('load_from', 'resume'):
        del config[of_the_run]
    assert read_published(path).config.to_dict() == config


def test_data_is_looked_for_where_the_reader_has_it(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv('MMVISION_DATA', '/home/publisher')
    with portable_data_folder():
        cfg = load_config(str(SEGMENTOR))
    path = publish(cfg, checkpoint, METRICS, tmp_path, 'model')
    assert '/home/publisher' not in json.dumps(header(path))
    monkeypatch.setenv('MMVISION_DATA', '/home/reader')
    root = load_config(str(path)).test_dataloader.dataset.data_root
    assert root == '/home/reader/shapes/ADEChallengeData2016'
    options = {'test_dataloader.dataset.data_root': '/elsewhere'}
    assert load_config(str(path), options).test_dataloader.dataset.data_root == '/elsewhere'


def test_averaged_and_shared_weights_are_published(cfg, checkpoint, tmp_path):
    """MMEngine keeps averages under state_dict, and what they average under ema_state_dict."""
    averages = dict(checkpoint['state_dict'])
    one, other = 'decode_head.conv_seg.bias', 'auxiliary_head.conv_seg.bias'
    averages[one] = averages[other] = torch.full_like(averages[one], 3.0)
    raw = {name: value - 1 for name, value in averages.items()}
    path = publish(
        cfg, dict(checkpoint, state_dict=averages, ema_state_dict=raw), METRICS, tmp_path, 'model'
    )
    with safe_open(path, framework='pt') as file:
        assert torch.equal(file.get_tensor(one), averages[one])
        assert torch.equal(file.get_tensor(other), averages[one])


def test_only_a_best_checkpoint_knows_its_own_scores():
    hub = dict(
        log_scalars={'val/mIoU': HistoryBuffer([41.5], [1]), 'train/loss': HistoryBuffer([2], [1])},
        runtime_info=dict(best_ckpt='/run/best_mIoU_iter_4.pth'),
    )
    assert metrics_of_best(dict(message_hub=hub), 'best_mIoU_iter_4.pth') == {'mIoU': 41.5}
    assert metrics_of_best(dict(message_hub=hub), 'iter_8.pth') == {}
    assert metrics_of_best({}, 'iter_8.pth') == {}


def test_a_checkpoint_of_another_model_is_not_published(checkpoint, tmp_path):
    with pytest.raises(InputError, match=r'is not of this model: of .* are missing'):
        publish(load_config(str(DETECTOR)), checkpoint, METRICS, tmp_path, 'model')
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_without_class_names_is_not_published(cfg, checkpoint, tmp_path):
    with pytest.raises(InputError, match='does not name its classes'):
        publish(cfg, dict(checkpoint, meta={}), METRICS, tmp_path, 'model')


@pytest.mark.parametrize('value', [len, {1: 'one'}, {1, 2}])
def test_what_a_file_cannot_hold_is_named(value, cfg, checkpoint, tmp_path):
    cfg.model.backbone.extra = value
    with pytest.raises(InputError, match=r'cannot be published: model\.backbone\.extra'):
        publish(cfg, checkpoint, METRICS, tmp_path, 'model')


@pytest.mark.parametrize(
    'config',
    [
        dict(model=dict(type='os.system', command='touch /tmp/owned')),
        dict(model=dict(backbone=[dict(type='antigravity')])),
        dict(test_cfg=dict(nms=dict(type="exit('evaluated')"))),
        dict(custom_hooks=[dict(type='RFSearchHook')]),
        dict(custom_imports=dict(imports=['antigravity'])),
        dict(default_scope='antigravity'),
    ],
)
def test_a_file_that_would_run_something_is_refused(config, tmp_path):
    with pytest.raises(InputError, match=r'theirs\.safetensors (names the type|imports) .*may'):
        read_published(with_config(tmp_path, config))
    assert 'antigravity' not in sys.modules


def test_files_of_other_kinds_are_told_apart(tmp_path):
    with pytest.raises(InputError, match='does not exist'):
        load_config(str(tmp_path / 'nothing.safetensors'))
    path = tmp_path / 'x.safetensors'
    path.write_bytes(b'not one at all')
    with pytest.raises(InputError, match='not a safetensors file, or is truncated'):
        load_config(str(path))
    save_file({'x': torch.zeros(1)}, path)
    with pytest.raises(InputError, match='holds weights without a config'):
        load_config(str(path))
    save_file({'x': torch.zeros(1)}, path, metadata={KEY: '{"format": 1}'})
    with pytest.raises(InputError, match=r'the header of .* is damaged'):
        load_config(str(path))
    save_file({'x': torch.zeros(1)}, path, metadata={KEY: '{"format": 9}'})
    with pytest.raises(InputError, match='is of format 9 and this version reads 1'):
        load_config(str(path))


def test_a_config_alone_cannot_be_tested(run_tool):
    done = run_tool('test.py', SEGMENTOR, check=False)
    assert done.returncode == 2
    assert 'give CONFIG and CHECKPOINT' in done.stderr
