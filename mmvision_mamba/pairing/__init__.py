"""A backbone of this package put into any model of mmdet or mmseg.

As ``--backbone NAME`` of the command lines; as ``python -m mmvision_mamba.pairing CONFIG NAME``,
which prints or writes the config that results; and as :func:`pair`.
"""

import copy
import difflib
from collections.abc import Sequence
from typing import TypeVar

from mmengine.config import Config
from mmengine.logging import print_log

from ..backbones.mambavision import ARCHITECTURES
from ..config import merge_options, read_config_file
from ..errors import InputError
from .feature_maps import FeatureMap, NotAPyramidError, Part, said, scope_of, type_name
from .recipe import adapt_optimizer, drop_old_weights, import_backbones, set_statistics
from .rewire import rewire, rewire_neck

__all__ = ['NotAPyramidError', 'backbone_names', 'load_paired', 'pair']

_STRIDES = (4, 8, 16, 32)
# In tokens, of the published detectors and segmentors of MambaVision.
_WINDOWS = dict(mmdet=(8, 8, 112, 56), mmseg=(8, 8, 64, 32))
_NOT_READERS = {'backbone', 'neck', 'data_preprocessor', 'train_cfg', 'test_cfg', 'init_cfg'}

Model = TypeVar('Model', dict, Config)


def pair(model: Model, backbone: str | dict) -> Model:
    """A copy of a model's config, or of a whole config, with another backbone.

    The old backbone is built and run without memory, to learn the channels and strides of its maps.
    The new one gives maps of the same strides; what reads them, necks and heads, has its options
    that name their channels replaced. The data preprocessor normalises as the new backbone's
    published weights expect, and weights of the old are dropped. In a whole config so are a
    ``load_from`` and the optimizer's rules of the old backbone, and this package is imported.

    In a config file, over a base::

        from mmvision_mamba.pairing import pair

        model = dict(_delete_=True, **pair(_base_.model, 'mambavision_t'))

    (behind ``_base_``, or MMEngine takes the file for one of its other kind).

    Args:
        model: A model of mmdet or mmseg with a backbone, or whose ``detector`` has one; or a whole
            config of such a model.
        backbone: One of :func:`backbone_names`, or a config of MambaVision or MambaOut without
            ``out_indices``.

    Raises:
        NotAPyramidError: The model's backbone gives no pyramid of maps, as one of dilated
            convolutions, of a single stride or of two branches.
        InputError: No such backbone, or the model cannot have another for another reason.
    """
    if isinstance(model, Config):
        return _pair_config(model, backbone)
    model = copy.deepcopy(model)
    _pair_model(model, backbone, None)
    return model


def backbone_names() -> list[str]:
    """Names that :func:`pair` takes."""
    import timm  # a second, of those who ask alone

    return [f'mambavision_{arch}' for arch in ARCHITECTURES] + timm.list_models('mambaout_*')


def load_paired(path: str, backbone: str | None, options: dict | None = None) -> Config:
    """As :func:`mmvision_mamba.config.load_config`, with another backbone.

    Args:
        path: A config file, one that mmdet or mmseg ships, or a published model.
        backbone: One of :func:`backbone_names`; None for the config's own.
        options: Dotted keys and values that override the paired config; None for none.

    Raises:
        InputError: See :func:`mmvision_mamba.config.load_config` and :func:`pair`.
    """
    cfg = read_config_file(path)
    if backbone is not None:
        cfg = pair(cfg, backbone)
    merge_options(cfg, options or {}, path)
    return cfg


def _pair_config(cfg: Config, backbone: str | dict) -> Config:
    if not isinstance(cfg.get('model'), dict):
        raise InputError('the config has no model to put a backbone into')
    cfg = copy.deepcopy(cfg)
    old, new = _pair_model(cfg.model, backbone, cfg.get('default_scope'))
    import_backbones(cfg)
    adapt_optimizer(
        cfg, *([f'backbone.{name}' for name in p.parameter_names()] for p in (old, new))
    )
    if cfg.get('load_from'):
        print_log(
            f'Pairing: load_from {cfg.load_from} is of the old backbone, and dropped', 'current'
        )
        cfg.load_from = None
    return cfg


def _pair_model(model: dict, backbone: str | dict, scope: str | None) -> tuple[Part, Part]:
    """Pair a model in place; returns the old and the new backbone."""
    owner, key = _owner(model)
    scope = scope or scope_of(owner)
    old = Part(owner['backbone'], f'{key}.backbone', scope)
    old_maps = old.maps_of_image()
    node = _node(backbone, scope) | _kept_options(owner['backbone'])
    frozen = owner['backbone'].get('frozen_stages', -1)
    if isinstance(frozen, int) and frozen >= 0 and 'frozen_stages' not in node:
        print_log(
            f'Pairing: frozen_stages {frozen} is dropped: the new backbone starts at random',
            'current',
        )
    indices = _out_indices(old, old_maps, node)
    if indices != (0, 1, 2, 3):
        node['out_indices'] = indices
    new = Part(node, f'{key}.backbone', scope)
    owner['backbone'] = node
    _rewire_readers(owner, key, old_maps, new.maps_of_image(), scope)
    for each in {id(model): model, id(owner): owner}.values():
        drop_old_weights(each)
        if old.node.get('in_channels', 3) == 3:
            set_statistics(each)
    return old, new


