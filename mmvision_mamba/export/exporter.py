"""An open model as a file that was seen to answer as the model does."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..checkpoints import trust_checkpoints
from ..errors import InputError
from ..inference.opening import OpenModel
from ..standalone.description import DESCRIPTION, parse_description
from ..standalone.errors import Deviation
from ..standalone.images import resized_size
from .compare import EXACT, Tolerance, differences
from .compare_detections import compare_detections
from .description import describe
from .folder import write_folder
from .programs import Program
from .self_check import for_network, hide_maps, record, verify, with_maps

if TYPE_CHECKING:
    import onnx

    from .torch_programs import TorchExport

# (height, width) of what an export is proved on: even and odd, flat and tall, smaller than a window
# and of several.
PROOF_SIZES = ((64, 64), (231, 317), (352, 130), (512, 512))


@dataclass(frozen=True)
class Export:
    """A model in ONNX, and what was seen of it.

    Attributes:
        model: It, of ONNX's own operators.
        maps: Names of tensors within it that its check looks at, beside its outputs.
        operators: How many of each there are, those of loops' bodies included.
        seconds: That it took.
    """

    model: 'onnx.ModelProto'
    maps: tuple[str, ...]
    operators: Counter
    seconds: float
    file = 'model.onnx'

    @property
    def content(self) -> bytes:
        """Of the file."""
        return self.model.SerializeToString()

    def __str__(self) -> str:
        return (
            f'opset {self.opset}, {len(self.content) / 1e6:.1f} MB, {self.operators.total()} '
            f'operators, {self.seconds:.0f} s'
        )

    @property
    def opset(self) -> int:
        return next(entry.version for entry in self.model.opset_import if not entry.domain)


def export_onnx(program: Program) -> Export:
    """Translate a program.

    Raises:
        InputError: It cannot be.
    """
    from .onnx import to_onnx  # onnx and onnxscript, which programs of PyTorch do without

    start = time.perf_counter()
    with with_maps(program) as wide:
        model = to_onnx(wide)
    hide_maps(model, program)
    seconds = time.perf_counter() - start
    return Export(model, wide.output_names, count_operators(model.graph), seconds)


def in_precision(
    export: Export, program: Program, precision: str, images: Iterable[np.ndarray] = ()
) -> Export:
    """An export in ``'float32'``, as it is, with weights in ``'fp16'``, or computed in ``'int8'``.

    Args:
        export: Of the program.
        program: It.
        precision: One of :data:`mmvision_mamba.export.compare.TOLERANCES`.
        images: (H, W, 3) uint8 RGB, resized, to calibrate int8 on.

    Raises:
        InputError: A weight does not fit in fp16, or int8 has no image.
    """
    from .quantize import halve_weights, quantize  # onnx, see export_onnx

    if precision == 'float32':
        return export
    if precision == 'fp16':
        model = halve_weights(export.model)
    else:
        model = quantize(export.model, (feeds(program, image) for image in images))
    return replace(export, model=model, operators=count_operators(model.graph))


def write_export(
    folder: Path,
    opened: OpenModel,
    program: Program,
    export: 'Export | TorchExport',
    source: str,
    precision: str = 'float32',
) -> None:
    """Write an exported model's folder, whole or not at all, and hold it against its own check.

    Args:
        folder: Not there, empty, or of an earlier export.
        opened: The model.
        program: Of it.
        export: Of the program.
        source: What it was exported from, such as the config's name.
        precision: Of the export.

    Raises:
        InputError: The test pipeline is not one that an exported model's folder has, the folder is
            no export's, or what would be written gives something else than the model.
    """
    inside = program.example_inputs[0].dtype == torch.uint8
    description = describe(
        opened,
        model=export.file,
        network_input=dict(
            name=program.input_names[0],
            layout='NHWC' if inside else 'NCHW',
            dtype='uint8' if inside else 'float32',
            batch=1 if program.task == 'detection' else None,
            height=program.size and program.size[0],
            width=program.size and program.size[1],
        ),
        outputs=program.output_names,
        inside=inside,
        source=source,
        task=program.task,
    )
    _refuse_size_that_is_resized(program.size, description)
    recorded = record(opened, program.size, program.task)
    check = for_network(recorded, program, export.maps)
    try:
        if precision != 'float32':
            from .own_check import of_its_own  # onnxruntime

            check = of_its_own(check, export.content, description, precision)
        with trust_checkpoints():  # it was made here
            write_folder(folder, export.content, description, check, approve=verify)
    except Deviation as error:
        raise InputError(f'nothing was written, as the exported model differs: {error}') from error


def _refuse_size_that_is_resized(size: tuple[int, int] | None, description: dict) -> None:
    """Refuse a size for which no image is ever ready: what resizes images gives its own sizes."""
    if size is None:
        return
    step = parse_description(description, DESCRIPTION).preprocessing.resize
    comes_to = resized_size(size, step)
    if comes_to != size:
        raise InputError(
            f'--size {size[0]} {size[1]}: the test pipeline brings an image of that size to '
            f'{comes_to[0]} {comes_to[1]}: name a size that images come to, or give '
            '--cfg-options with another Resize'
        )


def count_operators(graph: 'onnx.GraphProto') -> Counter:
    """How many of each operator a graph has, those in the bodies of its loops included."""
    import onnx

    counted: Counter = Counter()
    for node in graph.node:
        counted[node.op_type] += 1
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                counted += count_operators(attribute.g)
    return counted


def prove(
    program: Program, model: bytes, images: Iterable[np.ndarray], tolerance: Tolerance = EXACT
) -> Iterator[tuple[tuple[int, int], dict[str, float]]]:
    """Run a model in onnxruntime beside the program that it is of, see :func:`prove_run`.

    Args:
        program: It.
        model: The ONNX file's bytes.
        images: (H, W, 3) uint8, RGB.
        tolerance: What is let through.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])

    def run(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(program.output_names, session.run(program.output_names, dict(feeds))))

    yield from prove_run(program, run, images, 'onnxruntime', tolerance)


