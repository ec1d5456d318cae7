"""A model is opened by its config, a published name or file, or the folder of its training."""

import os
import pickle
import shutil

import numpy as np
import pytest
import torch

from mmvision_mamba import Predictor
from mmvision_mamba.checkpoints import read_checkpoint
from mmvision_mamba.checkpoints.published import PUBLISHED
from mmvision_mamba.config import load_config
from mmvision_mamba.datasets.shapes import COCO_METAINFO
from mmvision_mamba.errors import InputError
from mmvision_mamba.inference import opening
from mmvision_mamba.inference.opening import _config_and_weights, open_model
from mmvision_mamba.publishing import publish


@pytest.fixture(params=['detector', 'segmentor'])
def net(request):
    return request.getfixturevalue(request.param)


def changed(net, path, **meta):
    """A checkpoint with other labels, or without."""
    checkpoint = read_checkpoint(net.weights)
    torch.save(dict(checkpoint, meta=meta), path)
    return path


@pytest.fixture
def work_dir(segmentor, tmp_path):
    """As a training leaves it: the config whole, and checkpoints."""
    folder = tmp_path / 'run'
    folder.mkdir()
    load_config(str(segmentor.config)).dump(folder / 'own.py')
    for name in ('iter_2.pth', 'iter_4.pth', 'best_mIoU_iter_2.pth'):
        shutil.copy(segmentor.weights, folder / name)
    return folder


def test_a_published_file_alone_is_a_model(net, tmp_path, noise):
    cfg, checkpoint = load_config(str(net.config)), read_checkpoint(net.weights)
    path = publish(cfg, checkpoint, {}, tmp_path, 'mine')
    predictor = Predictor(path, device='cpu')
    assert predictor.class_names == net.predictor.class_names
    assert (predictor.palette == net.predictor.palette).all()
    image = noise(40, 60)
    ours, theirs = predictor(image), net.predictor(image)
    if predictor.task == 'detection':
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-3)
    else:
        assert (ours.label_map == theirs.label_map).all()
    beside_config = Predictor(net.config, path, device='cpu')
    assert beside_config.class_names == net.predictor.class_names


def test_a_published_file_of_weights_alone_needs_its_config(segmentor, tmp_path):
    cfg, checkpoint = load_config(str(segmentor.config)), read_checkpoint(segmentor.weights)
    path = publish(cfg, checkpoint, {}, tmp_path, 'mine', weights_only=True)
    with pytest.raises(InputError, match='give the config too'):
        Predictor(path)
    assert Predictor(segmentor.config, path, device='cpu').class_names[0] == 'circle'


def test_a_work_dir_is_its_config_and_best_checkpoint(work_dir, monkeypatch):
    said = []
    monkeypatch.setattr(opening, 'print_log', lambda text, logger: said.append(text))
    assert _config_and_weights(str(work_dir)) == (
        work_dir / 'own.py',
        work_dir / 'best_mIoU_iter_2.pth',
        {},
    )
    assert Predictor(work_dir, device='cpu').task == 'segmentation'
    (work_dir / 'best_mIoU_iter_2.pth').write_bytes(b'PK\x03\x04 cut short')
    assert _config_and_weights(str(work_dir))[1] == work_dir / 'iter_4.pth'
    assert said[-1].endswith('iter_4.pth is taken')
    (work_dir / 'iter_4.pth').unlink()
    (work_dir / 'best_mIoU_iter_2.pth').unlink()
    assert _config_and_weights(str(work_dir))[1] == work_dir / 'iter_2.pth'
    (work_dir / 'iter_2.pth').write_bytes(b'')
    with pytest.raises(InputError, match=r'no checkpoint that is whole: iter_2\.pth'):
        open_model(work_dir)
    (work_dir / 'iter_2.pth').unlink()
    with pytest.raises(InputError, match='holds no checkpoint yet'):
        open_model(work_dir)
    (work_dir / 'own.py').unlink()
    with pytest.raises(InputError, match='is no work dir'):
        open_model(work_dir)


@pytest.mark.parametrize('name', [name for name, e in PUBLISHED.items() if e.kind == 'model'])
def test_every_published_name_has_its_config(name):
    config, weights, options = _config_and_weights(name)
    cfg = load_config(str(config), options)
    assert weights == name
    padding = cfg.model.backbone.get('window_padding')
    assert padding == ('full' if cfg.model.backbone.type == 'MambaVision' else None)


