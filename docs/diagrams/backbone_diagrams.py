"""The two backbones, from the tables of their variants and from the modules that are built."""

import torch
from svg_canvas import BLUE, FAINT, GREEN, GREY, ORANGE, PURPLE, Canvas

from mmvision_mamba.backbones import MambaOut, MambaVision
from mmvision_mamba.backbones.mambavision import (
    ARCHITECTURES,
    D_STATE,
    Attention,
    ConvBlock,
    MambaVisionMixer,
)

WIDTH = 1000
SHOWN = {'MambaVision': 't', 'MambaOut': 'tiny'}
MAMBAOUT = ('femto', 'kobe', 'tiny', 'small', 'base')
# Of each kind of block its letter, as in an arch's mixers, and its colour.
KINDS = {'C': BLUE, 'S': ORANGE, 'A': GREEN, 'G': PURPLE}


def built(family: type, arch: str) -> torch.nn.Module:
    with torch.device('meta'):
        return family(arch)


def channels(net: torch.nn.Module) -> list[int]:
    return [getattr(net, f'outnorm{i}').normalized_shape[0] for i in range(4)]


def millions(net: torch.nn.Module) -> str:
    return f'{sum(weight.numel() for weight in net.parameters()) / 1e6:.2f} M'


def letters(net: MambaVision) -> list[str]:
    """Of each stage a letter for each block."""
    names = {MambaVisionMixer: 'S', Attention: 'A'}
    return [
        ''.join(
            'C' if isinstance(block, ConvBlock) else names[type(block.mixer)]
            for block in level.blocks
        )
        for level in net.levels
    ]


def counted(pattern: str) -> str:
    """SSSSAAAA as 4 S, 4 A."""
    return ', '.join(f'{pattern.count(letter)} {letter}' for letter in dict.fromkeys(pattern))


