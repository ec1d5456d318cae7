"""A config fitted to own data: heads, data sets and evaluators follow; it runs by itself."""

import importlib
import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope

from mmvision_mamba.config import load_config
from mmvision_mamba.datasets import ADE_METAINFO, draw_shapes
from mmvision_mamba.datasets.checking.before_training import check_data
from mmvision_mamba.engine.own_data import fit_to_own_data, write_config
from mmvision_mamba.errors import InputError
from mmvision_mamba.inference.drawing.colors import palette_for

pytestmark = pytest.mark.slow  # in sum

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture(scope='module')
def drawn(tmp_path_factory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp('own') / 'shapes', num_train=6, num_val=2)


@pytest.fixture
def boxes(drawn, tmp_path) -> Path:
    """Boxes without masks, of two classes with odd ids and names, in one file."""
    content = json.loads((drawn / 'coco/annotations/instances_train2017.json').read_text())
    content['categories'] = [dict(id=23, name='Kreuz, groß'), dict(id=5, name='星')]
    ids = {9: 23, 7: 5}
    content['annotations'] = [
        {k: v for k, v in each.items() if k != 'segmentation'}
        | dict(category_id=ids[each['category_id']])
        for each in content['annotations']
        if each['category_id'] in ids
    ]
    folder = tmp_path / 'own'
    folder.mkdir()
    (folder / 'images').symlink_to(drawn / 'coco' / 'train2017')
    (folder / 'labels.json').write_text(json.dumps(content))
    return folder


@pytest.fixture
def label_maps(drawn, tmp_path) -> Path:
    folder = tmp_path / 'own'
    folder.mkdir()
    for name in ('images', 'annotations'):
        (folder / name).symlink_to(drawn / 'ADEChallengeData2016' / name)
    (folder / 'classes.txt').write_text('\n'.join(ADE_METAINFO['classes']) + '\n')
    return folder


def fitted(name: str, folder: Path, tmp_path: Path, options: dict | None = None):
    """The config as it is read again from the work dir, and what was said."""
    cfg = load_config(str(CONFIGS / f'{name}.py'), options)
    cfg.work_dir = str(tmp_path / 'work')
    said = fit_to_own_data(cfg, folder, options or {}, palette_for)
    cfg = load_config(str(write_config(cfg)))
    check_data(cfg, ('train', 'val', 'test'))
    return cfg, said


def heads(cfg: Config) -> dict[str, int]:
    """Rows of each layer of the model that has one for each class."""
    importlib.import_module(f'{cfg.default_scope}.models')
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    ends = ('fc_cls', 'fc_reg', 'conv_logits', 'conv_seg', 'cls_embed')
    ends = tuple(f'{end}.weight' for end in ends)
    return {name: len(value) for name, value in model.state_dict().items() if name.endswith(ends)}


@pytest.mark.parametrize(
    'name', ['mask_rcnn_mambaout_femto_coco', 'cascade_mask_rcnn_mambavision_t_coco']
)
def test_boxes_alone_make_a_detector_of_boxes(name, boxes, tmp_path):
    cfg, said = fitted(name, boxes, tmp_path)
    counts = heads(cfg)
    assert counts
    for layer, rows in counts.items():
        assert rows == (8 if 'fc_reg' in layer else 3)
    for split in ('val', 'test'):
        assert cfg[f'{split}_evaluator'].metric == 'bbox'
        assert cfg[f'{split}_dataloader'].dataset.metainfo.classes == ('Kreuz, groß', '星')
    assert cfg.default_hooks.checkpoint.save_best == 'coco/bbox_mAP'
    assert any('without its mask head' in line for line in said)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert dataset.metainfo['classes'] == ('Kreuz, groß', '星')
    assert len(dataset.metainfo['palette']) == 2  # the type's own is of 80 classes
    assert len(dataset[0]['data_samples'].gt_instances.labels)


