"""MambaVision (arXiv 2407.08083): two convolutional stages, then two of Mamba and attention."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import InputError
from ..ops import BatchNorm2d, attention, selective_scan
from .pyramid import PyramidBackbone, check_fields, resolve_arch, stage_patterns

D_STATE = 8
_SMALL = dict(layer_scale=None, window_size=(8, 8, 14, 7))
_LARGE = dict(layer_scale=1e-5, window_size=(8, 8, 14, 7))
# Table 1 and Section 3 of the paper, and the published checkpoints. The windows are those of
# classification at 224 pixels (l3: 256).
ARCHITECTURES = {
    't': dict(dim=80, in_dim=32, depths=(1, 3, 8, 4), num_heads=(2, 4, 8, 16), **_SMALL),
    't2': dict(dim=80, in_dim=32, depths=(1, 3, 11, 4), num_heads=(2, 4, 8, 16), **_SMALL),
    's': dict(dim=96, in_dim=64, depths=(3, 3, 7, 5), num_heads=(2, 4, 8, 16), **_SMALL),
    'b': dict(dim=128, in_dim=64, depths=(3, 3, 10, 5), num_heads=(2, 4, 8, 16), **_LARGE),
    'l': dict(dim=196, in_dim=64, depths=(3, 3, 10, 5), num_heads=(4, 8, 16, 32), **_LARGE),
    'l2': dict(dim=196, in_dim=64, depths=(3, 3, 12, 5), num_heads=(4, 8, 16, 32), **_LARGE),
    'l3': dict(
        dim=256,
        in_dim=64,
        depths=(3, 3, 20, 10),
        num_heads=(4, 8, 16, 32),
        layer_scale=1e-5,
        window_size=(8, 8, 16, 8),
    ),
}
WINDOW_PADDINGS = ('minimal', 'full')


def _convolve(conv: nn.Conv2d, norm: nn.Module, x: Tensor) -> Tensor:
    """Convolution and batch norm; in inference they are one convolution."""
    if norm.training or torch.is_grad_enabled():
        return norm(conv(x))
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    if conv.bias is not None:
        shift = torch.addcmul(shift, conv.bias, scale)
    return F.conv2d(x, conv.weight * scale[:, None, None, None], shift, conv.stride, conv.padding)


def _drop_path(rate: float) -> nn.Module:
    """Stochastic depth of a block."""
    if rate == 0:
        return nn.Identity()
    from timm.layers import DropPath  # with all of timm and torchvision, a second

    return DropPath(rate)


class PatchEmbed(nn.Module):
    """Stem: two 3x3 convolutions of stride 2, ``(B, in_channels, H, W)`` to stride 4."""

    def __init__(self, in_channels: int, in_dim: int, dim: int) -> None:
        super().__init__()
        self.conv_down = nn.Sequential(
            nn.Conv2d(in_channels, in_dim, 3, 2, 1, bias=False),
            BatchNorm2d(in_dim, eps=1e-4),
            nn.ReLU(),
            nn.Conv2d(in_dim, dim, 3, 2, 1, bias=False),
            BatchNorm2d(dim, eps=1e-4),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        conv1, norm1, act1, conv2, norm2, act2 = self.conv_down
        return act2(_convolve(conv2, norm2, act1(_convolve(conv1, norm1, x))))


class Downsample(nn.Module):
    """3x3 convolution of stride 2: ``(B, C, H, W)`` to ``(B, 2C, ceil(H / 2), ceil(W / 2))``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Sequential(nn.Conv2d(dim, 2 * dim, 3, 2, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(x)


class ConvBlock(nn.Module):
    """Residual block of stages 0 and 1 (Eq. 1), ``(B, C, H, W)`` to the same."""

    def __init__(self, dim: int, drop_path: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, 1, 1)
        self.norm1 = BatchNorm2d(dim, eps=1e-5)
        self.act1 = nn.GELU(approximate='tanh')
        self.conv2 = nn.Conv2d(dim, dim, 3, 1, 1)
        self.norm2 = BatchNorm2d(dim, eps=1e-5)
        self.drop_path = _drop_path(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(_convolve(self.conv1, self.norm1, x))
        return x + self.drop_path(_convolve(self.conv2, self.norm2, y))


class Attention(nn.Module):
    """Multi-head softmax attention over the tokens of a window (Eq. 8).

    ``(windows, tokens, dim)`` to the same.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, dim = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.num_heads, dim // self.num_heads)
        return self.proj(attention(qkv))


def _convolve_tokens(x: Tensor, kernels: Tensor, causal: bool) -> Tensor:
    """Depthwise convolution along the tokens of ``(windows, tokens, dim)``, of the same size.

    A causal one sees a token and those before it, the regular one those on both sides.
    """
    length, size = x.shape[1], kernels.shape[-1]
    # As a 2-d one, which takes the tokens as a channels-last map of one row: without transposing.
    x = x.unsqueeze(1).permute(0, 3, 1, 2)
    padding = size - 1 if causal else size // 2
    x = F.conv2d(x, kernels.unsqueeze(2), padding=(0, padding), groups=len(kernels))
    return x.squeeze(2).transpose(1, 2)[:, :length]


class MixerDesign(NamedTuple):
    """How the Mamba mixer is made: the steps from Mamba's own to MambaVision's (Section 3.2).

    The default is MambaVision's; all three the other way are Mamba's (arXiv 2312.00752, Section
    3.4), with MambaVision's widths and kernel. The paper's ablation of the token mixer goes from
    one to the other.

    Attributes:
        causal: The convolution before the scan, and of the symmetric branch, is causal.
        symmetric: The branch beside the scan has a convolution too.
        gated: That branch multiplies the scan's output; otherwise both are put side by side.
    """

    causal: bool = False
    symmetric: bool = True
    gated: bool = False


_OWN_DESIGN = MixerDesign()


class MambaVisionMixer(nn.Module):
    """Mamba mixer with a symmetric branch without the scan (Eq. 6 and 7, Algorithm 1).

    ``(windows, tokens, dim)`` to the same; each branch has half the channels.
    """

    def __init__(self, dim: int, design: MixerDesign = _OWN_DESIGN) -> None:
        super().__init__()
        inner = dim // 2
        self.design = design
        self.dt_rank = ceil(dim / 16)
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv1d_x = _token_conv(inner)
        self.conv1d_z = _token_conv(inner) if design.symmetric else None
        self.x_proj = nn.Linear(inner, self.dt_rank + 2 * D_STATE, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, D_STATE + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner if design.gated else 2 * inner, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        u, z = self.branches(self.in_proj(x))
        y = self.scan(u)
        return self.out_proj(y * z if self.design.gated else torch.cat([y, z], dim=-1))

    def branches(self, xz: Tensor) -> tuple[Tensor, Tensor]:
        """What is scanned, and what stands beside the scan: each ``(windows, tokens, inner)``."""
        if self.conv1d_z is None:
            x, z = xz.chunk(2, dim=-1)
            x = _convolve_tokens(x, self.conv1d_x.weight, self.design.causal)
            return F.silu(x), F.silu(z)
        # Both branches' convolutions as one over all the channels.
        kernels = torch.cat([self.conv1d_x.weight, self.conv1d_z.weight])
        return F.silu(_convolve_tokens(xz, kernels, self.design.causal)).chunk(2, dim=-1)

    def scan(self, u: Tensor) -> Tensor:
        """The selective scan over the tokens, ``(windows, tokens, inner)`` to the same."""
        dt, B, C = self.x_proj(u).split([self.dt_rank, D_STATE, D_STATE], dim=-1)
        # The bias of dt_proj enters here and once more in the scan: the published weights were
        # trained so.
        return selective_scan(
            u,
            self.dt_proj(dt),
            -torch.exp(self.A_log.float()),
            B,
            C,
            self.D,
            delta_bias=self.dt_proj.bias,
            delta_softplus=True,
            channels_last=True,
        )


class GatedConvMixer(nn.Module):
    """Mamba's mixer without its scan: the gated CNN of MambaOut (arXiv 2405.07992, Section 3.3).

    ``(windows, tokens, dim)`` to the same. Its counterpart with a scan is the Mamba mixer of
    ``MixerDesign(symmetric=False, gated=True)``, of the same widths and convolution.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        inner = dim // 2
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv1d_x = _token_conv(inner)
        self.out_proj = nn.Linear(inner, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.in_proj(x).chunk(2, dim=-1)
        x = _convolve_tokens(x, self.conv1d_x.weight, causal=False)
        return self.out_proj(x * F.silu(gate))


def _token_conv(channels: int) -> nn.Conv1d:
    return nn.Conv1d(channels, channels, 3, padding=1, groups=channels, bias=False)


# What mixes the tokens of a window, by its letter in a stage's pattern: made of the stage's
# channels, its heads and the arch's design of the Mamba mixer.
MIXERS: dict[str, Callable[[int, int, MixerDesign], nn.Module]] = {
    'S': lambda dim, num_heads, design: MambaVisionMixer(dim, design),
    'A': lambda dim, num_heads, design: Attention(dim, num_heads),
    'G': lambda dim, num_heads, design: GatedConvMixer(dim),
}


class Mlp(nn.Module):
    """Two linear layers with the exact GELU between them, ``(..., dim)`` to the same."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Mixer and MLP of stages 2 and 3, on windows ``(batch, tokens, dim)`` (Eq. 5)."""

    def __init__(
        self,
        dim: int,
        mixer: nn.Module,
        mlp_ratio: float,
        layer_scale: float | None,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-5)
        self.mixer = mixer
        self.norm2 = nn.LayerNorm(dim, eps=1e-5)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = _drop_path(drop_path)
        for name in ('gamma_1', 'gamma_2'):
            scale = None if layer_scale is None else nn.Parameter(torch.full((dim,), layer_scale))
            self.register_parameter(name, scale)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(_scaled(self.mixer(self.norm1(x)), self.gamma_1))
        return x + self.drop_path(_scaled(self.mlp(self.norm2(x)), self.gamma_2))


def _scaled(x: Tensor, gamma: Tensor | None) -> Tensor:
    return x if gamma is None else x * gamma


class Stage(nn.Module):
    """Blocks of one resolution, channels-last, and the convolution to the next."""

    def __init__(self, blocks: Sequence[nn.Module], downsample: nn.Module | None, with_cp: bool):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample
        self.with_cp = with_cp

    def run_blocks(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            if self.with_cp and x.requires_grad:
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same, before the downsampling."""
        return self.run_blocks(x)


class WindowStage(Stage):
    """A stage whose blocks see square windows of tokens (Section 3.2)."""

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        downsample: nn.Module | None,
        with_cp: bool,
        window_size: int,
        window_padding: str,
    ) -> None:
        super().__init__(blocks, downsample, with_cp)
        self.window_size = window_size
        self.window_padding = window_padding

    def window(self, size: int) -> tuple[int, int]:
        """Number of windows along an axis of ``size`` tokens, and tokens in each."""
        count = ceil(size / self.window_size)
        return count, self.window_size if self.window_padding == 'full' else ceil(size / count)

    def forward(self, x: Tensor) -> Tensor:
        (_, h), (_, w) = map(self.window, x.shape[2:])
        return self.in_windows(x, h, w)

    def in_windows(self, x: Tensor, h: int, w: int) -> Tensor:
        """``(B, C, H, W)`` to the same, in windows of ``h`` by ``w`` tokens from the first on."""
        B, C, H, W = x.shape
        rows, columns = ceil(H / h), ceil(W / w)
        # Nothing below copies a channels-last map that is one window and needs no padding.
        x = F.pad(x.permute(0, 2, 3, 1), (0, 0, 0, columns * w - W, 0, rows * h - H))
        x = x.reshape(B, rows, h, columns, w, C).transpose(2, 3)
        x = self.run_blocks(x.reshape(-1, h * w, C))
        x = x.view(B, rows, columns, h, w, C).transpose(2, 3)
        x = x.reshape(B, rows * h, columns * w, C)[:, :H, :W]
        return x.permute(0, 3, 1, 2)


@MODELS.register_module()
class MambaVision(PyramidBackbone):
    """MambaVision for dense prediction.

    Args:
        arch: A name of :data:`ARCHITECTURES` (t, t2, s, b, l, l2, l3), or a dict of the table's
            fields, to which may be added: ``mlp_ratio`` (4); ``mixers``, of each of the four
            stages a string with a letter of :data:`MIXERS` for each block (S: Mamba, A:
            attention, G: the gated block without the scan), or None for the family's own, whose
            last half attends (``'SSSSAAAA'``, Section 3.2; stages 0 and 1 are convolutional and
            have None); ``mixer``, a dict of :class:`MixerDesign`'s fields, for all S.
        in_channels: Channels of the image.
        window_size: Side of the windows of the four stages, in tokens; those of the first two,
            which are convolutional, are not used. Default: the arch's, for classification.
        window_padding: ``'minimal'`` cuts an axis into as few windows as ``window_size`` allows
            and pads only to make them equal; ``'full'`` pads to a multiple of ``window_size``, as
            published detectors and segmentors were trained.
        drop_path_rate: Stochastic depth of the last block, rising linearly from 0 in the first.
        layer_scale: Initial layer scale of stages 2 and 3, None for none, or ``'arch'`` for the
            arch's own.
        with_cp: Recompute each block in the backward pass instead of keeping its activations.
        out_indices, frozen_stages, norm_eval, compile, init_cfg: See :class:`PyramidBackbone`.

    Returns (forward): for an image ``(B, in_channels, H, W)``, H, W >= 32, a tuple of
    ``(B, dim * 2**i, ceil(H / 2**(i+2)), ceil(W / 2**(i+2)))`` for i in ``out_indices``.

    Raises:
        InputError: ``mixers`` or ``mixer`` that do not fit, with what would do.
        ValueError: An unknown arch or field, or an option out of its range, with what would do;
            an image of another shape.
        TypeError: An image of integers.
    """

    def __init__(
        self,
        arch: str | Mapping = 't',
        in_channels: int = 3,
        window_size: Sequence[int] | None = None,
        window_padding: str = 'minimal',
        drop_path_rate: float = 0.2,
        layer_scale: float | str | None = 'arch',
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        compile: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        arch = resolve_arch('MambaVision', arch, ARCHITECTURES)
        check_fields(
            'MambaVision',
            arch,
            required={'dim', 'in_dim', 'depths', 'num_heads'},
            optional={'layer_scale', 'window_size', 'mlp_ratio', 'mixers', 'mixer'},
        )
        dim = arch['dim']
        depths = _four('depths', arch['depths'])
        heads = _four('num_heads', arch['num_heads'])
        windows = _four('window_size', window_size or arch.get('window_size', (8, 8, 14, 7)))
        scale = arch.get('layer_scale') if layer_scale == 'arch' else layer_scale
        channels = tuple(dim * 2**i for i in range(4))
        _check_options(channels, heads, window_padding, drop_path_rate)
        patterns = _mixer_patterns(arch.get('mixers'), depths)
        design = _mixer_design(arch.get('mixer', {}))

        super().__init__(
            in_channels, channels, 1e-5, out_indices, frozen_stages, norm_eval, compile, init_cfg
        )
        self.patch_embed = PatchEmbed(in_channels, arch['in_dim'], dim)
        # On the CPU where the model is built on the meta device, too.
        rising = torch.linspace(0, drop_path_rate, sum(depths), device='cpu')
        rates = [stage.tolist() for stage in rising.split(list(depths))]
        levels = []
        for i in range(self.num_stages):
            width = channels[i]
            downsample = Downsample(width) if i < self.num_stages - 1 else None
            if i < 2:
                blocks = [ConvBlock(width, rate) for rate in rates[i]]
                levels.append(Stage(blocks, downsample, with_cp))
                continue
            mixers = [MIXERS[letter](width, heads[i], design) for letter in patterns[i]]
            blocks = [
                Block(width, mixer, arch.get('mlp_ratio', 4), scale, rate)
                for mixer, rate in zip(mixers, rates[i])
            ]
            levels.append(WindowStage(blocks, downsample, with_cp, windows[i], window_padding))
        self.levels = nn.ModuleList(levels)
        self.apply(_init_linear)
        self.freeze()

    def stages_to_freeze(self) -> list[nn.Module]:
        return [self.patch_embed, *self.levels]

    def layers(self) -> list[list[nn.Module]]:
        layers, downsample = [[self.patch_embed]], []
        for level in self.levels:
            first, *others = level.blocks
            layers += [[*downsample, first], *([block] for block in others)]
            downsample = [level.downsample]
        return layers

    def maps(self, x: Tensor) -> tuple[Tensor, ...]:
        # The windows and the output norms read channels-last maps: no copies from here on.
        x = self.patch_embed(x.contiguous(memory_format=torch.channels_last))
        outputs = []
        for i, level in enumerate(self.levels):
            x = level(x)
            if i in self.out_indices:
                outputs.append(self.output(i, x.permute(0, 2, 3, 1)))
            if level.downsample is not None:
                x = level.downsample(x)
        return tuple(outputs)


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _mixer_patterns(given: object, depths: Sequence[int]) -> list[str]:
    """Of each stage a letter for each block; none for the two convolutional ones."""
    # The last depth // 2 blocks attend, the others scan.
    own = [(depth - depth // 2) * 'S' + depth // 2 * 'A' for depth in depths]
    return stage_patterns('MambaVision', given, ['', '', *own[2:]], set(MIXERS))


def _mixer_design(given: object) -> MixerDesign:
    fields = MixerDesign._fields
    known = isinstance(given, Mapping) and set(given) <= set(fields)
    if not known or not all(isinstance(value, bool) for value in given.values()):
        raise InputError(
            f'mixer of the arch of MambaVision must be a dict with True or False for {fields}, '
            f'got {given!r}'
        )
    return MixerDesign(**given)


def _four(name: str, values: Sequence[int]) -> tuple[int, ...]:
    four = tuple(values) if isinstance(values, Sequence) else ()
    if len(four) != 4 or any(not isinstance(value, int) or value < 1 for value in four):
        raise ValueError(f'{name} of MambaVision must be four positive integers, got {values}')
    return four


def _check_options(
    channels: Sequence[int],
    heads: Sequence[int],
    window_padding: str,
    drop_path_rate: float,
) -> None:
    for i in (2, 3):
        if channels[i] % heads[i]:
            raise ValueError(
                f'stage {i} of MambaVision has {channels[i]} channels, '
                f'which {heads[i]} heads do not divide'
            )
    if window_padding not in WINDOW_PADDINGS:
        raise ValueError(f'window_padding must be one of {WINDOW_PADDINGS}, got {window_padding!r}')
    if not 0 <= drop_path_rate < 1:
        raise ValueError(f'drop_path_rate must be in [0, 1), got {drop_path_rate}')
