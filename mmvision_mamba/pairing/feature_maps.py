"""The feature maps that a backbone or a neck of a config gives, found by running it."""

import copy
import importlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from ..backbones.pyramid import PyramidBackbone
from ..build_errors import explain_build_error
from ..checkpoints.meta_model import meta_device
from ..config import replace_sync_bn
from ..errors import InputError

_SCOPES = ('mmdet', 'mmseg')
# Of the image that is sent through: a power of two, and, where it is computed on, small.
_SIDES = dict(meta=512, cpu=128)


class NotAPyramidError(InputError):
    """A backbone gives other things than one map each of some of the strides 4, 8, 16 and 32."""


class FeatureMap(NamedTuple):
    """Channels of a map, and pixels of the image to one of its own along a side."""

    channels: int
    stride: float


class Part:
    """A backbone or a neck of a config.

    Args:
        node: Its config.
        key: Where that stands, for messages.
        scope: ``'mmdet'`` or ``'mmseg'``, in whose registry its type is looked up.

    Raises:
        InputError: It cannot be built, with the reason.
    """

    def __init__(self, node: dict, key: str, scope: str) -> None:
        self.node, self.key, self.scope = node, key, scope
        with meta_device():
            module = self._build()
        self.module = module.to('meta')  # what was made of arrays is not yet there

    @property
    def title(self) -> str:
        return f'{self.key} ({type_name(self.node)})'

    def parameter_names(self) -> list[str]:
        """Names that its parameters have in the model."""
        prefix = self.key.removeprefix('model.')
        return [f'{prefix}.{name}' for name, _ in self.module.named_parameters()]

    def maps_of_image(self) -> list[FeatureMap]:
        """What a backbone gives its neck or heads.

        Raises:
            InputError: It cannot be run on an image, gives other things than maps, or other maps
                in training than in evaluation.
        """
        if isinstance(self.module, PyramidBackbone):
            return [
                FeatureMap(getattr(self.module, f'outnorm{i}').normalized_shape[0], 4 * 2**i)
                for i in self.module.out_indices
            ]
        image = FeatureMap(self.node.get('in_channels', 3), 1)
        trained, evaluated = (self._run(image, training) for training in (True, False))
        if trained != evaluated:
            raise NotAPyramidError(
                f'{self.title} gives {said(trained)} in training and {said(evaluated)} in '
                'evaluation: a net of several branches, whose heads are made for them'
            )
        return trained

    def maps_of(self, maps: FeatureMap | list[FeatureMap]) -> list[FeatureMap]:
        """What a neck makes of a backbone's maps, or another part of a single one.

        Raises:
            InputError: It does not take them.
        """
        return self._run(maps, training=False)

    def _run(self, maps: FeatureMap | list[FeatureMap], training: bool) -> list[FeatureMap]:
        try:
            outputs, side = self._outputs(self.module, maps, training, 'meta')
        except (RuntimeError, NotImplementedError):
            # Operators of mmcv have no form there; a mismatch of channels fails here again.
            try:
                outputs, side = self._outputs(self._build(), maps, training, 'cpu')
            except Exception as error:
                raise self._does_not_run(maps, error) from error
        except Exception as error:
            raise self._does_not_run(maps, error) from error
        outputs = [outputs] if torch.is_tensor(outputs) else outputs
        if not outputs or not all(torch.is_tensor(x) and x.dim() == 4 for x in outputs):
            raise NotAPyramidError(f'{self.title} gives other things than feature maps')
        return [FeatureMap(output.shape[1], side / output.shape[-1]) for output in outputs]

    def _does_not_run(self, maps: FeatureMap | list[FeatureMap], error: Exception) -> InputError:
        text = (str(error).splitlines() or [''])[0][:300]
        return InputError(
            f'{self.title} does not run on {said(maps)}: {type(error).__name__}: {text}'
        )

    def _outputs(
        self,
        module: nn.Module,
        maps: FeatureMap | list[FeatureMap],
        training: bool,
        device: str,
    ) -> tuple[Tensor | Sequence[Tensor], int]:
        """What a module makes of maps of an image, and that image's side."""
        side = self.node.get('img_size', _SIDES[device])
        side = side if isinstance(side, int) else side[0]

        def tensor(channels: int, stride: float) -> Tensor:
            # Two images: a batch norm of pooled features cannot train on one.
            size = round(side / stride)
            return torch.zeros(2, channels, size, size, device=device)

        inputs = tensor(*maps) if isinstance(maps, FeatureMap) else [tensor(*map) for map in maps]
        module.train(training)  # which returns nothing in several of mmdet's
        with torch.no_grad():
            return module(inputs), side

    def _build(self) -> nn.Module:
        node = copy.deepcopy(self.node)
        replace_sync_bn(node)  # which trains on a GPU alone
        try:
            with DefaultScope.overwrite_default_scope(self.scope):
                module = MODELS.build(node)
        except Exception as error:
            raise InputError(
                f'{self.key} cannot be built: {explain_build_error(error, None) or error}'
            ) from error
        for part in module.modules():
            if getattr(part, 'eps', None) == 0:
                part.eps = 1e-5  # torch runs no norm of 0, which mmdet's NAS-FCOS has
        return module


def scope_of(model: dict) -> str:
    """The package of a model's type, ``'mmdet'`` or ``'mmseg'``.

    Raises:
        InputError: It is of neither.
    """
    kind = model.get('type')
    name = kind if isinstance(kind, str) else f'{kind.__module__}.{kind.__name__}'
    if name.split('.')[0] in _SCOPES:
        return name.split('.')[0]
    for scope in _SCOPES:
        importlib.import_module(f'{scope}.models')
        if name in importlib.import_module(f'{scope}.registry').MODELS.module_dict:
            return scope
    raise InputError(f'model.type {name} is neither of mmdet nor of mmseg')


def type_name(node: dict) -> str:
    kind = node.get('type')
    return kind if isinstance(kind, str) else getattr(kind, '__name__', str(kind))


def said(maps: FeatureMap | list[FeatureMap]) -> str:
    """Maps in words, by their strides."""
    maps = [maps] if isinstance(maps, FeatureMap) else maps
    if [stride for _, stride in maps] == [1]:
        return 'an image'
    strides = ', '.join(f'{stride:g}' for _, stride in maps)
    return f'{"maps" if len(maps) > 1 else "a map"} of stride {strides}'
