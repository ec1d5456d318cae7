"""A model held against what it gave from layer to layer when it was published or exported.

What is kept is a small image, some values of each of a few maps on the way to its result, and the
result: plain data, which a published file's header holds, and an exported model's folder. The maps
are ``resized`` (the image after the test pipeline's resize), ``input`` (normalised), ``stage1`` and
on of the backbone, ``neck1`` and on, ``rpn1`` and on (an RPN's scores) and ``logits`` (a
segmentor's). The first that deviates tells where it went wrong.
"""

import base64
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..checkpoints.published_files import is_published, read_published
from ..errors import InputError
from ..inference.input_pipeline import Sample, is_ordinary_load
from ..inference.opening import OpenModel, open_model, steps_of_testing
from ..inference.results import DetectionResult, SegmentationResult
from ..inference.torch_model import TorchModel
from ..standalone import check as checks
from ..standalone.description import is_exported
from ..standalone.errors import Deviation
from ..standalone.results import Crop, Detections, Segmentation
from .proof_images import drawn_images

if TYPE_CHECKING:
    from onnx import ModelProto

    from .programs import Program

# (height, width) of the image of a check.
SIZE = (96, 128)
# Of the norm of a map's values; of scores, and of the pixels of a label map.
TOLERANCE, SLACK = 1e-4, 5e-3
_PARTS = {
    'stage': r'(.*\.)?backbone',
    'neck': r'(.*\.)?neck',
    'rpn': r'(.*\.)?rpn_head',
    'logits': r'(.*\.)?(decode_)?head\.conv_seg',
}


def can_be_checked(opened: OpenModel) -> bool:
    """Whether a model takes images of 8 bits in RGB, of which a check has one."""
    return is_ordinary_load(steps_of_testing(opened.cfg, 'the config')[0])


def record(opened: OpenModel, size: tuple[int, int] | None = None, task: str | None = None) -> dict:
    """What a model makes of a small image, as plain values for JSON.

    Args:
        opened: The model; computed on the CPU in float32.
        size: (height, width) of the image; None for :data:`SIZE`.
        task: ``'features'`` for what its backbone makes of the image as it is, and no more.
    """
    [image] = drawn_images([size or SIZE])
    maps, result = _run(opened, image, task == 'features')
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, 'png')
    return dict(
        format=checks.FORMAT,
        image=base64.b64encode(encoded.getvalue()).decode(),
        maps=[map_entry(name, values, None, TOLERANCE) for name, values in maps.items()],
        result=result,
        slack=SLACK,
    )


def map_entry(name: str, values: np.ndarray, tensor: str | None, tolerance: float) -> dict:
    """What a check keeps of a map: some of its values, as JSON has them."""
    return dict(
        name=name,
        tensor=tensor,
        shape=list(values.shape),
        values=[float(f'{value:.7g}') for value in checks.sampled(values).tolist()],
        tolerance=tolerance,
    )


def verify(model: str | Path, weights: str | Path | None = None) -> list[str]:
    """Hold a published file, or the folder of an exported model, against its own check.

    Returns:
        Names of what was compared, in order.

    Raises:
        Deviation: Something deviates; the first thing that does is named.
        InputError: There is no such model, or it carries no check.
    """
    if is_exported(model):
        return _verify_exported(model)
    source = Path(weights or model).expanduser()
    if not (source.is_file() and is_published(source)):
        raise InputError(
            f'{source} carries no check to verify it by; expected a file of tools/publish_model.py '
            'or a folder of tools/export.py'
        )
    check = read_published(source).check
    if check is None:
        raise InputError(f'{source} was published without a check: publish it again')
    check = checks.parse_check(check, str(source))
    image = checks.check_image(check)
    return compare(check, *_run(open_model(model, weights), image))


def _verify_exported(folder: str | Path) -> list[str]:
    from ..standalone.verify import verify  # onnxruntime, which published files do without

    return verify(folder)


def compare(check: Mapping, maps: Mapping[str, np.ndarray], result: Mapping) -> list[str]:
    """Hold a model's maps and its result against a check; returns the names of what is the same.

    Raises:
        Deviation: Something deviates, or lacks.
    """
    for entry in check['maps']:
        if entry['name'] not in maps:
            raise Deviation(f'{entry["name"]} deviates: the model has no such map')
        checks.compare_map(entry, maps[entry['name']])
    if check['result'] is not None:
        checks.compare_result(check['result'], result, check['slack'])
    return [entry['name'] for entry in check['maps']] + ['result']


@contextmanager
def with_maps(program: 'Program') -> Iterator['Program']:
    """A program that gives the maps of a check too, behind its own outputs."""
    maps: dict[str, Tensor] = {}
    known = set(program.output_names)

    def give(module: nn.Module, inputs: tuple, outputs: Tensor | Sequence[Tensor]) -> tuple:
        own = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
        return *own, *(value for name, value in maps.items() if name not in known)

    with _watched(program.module, maps):
        inner = getattr(program.module, 'program', None)  # of one that normalises by itself
        hooks = [program.module.register_forward_hook(give)]
        if inner is not None:
            hooks.append(inner.register_forward_pre_hook(_keep_input(maps)))
        try:
            with torch.no_grad():
                program.module(*program.example_inputs)
            names = [name for name in maps if name not in known]
            yield replace(program, output_names=(*program.output_names, *names))
        finally:
            for hook in hooks:
                hook.remove()


