import gzip
import io
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from mmdet.datasets.api_wrappers import COCO
from mmengine.config import Config
from mmengine.logging import MMLogger
from PIL import Image

from mmvision_mamba.config import load_config
from mmvision_mamba.datasets.checking.before_training import check_data
from mmvision_mamba.datasets.checking.check import check_datasets
from mmvision_mamba.errors import InputError

CONFIGS = Path(__file__).parents[3] / 'configs'


@pytest.fixture
def coco(tmp_path):
    """A one-image data set in COCO's layout, and a config that names it."""
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'train2017').mkdir()
    (tmp_path / 'train2017' / '1.jpg').write_bytes(b'image')
    content = dict(
        images=[dict(id=1, file_name='1.jpg', width=8, height=8)],
        annotations=[dict(id=1, image_id=1, category_id=1, bbox=[0, 0, 4, 4], area=16, iscrowd=0)],
        categories=[dict(id=1, name='cat')],
    )
    ann_file = tmp_path / 'annotations' / 'train.json'
    ann_file.write_text(json.dumps(content))
    dataset = dict(
        type='CocoDataset',
        data_root=str(tmp_path),
        ann_file='annotations/train.json',
        data_prefix=dict(img='train2017/'),
        metainfo=dict(classes=('cat',)),
    )
    cfg = dict(default_scope='mmdet', train_dataloader=dict(dataset=dataset))
    return Config(cfg), ann_file, content


def refuses(cfg, message):
    with pytest.raises(InputError, match=message):
        check_data(cfg, ('train', 'val'))


def test_a_whole_data_set_passes(coco):
    check_data(coco[0], ('train', 'val'))


def test_a_missing_folder_says_where_data_is_looked_for(coco):
    coco[0].train_dataloader.dataset.data_root = 'nowhere/coco'
    refuses(
        coco[0], "train_dataloader: the data folder 'nowhere/coco' does not exist.*MMVISION_DATA"
    )


def test_a_data_set_inside_wrappers_is_checked_too(coco):
    inner = coco[0].train_dataloader.dataset
    inner.data_root = 'nowhere'
    coco[0].train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[dict(type='RepeatDataset', dataset=inner, times=2)]
    )
    refuses(coco[0], "'nowhere' does not exist")


def test_a_wrapper_of_no_data_set_is_named(coco):
    coco[0].train_dataloader.dataset = dict(type='ConcatDataset', datasets=[])
    refuses(coco[0], 'train_dataloader.dataset: ConcatDataset of no data')


@pytest.mark.parametrize('key', ['images', 'annotations', 'categories'])
def test_an_annotation_file_without_entries_is_named(coco, key):
    cfg, ann_file, content = coco
    ann_file.write_text(json.dumps(content | {key: []}))
    refuses(cfg, f'train.json .* has no {key}: expected COCO')


@pytest.mark.parametrize(
    ('text', 'message'),
    [('', 'is empty'), ('{"images": [', 'is not JSON'), ('[]', 'has no images')],
)
def test_an_annotation_file_that_is_not_coco_is_named(coco, text, message):
    coco[1].write_text(text)
    refuses(coco[0], message)


def test_a_missing_annotation_file_is_named_with_its_key(coco):
    coco[1].unlink()
    refuses(coco[0], r"train_dataloader.dataset.ann_file: the file '.*train.json' does not exist")


def test_an_empty_image_folder_is_named(coco, tmp_path):
    (tmp_path / 'train2017' / '1.jpg').unlink()
    refuses(coco[0], r"data_prefix.img: the folder '.*train2017' is empty")


def test_classes_that_the_file_does_not_have_are_named(coco):
    coco[0].train_dataloader.dataset.metainfo = dict(classes=('cat', 'dgo'))
    refuses(coco[0], r'metainfo.classes: dgo are not categories of .*which has cat$')


def test_the_evaluators_annotation_file_is_checked(coco):
    cfg = coco[0]
    cfg.val_dataloader = cfg.train_dataloader
    cfg.val_evaluator = [dict(type='CocoMetric', ann_file='nowhere.json')]
    refuses(cfg, "val_evaluator.ann_file: the file 'nowhere.json' does not exist")


def rewrite(coco, **changes):
    cfg, ann_file, content = coco
    ann_file.write_text(json.dumps(content | changes))
    return cfg


def with_model(cfg, name, **options):
    """The data, with the model of a config of this project's."""
    model = load_config(str(CONFIGS / f'{name}.py'), options).model
    return Config(dict(cfg, model=model))


def of_one_class(key):
    return {f'{key}.num_classes': 1}


ROI_HEADS = 'model.roi_head.bbox_head', 'model.roi_head.mask_head'


