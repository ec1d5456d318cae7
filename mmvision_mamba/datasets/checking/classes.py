"""The classes that a config's data sets label, against those that its model predicts."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, Registry

from ...errors import InputError
from ..shapes import drawn_metainfo

# Parts of a model whose classes are not the data's: objectness, stuff beside things, ImageNet.
_OTHER_PARTS = ('backbone', 'rpn_head', 'semantic_head', 'data_preprocessor', 'text_model')
# Heads whose classes are not the data's: words of a text, boundaries.
_OTHER_HEADS = ('ATSSVLFusionHead', 'GroundingDINOHead', 'STDCHead')


class Labels(NamedTuple):
    """What a data set of a config labels.

    Attributes:
        classes: Names in the order of the labels; None where nothing says them, and of panoptic and
            video data, whose heads share them out.
        given: Whether the config says them, or the data set's class does.
        reduce_zero_label: Whether 0 in a seg map is unlabelled and k + 1 is class k; None in
            detection.
        in_coco_format: Whether its annotation file is read as COCO's.
        palette: An RGB colour for each class; None where nothing says them.
    """

    classes: tuple[str, ...] | None
    given: bool
    reduce_zero_label: bool | None
    in_coco_format: bool
    palette: list | None = None


def dataset_labels(dataset: dict, scope: str | None) -> Labels:
    """What a data set labels, without building it.

    Args:
        dataset: Its config, without wrappers.
        scope: The config's ``default_scope``.

    Raises:
        InputError: The classes are no names, or not of the data set's type, or its palette is not
            of them.
    """
    drawn = dataset.get('type') == 'DrawnShapes'
    kind = _find(DATASETS, dataset['dataset_type'] if drawn else dataset.get('type'), scope)
    own = getattr(kind, 'METAINFO', {})
    metainfo = dataset.get('metainfo') or (drawn_metainfo(dataset['data_root']) if drawn else {})
    classes = _names(metainfo.get('classes', own.get('classes'))) if _is_plain(kind) else None
    labels = Labels(
        classes,
        'classes' in metainfo,
        dataset.get('reduce_zero_label', _default_of(kind, 'reduce_zero_label')),
        getattr(getattr(kind, 'COCOAPI', None), '__name__', None) == 'COCO',
        _palette(classes, metainfo, own),
    )
    if len(set(classes or ())) < len(classes or ()):
        raise InputError(f'metainfo.classes names a class twice: {shown_names(classes)}')
    if labels.given and labels.reduce_zero_label is not None:
        _check_segmentation_classes(labels, metainfo, kind)
    return labels


def state_reduce_zero_label(dataset: dict, scope: str | None) -> None:
    """Write into a data set's config what else its type alone says of label 0, in place.

    Args:
        dataset: Its config, without wrappers.
        scope: The config's ``default_scope``.
    """
    reduce = dataset_labels(dataset, scope).reduce_zero_label
    if reduce is not None:
        dataset.setdefault('reduce_zero_label', reduce)


def check_heads(cfg: Config, labels: Labels, where: str) -> None:
    """Compare every count of classes in ``cfg.model`` with the classes of a data set.

    Raises:
        InputError: Naming all that differ.
    """
    if labels.classes is None or not cfg.get('model'):
        return
    count = len(labels.classes)
    source = 'metainfo.classes names' if labels.given else 'its type, without metainfo.classes, has'
    heads = list(class_counts(cfg.model, 'model', cfg.get('default_scope')))
    wrong = [f'{key} is {number}' for key, number, _ in heads if number != count]
    if wrong:
        raise InputError(
            f'{", ".join(wrong)}; but of the data set of {where} {source} {count} '
            f'({shown_names(labels.classes)}): they must be equal'
        )
    for key, _, head in heads:
        for loss_key, loss, expected in class_weights(head, count):
            if len(loss['class_weight']) not in expected:
                raise InputError(
                    f'{key.rpartition(".")[0]}.{loss_key}.class_weight has '
                    f'{len(loss["class_weight"])} numbers; {count} classes need '
                    f'{" or ".join(map(str, expected))}'
                )


def check_pipeline(dataset: dict, labels: Labels, where: str) -> None:
    """Compare ``reduce_zero_label`` of a data set's pipeline with the data set's own.

    Raises:
        InputError: They differ.
    """
    for transform in _transforms(dataset.get('pipeline')):
        reduce = transform.get('reduce_zero_label')
        loads = 'LoadAnnotations' in str(transform.get('type'))
        if loads and reduce not in (None, labels.reduce_zero_label):
            raise InputError(
                f'{where}: LoadAnnotations in the pipeline has reduce_zero_label={reduce}, the '
                f'data set {labels.reduce_zero_label}: leave it out of the pipeline, and give the '
                'data set True only if 0 is unlabelled in its seg maps and 1 the first class'
            )


def class_counts(
    node: object, key: str, scope: str | None = None
) -> Iterator[tuple[str, int, dict]]:
    """Key, value and owner of each count of classes below a node of a model's config.

    Args:
        node: The model's config, or a part of it.
        key: Of the node.
        scope: The config's ``default_scope``, in which heads that say no count are looked up for
            that of their type; None passes over those.
    """
    if isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from class_counts(child, f'{key}.{index}', scope)
    if not isinstance(node, dict) or node.get('type') in _OTHER_HEADS:
        return
    if node.get('num_things_classes') is not None:
        things, stuff = node['num_things_classes'], node.get('num_stuff_classes', 0)
        yield f'{key}.num_things_classes + num_stuff_classes', things + stuff, node
    else:
        count = node.get('num_classes', _default_count(node, scope))
        if isinstance(count, int) and not node.get('class_agnostic'):
            yield f'{key}.num_classes', count, node
    for name, child in node.items():
        if name not in _OTHER_PARTS:
            yield from class_counts(child, f'{key}.{name}', scope)


def _default_count(node: dict, scope: str | None) -> object:
    """The classes of a head whose config does not say them."""
    if scope is None or not str(node.get('type')).endswith('Head'):
        return None
    return _default_of(_find(MODELS, node['type'], scope), 'num_classes')


def shown_names(names: tuple[str, ...] | list[str], most: int = 6) -> str:
    """The first of some names."""
    rest = len(names) - most
    return ', '.join(map(str, names[:most])) + (f' and {rest} more' if rest > 0 else '')


def _find(registry: Registry, kind: object, scope: str | None) -> type | None:
    if inspect.isclass(kind):
        return kind
    with registry.switch_scope_and_registry(scope) as scoped:
        found = scoped.get(str(kind))
    # A type that is not registered is explained where it is built.
    return found if inspect.isclass(found) else None


def _is_plain(kind: type | None) -> bool:
    if kind is None:
        return True
    bases = {base.__name__ for base in kind.__mro__}
    return bool(bases & {'BaseDetDataset', 'BaseSegDataset'}) and not any(
        'Panoptic' in base for base in bases
    )


def _names(classes: object) -> tuple[str, ...] | None:
    if isinstance(classes, str):  # a file of names, which MMEngine reads
        if not Path(classes).is_file():
            raise InputError(
                f'metainfo.classes is the text {classes!r}, and no file of names: write '
                f'({classes!r},) for one class'
            )
        return tuple(Path(classes).read_text().splitlines())
    return None if classes is None else tuple(classes)


def _palette(classes: tuple[str, ...] | None, *metainfos: dict) -> list | None:
    """The colours of the first of some data sets' metainfo that has one for every class."""
    for metainfo in metainfos:
        palette = metainfo.get('palette')
        if isinstance(palette, (list, tuple)):
            colours = dict(zip(_names(metainfo.get('classes', classes)) or (), palette))
            if classes and all(name in colours for name in classes):
                return [colours[name] for name in classes]
    return None


