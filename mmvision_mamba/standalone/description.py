"""model.json, which says what an exported model takes and gives.

It is data of whoever made the folder: what it may hold is written out here, key by key.
"""

from dataclasses import dataclass
from pathlib import Path

from .data import fields, flag, list_of, number, one_of, optional, read_json, shown, struct, text
from .errors import InputError

FORMAT = 1
DESCRIPTION = 'model.json'
# What the network of each task gives at least.
TASKS = {
    'detection': ('boxes', 'scores', 'labels'),
    'segmentation': ('label_map',),
    'features': (),
}


@dataclass(frozen=True)
class Input:
    """What the network takes.

    Attributes:
        name: Of the tensor.
        layout: ``'NCHW'`` or ``'NHWC'``.
        dtype: ``'float32'``, ``'float16'`` or ``'uint8'``.
        batch, height, width: None where any will do.
        multiple: Of which height and width are multiples.
    """

    name: str
    layout: str
    dtype: str
    batch: int | None
    height: int | None
    width: int | None
    multiple: int


@dataclass(frozen=True)
class Resize:
    """How an image is resized.

    Attributes:
        scale: [long side, short side] that it fits in with ``keep_ratio``, [width, height] that it
            gets without; or a factor.
        keep_ratio: Whether the sides keep their ratio.
        interpolation: ``'bilinear'`` or ``'nearest'``, as OpenCV has them.
    """

    scale: list[int] | float
    keep_ratio: bool
    interpolation: str


@dataclass(frozen=True)
class Preprocessing:
    """From an image to the network's input.

    Attributes:
        inside: Whether the network itself orders channels, normalises and pads: it takes RGB.
        channel_order: ``'RGB'`` or ``'BGR'``.
        mean, std: Of each channel, in that order.
        resize: None where an image keeps its size.
        pad_divisor: To multiples of which the right and lower side are padded, with ``pad_value``,
            after normalisation.
    """

    inside: bool
    channel_order: str
    mean: list[float]
    std: list[float]
    resize: Resize | None
    pad_divisor: int
    pad_value: float


@dataclass(frozen=True)
class Description:
    """All of model.json."""

    format: int
    task: str
    classes: list[str]
    palette: list[list[int]]
    model: str
    input: Input
    preprocessing: Preprocessing
    outputs: list[str]
    score_threshold: float
    mask_threshold: float
    software: dict[str, str]
    source: str


def is_exported(folder: str | Path) -> bool:
    """Whether a folder holds the description of an exported model."""
    return Path(folder, DESCRIPTION).is_file()


def read_description(folder: str | Path) -> Description:
    """model.json of an exported model's folder.

    Raises:
        InputError: There is none, it is damaged, or it holds anything that it may not.
    """
    path = Path(folder, DESCRIPTION)
    return parse_description(read_json(path), str(path))


def parse_description(value: object, where: str) -> Description:
    """A description, of what was read from JSON.

    Raises:
        InputError: A key lacks, is unknown or has a value that it may not have.
    """
    if isinstance(value, dict) and value.get('format') != FORMAT:
        raise InputError(
            f'{where} is of format {shown(value.get("format"))}, and format {FORMAT} is read here'
        )
    read = Description(**fields(value, where, _DESCRIPTION))
    if len(read.palette) != len(read.classes):
        raise InputError(f'{where}: palette has not a colour for each of the classes')
    if (read.task == 'features') == bool(read.classes):
        raise InputError(f'{where}: classes do not fit the task {read.task}')
    lacking = [name for name in TASKS[read.task] if name not in read.outputs]
    if lacking:
        raise InputError(f'{where}: outputs lack {lacking[0]}, which {read.task} needs')
    return read


def _scale(value: object, where: str) -> list[int] | float:
    if isinstance(value, list):
        return list_of(number(1, 16384, int), 2, 2)(value, where)
    return number(1e-3, 100)(value, where)


def _versions(value: object, where: str) -> dict[str, str]:
    if not (isinstance(value, dict) and len(value) <= 50):
        raise InputError(f'{where} is {shown(value)}; expected versions by name')
    name = text('.+')
    return {name(key, where): name(version, where) for key, version in value.items()}


_NAME = text(r'[A-Za-z_][\w.:/-]*')
_SIDE = number(1, 16384, int)
_DESCRIPTION = dict(
    format=number(FORMAT, FORMAT, int),
    task=one_of(*TASKS),
    classes=list_of(text('.+'), 0, 20_000),
    palette=list_of(list_of(number(0, 255, int), 3, 3), 0, 20_000),
    # A file beside model.json, and none elsewhere.
    model=text(r'\w[\w-]*\.(onnx|pt2)'),
    input=struct(
        Input,
        dict(
            name=_NAME,
            layout=one_of('NCHW', 'NHWC'),
            dtype=one_of('float32', 'float16', 'uint8'),
            batch=optional(number(1, 4096, int)),
            height=optional(_SIDE),
            width=optional(_SIDE),
            multiple=number(1, 4096, int),
        ),
    ),
    preprocessing=struct(
        Preprocessing,
        dict(
            inside=flag,
            channel_order=one_of('RGB', 'BGR'),
            mean=list_of(number(-1e6, 1e6), 3, 3),
            std=list_of(number(1e-6, 1e6), 3, 3),
            resize=optional(
                struct(
                    Resize,
                    dict(
                        scale=_scale,
                        keep_ratio=flag,
                        interpolation=one_of('bilinear', 'nearest'),
                    ),
                )
            ),
            pad_divisor=number(1, 4096, int),
            pad_value=number(-1e6, 1e6),
        ),
    ),
    outputs=list_of(_NAME, 1, 100),
    score_threshold=number(0, 1),
    mask_threshold=number(0, 1),
    software=_versions,
    source=text('.*', 300),
)
