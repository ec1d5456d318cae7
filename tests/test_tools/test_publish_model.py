"""A published model is one file that can be tested anywhere, on the reader's own data."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.registry import DefaultScope
from safetensors import safe_open
from safetensors.torch import save_file

from mmvision_mamba.checkpoints.meta_model import build_on_meta
from mmvision_mamba.checkpoints.published_files import KEY, read_published
from mmvision_mamba.config import load_config
from mmvision_mamba.errors import InputError
from mmvision_mamba.publishing import metrics_of_best, publish

ROOT = Path(__file__).parents[2]
DETECTOR = ROOT / 'configs' / 'mask_rcnn_mambavision_demo_shapes.py'
SEGMENTOR = ROOT / 'configs' / 'upernet_mambaout_demo_shapes.py'
METRICS = {'mIoU': 41.5}
MMSEG_PARTS = {'model', 'test_pipeline', 'tta_model', 'tta_pipeline'}


@pytest.fixture
def cfg():
    return load_config(str(SEGMENTOR))


def checkpoint_of(config, count):
    """As MMEngine writes one, of a model with that many classes."""
    shapes = build_on_meta(load_config(str(config))).state_dict()
    names = tuple(f'class {i}' for i in range(count))
    labels = dict(classes=names, palette=[(i, 2 * i, 3 * i) for i in range(count)])
    return dict(
        state_dict={name: torch.zeros(x.shape, dtype=x.dtype) for name, x in shapes.items()},
        optimizer=dict(state={0: torch.ones(1000)}),
        meta=dict(dataset_meta=labels),
    )


@pytest.fixture(scope='module')
def checkpoint():
    return checkpoint_of(SEGMENTOR, 8)


def header(path):
    with safe_open(path, framework='pt') as file:
        return json.loads(file.metadata()[KEY])


def printed_path(done):
    """The last line, behind MMEngine's log."""
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope='module')
def own_data(shapes_data):
    """The drawn data as any other data set of a reader's: in the places of COCO and ADE20K."""
    shapes = shapes_data / 'shapes'
    (shapes_data / 'ade').mkdir()
    (shapes_data / 'coco').symlink_to(shapes / 'coco')
    (shapes_data / 'ade' / 'ADEChallengeData2016').symlink_to(shapes / 'ADEChallengeData2016')
    yield shapes_data
    (shapes_data / 'coco').unlink()
    shutil.rmtree(shapes_data / 'ade')


def trained(run_tool, folder, config, data, *options):
    run_tool('train.py', config, '--work-dir', 'run', '--cfg-options', *options, data=data)
    [best] = (folder / 'run').glob('best_*.pth')
    return best


def scores(folder, prefix=''):
    [path] = folder.glob('**/2*/2*.json')
    found = json.loads(path.read_text())
    return {k: v for k, v in found.items() if k.startswith(prefix) and not k.endswith('time')}


@pytest.mark.slow
def test_a_detectors_file_alone_gives_the_scores_of_config_and_checkpoint(
    own_data, run_tool, tmp_path
):
    options = ('train_cfg.max_epochs=1', 'train_cfg.val_interval=1')
    options += ('default_hooks.checkpoint.interval=1',)
    best = trained(run_tool, tmp_path, DETECTOR, own_data, *options)
    done = run_tool('publish_model.py', DETECTOR, best, '--out-dir', 'given', data=own_data)
    published = tmp_path / printed_path(done)

    run_tool('test.py', DETECTOR, best, '--work-dir', 'theirs', data=own_data)
    (tmp_path / 'elsewhere').mkdir()
    name = published.rename(tmp_path / 'elsewhere' / published.name).name
    # As many images a batch as the config has, because images are padded to their batch's largest.
    batch = ('--cfg-options', 'test_dataloader.batch_size=8')
    run_tool('test.py', name, *batch, data=own_data, cwd=tmp_path / 'elsewhere')

    expected = scores(tmp_path / 'theirs', 'coco/')
    assert scores(tmp_path / 'elsewhere', 'coco/') == expected
    metrics = header(tmp_path / 'elsewhere' / name)['metrics']
    assert metrics == {name: score for name, score in expected.items() if name in metrics}
    assert 'coco/segm_mAP' in metrics


