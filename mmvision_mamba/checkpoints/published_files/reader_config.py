"""A whole config around a published model: data, evaluator, hooks and recipe are the reader's."""

import logging
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from ...errors import InputError
from .file import PublishedModel, read_published

_PACKAGE = Path(__file__).parents[2]
_BASES = {'mmdet': 'published_detector.py', 'mmseg': 'published_segmentor.py'}


def config_around(published: PublishedModel) -> Config:
    """This package's own base config for the task, with the published model in it.

    Data is in COCO's format or ADE20K's layout under ``$MMVISION_DATA`` or data/, with the
    model's classes; ``--cfg-options`` override that.

    Raises:
        InputError: This installation has no configs, or the file holds weights alone.
    """
    if published.model is None:
        raise InputError('the file holds weights and class names alone: give the config too')
    cfg = Config.fromfile(configs_folder() / '_base_' / _BASES[published.scope])
    cfg.model = published.model
    for key in ('test_pipeline', 'tta_model', 'tta_pipeline'):
        cfg.pop(key, None)
        if getattr(published, key) is not None:
            cfg[key] = getattr(published, key)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.pipeline = cfg.test_pipeline
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.metainfo = _labels(published)
    adapt = _adapt_detection if published.scope == 'mmdet' else _adapt_segmentation
    adapt(cfg, _annotation_step(published.test_pipeline))
    return cfg


def configs_folder() -> Path:
    """Where this package's configs are: beside it in a clone, inside it as OpenMMLab's have theirs.

    Raises:
        InputError: This installation has none.
    """
    places = (_PACKAGE.parent / 'configs', _PACKAGE / '.mim' / 'configs')
    for place in places:
        if (place / '_base_').is_dir():
            return place
    raise InputError(
        f'a published model is completed by the base configs, and neither {places[0]} nor '
        f'{places[1]} has them: install from a clone, or give the config too'
    )


def meta_for_inferencers(path: Path) -> dict:
    """What mmdet's and mmseg's inferencers look for in a checkpoint: labels, and a whole config.

    Where the published file's config cannot be used, the log says why, and it is left out.
    """
    try:
        published = read_published(path)
        labels = _labels(published)
        if published.model is None:
            return dict(dataset_meta=labels)
        return dict(dataset_meta=labels, cfg=_as_text(config_around(published)))
    except InputError as error:
        print_log(f'The header is not used: {error}', 'current', logging.WARNING)
        return {}


def _as_text(cfg: Config) -> str:
    """A config as a program of assignments alone, such as MMEngine keeps in a checkpoint."""
    return '\n'.join(f'{key} = {value!r}' for key, value in cfg.to_dict().items())


def _labels(published: PublishedModel) -> dict:
    labels = dict(classes=tuple(published.classes))
    if published.palette is not None:
        labels['palette'] = [tuple(colour) for colour in published.palette]
    return labels


def _annotation_step(pipeline: list[dict]) -> dict:
    return next((step for step in pipeline if step.get('type') == 'LoadAnnotations'), {})


def _adapt_detection(cfg: Config, annotations: dict) -> None:
    """Without masks in its test pipeline, a detector is scored by its boxes."""
    if not annotations.get('with_mask'):
        for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
            evaluator.metric = 'bbox'
        cfg.default_hooks.checkpoint.save_best = 'coco/bbox_mAP'


def _adapt_segmentation(cfg: Config, annotations: dict) -> None:
    """Whether label 0 is of no class is a fact of the model: every loader has it the same."""
    reduce_zero_label = bool(annotations.get('reduce_zero_label'))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.reduce_zero_label = reduce_zero_label
        _annotation_step(loader.dataset.pipeline).update(reduce_zero_label=reduce_zero_label)