def test_heads_of_as_many_classes_as_the_data_pass(coco):
    options = {key: value for head in ROI_HEADS for key, value in of_one_class(head).items()}
    check_data(with_model(coco[0], 'mask_rcnn_mambavision_t_coco', **options), ('train',))


@pytest.mark.parametrize(
    ('name', 'options', 'message'),
    [
        (
            'mask_rcnn_mambavision_t_coco',
            {},
            r'model.roi_head.bbox_head.num_classes is 80, model.roi_head.mask_head.num_classes is '
            r'80; but of the data set of train_dataloader metainfo.classes names 1 \(cat\)',
        ),
        (
            'mask_rcnn_mambavision_t_coco',
            of_one_class(ROI_HEADS[0]),
            r'^model.roi_head.mask_head.num_classes is 80; but .* 1 \(cat\)',
        ),
        (
            'mask_rcnn_mambavision_t_coco',
            of_one_class(ROI_HEADS[1]),
            r'^model.roi_head.bbox_head.num_classes is 80; but',
        ),
        (
            'cascade_mask_rcnn_mambavision_t_coco',
            {'model.roi_head.bbox_head.0.num_classes': 1, **of_one_class(ROI_HEADS[1])},
            r'^model.roi_head.bbox_head.1.num_classes is 80, model.roi_head.bbox_head.2.num_class',
        ),
    ],
)
def test_heads_of_other_counts_of_classes_than_the_data_are_named(name, options, message, coco):
    refuses(with_model(coco[0], name, **options), message)


@pytest.mark.parametrize('detector', ['RetinaNet', 'DINO'])
def test_a_head_of_one_stage_is_compared_too(detector, coco):
    coco[0].model = dict(type=detector, bbox_head=dict(type='Head', num_classes=80))
    refuses(coco[0], r'^model.bbox_head.num_classes is 80; but')


def test_a_head_that_says_no_count_has_that_of_its_type(coco):
    coco[0].default_scope = 'mmdet'
    heads = dict(bbox_head=dict(type='Shared2FCBBoxHead'), mask_head=dict(type='FCNMaskHead'))
    coco[0].model = dict(type='MaskRCNN', roi_head=dict(type='StandardRoIHead', **heads))
    refuses(
        coco[0],
        r'^model.roi_head.bbox_head.num_classes is 80, model.roi_head.mask_head.num_classes is 80; '
        r'but .* 1 \(cat\)',
    )
    heads['mask_head'].update(num_classes=1)
    coco[0].model = dict(type='MaskRCNN', roi_head=dict(type='StandardRoIHead', **heads))
    refuses(coco[0], r'^model.roi_head.bbox_head.num_classes is 80; but')


def test_heads_that_do_not_predict_the_datas_classes_are_not_compared(coco):
    coco[0].model = dict(
        backbone=dict(num_classes=1000),
        rpn_head=dict(type='RPNHead', num_classes=2),
        roi_head=dict(
            bbox_head=dict(num_classes=1, reg_class_agnostic=True),
            mask_head=dict(num_classes=80, class_agnostic=True),
        ),
        panoptic_head=dict(num_things_classes=1, num_stuff_classes=0),
    )
    check_data(coco[0], ('train',))


@pytest.mark.parametrize(
    ('loss', 'accepted'),
    [
        (dict(type='CrossEntropyLoss', class_weight=[1.0, 1.0]), True),
        (dict(type='CrossEntropyLoss', class_weight=[1.0]), False),
        (dict(type='CrossEntropyLoss', use_sigmoid=True, class_weight=[1.0]), True),
        (dict(type='CrossEntropyLoss', class_weight=0.1), True),
    ],
)
def test_weights_of_classes_are_one_for_each_and_the_background(loss, accepted, coco):
    coco[0].model = dict(bbox_head=dict(num_classes=1, loss_cls=loss))
    if accepted:
        check_data(coco[0], ('train',))
    else:
        refuses(coco[0], r'bbox_head.loss_cls.class_weight has 1 numbers; 1 classes need 2')


def test_classes_that_are_not_given_are_those_of_the_data_sets_type(coco):
    del coco[0].train_dataloader.dataset.metainfo
    refuses(
        coco[0],
        r'metainfo.classes: not given, and those of CocoDataset are taken: person, .* and 73 more '
        'are not categories of .*train.json, which has cat',
    )


def test_a_category_that_is_not_trained_is_said(coco):
    cfg = rewrite(coco, categories=[dict(id=1, name='cat'), dict(id=2, name='dog')])
    text = io.StringIO()
    logger, handler = MMLogger.get_current_instance(), logging.StreamHandler(text)
    logger.addHandler(handler)
    check_data(cfg, ('train',))
    logger.removeHandler(handler)
    assert 'category without class: 1 in ' in text.getvalue()
    assert 'first category dog; training leaves its objects out' in text.getvalue()