def _owner(model: dict) -> tuple[dict, str]:
    """The dict that holds the backbone, and its key."""
    for node, key in ((model, 'model'), (model.get('detector'), 'model.detector')):
        if isinstance(node, dict) and isinstance(node.get('backbone'), dict):
            if 'type' in node['backbone']:
                return node, key
            raise NotAPyramidError(
                f'{key}.backbone has no type: {type_name(model)} builds it in its way'
            )
    raise NotAPyramidError(
        f'model ({type_name(model)}) has no backbone of its own config to replace'
    )


def _node(backbone: str | dict, scope: str) -> dict:
    if isinstance(backbone, dict):
        if 'out_indices' in backbone:
            raise InputError('out_indices follow from the model: give the backbone without them')
        return dict(backbone)
    names = backbone_names()
    if backbone not in names:
        close = difflib.get_close_matches(backbone, names, n=3, cutoff=0.5)
        raise InputError(
            f'there is no backbone {backbone!r}; '
            + (f'did you mean {" or ".join(close)}?' if close else f'there are {", ".join(names)}')
        )
    family, arch = backbone.split('_', 1)
    if family == 'mambaout':
        return dict(type='MambaOut', arch=arch)
    return dict(type='MambaVision', arch=arch, window_size=_WINDOWS[scope])


def _kept_options(old: dict) -> dict:
    """Options of the old backbone that are about the run or the data, and not about that net."""
    kept = {}
    if old.get('in_channels', 3) != 3:
        kept['in_channels'] = old['in_channels']
    if old.get('with_cp'):
        kept['with_cp'] = True
    return kept


def _out_indices(old: Part, maps: Sequence[FeatureMap], node: dict) -> tuple[int, ...]:
    """Stages of the new backbone that give maps of the old one's strides."""
    strides = [stride for _, stride in maps]
    family = type_name(node)
    has = f'and {family} has one map each of stride 4, 8, 16 and 32, in this order'
    unknown = [stride for stride in strides if stride not in _STRIDES]
    gives = f'{old.title} gives {said(maps)}'
    if unknown:
        raise NotAPyramidError(f'{gives}, {has}: none of stride {unknown[0]:g}')
    if len(set(strides)) < len(strides):
        raise NotAPyramidError(
            f'{gives}, {has}: a dilated net, one of a single stride or of several branches cannot '
            'be replaced'
        )
    if strides != sorted(strides):
        raise NotAPyramidError(f'{gives}, {has}')
    return tuple(_STRIDES.index(stride) for stride in strides)


def _rewire_readers(
    owner: dict, key: str, old: list[FeatureMap], new: list[FeatureMap], scope: str
) -> None:
    """Rewire what reads the backbone's maps, in place: necks in their order, then heads.

    Behind a neck whose maps are what they were, as an FPN's, nothing depends on the backbone.
    """
    first, count = (old, new), 0
    necks = owner.get('neck') or []
    for i, neck in enumerate(necks if isinstance(necks, list | tuple) else [necks]):
        if old == new:
            return
        name = f'{key}.neck.{i}' if isinstance(necks, list | tuple) else f'{key}.neck'
        before = Part(copy.deepcopy(neck), name, scope)
        count += rewire_neck(neck, _channels(old), _channels(new), scope)
        try:
            old = before.maps_of(old)
        except InputError as error:
            print_log(f'Pairing: taken as giving what it gave, because here {error}', 'current')
            break
        new = Part(neck, name, scope).maps_of(new)
    else:
        for name, reader in owner.items():
            if name not in _NOT_READERS and old != new:
                count += rewire(dict(reader=reader), _channels(old), _channels(new), scope)
        _check_shared_head(owner, key, new[0], scope)
    if count == 0 and first[0] != first[1]:
        raise InputError(
            f'nothing in {key} names the channels {_channels(first[0])} of the old backbone, '
            'so that nothing can be fitted to the new'
        )


def _check_shared_head(owner: dict, key: str, map: FeatureMap, scope: str) -> None:
    """A RoI head of mmdet may hold the old backbone's last stage, for its channels alone."""
    node = (owner.get('roi_head') or {}).get('shared_head')
    if node:
        part = Part(node, f'{key}.roi_head.shared_head', scope)
        try:
            part.maps_of(map)
        except InputError as error:
            raise InputError(
                f'{part.title} is a stage of the old backbone, whose channels alone it takes'
            ) from error


def _channels(maps: Sequence[FeatureMap]) -> list[int]:
    return [channels for channels, _ in maps]
