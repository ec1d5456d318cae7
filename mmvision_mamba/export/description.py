"""What model.json says of an exported model, made from its config."""

from collections.abc import Mapping, Sequence

from mmengine.config import Config

from ..errors import InputError
from ..inference.input_pipeline import inference_steps, is_ordinary_load, step_name
from ..inference.opening import OpenModel, steps_of_testing
from ..standalone.description import DESCRIPTION, FORMAT, parse_description
from ..versions import package_versions

_PACKING = ('PackDetInputs', 'PackSegInputs')
_OF_RESIZE = {'type', 'scale', 'scale_factor', 'keep_ratio', 'interpolation', 'backend'}
# Which change boxes alone, and no image.
_OF_RESIZE |= {'clip_object_border'}


def describe(
    opened: OpenModel,
    *,
    model: str,
    network_input: Mapping,
    outputs: Sequence[str],
    inside: bool,
    source: str,
    task: str | None = None,
    score_threshold: float = 0.3,
) -> dict:
    """The whole of model.json, as plain values that pass its reader.

    Args:
        opened: The model that is exported.
        model: Name of the network's file.
        network_input: ``name``, ``layout``, ``dtype``, and where they are fixed ``batch``,
            ``height``, ``width``; and ``multiple``, where sides must be multiples of something.
        outputs: Names of the network's outputs.
        inside: Whether the network orders channels and normalises by itself; it always pads.
        source: What the model was exported from, such as the config's name.
        task: ``'features'`` of a backbone alone; None for the model's own.
        score_threshold: Of the objects that are shown unless one asks for others.

    Raises:
        InputError: The test pipeline, or the preparation of a batch, has a step that is not
            described by model.json.
    """
    task = task or opened.task
    labelled = task != 'features'
    rcnn = opened.cfg.model.get('test_cfg', {}).get('rcnn') or {}
    preprocessing = describe_preprocessing(opened, inside, source)
    if not labelled:  # a backbone takes an image as it is given
        preprocessing['resize'] = None
    value = dict(
        format=FORMAT,
        task=task,
        classes=list(opened.class_names) if labelled else [],
        palette=opened.palette.tolist() if labelled else [],
        model=model,
        input=dict(batch=None, height=None, width=None, multiple=1) | dict(network_input),
        preprocessing=preprocessing,
        outputs=list(outputs),
        score_threshold=score_threshold,
        mask_threshold=float(rcnn.get('mask_thr_binary', 0.5)),
        software=package_versions(opened.cfg.default_scope),
        source=source,
    )
    parse_description(value, DESCRIPTION)
    return value


def describe_preprocessing(opened: OpenModel, inside: bool, source: str) -> dict:
    """From an image file to the network's input, by the config's test pipeline.

    Raises:
        InputError: A step is not one of loading, resizing and packing an image.
    """
    load, *steps = inference_steps(steps_of_testing(opened.cfg, source))
    if not is_ordinary_load(load):
        raise InputError(f'{step_name(load)}: an exported model reads images as RGB of 8 bits')
    resize = None
    for step in steps:
        name = step_name(step)
        if name == 'Resize' and resize is None:
            resize = _describe_resize(step)
        elif name not in _PACKING:
            raise InputError(
                f'{name}: this step of the test pipeline cannot be exported; expected one Resize '
                'at most, beside loading and packing'
            )
    return dict(inside=inside, resize=resize, **_describe_batch(opened.cfg))


def _describe_resize(step: Mapping) -> dict:
    scale, keep_ratio = step.get('scale'), bool(step.get('keep_ratio', False))
    interpolation = step.get('interpolation', 'bilinear')
    unknown = sorted(set(step) - _OF_RESIZE)
    if unknown or step.get('backend', 'cv2') != 'cv2':
        raise InputError(f'Resize with {(unknown or ["backend"])[0]} cannot be exported')
    if interpolation not in ('bilinear', 'nearest'):
        raise InputError(f'Resize: interpolation {interpolation} cannot be exported, bilinear can')
    if isinstance(scale, int):
        scale = (scale, scale)
    if scale is None:
        scale = step.get('scale_factor')
        if not isinstance(scale, int | float) or keep_ratio:
            raise InputError(
                'Resize by a scale_factor is exported of one number, without keep_ratio'
            )
        scale = float(scale)
    else:
        scale = [int(side) for side in scale]
    return dict(scale=scale, keep_ratio=keep_ratio, interpolation=interpolation)


def _describe_batch(cfg: Config) -> dict:
    """Of mmdet's and mmseg's preparation of a batch what holds for one image in testing."""
    step = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    if step.get('test_cfg'):
        raise InputError('data_preprocessor.test_cfg, which pads images, cannot be exported')
    swaps = step.get('bgr_to_rgb', False) or step.get('rgb_to_bgr', False)
    return dict(
        channel_order='RGB' if swaps else 'BGR',
        mean=[float(value) for value in step.get('mean') or (0, 0, 0)],
        std=[float(value) for value in step.get('std') or (1, 1, 1)],
        # A detector's program pads within, and clips boxes to what it was given.
        pad_divisor=1,
        pad_value=0.0,
    )
