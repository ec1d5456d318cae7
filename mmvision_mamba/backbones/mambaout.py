"""MambaOut (arXiv 2405.07992): gated CNN blocks, built on timm's implementation.

timm is imported when a model is built: it takes a second, which others need not wait for.
"""

from collections.abc import Mapping, Sequence
from math import ceil, log
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..ops import selective_scan
from .pyramid import PyramidBackbone, check_fields, resolve_arch, stage_patterns

if TYPE_CHECKING:
    from timm.models import mambaout as timm_mambaout

_PREFIX = 'mambaout_'
_D_STATE = 16


class GatedConvBlock(nn.Module):
    """timm's block (Section 3.3 of the paper) without its copies, which cost a fifth of its time.

    Its first layer's three outputs are computed each in memory of its own: the convolution then
    reads a dense channels-last map, and what is gated needs not be put side by side.

    Args:
        block: timm's, whose layers it takes over under their names.
    """

    def __init__(self, block: 'timm_mambaout.GatedConvBlock') -> None:
        super().__init__()
        self.norm, self.fc1, self.act = block.norm, block.fc1, block.act
        self.conv, self.fc2 = block.conv, block.fc2
        self.ls, self.drop_path = block.ls, block.drop_path
        self.split_indices = block.split_indices

    def forward(self, x: Tensor) -> Tensor:
        """``(B, H, W, C)`` to the same."""
        normed = self.norm(x)
        weights = self.fc1.weight.split(self.split_indices)
        biases = self.fc1.bias.split(self.split_indices)
        gate, untouched, convolved = (F.linear(normed, w, b) for w, b in zip(weights, biases))
        gate, convolved = self.act(gate), self.mix_tokens(convolved)
        if torch.is_grad_enabled():
            mixed = gate * torch.cat([untouched, convolved], dim=-1)
        else:
            mixed = gate
            mixed[..., : untouched.shape[-1]].mul_(untouched)
            mixed[..., untouched.shape[-1] :].mul_(convolved)
        return x + self.drop_path(self.ls(self.fc2(mixed)))

    def mix_tokens(self, x: Tensor) -> Tensor:
        """The token mixer, ``(B, H, W, C)`` to the same."""
        return self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class SelectiveSSM(nn.Module):
    """The selective state space model (arXiv 2312.00752, Section 3.2), as Mamba initialises it.

    ``(B, L, dim)`` to the same. Unlike in MambaVision, the bias of ``dt_proj`` enters once.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dt_rank = ceil(dim / 16)
        self.x_proj = nn.Linear(dim, self.dt_rank + 2 * _D_STATE, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, dim)
        self.A_log = nn.Parameter(torch.arange(1.0, _D_STATE + 1).log().repeat(dim, 1))
        self.D = nn.Parameter(torch.ones(dim))
        nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        # The softplus of the bias is the step at the start, from 1/1000 to 1/10.
        step = torch.empty(dim).uniform_(log(1e-3), log(1e-1)).exp()
        self.dt_proj.bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))

    def forward(self, x: Tensor) -> Tensor:
        dt, B, C = self.x_proj(x).split([self.dt_rank, _D_STATE, _D_STATE], dim=-1)
        return selective_scan(
            x,
            F.linear(dt, self.dt_proj.weight),
            -torch.exp(self.A_log.float()),
            B,
            C,
            self.D,
            delta_bias=self.dt_proj.bias,
            delta_softplus=True,
            channels_last=True,
        )


class MambaBlock(GatedConvBlock):
    """The gated block with the scan put back: SSM(SiLU(conv(x))) mixes the tokens (Section 3.3).

    The scan goes over the whole map, row by row.
    """

    def __init__(self, block: 'timm_mambaout.GatedConvBlock') -> None:
        super().__init__(block)
        self.ssm = SelectiveSSM(self.conv.out_channels)

    def mix_tokens(self, x: Tensor) -> Tensor:
        x = F.silu(super().mix_tokens(x))
        return self.ssm(x.flatten(1, 2)).view_as(x)


# By its letter in a stage's pattern.
BLOCKS = {'G': GatedConvBlock, 'S': MambaBlock}


def _keep_off_zero(stem: nn.Module) -> None:
    """Give the stem biases with which zeros, which batches are padded with, do not stay zeros.

    Beginning with biases of 0, as the authors do, a padded position is a vector of zeros before
    every block, and each layer norm takes its gradient 1000 times (eps is 1e-6): with random
    weights and an image of which a quarter is padding the gradient's norm was 3e20 in MambaOut-T,
    and 0.5 without padding. Nothing is drawn at random, so that all other weights are as they were.
    """
    for conv in (stem.conv1, stem.conv2):
        if conv.bias is not None:
            with torch.no_grad():
                conv.bias.copy_(torch.linspace(-0.03, 0.03, len(conv.bias)))


@MODELS.register_module()
class MambaOut(PyramidBackbone):
    """MambaOut for dense prediction.

    Parameters carry timm's names; a state dict under the authors' names loads as well.

    Args:
        arch: femto, kobe, tiny, small, base, or another of timm's ``mambaout_*`` without that
            prefix; or a dict with ``depths`` and ``dims``, and optionally timm's further fields
            and ``mixers``, of each stage a string with a letter of :data:`BLOCKS` for each block
            (G: the gated block, S: with Mamba's scan in it), or None for all G.
        in_channels: Channels of the image.
        drop_path_rate: Stochastic depth of the last block, rising linearly from 0 in the first.
        with_cp: Recompute each block in the backward pass instead of keeping its activations.
        out_indices, frozen_stages, norm_eval, compile, init_cfg: See :class:`PyramidBackbone`.

    Returns (forward): for an image ``(B, in_channels, H, W)``, H, W >= 32, a tuple of
    ``(B, dims[i], ceil(H / 2**(i+2)), ceil(W / 2**(i+2)))`` for i in ``out_indices``.

    Raises:
        InputError: ``mixers`` that do not fit, with what would do.
        ValueError: An unknown arch or field, or an option out of its range, with what would do;
            an image of another shape.
        TypeError: An image of integers.
    """

    def __init__(
        self,
        arch: str | Mapping = 'tiny',
        in_channels: int = 3,
        drop_path_rate: float = 0.2,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        compile: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        import timm
        from timm.models import mambaout as timm_mambaout

        if not 0 <= drop_path_rate < 1:
            raise ValueError(f'drop_path_rate must be in [0, 1), got {drop_path_rate}')
        names = {name.removeprefix(_PREFIX): {} for name in timm.list_models(_PREFIX + '*')}
        fields, mixers = resolve_arch('MambaOut', arch, names), None
        options = dict(in_chans=in_channels, num_classes=0, drop_path_rate=drop_path_rate)
        if isinstance(arch, str):
            net = timm.create_model(_PREFIX + arch, **options)
        else:
            check_fields(
                'MambaOut',
                fields,
                required={'depths', 'dims'},
                optional={
                    'act_layer',
                    'conv_ratio',
                    'downsample',
                    'expansion_ratio',
                    'kernel_size',
                    'ls_init_value',
                    'mixers',
                    'stem_mid_norm',
                },
            )
            mixers = fields.pop('mixers', None)
            net = timm_mambaout.MambaOut(**fields, **options)
        patterns = stage_patterns(
            'MambaOut', mixers, [len(s.blocks) * 'G' for s in net.stages], set(BLOCKS)
        )
        channels = [stage['num_chs'] for stage in net.feature_info]
        super().__init__(
            in_channels, channels, 1e-6, out_indices, frozen_stages, norm_eval, compile, init_cfg
        )
        self.stem, self.stages = net.stem, net.stages[: self.num_stages]
        _keep_off_zero(self.stem)
        for stage, pattern in zip(self.stages, patterns):
            stage.grad_checkpointing = with_cp
            stage.blocks = nn.Sequential(
                *(BLOCKS[letter](block) for letter, block in zip(pattern, stage.blocks))
            )
        self.freeze()

    def stages_to_freeze(self) -> list[nn.Module]:
        return [self.stem, *self.stages]

    def layers(self) -> list[list[nn.Module]]:
        layers = [[self.stem]]
        for stage in self.stages:
            first, *others = stage.blocks
            layers += [[stage.downsample, first], *([block] for block in others)]
        return layers

    def rename(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The authors' names turned into timm's."""
        if 'downsample_layers.0.conv1.weight' not in weights:
            return weights
        from timm.models import mambaout as timm_mambaout

        return timm_mambaout.checkpoint_filter_fn(weights, self)

    def maps(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        outputs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)  # (B, H, W, C)
            if i in self.out_indices:
                outputs.append(self.output(i, x))
        return tuple(outputs)