@pytest.mark.parametrize(
    ('name', 'layers'),
    [('mask_rcnn_mambaout_femto_coco', 3), ('cascade_mask_rcnn_mambavision_t_coco', 9)],
)
def test_masks_are_trained_where_every_object_has_one(name, layers, drawn, tmp_path):
    cfg, _ = fitted(name, drawn / 'coco', tmp_path)
    counts = heads(cfg)
    rows = {'fc_cls': 6, 'fc_reg': 20, 'conv_logits': 5}
    assert len(counts) == layers
    for layer, found in counts.items():
        assert found == next(count for end, count in rows.items() if end in layer)
    assert cfg.val_evaluator.metric == ['bbox', 'segm']
    assert cfg.val_evaluator.ann_file.endswith('instances_val2017.json')


def test_label_maps_set_the_decoder_the_auxiliary_head_and_label_zero(label_maps, tmp_path):
    cfg, said = fitted('upernet_mambaout_tiny_ade20k', label_maps, tmp_path)
    assert heads(cfg) == {'decode_head.conv_seg.weight': 8, 'auxiliary_head.conv_seg.weight': 8}
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.type == 'BaseSegDataset'
        assert dataset.reduce_zero_label is True
        assert dataset.metainfo.classes == ADE_METAINFO['classes']
    assert any('1 is circle' in line for line in said)
    labels = DATASETS.build(cfg.val_dataloader.dataset)[0]['data_samples'].gt_sem_seg.data
    assert set(labels.unique().tolist()) <= {*range(8), 255}


def test_a_mask2former_of_instances_gets_the_classes_and_the_weight_of_none(drawn, tmp_path):
    cfg, _ = fitted('mask2former_mambaout_tiny_coco', drawn / 'coco', tmp_path)
    head, fusion = cfg.model.panoptic_head, cfg.model.panoptic_fusion_head
    assert (head.num_things_classes, head.num_stuff_classes) == (5, 0)
    assert fusion.num_things_classes == 5
    assert head.loss_cls.class_weight == [1.0] * 5 + [0.1]
    assert heads(cfg) == {'panoptic_head.cls_embed.weight': 6}


def test_a_mask2former_of_label_maps_gets_the_classes_and_the_weight_of_none(label_maps, tmp_path):
    cfg, _ = fitted('mask2former_mambaout_tiny_ade20k', label_maps, tmp_path)
    assert cfg.model.decode_head.loss_cls.class_weight == [1.0] * 8 + [0.1]
    assert heads(cfg) == {'decode_head.cls_embed.weight': 9}


def test_weights_of_single_classes_are_left_out(label_maps, tmp_path):
    cfg = load_config(str(CONFIGS / 'segformer_mambaout_femto_ade20k.py'))
    cfg.work_dir = str(tmp_path / 'work')
    cfg.model.decode_head.loss_decode.class_weight = [1.0] * 149 + [2.0]
    said = fit_to_own_data(cfg, label_maps, {}, palette_for)
    assert 'class_weight' not in cfg.model.decode_head.loss_decode
    assert any('decode_head.loss_decode.class_weight is left out' in line for line in said)


def test_a_panoptic_model_is_not_fitted(drawn, tmp_path):
    options = {'model.panoptic_head.num_stuff_classes': 53}
    with pytest.raises(InputError, match='is 133: a panoptic model is not fitted to own data'):
        fitted('mask2former_mambaout_tiny_coco', drawn / 'coco', tmp_path, options)


@pytest.mark.parametrize(
    'name', ['mask2former_mambaout_tiny_coco', 'rtmdet_ins_mambaout_tiny_coco']
)
def test_what_has_no_part_for_masks_to_leave_out_needs_masks(name, boxes, tmp_path):
    with pytest.raises(InputError, match='has boxes and no masks'):
        fitted(name, boxes, tmp_path)


def test_few_images_keep_rtmdets_mosaics_to_the_end(drawn, tmp_path):
    cfg, said = fitted('rtmdet_ins_mambaout_tiny_coco', drawn / 'coco', tmp_path)
    assert 'pipeline_switch' not in cfg.default_hooks
    assert 'ema' in cfg.default_hooks
    assert any('the first pipeline is kept to the end' in line for line in said)


