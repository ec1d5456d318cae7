"""A config fitted to own data: data sets, classes of every head, evaluators."""

from mmengine.config import Config, ConfigDict

from ...errors import InputError
from ..checking.check import trains_masks
from ..checking.classes import class_counts, class_weights
from .saving import SavedData, SavedSplit

_TASKS = {'mmdet': 'detection', 'mmseg': 'segmentation'}
_SPLITS = ('train', 'val', 'test')
# Detectors by their names without masks.
_WITHOUT_MASKS = {'MaskRCNN': 'FasterRCNN'}


def task_of(cfg: Config) -> str:
    """``'detection'`` or ``'segmentation'``.

    Raises:
        InputError: The config is of neither mmdet nor mmseg.
    """
    scope = cfg.get('default_scope')
    if scope not in _TASKS:
        raise InputError(
            f'default_scope of the config is {scope!r}: own data needs one of mmdet or mmseg'
        )
    return _TASKS[scope]


def fit_config(cfg: Config, data: SavedData, palette: list[list[int]]) -> list[str]:
    """Make a config one of own data, in place.

    Data sets become ``CocoDataset`` or ``BaseSegDataset``, with the pipelines that they had; every
    head, evaluator and ``metainfo`` follows the classes. Without masks a detector of masks becomes
    one of boxes.

    Args:
        palette: Red, green and blue of each class; that of the data set's type, mixed into its
            ``metainfo`` by MMEngine, would be of other classes.

    Returns: What was changed beyond that, in sentences.

    Raises:
        InputError: The model cannot be fitted.
    """
    notes = []
    if data.task == 'detection':
        _fit_detection(cfg, data, notes)
    _fit_heads(cfg, len(data.classes), notes)
    colours = [tuple(map(int, colour)) for colour in palette]
    metainfo = dict(classes=tuple(data.classes), palette=colours)
    for split in _SPLITS:
        saved = data.splits.get(split) or data.splits['val']
        make = _coco_dataset if data.task == 'detection' else _map_dataset
        new = dict(make(data, saved, split == 'train'), metainfo=metainfo)
        loader = cfg[f'{split}_dataloader']
        loader['dataset'] = _with_leaf(loader['dataset'], new)
        if data.task == 'detection' and split != 'train':
            cfg[f'{split}_evaluator'] = _coco_evaluators(cfg[f'{split}_evaluator'], data, saved)
    for key in ('data_root', 'dataset_type', 'metainfo'):
        cfg.pop(key, None)  # variables, of the data that the config was for
    return notes


def _with_leaf(dataset: dict, new: dict) -> dict:
    """A data set's config with another inside its wrappers, which gets the pipeline of the old.

    Of several data sets in one, the first counts.
    """
    if 'dataset' in dataset:
        return ConfigDict(dataset, dataset=_with_leaf(dataset['dataset'], new))
    if 'datasets' in dataset:
        return _with_leaf(dataset['datasets'][0], new)
    for step in dataset['pipeline']:
        if 'LoadAnnotations' in str(step.get('type')):
            step.pop('reduce_zero_label', None)  # the data set says it
    return ConfigDict(new, pipeline=dataset['pipeline'])


def _coco_dataset(data: SavedData, saved: SavedSplit, training: bool) -> dict:
    return dict(
        type='CocoDataset',
        data_root=data.folder,
        ann_file=saved.ann_file,
        data_prefix=dict(img=saved.image_folder),
        **(dict(filter_cfg=dict(filter_empty_gt=True)) if training else dict(test_mode=True)),
    )


def _map_dataset(data: SavedData, saved: SavedSplit, training: bool) -> dict:
    return dict(
        type='BaseSegDataset',
        data_root=data.folder,
        ann_file=saved.ann_file,
        data_prefix=dict(img_path=saved.image_folder, seg_map_path=saved.map_folder),
        img_suffix=saved.image_suffix,
        seg_map_suffix=saved.map_suffix,
        reduce_zero_label=data.reduce_zero_label,
        test_mode=not training,
    )


def _coco_evaluators(evaluators: dict | list, data: SavedData, saved: SavedSplit) -> dict:
    """Of the config's evaluators the one in COCO's terms, asked for what the data can answer."""
    several = evaluators if isinstance(evaluators, list) else [evaluators]
    given = next((each for each in several if 'CocoMetric' in str(each.get('type'))), None)
    evaluator = dict(type='CocoMetric', metric='bbox') if given is None else dict(given)
    evaluator['ann_file'] = saved.ann_file
    if not data.has_masks:
        evaluator['metric'] = 'bbox'
    return ConfigDict(evaluator)


def _fit_heads(cfg: Config, count: int, notes: list[str]) -> None:
    for key, number, head in list(class_counts(cfg.model, 'model', cfg.default_scope)):
        if key.endswith('num_classes'):
            head['num_classes'] = count
        elif not head.get('num_stuff_classes'):
            head['num_things_classes'] = count
        else:
            raise InputError(f'{key} is {number}: a panoptic model is not fitted to own data')
        for loss_key, loss, lengths in class_weights(head, count):
            if len(loss['class_weight']) not in lengths:
                _fit_weights(loss, number, count)
                if 'class_weight' not in loss:
                    notes.append(f'{key.rpartition(".")[0]}.{loss_key}.class_weight is left out')


def _fit_weights(loss: dict, before: int, count: int) -> None:
    """Weights of classes that are all alike become those of the new ones; others are left out.

    What follows them is the weight of none of the classes, without which Mask2Former cannot train.
    """
    first, *others = loss['class_weight'][:before]
    if all(other == first for other in others):
        loss['class_weight'] = [first] * count + list(loss['class_weight'][before:])
    else:
        del loss['class_weight']


def _fit_detection(cfg: Config, data: SavedData, notes: list[str]) -> None:
    if data.has_masks or not trains_masks(cfg.train_dataloader.get('dataset')):
        return
    roi_head = cfg.model.get('roi_head') or {}
    if not roi_head.get('mask_head'):
        raise InputError(
            f'{data.folder} has boxes and no masks, and the {cfg.model.type} of the config needs '
            'masks: take the config of a detector of boxes, or label masks'
        )
    for key in ('mask_head', 'mask_roi_extractor', 'mask_iou_head'):
        if key in roi_head:
            roi_head[key] = None
    cfg.model.type = _WITHOUT_MASKS.get(cfg.model.type, cfg.model.type)
    for key in [f'{split}_dataloader' for split in _SPLITS] + ['tta_pipeline']:
        _load_no_masks(cfg.get(key))
    checkpoint = cfg.default_hooks.checkpoint
    if checkpoint.get('save_best') == 'coco/segm_mAP':
        checkpoint.save_best = 'coco/bbox_mAP'
    if cfg.get('tta_model', {}).get('type') == 'MaskTTAModel':
        cfg.tta_model.type = 'DetTTAModel'
    notes.append('the data has boxes and no masks: the detector is trained without its mask head')


def _load_no_masks(node: object) -> None:
    if isinstance(node, dict):
        if node.get('with_mask'):
            node['with_mask'] = False
        for child in node.values():
            _load_no_masks(child)
    elif isinstance(node, list | tuple):
        for child in node:
            _load_no_masks(child)