def hide_maps(model: 'ModelProto', program: 'Program') -> None:
    """Leave of a network's outputs a program's own: the maps stay as names within its graph.

    Nothing computes them then but what needs them anyway.
    """
    kept = [value for value in model.graph.output if value.name in program.output_names]
    del model.graph.output[:]
    model.graph.output.extend(kept)


def for_network(check: Mapping, program: 'Program', names: Iterable[str]) -> dict:
    """A check of the maps that an exported network has, by the names of its tensors.

    Args:
        check: Of :func:`record`.
        program: That the network is of.
        names: Of the outputs of the program that :func:`with_maps` gives.
    """
    tensors = {name: name for name in names} | {'resized': None}
    tensors.setdefault('input', program.input_names[0])
    maps = [
        dict(entry, tensor=tensors[entry['name']])
        for entry in check['maps']
        if entry['name'] in tensors
    ]
    return dict(check, maps=maps)


def _run(
    opened: OpenModel, image: np.ndarray, features: bool = False
) -> tuple[dict[str, np.ndarray], dict | None]:
    """The maps of an image (H, W, 3) uint8 RGB, and what a check keeps of the result.

    Of features, the backbone's alone, of the image as it is.
    """
    model = TorchModel(
        opened,
        'the model',
        device=torch.device('cpu'),
        amp=None,
        tta=False,
        probabilities=False,
        max_pixels=image.shape[0] * image.shape[1],
    )
    pipeline = model.pipeline.with_scale(1.0) if features else model.pipeline
    sample = pipeline(image)
    maps: dict[str, Tensor] = {}
    kept = _keep_input(maps)
    hooks = [_part(model.module, 'stage').register_forward_pre_hook(kept)]
    with _watched(model.module, maps):
        try:
            if features:
                result = _run_backbone(model, sample)
            else:
                result = checks.result_of(_plain(model.predict([sample])[0]))
        finally:
            for hook in hooks:
                hook.remove()
    height, width = sample.inputs.shape[1:]
    # Padded, as a batch is, and by an exported network within.
    maps['input'] = maps['input'][:, :, :height, :width]
    found = {'resized': sample.inputs.numpy().transpose(1, 2, 0)[:, :, ::-1]}
    found |= {name: value.float().numpy() for name, value in maps.items()}
    return found, result


def _run_backbone(model: TorchModel, sample: Sample) -> None:
    """Have the backbone compute an image that is not padded."""
    batch = dict(inputs=[sample.inputs], data_samples=[sample.data_samples])
    height, width = sample.inputs.shape[1:]
    with torch.inference_mode():
        inputs = model.module.data_preprocessor(batch, False)['inputs']
        model.module.backbone(inputs[:, :, :height, :width].contiguous())


def _keep_input(maps: dict[str, Tensor]):
    def keep(module: nn.Module, inputs: tuple) -> None:
        maps['input'] = inputs[0]

    return keep


@contextmanager
def _watched(module: nn.Module, maps: dict[str, Tensor]) -> Iterator[None]:
    """Have the maps of a module's parts put into ``maps`` whenever it runs."""
    hooks = []
    for kind in _PARTS:
        part = _part(module, kind)
        if part is not None and not isinstance(part, nn.Identity):
            hooks.append(part.register_forward_hook(_keep_outputs(maps, kind, part)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _keep_outputs(maps: dict[str, Tensor], kind: str, part: nn.Module):
    def keep(module: nn.Module, inputs: tuple, outputs: Tensor | Sequence) -> None:
        if isinstance(outputs, Tensor):
            maps[kind] = outputs
            return
        if kind == 'rpn':
            outputs = outputs[0]
        numbers = getattr(part, 'out_indices', range(len(outputs))) if kind == 'stage' else None
        for number, value in zip(numbers or range(len(outputs)), outputs):
            maps[f'{kind}{number + 1}'] = value

    return keep


def _part(module: nn.Module, kind: str) -> nn.Module | None:
    for name, part in module.named_modules():
        if re.fullmatch(_PARTS[kind], name):
            return part
    return None


def _plain(result: DetectionResult | SegmentationResult) -> Detections | Segmentation:
    if isinstance(result, SegmentationResult):
        return Segmentation(result.image_size, result.label_map, result.probabilities)
    masks = result.compact_masks
    if masks is not None:
        crops = (masks.crop(place) for place in range(len(masks)))
        masks = [
            Crop(left, top, pixels) for (left, top), pixels in zip(masks.offsets.tolist(), crops)
        ]
    return Detections(result.image_size, result.boxes, result.scores, result.labels, masks)