@pytest.mark.slow
def test_a_published_name_opens_the_file_that_was_put_by_hand(tmp_path, monkeypatch, noise):
    name = 'upernet_mambavision_t_ade20k'
    config, _, options = _config_and_weights(name)
    cfg = load_config(str(config), options)
    from mmengine.registry import MODELS, DefaultScope

    with DefaultScope.overwrite_default_scope('mmseg'):
        weights = MODELS.build(cfg.model).state_dict()
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path))
    (tmp_path / 'checkpoints').mkdir()
    torch.save(dict(state_dict=weights), tmp_path / 'checkpoints' / PUBLISHED[name].local_name)
    predictor = Predictor(name, device='cpu')
    assert len(predictor.class_names) == 150
    assert predictor(noise(32, 32)).label_map.shape == (32, 32)


@pytest.mark.parametrize(
    ('model', 'words'),
    [
        ('missing.py', 'config missing.py does not exist'),
        ('cascade_mask_rcnn_mambavison_t_coco', 'did you mean cascade_mask_rcnn_mambavision_t'),
        ('mambavision_t.in1k', 'is a backbone'),
        ('nothing', "'nothing' is no model: expected a config"),
        ('', "'' is no model"),
        ('https://host/x.pth', 'is no model'),
    ],
)
def test_what_is_no_model_is_one_clear_error(segmentor, model, words):
    with pytest.raises(InputError, match=words):
        Predictor(model, segmentor.weights)


def test_weights_that_are_missing_or_of_another_model_are_refused(detector, segmentor, tmp_path):
    with pytest.raises(InputError, match='give weights, a checkpoint'):
        Predictor(detector.config)
    with pytest.raises(InputError, match='does not say what model it is of'):
        Predictor(detector.weights)
    with pytest.raises(InputError, match=rf'{segmentor.weights.name} names 8 classes'):
        Predictor(detector.config, segmentor.weights)
    other = changed(segmentor, tmp_path / 'other.pth', dataset_meta=COCO_METAINFO)
    with pytest.raises(InputError, match=r'other\.pth is not of this model'):
        Predictor(detector.config, other)
    with pytest.raises(InputError, match=r'none\.pth does not exist'):
        Predictor(detector.config, tmp_path / 'none.pth')


def test_a_strangers_checkpoint_runs_nothing(segmentor, tmp_path):
    class Program:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'was_run'),)

    path = tmp_path / 'bad.pth'
    checkpoint = read_checkpoint(segmentor.weights)
    torch.save(dict(checkpoint, extra=Program()), path, pickle_module=pickle)
    with pytest.raises(InputError, match=r'bad\.pth'):
        Predictor(segmentor.config, path)
    assert not (tmp_path / 'was_run').exists()


def test_classes_are_the_checkpoints_else_the_configs(detector, tmp_path):
    names = ('Ä', 'b', 'c', 'd', 'e')
    own = changed(detector, tmp_path / 'own.pth', dataset_meta=dict(CLASSES=names))
    opened = open_model(detector.config, own)
    assert opened.class_names == names
    assert opened.palette.shape == (5, 3)
    silent = changed(detector, tmp_path / 'silent.pth')
    opened = open_model(detector.config, silent)
    assert opened.class_names == COCO_METAINFO['classes']
    assert opened.palette.tolist() == [list(color) for color in COCO_METAINFO['palette']]


@pytest.mark.parametrize(
    'palette', ['random', [], [(1, 2, 3)], [('x',) * 3] * 5, [(0, 0, 999)] * 5]
)
def test_a_palette_that_is_none_is_replaced(detector, tmp_path, palette):
    meta = dict(classes=COCO_METAINFO['classes'], palette=palette)
    path = changed(detector, tmp_path / 'own.pth', dataset_meta=meta)
    assert open_model(detector.config, path).palette.shape == (5, 3)


def test_a_count_of_classes_that_differs_names_both(detector, tmp_path):
    path = changed(detector, tmp_path / 'x.pth', dataset_meta=dict(classes=('a', 'b')))
    with pytest.raises(InputError, match=r'bbox_head\.num_classes is 5.*names 2 classes \(a, b\)'):
        Predictor(detector.config, path)


def test_names_that_are_none_are_refused(detector, tmp_path):
    for names in (('a', 1, 'c', 'd', 'e'), ('\x1b[2J', 'b', 'c', 'd', 'e')):
        path = changed(detector, tmp_path / 'x.pth', dataset_meta=dict(classes=names))
        with pytest.raises(InputError, match='is no name of a class'):
            Predictor(detector.config, path)