def test_few_images_get_iterations_a_warm_up_and_validations_that_fit(drawn, tmp_path):
    cfg, said = fitted('mask_rcnn_mambaout_femto_coco', drawn / 'coco', tmp_path)
    assert (cfg.train_cfg.type, cfg.train_cfg.max_iters) == ('ResumableIterLoop', 3000)
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == 300
    warm_up, cosine = cfg.param_scheduler
    assert warm_up.end == cosine.begin == 300
    assert cosine.end == 3000
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1e-4 * (2 / 16) ** 0.5, rel=1e-2)
    assert any('6 images to train on are few: 3,000 iterations' in line for line in said)
    assert any('no --weights' in line for line in said)


def test_what_is_given_on_the_command_line_holds(drawn, tmp_path):
    options = {
        'train_cfg.max_epochs': 4,
        'train_cfg.val_interval': 5,
        'optim_wrapper.optimizer.lr': 7e-4,
        'train_dataloader.batch_size': 3,
        'train_dataloader.dataset.pipeline.3.scale': (99, 99),
    }
    cfg, _ = fitted('mask_rcnn_mambaout_femto_coco', drawn / 'coco', tmp_path, options)
    assert cfg.train_cfg.max_iters == 8
    assert 'max_epochs' not in cfg.train_cfg
    assert cfg.train_cfg.val_interval == 5
    assert cfg.optim_wrapper.optimizer.lr == 7e-4
    assert cfg.train_dataloader.batch_size == 3
    assert cfg.train_dataloader.dataset.pipeline[3].scale == (99, 99)


def test_a_run_of_one_iteration_has_a_schedule_that_can_be_built(drawn, tmp_path):
    options = {'train_cfg.max_iters': 1}
    cfg, _ = fitted('mask_rcnn_mambaout_femto_coco', drawn / 'coco', tmp_path, options)
    assert [each.begin < each.end for each in cfg.param_scheduler] == [True, True]


def test_a_count_of_classes_given_on_the_command_line_is_compared_with_the_data(drawn, tmp_path):
    options = {'model.roi_head.bbox_head.num_classes': 80}
    with pytest.raises(InputError, match=r'num_classes is 80; but of the data set .* names 5'):
        fitted('mask_rcnn_mambaout_femto_coco', drawn / 'coco', tmp_path, options)


def test_many_images_keep_the_recipes_length(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr('mmvision_mamba.datasets.own.small_data.SMALL', 6)
    cfg, _ = fitted('mask_rcnn_mambaout_femto_coco', drawn / 'coco', tmp_path)
    assert (cfg.train_cfg.type, cfg.train_cfg.max_epochs) == ('ResumableEpochLoop', 12)


def test_a_resumed_run_keeps_its_split_though_images_were_added(boxes, tmp_path):
    cfg = load_config(str(CONFIGS / 'mask_rcnn_mambaout_femto_coco.py'))
    cfg.work_dir = str(tmp_path / 'work')
    fit_to_own_data(cfg, boxes, {}, palette_for)
    before = Path(cfg.train_dataloader.dataset.ann_file).read_text()
    content = json.loads((boxes / 'labels.json').read_text())
    content['images'].pop()
    (boxes / 'labels.json').write_text(json.dumps(content))
    again = load_config(str(CONFIGS / 'mask_rcnn_mambaout_femto_coco.py'))
    again.work_dir, again.resume = cfg.work_dir, True
    fit_to_own_data(again, boxes, {}, palette_for)
    assert Path(again.train_dataloader.dataset.ann_file).read_text() == before
    assert again.train_dataloader == cfg.train_dataloader
    with pytest.raises(InputError, match='is of the data in'):
        fit_to_own_data(again, tmp_path, {}, palette_for)


def test_data_of_another_task_is_refused(boxes, tmp_path):
    with pytest.raises(InputError, match='expected images and label maps'):
        fitted('upernet_mambaout_tiny_ade20k', boxes, tmp_path)


def test_label_maps_of_several_classes_are_not_for_a_detector(label_maps, tmp_path):
    with pytest.raises(InputError, match='for segmentation, and no boxes'):
        fitted('mask_rcnn_mambaout_femto_coco', label_maps, tmp_path)