def test_categories_in_another_order_than_the_classes_are_refused(coco):
    cfg = rewrite(coco, categories=[dict(id=1, name='cat'), dict(id=2, name='dog')])
    cfg.train_dataloader.dataset.metainfo.classes = ('dog', 'cat')
    refuses(cfg, "class out of order: 2, first class 0 is dog, the file's is cat")


def test_classes_of_the_splits_are_compared(coco, tmp_path):
    cfg = rewrite(coco, categories=[dict(id=1, name='cat'), dict(id=2, name='dog')])
    dataset = cfg.train_dataloader.dataset.to_dict()
    cfg.val_dataloader = dict(dataset=dataset | dict(metainfo=dict(classes=('dog',))))
    refuses(
        cfg, 'val_dataloader.dataset.metainfo.classes are dog; those of train_dataloader are cat'
    )


def test_classes_of_the_parts_of_a_data_set_are_compared(coco):
    cfg = rewrite(coco, categories=[dict(id=1, name='cat'), dict(id=2, name='dog')])
    inner = cfg.train_dataloader.dataset.to_dict()
    other = dict(type='RepeatDataset', times=2, dataset=dict(inner, metainfo=dict(classes=['dog'])))
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[inner, other])
    refuses(cfg, 'metainfo.classes are dog; those of train_dataloader are cat')


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        ('cat', r"metainfo.classes is the text 'cat', and no file of names: write \('cat',\)"),
        (('cat', 'cat'), 'metainfo.classes names a class twice: cat, cat'),
    ],
)
def test_classes_that_are_no_list_of_names_are_refused(classes, message, coco):
    coco[0].train_dataloader.dataset.metainfo.classes = classes
    refuses(coco[0], message)


def test_classes_may_stand_in_a_file(coco, tmp_path):
    names = tmp_path / 'names.txt'
    names.write_text('cat\ndog\n')
    cfg = rewrite(coco, categories=[dict(id=1, name='cat'), dict(id=2, name='dog')])
    cfg.train_dataloader.dataset.metainfo.classes = str(names)
    check_data(cfg, ('train',))
    cfg.model = dict(bbox_head=dict(num_classes=1))
    refuses(cfg, r'names 2 \(cat, dog\)')


def test_an_annotation_file_of_any_name_is_checked(coco):
    cfg, ann_file, _ = coco
    ann_file.rename(ann_file.with_suffix('.json.gz')).write_bytes(gzip.compress(b'{}'))
    cfg.train_dataloader.dataset.ann_file += '.gz'
    refuses(cfg, r'train.json.gz \(train_dataloader\) is not text in utf-8 at byte 1')


def test_the_evaluators_file_has_the_classes_of_the_data(coco, tmp_path):
    cfg, _, content = coco
    other = tmp_path / 'other.json'
    other.write_text(json.dumps(content | dict(categories=[dict(id=1, name='dog')])))
    cfg.val_dataloader = cfg.train_dataloader
    cfg.val_evaluator = dict(type='CocoMetric', ann_file=str(other))
    refuses(cfg, "val_evaluator.ann_file: .*other.json has no cat of the data loader's classes")


@pytest.mark.parametrize(
    'encode',
    [
        lambda text: text.encode('utf-16'),
        lambda text: text.encode('utf-8-sig'),
        lambda text: text.encode('utf-32'),
        lambda text: text.replace('cat', 'chât').encode('latin-1'),
        lambda text: gzip.compress(text.encode()),
        lambda text: f'{text}\n{text}'.encode(),
        lambda text: text.encode()[:-1],
    ],
    ids=['utf-16', 'byte order mark', 'utf-32', 'latin-1', 'gzip', 'lines', 'cut'],
)
def test_what_mmdets_reader_does_not_take_the_check_does_not(encode, coco):
    cfg, ann_file, content = coco
    ann_file.write_bytes(encode(json.dumps(content, ensure_ascii=False)))
    refuses(cfg, r'train.json \(train_dataloader\) is not (JSON|text)')
    with pytest.raises(ValueError, match=r'decode|BOM|data|delimiter'):
        COCO(str(ann_file))


def test_what_mmdets_reader_takes_the_check_does(coco):
    cfg, ann_file, content = coco
    ann_file.write_text(json.dumps(content | dict(info=dict(score=float('nan'), name='chât'))))
    check_data(cfg, ('train',))
    COCO(str(ann_file))