@pytest.mark.slow
def test_a_segmentors_file_gives_its_scores_alone_augmented_and_with_a_config_beside_it(
    own_data, run_tool, tmp_path
):
    options = ('train_cfg.max_iters=2', 'train_cfg.val_interval=2')
    options += ('default_hooks.checkpoint.interval=2',)
    best = trained(run_tool, tmp_path, SEGMENTOR, own_data, *options)
    published = printed_path(run_tool('publish_model.py', SEGMENTOR, best, data=own_data))
    args = (published, '--work-dir')
    run_tool('test.py', SEGMENTOR, best, '--work-dir', 'theirs', data=own_data)
    run_tool('test.py', *args, 'alone', data=own_data)
    run_tool('test.py', SEGMENTOR, *args, 'beside', data=own_data)
    run_tool('test.py', SEGMENTOR, best, '--tta', '--work-dir', 'their_tta', data=own_data)
    run_tool('test.py', *args, 'tta', '--tta', data=own_data)
    expected = scores(tmp_path / 'theirs')
    assert scores(tmp_path / 'alone') == expected
    assert scores(tmp_path / 'beside') == expected
    assert scores(tmp_path / 'tta') == scores(tmp_path / 'their_tta')


def test_it_holds_weights_classes_metrics_and_versions_but_no_optimizer(cfg, checkpoint, tmp_path):
    path = publish(cfg, checkpoint, METRICS, tmp_path, 'model')
    with safe_open(path, framework='pt') as file:
        assert set(file.keys()) == set(checkpoint['state_dict'])
    published = read_published(path)
    assert published.classes == [f'class {i}' for i in range(8)]
    assert published.palette[2] == [2, 4, 6]
    assert published.metrics == METRICS
    assert set(published.versions) == {'torch', 'mmengine', 'mmcv', 'mmseg', 'mmvision_mamba'}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.slow
def test_its_name_ends_in_its_hash_the_same_in_every_process(cfg, checkpoint, tmp_path):
    path = publish(cfg, checkpoint, METRICS, tmp_path / 'here', 'model')
    assert path.stem == f'model-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}'
    torch.save(checkpoint, tmp_path / 'iter_4.pth')
    program = (
        'import sys; from pathlib import Path\n'
        'from mmvision_mamba.checkpoints import read_checkpoint\n'
        'from mmvision_mamba.config import load_config\n'
        'from mmvision_mamba.publishing import publish\n'
        'config, checkpoint, folder = sys.argv[1:]\n'
        'model = load_config(config), read_checkpoint(checkpoint)\n'
        f"print(publish(*model, {METRICS}, Path(folder), 'model'))"
    )
    done = subprocess.run(
        [sys.executable, '-c', program, SEGMENTOR, tmp_path / 'iter_4.pth', tmp_path / 'there'],
        check=True,
        capture_output=True,
        text=True,
    )
    assert printed_path(done).read_bytes() == path.read_bytes()


def test_it_is_not_overwritten(cfg, checkpoint, tmp_path):
    path = publish(cfg, checkpoint, METRICS, tmp_path, 'model')
    with pytest.raises(InputError, match=f'{path.name} exists already; nothing was written'):
        publish(cfg, checkpoint, METRICS, tmp_path, 'model')
    assert list(tmp_path.iterdir()) == [path]


def test_it_holds_what_the_model_is_and_nothing_of_the_run_or_its_machine(
    cfg, checkpoint, tmp_path
):
    cfg.work_dir = cfg.load_from = '/home/publisher'
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='/home/publisher/x.pth')
    path = publish(cfg, checkpoint, METRICS, tmp_path, 'model')
    fields = {'format', 'scope', 'classes', 'palette', 'metrics', 'versions'}
    assert set(header(path)) == fields | MMSEG_PARTS
    assert '/home/publisher' not in json.dumps(header(path))
    assert read_published(path).model['decode_head']['pool_scales'] == (1, 2, 3, 6)


def test_it_is_readable_by_whom_the_umask_lets(cfg, checkpoint, tmp_path):
    before = os.umask(0o027)
    try:
        path = publish(cfg, checkpoint, METRICS, tmp_path, 'model')
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_data_is_looked_for_where_the_reader_has_it(cfg, checkpoint, tmp_path, monkeypatch):
    path = publish(cfg, checkpoint, METRICS, tmp_path, 'model')
    monkeypatch.setenv('MMVISION_DATA', '/home/reader')
    dataset = load_config(str(path)).test_dataloader.dataset
    assert dataset.data_root == '/home/reader/ade/ADEChallengeData2016'
    assert dataset.metainfo.classes == tuple(f'class {i}' for i in range(8))
    options = {'test_dataloader.dataset.data_root': '/elsewhere'}
    assert load_config(str(path), options).test_dataloader.dataset.data_root == '/elsewhere'


def test_labels_are_read_as_the_model_learned_them(cfg, checkpoint, tmp_path):
    for step in (s for s in cfg.test_dataloader.dataset.pipeline if s.type == 'LoadAnnotations'):
        step.reduce_zero_label = False
    read = load_config(str(publish(cfg, checkpoint, METRICS, tmp_path, 'model')))
    for name in ('train', 'val', 'test'):
        dataset = read[f'{name}_dataloader'].dataset
        [step] = [s for s in dataset.pipeline if s.type == 'LoadAnnotations']
        assert (dataset.reduce_zero_label, step.reduce_zero_label) == (False, False)