def _default_of(kind: type | None, parameter: str) -> object:
    for base in getattr(kind, '__mro__', ()):
        found = inspect.signature(base.__init__).parameters.get(parameter)
        if found is not None:
            return found.default
    return None


def _check_segmentation_classes(labels: Labels, metainfo: dict, kind: type | None) -> None:
    own = getattr(kind, 'METAINFO', {}).get('classes')
    unknown = [name for name in labels.classes or () if name not in (own or (name,))]
    if unknown:
        raise InputError(
            f'metainfo.classes: {shown_names(unknown)} are no classes of {kind.__name__}, which '
            "takes only its own: set type='BaseSegDataset'"
        )
    palette = metainfo.get('palette') or ()
    if own is None and labels.classes and len(palette) not in (0, len(labels.classes)):
        raise InputError(
            f'metainfo.palette has {len(palette)} colours for {len(labels.classes)} classes'
        )


def class_weights(head: dict, count: int) -> Iterator[tuple[str, dict, tuple[int, ...]]]:
    """Key, config, and the lengths that its weights may have, of a head's losses of classes."""
    for key in ('loss_cls', 'loss_decode'):
        losses = head.get(key)
        for loss in losses if isinstance(losses, (list, tuple)) else [losses]:
            weights = loss.get('class_weight') if isinstance(loss, dict) else None
            if isinstance(weights, (list, tuple)):
                # mmseg's heads that classify masks, and mmdet's, have one more, for none.
                none = key == 'loss_cls' or str(loss.get('loss_name')).startswith('loss_cls')
                of_classes = (count,) if not none or loss.get('use_sigmoid') else ()
                yield key, loss, of_classes + ((count + 1,) if none else ())


def _transforms(node: object) -> Iterator[dict]:
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from _transforms(child)
    elif isinstance(node, (list, tuple)):
        for child in node:
            yield from _transforms(child)
