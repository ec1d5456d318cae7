"""What a backbone of four stages owes a dense-prediction model, whatever its blocks are."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import cache

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import InputError
from ..state_dicts import Comparison, compare, strip_prefixes


def resolve_arch(family: str, arch: str | Mapping, table: Mapping[str, Mapping]) -> dict:
    """The constructor fields that ``arch`` names, or is.

    Raises:
        ValueError: An unknown name, naming the known ones.
        TypeError: Neither a name nor a mapping.
    """
    if isinstance(arch, str):
        if arch not in table:
            raise ValueError(
                f'{family} has no arch {arch!r}; choose one of {sorted(table)}, '
                'or give a dict of its fields'
            )
        return dict(table[arch])
    if not isinstance(arch, Mapping):
        raise TypeError(f'arch of {family} must be a name or a dict, got {type(arch).__name__}')
    return dict(arch)


def check_fields(family: str, fields: Mapping, required: set[str], optional: set[str]) -> None:
    """Raise ValueError unless a custom arch holds the fields of its family and no others."""
    missing, unknown = required - set(fields), set(fields) - required - optional
    if missing or unknown:
        raise ValueError(
            f'arch of {family}: missing {sorted(missing)}, unknown {sorted(unknown)}; '
            f'it takes {sorted(required)} and may take {sorted(optional)}'
        )


def stage_patterns(
    family: str, given: object, default: Sequence[str], letters: Set[str]
) -> list[str]:
    """The letters of each stage's blocks, from an arch's ``mixers``.

    Args:
        family: For the messages.
        given: None, or of each stage a pattern or None.
        default: The patterns that None stands for; an empty one is of a stage that takes none.
        letters: What a pattern may hold.

    Raises:
        InputError: Another number of stages, a letter for other than each block, an unknown
            letter, or a pattern for a stage that takes none.
    """
    if given is None:
        return list(default)
    name = f'mixers of the arch of {family}'
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != len(default):
        raise InputError(
            f'{name} must be a list of {len(default)}, of each stage a pattern or None for '
            f'{list(default)}, got {given!r}'
        )
    for i, (pattern, own) in enumerate(zip(given, default)):
        if pattern is None:
            continue
        if not own:
            raise InputError(f'{name}: stage {i} is convolutional and takes None, got {pattern!r}')
        if (
            not isinstance(pattern, str)
            or len(pattern) != len(own)
            or not set(pattern) <= set(letters)
        ):
            raise InputError(
                f'{name}: stage {i} has {len(own)} blocks and takes as many letters out of '
                f'{", ".join(sorted(letters))}, such as {own!r}; got {pattern!r}'
            )
    return [own if pattern is None else pattern for pattern, own in zip(given, default)]


class PyramidBackbone(BaseModule):
    """Feature maps at strides 4, 8, 16, 32, each through a LayerNorm over channels of its own.

    A subclass makes the maps in :meth:`maps`, calling :meth:`output` on what each stage gives; it
    lists its stem and stages, in order, in :meth:`stages_to_freeze`, and its layers in
    :meth:`layers`.

    Weights given to a backbone by itself, as MMEngine does for ``init_cfg``, load completely or
    raise: see :meth:`compare`. Inside a model that is the model's concern.

    Args:
        in_channels: Channels of the image.
        channels: Channels of the four stages.
        out_indices: Stages whose output is returned, 0 (stride 4) to 3 (stride 32); none is built
            beyond the last.
        frozen_stages: -1 freezes nothing, 0 the stem, i the stem and the first i stages; the
            output norms, which no classification checkpoint holds, stay trainable.
        norm_eval: Keep every batch norm in evaluation mode, with its running statistics.
        compile: Run the backbone through ``torch.compile`` in training. Every size of image is
            compiled for itself, up to torch's ``recompile_limit``, beyond which further sizes run
            as without: for recipes that train on crops of one size.
        init_cfg: MMEngine's initialisation config, for instance
            ``dict(type='Pretrained', checkpoint=...)``.

    Raises:
        ValueError: An option out of its range, with the range.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        norm_eps: float,
        out_indices: Sequence[int],
        frozen_stages: int,
        norm_eval: bool,
        compile: bool,
        init_cfg: dict | list | None,
    ) -> None:
        super().__init__(init_cfg)
        family = type(self).__name__
        indices = tuple(out_indices)
        if not indices or list(indices) != sorted(set(indices) & set(range(len(channels)))):
            raise ValueError(
                f'out_indices of {family} must be rising stage numbers '
                f'out of 0..{len(channels) - 1}, got {out_indices}'
            )
        if frozen_stages not in range(-1, indices[-1] + 2):
            raise ValueError(
                f'frozen_stages of {family} must be in -1..{indices[-1] + 1}, got {frozen_stages}'
            )
        self.in_channels = in_channels
        # Stages that no output needs are not built: their parameters would get no gradient.
        self.num_stages = indices[-1] + 1
        self.out_indices = indices
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.compiled_in_training = compile
        for i in indices:
            self.add_module(f'outnorm{i}', nn.LayerNorm(channels[i], eps=norm_eps))
        self.register_load_state_dict_pre_hook(_prepare_loading)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """See the subclass.

        Raises:
            ValueError: The image is not ``(B, in_channels, H, W)``, or is empty.
            TypeError: The image is not of a floating-point dtype.
        """
        self.check(image)
        # Images of evaluation come in many sizes, each of which would be compiled.
        if self.compiled_in_training and self.training:
            return _compiled(type(self).maps)(self, image)
        return self.maps(image)

    def maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """The maps of an image ``(B, in_channels, H, W)``, one for each of ``out_indices``."""
        raise NotImplementedError

    def check(self, image: Tensor) -> None:
        """Raise what :meth:`forward` does of an image that it does not take."""
        family = type(self).__name__
        if image.dim() != 4 or image.shape[1] != self.in_channels:
            raise ValueError(
                f'{family} takes images (batch, {self.in_channels}, height, width), '
                f'got {tuple(image.shape)}: its in_channels is {self.in_channels}'
            )
        if image.shape[2] == 0 or image.shape[3] == 0:
            raise ValueError(
                f'{family} got an image without pixels, {tuple(image.shape)}: height and width '
                'must be at least 1'
            )
        if not image.is_floating_point():
            raise TypeError(
                f'{family} takes floating-point images, got {image.dtype}: normalise it first, '
                'as a data preprocessor does, or call .float()'
            )

    def stages_to_freeze(self) -> Iterable[nn.Module]:
        """The stem, then each stage."""
        raise NotImplementedError

    def layers(self) -> list[list[nn.Module]]:
        """The stem, then each block with the downsampling before it, from the image on."""
        raise NotImplementedError

    def rename(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights under other published names, under the names used here."""
        return weights

    def compare(self, weights: Mapping[str, Tensor], title: str | None = None) -> Comparison:
        """Compare names and shapes of given weights with this backbone's."""
        weights = self.rename(dict(weights))
        return compare(title or type(self).__name__, self.state_dict(), weights, self._does_without)

    def _does_without(self, name: str) -> bool:
        """Whether a name is of the classifier, or of a stage or norm that is not built."""
        last = self.num_stages - 1
        stage = re.match(r'(?:levels|stages|outnorm)\.?(\d)', name)
        return (
            name.startswith(('head.', 'norm.'))
            or (stage is not None and int(stage[1]) > last)
            or name.startswith(f'levels.{last}.downsample.')
            or name.startswith('outnorm')
        )

    def output(self, index: int, x: Tensor) -> Tensor:
        """Norm a stage's channels-last ``(B, H, W, C)`` and return it as ``(B, C, H, W)``."""
        x = getattr(self, f'outnorm{index}')(x)
        # Contiguous, because mmcv's CUDA and C++ operators read a map's memory as such.
        return x.permute(0, 3, 1, 2).contiguous()

    def freeze(self) -> None:
        """Turn gradients off in the frozen stages; called at the end of a constructor."""
        for module in list(self.stages_to_freeze())[: self.frozen_stages + 1]:
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> 'PyramidBackbone':
        """As in torch, but frozen stages, and batch norms under ``norm_eval``, stay in eval."""
        super().train(mode)
        if mode:
            for module in list(self.stages_to_freeze())[: self.frozen_stages + 1]:
                module.eval()
            if self.norm_eval:
                for module in self.modules():
                    if isinstance(module, _BatchNorm):
                        module.eval()
        return self


@cache
def _compiled(maps: Callable) -> Callable:
    """A class's method compiled; of the class, because a copy of a backbone shall run itself."""
    # Inductor fails on views of sizes it does not know, hence no dynamic sizes.
    return torch.compile(maps, dynamic=False)


def _prepare_loading(
    backbone: PyramidBackbone, weights: dict, prefix: str, _, strict: bool, *__
) -> None:
    """Rename what is about to load, in place; by itself, also see that it is complete."""
    own = {name: weights.pop(name) for name in list(weights) if name.startswith(prefix)}
    own = {name.removeprefix(prefix): value for name, value in own.items()}
    if not prefix:
        own = strip_prefixes(own)
    own = backbone.rename(own)
    # MMEngine is strict here even where it only warns afterwards.
    if not prefix and strict:
        comparison = backbone.compare(own)
        if not comparison.fits:
            source = f' ({backbone.init_cfg})' if backbone.init_cfg else ''
            raise InputError(f'these weights are not of this backbone{source}\n{comparison}')
        print_log(str(comparison), 'current')
        # What is absent as expected keeps its value; said above, it is not warned of again.
        own = backbone.state_dict() | {name: own[name] for name in comparison.loaded}
    weights.update({prefix + name: value for name, value in own.items()})