def test_what_the_data_set_s_type_alone_says_of_label_0_is_stated(cfg, checkpoint, tmp_path):
    dataset = cfg.test_dataloader.dataset
    dataset.type = 'ADE20KDataset'
    del dataset.dataset_type
    for holder in (dataset, *dataset.pipeline):
        holder.pop('reduce_zero_label', None)
    published = read_published(publish(cfg, checkpoint, METRICS, tmp_path, 'model'))
    [step] = [s for s in published.test_pipeline if s['type'] == 'LoadAnnotations']
    assert step['reduce_zero_label'] is True
    assert 'reduce_zero_label' not in dataset


def test_a_detector_without_masks_is_scored_by_boxes(tmp_path):
    import mmdet

    config = Path(mmdet.__path__[0], '.mim/configs/faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
    faster_rcnn = load_config(str(config))
    path = publish(faster_rcnn, checkpoint_of(config, 80), {}, tmp_path, 'model')
    read = load_config(str(path))
    assert read.test_evaluator.metric == 'bbox'
    assert read.default_hooks.checkpoint.save_best == 'coco/bbox_mAP'


def test_what_may_not_be_read_is_not_written_but_its_weights_are_on_demand(
    cfg, checkpoint, tmp_path
):
    checkpoint = dict(checkpoint, state_dict={'x': torch.zeros(1)})
    cfg.model = dict(type='MyOwnSegmentor')
    with pytest.raises(InputError, match=r"the config: model names the type 'MyOwnSegmentor'"):
        publish(cfg, checkpoint, METRICS, tmp_path, 'model')
    assert list(tmp_path.iterdir()) == []
    register_own_segmentor()
    path = publish(cfg, checkpoint, METRICS, tmp_path, 'model', weights_only=True)
    assert read_published(path).model is None
    with pytest.raises(InputError, match='holds weights and class names alone: give the config'):
        load_config(str(path))


def register_own_segmentor():
    from mmengine.registry import MODELS

    @MODELS.register_module(force=True)
    class MyOwnSegmentor(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.x = torch.nn.Parameter(torch.zeros(1))


@pytest.mark.slow
@pytest.mark.parametrize('config', [DETECTOR, SEGMENTOR], ids=['detector', 'segmentor'])
@pytest.mark.parametrize('beside', [True, False], ids=['config beside', 'alone'])
def test_inferencers_take_the_file_alone_or_with_its_config(config, beside, tmp_path):
    from mmdet.apis import DetInferencer
    from mmseg.apis import MMSegInferencer

    is_detector = config == DETECTOR
    checkpoint = checkpoint_of(config, 5 if is_detector else 8)
    labels = checkpoint['meta']['dataset_meta']
    names = ('traffic light', "it's", '"""', '\\', 'ф', '5', '6', '7')
    labels['classes'] = names[: len(labels['classes'])]
    path = publish(load_config(str(config)), checkpoint, {}, tmp_path, 'model')
    DefaultScope._instance_dict.clear()
    build = DetInferencer if is_detector else MMSegInferencer
    infer = build(str(config) if beside else None, weights=str(path), device='cpu')
    assert tuple(infer.model.dataset_meta['classes']) == labels['classes']
    if not beside:  # a config's colours come first for mmdet
        palette = [tuple(colour) for colour in infer.model.dataset_meta['palette']]
        assert palette == labels['palette']
    assert infer(np.zeros((64, 80, 3), np.uint8))['predictions'] is not None


def test_a_header_that_may_not_be_used_does_not_keep_weights_from_a_config_beside_it(
    cfg, checkpoint, tmp_path
):
    from mmseg.apis import init_model

    path = tmp_path / 'theirs.safetensors'
    fields = dict(format=2, model=dict(type='mmengine.call_command'))
    save_file(checkpoint['state_dict'], path, metadata={KEY: json.dumps(fields)})
    with pytest.warns(UserWarning, match='dataset_meta or class names are not saved'):
        init_model(str(SEGMENTOR), str(path), device='cpu')


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
    with pytest.raises(InputError, match='is of format 9 and this version reads up to 3'):
        load_config(str(path))


@pytest.mark.slow
def test_a_config_alone_cannot_be_tested(run_tool):
    done = run_tool('test.py', SEGMENTOR, check=False)
    assert done.returncode == 2
    assert 'give CONFIG and CHECKPOINT' in done.stderr