def test_an_image_is_not_believed_to_be_as_large_as_its_file_says(coco):
    cfg, ann_file, content = coco
    pipeline = [dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]
    cfg.train_dataloader.dataset.pipeline = pipeline
    Image.new('L', (8, 8)).save(ann_file.parents[1] / 'train2017' / '1.jpg')
    for side, message in ((10**6, 'malformed image: 1'), (2**14, 'is 8 x 8, and the file says 16')):
        mask = dict(size=[side, side], counts=[side * side])
        image = dict(content['images'][0], width=side, height=side)
        annotation = dict(content['annotations'][0], segmentation=mask)
        refuses(rewrite(coco, images=[image], annotations=[annotation]), message)


@pytest.fixture
def seg(tmp_path):
    """Four seg maps of the labels 0 to 2 and 255, and a config that names them."""
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    for number in range(4):
        labels = np.array([[0, 1], [2, 255]], np.uint8)
        Image.fromarray(labels).save(tmp_path / 'labels' / f'{number}.png')
        Image.new('RGB', (2, 2)).save(tmp_path / 'images' / f'{number}.jpg')
    dataset = dict(
        type='BaseSegDataset',
        data_root=str(tmp_path),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        metainfo=dict(classes=('sky', 'road', 'tree')),
        pipeline=[dict(type='LoadAnnotations')],
    )
    return Config(dict(default_scope='mmseg', train_dataloader=dict(dataset=dataset)))


def both_refuse(cfg, message):
    refuses(cfg, message)
    with pytest.raises(InputError, match=message):
        check_datasets(cfg)


def test_own_seg_maps_pass(seg):
    check_data(seg, ('train',))
    (report,) = check_datasets(seg)
    assert report.counts == {}


def test_a_pipeline_that_shifts_labels_and_a_data_set_that_does_not_are_told(seg):
    seg.train_dataloader.dataset.pipeline = [
        dict(type='RandomChoice', transforms=[[dict(type='LoadAnnotations')]]),
        dict(type='LoadAnnotations', reduce_zero_label=True),
    ]
    both_refuse(seg, 'LoadAnnotations in the pipeline has reduce_zero_label=True, the data set Fal')


def test_the_reduce_zero_label_of_a_type_is_its_own(seg):
    dataset = seg.train_dataloader.dataset
    dataset.type, dataset.metainfo = 'ADE20KDataset', None
    dataset.pipeline[0].reduce_zero_label = False
    refuses(seg, 'pipeline has reduce_zero_label=False, the data set True')


def test_labels_from_0_that_would_be_shifted_are_refused_and_reported(seg):
    seg.train_dataloader.dataset.reduce_zero_label = True
    refuses(seg, 'use 0 and 255, and none of those looked at has 3.*set reduce_zero_label=False')
    (report,) = check_datasets(seg)
    assert report.counts == {'labels begin at 0': 1}


@pytest.mark.parametrize('labels', [[0, 1, 2, 3], [0, 255, 3, 1], [1, 2, 3, 255]])
def test_labels_from_1_are_taken_with_reduce_zero_label(labels, seg):
    dataset = seg.train_dataloader.dataset
    dataset.reduce_zero_label = True
    for path in Path(dataset.data_root, 'labels').iterdir():
        Image.fromarray(np.array(labels, np.uint8).reshape(2, 2)).save(path)
    check_data(seg, ('train',))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            {},
            r'^model.decode_head.num_classes is 150, model.auxiliary_head.num_classes is 150; but',
        ),
        (
            {'model.decode_head.num_classes': 3},
            r'^model.auxiliary_head.num_classes is 150; but .* names 3 \(sky, road, tree\)',
        ),
    ],
)
def test_heads_of_a_segmentor_are_compared(options, message, seg):
    both_refuse(with_model(seg, 'upernet_mambavision_t_ade20k', **options), message)


def test_weights_of_a_segmentors_classes_are_one_for_each(seg):
    loss = dict(type='CrossEntropyLoss', class_weight=[1.0] * 4)
    seg.model = dict(decode_head=dict(num_classes=3, loss_decode=[loss]))
    refuses(seg, 'decode_head.loss_decode.class_weight has 4 numbers; 3 classes need 3')


def test_own_classes_need_a_type_that_takes_them_and_colours_for_all(seg):
    dataset = seg.train_dataloader.dataset
    dataset.type = 'ADE20KDataset'
    dataset.metainfo.classes = ('sky', 'road', 'hedgehog')
    refuses(seg, "hedgehog are no classes of ADE20KDataset, .* set type='BaseSegDataset'")
    dataset.type = 'BaseSegDataset'
    dataset.metainfo.palette = [[0, 0, 0]]
    refuses(seg, 'metainfo.palette has 1 colours for 3 classes')
    dataset.metainfo = None
    refuses(seg, 'a BaseSegDataset knows no classes: name them in metainfo.classes')