def pyramid(canvas: Canvas, patterns: list[str], widths: list[int], stem: tuple[str, ...]) -> None:
    """The way from the image to four maps, with a square for each block."""
    top, high = 60, 104
    canvas.box(20, top + 25, 92, 54, 'image', '3 × H × W')
    canvas.box(134, top + 8, 128, 88, *stem)
    canvas.arrow((112, top + 52), (132, top + 52))
    for i, (pattern, width) in enumerate(zip(patterns, widths)):
        x, stride = 286 + 178 * i, 4 * 2**i
        canvas.arrow((x - (24 if i == 0 else 28), top + 52), (x - 2, top + 52))
        canvas.frame(x, top, 150, high)
        canvas.text(x + 75, top + 19, f'stage {i}', 13, 'middle')
        canvas.text(x + 75, top + 36, f'stride {stride}, {width} channels', 11, 'middle', FAINT)
        columns = min(len(pattern), 5)
        left = x + 75 - 13 * columns + 1
        for n, letter in enumerate(pattern):
            place = (left + 26 * (n % 5), top + 46 + 25 * (n // 5), 24, 22)
            canvas.box(*place, letter, fill=KINDS[letter], size=12)
        canvas.arrow((x + 75, top + high), (x + 75, top + high + 22))
        canvas.box(x + 20, top + high + 24, 110, 28, 'LayerNorm', fill=GREY)
        canvas.text(x + 75, top + high + 72, f'{width} × H/{stride} × W/{stride}', 12, 'middle')


def residual(
    canvas: Canvas, x: float, y: float, steps: list[tuple[str, str]], title: str = ''
) -> None:
    """Steps under each other, whose result is added to what went in."""
    if title:
        canvas.text(x, y, title, 13)
    middle, y = x + 100, y + 12
    canvas.arrow((middle, y), (middle, y + 20))
    begin = y + 8
    y += 22
    for text, fill in steps:
        canvas.box(middle - 86, y, 172, 26, text, fill=fill, size=12)
        canvas.arrow((middle, y + 26), (middle, y + 38))
        y += 40
    canvas.circle(middle, y + 10, '+')
    side = middle - 98
    canvas.arrow((middle, begin), (side, begin), (side, y + 10), (middle - 12, y + 10))
    canvas.arrow((middle, y + 21), (middle, y + 38))


def mamba_mixer(canvas: Canvas, x: float, y: float) -> None:
    canvas.text(x, y, 'S: Mamba mixer, on (windows, tokens, C)', 13)
    left, right, middle = x + 100, x + 290, x + 195
    y += 14
    canvas.box(middle - 86, y, 172, 26, 'linear, C to C', size=12)
    canvas.arrow((middle, y + 26), (middle, y + 38), (left, y + 38), (left, y + 56))
    canvas.arrow((middle, y + 38), (right, y + 38), (right, y + 56))
    canvas.text(left - 10, y + 50, 'C/2', 11, 'end', FAINT)
    canvas.text(right + 10, y + 50, 'C/2', 11, ink=FAINT)
    y += 58
    for middle_of in (left, right):
        canvas.box(middle_of - 86, y, 172, 26, 'conv1d 3, depthwise, SiLU', fill=BLUE, size=11)
    canvas.arrow((left, y + 26), (left, y + 46))
    canvas.box(
        left - 86, y + 48, 172, 44, 'selective scan', f'state of {D_STATE}', fill=ORANGE, size=12
    )
    canvas.arrow((left, y + 86), (left, y + 114), (middle - 60, y + 114), (middle - 60, y + 124))
    canvas.arrow((right, y + 26), (right, y + 114), (middle + 60, y + 114), (middle + 60, y + 124))
    canvas.box(middle - 86, y + 126, 172, 26, 'side by side: C', size=12)
    canvas.arrow((middle, y + 152), (middle, y + 164))
    canvas.box(middle - 86, y + 166, 172, 26, 'linear, C to C', size=12)


def key(canvas: Canvas, y: float, entries: list[tuple[str, str]], note: str) -> None:
    x = 20
    for letter, text in entries:
        canvas.box(x, y, 24, 22, letter, fill=KINDS[letter], size=12)
        canvas.text(x + 32, y + 16, text, 12)
        x += 250
    canvas.text(20, y + 44, note, 12, ink=FAINT)


def mambavision() -> str:
    arch = SHOWN['MambaVision']
    net = built(MambaVision, arch)
    canvas = Canvas(WIDTH, 888, f'MambaVision {arch}')
    canvas.heading(20, 36, f'MambaVision, here {arch}')
    stem_width = ARCHITECTURES[arch]['in_dim']
    stem = ('stem', 'two conv 3×3,', 'stride 2 each,', f'{stem_width} channels first')
    pyramid(canvas, letters(net), channels(net), stem)
    key(
        canvas,
        264,
        [('C', 'convolutional block'), ('S', 'Mamba mixer and MLP'), ('A', 'attention and MLP')],
        'Between stages a 3×3 convolution of stride 2 doubles the channels. Blocks of stages 2 '
        'and 3 see windows of tokens, each by itself.',
    )
    y = 350
    residual(
        canvas,
        24,
        y,
        [
            ('conv 3×3', BLUE),
            ('batch norm, GELU', GREY),
            ('conv 3×3', BLUE),
            ('batch norm', GREY),
        ],
        'C: convolutional block',
    )
    canvas.text(270, y, 'S, A: block of stages 2 and 3', 13)
    for i, mixer in enumerate([('mixer: S or A', ORANGE), ('MLP: 4 C, GELU', GREY)]):
        residual(canvas, 270, y + 152 * i, [('LayerNorm', GREY), mixer])
    mamba_mixer(canvas, 530, y)
    canvas.text(530, y + 290, 'A: multi-head softmax attention over the tokens of', 12, ink=FAINT)
    canvas.text(530, y + 308, 'a window, without a position bias', 12, ink=FAINT)
    rows = []
    for name, fields in ARCHITECTURES.items():
        net = built(MambaVision, name)
        patterns = letters(net)
        rows.append(
            [
                name,
                ' '.join(map(str, channels(net))),
                ' '.join(map(str, fields['depths'])),
                counted(patterns[2]),
                counted(patterns[3]),
                ' '.join(map(str, fields['num_heads'][2:])),
                'none' if fields['layer_scale'] is None else f'{fields["layer_scale"]:g}',
                ' '.join(map(str, fields['window_size'][2:])),
                millions(net),
            ]
        )
    head = [
        'arch',
        'channels',
        'blocks',
        'stage 2',
        'stage 3',
        'heads, 2 and 3',
        'layer scale',
        'windows, 2 and 3',
        'parameters',
    ]
    canvas.table(24, 706, head, rows)
    return canvas.svg()


def mambaout() -> str:
    arch = SHOWN['MambaOut']
    net = built(MambaOut, arch)
    canvas = Canvas(WIDTH, 752, f'MambaOut {arch}')
    canvas.heading(20, 36, f'MambaOut, here {arch}')
    kernel = net.stages[0].blocks[0].conv.kernel_size[0]
    stem_width = net.stem.conv1.out_channels
    stem = ('stem', 'two conv 3×3,', 'stride 2 each,', f'{stem_width} channels first')
    pyramid(canvas, ['G' * len(stage.blocks) for stage in net.stages], channels(net), stem)
    y = 264
    key(
        canvas,
        y,
        [('G', 'gated CNN block')],
        'Between stages a 3×3 convolution of stride 2, then a LayerNorm. There are no windows: '
        'maps of any size go through as they are.',
    )
    gated_block(canvas, 24, y + 86, kernel)
    rows = []
    for name in MAMBAOUT:
        net = built(MambaOut, name)
        depths = ' '.join(str(len(stage.blocks)) for stage in net.stages)
        rows.append([name, ' '.join(map(str, channels(net))), depths, millions(net)])
    canvas.text(560, y + 86, 'Variants', 13)
    canvas.table(560, y + 112, ['arch', 'channels', 'blocks', 'parameters'], rows)
    return canvas.svg()


def gated_block(canvas: Canvas, x: float, y: float, kernel: int) -> None:
    canvas.text(x, y, 'G: gated CNN block, on a map of C channels', 13)
    left, middle, right = x + 110, x + 250, x + 390
    y += 12
    begin = y + 8
    canvas.arrow((middle, y), (middle, y + 20))
    canvas.box(middle - 86, y + 22, 172, 26, 'LayerNorm', size=12)
    canvas.arrow((middle, y + 48), (middle, y + 60))
    canvas.box(middle - 86, y + 62, 172, 26, 'linear, C to 16/3 C', size=12)
    y += 88
    canvas.arrow((middle, y), (middle, y + 14), (left, y + 14), (left, y + 38))
    canvas.arrow((middle, y + 14), (middle, y + 104))
    canvas.arrow((middle, y + 14), (right, y + 14), (right, y + 38))
    canvas.text(left + 8, y + 31, 'gate: 8/3 C', 11, ink=FAINT)
    canvas.text(middle + 8, y + 31, 'the rest', 11, ink=FAINT)
    canvas.text(right + 8, y + 31, 'C', 11, ink=FAINT)
    canvas.box(left - 62, y + 40, 124, 26, 'GELU', size=12)
    canvas.box(
        right - 72, y + 40, 144, 44, f'conv {kernel}×{kernel}', 'depthwise', fill=BLUE, size=12
    )
    canvas.arrow((right, y + 84), (right, y + 119), (middle + 64, y + 119))
    canvas.box(middle - 62, y + 106, 124, 26, 'side by side', size=12)
    canvas.arrow((middle, y + 132), (middle, y + 150))
    canvas.circle(middle, y + 162, '×')
    canvas.arrow((left, y + 66), (left, y + 162), (middle - 12, y + 162))
    canvas.arrow((middle, y + 173), (middle, y + 188))
    canvas.box(middle - 86, y + 190, 172, 26, 'linear, 8/3 C to C', size=12)
    canvas.arrow((middle, y + 216), (middle, y + 232))
    canvas.circle(middle, y + 244, '+')
    side = x + 20
    canvas.arrow((middle, begin), (side, begin), (side, y + 244), (middle - 12, y + 244))
    canvas.arrow((middle, y + 255), (middle, y + 274))