def prove_run(
    program: Program,
    run: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]],
    images: Iterable[np.ndarray],
    runtime: str,
    tolerance: Tolerance = EXACT,
) -> Iterator[tuple[tuple[int, int], dict[str, float]]]:
    """Run an export beside the program that it is of.

    Args:
        program: It.
        run: Gives the export's outputs by their names, for its inputs by theirs.
        images: (H, W, 3) uint8, RGB.
        runtime: What computes the export.
        tolerance: What is let through.

    Yields:
        (height, width) of each image, and the differences of the outputs by name; of detections
        also how many are not ``alike``, as a share.

    Raises:
        InputError: An output differs by more than its tolerance.
    """
    for image in images:
        height, width = image.shape[:2]
        feed = feeds(program, image)
        with torch.inference_mode():
            expected = program.module(*map(torch.from_numpy, feed.values()))
        got = run(feed)
        expected = {name: x.numpy() for name, x in zip(program.output_names, expected)}
        which = f'an image of {width} x {height}'
        yield (height, width), _compare(program, expected, got, which, runtime, tolerance)


def feeds(program: Program, image: np.ndarray) -> dict[str, np.ndarray]:
    """A program's inputs by name, of an image (H, W, 3) uint8 RGB that is not resized."""
    height, width = image.shape[:2]
    first = program.prepare(torch.from_numpy(np.ascontiguousarray(image))[None]).numpy()
    # Of another size than the image, as where it was resized.
    others = [np.array([height * 5 // 4, width * 3 // 4])] * ('size' in program.input_names)
    return dict(zip(program.input_names, [first, *others]))


def _compare(
    program: Program,
    expected: Mapping[str, np.ndarray],
    got: Mapping[str, np.ndarray],
    which: str,
    runtime: str,
    tolerance: Tolerance,
) -> dict[str, float]:
    """Differences of the outputs by name; InputError where one is beyond its tolerance."""
    if program.task == 'detection':
        found = compare_detections(expected, got, program.limit, tolerance)
        if not found.is_equal:
            raise InputError(
                f'objects in {which} differ in {runtime}, nothing was written: {found}'
            )
        off = dict(boxes=1 - found.iou, scores=found.score, masks=1 - found.mask)
        return {name: off[name] for name in off if name in expected} | dict(
            unlike=1 - found.agreement
        )
    off = differences(expected, got)
    for name, value in off.items():
        if not value <= tolerance.of(name):
            raise InputError(
                f'{name} of {which} differs by {value:.1e} in {runtime}, where '
                f'{tolerance.of(name):.0e} is allowed: nothing was written'
            )
    return off
