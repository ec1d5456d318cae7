"""A published file's header, which holds all that the model is and nothing else.

The file is in safetensors' format, whose header takes strings. One of them, under :data:`KEY`,
is a JSON object: ``format`` (its version), ``scope`` (``mmdet`` or ``mmseg``), ``model`` and
``test_pipeline`` as in a config, ``tta_model`` and ``tta_pipeline`` (or null), ``classes``,
``palette`` (or null), ``metrics`` and ``versions``; in format 3 ``check`` too, by which the model
is verified (:mod:`mmvision_mamba.export.self_check`). It is one because safetensors writes several
in an order that changes from run to run, and the name of the file ends in the hash of its bytes.
A tuple, which JSON lacks, is ``{"__tuple__": [...]}``.

All of it comes from a stranger: it is held against :mod:`.allowlist` before anything is made of it.
"""

import json
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import TRANSFORMS, DefaultScope
from safetensors import SafetensorError, safe_open
from torch.nn.modules.module import register_module_module_registration_hook

from ...errors import InputError
from ...standalone.check import parse_check
from ..meta_model import build_on_meta
from .allowlist import SCOPES, refuse_bad_facts, refuse_bad_labels, refuse_unlisted

KEY = 'mmvision_mamba'
FORMAT = 3
_WITHOUT_CHECK = 2
SUFFIX = '.safetensors'
_TUPLE = '__tuple__'
# Of a published file's header; the largest model here has 2,000 tensors in 250 KB.
_LONGEST_HEADER = 8 * 2**20
_LONGEST_TEXT = 2**20
# Of layers with and without weights; the models of the shipped configs have at most 1.3.
_LAYERS_PER_TENSOR = 10
# How a training starts and runs, not what the model is.
_OF_TRAINING = ('init_cfg', 'pretrained', 'compile')


@dataclass(frozen=True)
class PublishedModel:
    """What the header of a published file says.

    Attributes:
        scope: ``'mmdet'`` or ``'mmseg'``, in which the types are looked up.
        model: Its config; None in a file of weights that need a config beside them.
        test_pipeline: From an image file to the model's input.
        tta_model, tta_pipeline: For augmentation at test time; None where there is none.
        classes: Names, in the order of the model's outputs.
        palette: A colour (red, green, blue) of each class, or None.
        metrics: Scores, under the names that testing gives them.
        versions: Of the packages it was published with.
        check: What the model makes of a small image; None of one that was published without.
    """

    scope: str
    model: dict | None
    test_pipeline: list | None
    tta_model: dict | None
    tta_pipeline: list | None
    classes: list[str]
    palette: list | None
    metrics: dict[str, float]
    versions: dict[str, str]
    check: dict | None = None

    def refuse_unlisted(self, where: str) -> None:
        """Raise :class:`InputError` for anything that a published file may not hold."""
        if self.scope not in SCOPES:
            raise InputError(f'{where} is of {self.scope!r:.80}; expected {" or ".join(SCOPES)}')
        refuse_bad_labels(self.classes, self.palette, where)
        refuse_bad_facts(self.metrics, self.versions, where)
        if self.model is not None:
            refuse_unlisted(vars(self), self.scope, where)
        if self.check is not None:
            parse_check(self.check, f'{where}: check')

    def to_json(self) -> str:
        fields = dict(vars(self))
        # Which versions before it read too.
        version = FORMAT if fields['check'] is not None else _WITHOUT_CHECK
        if fields['check'] is None:
            del fields['check']
        return json.dumps({'format': version, **encode(fields)}, allow_nan=False)


def read_published(path: str | Path) -> PublishedModel:
    """The header of a file that ``publish`` wrote, checked, and compared with the file's weights.

    The model is built without memory, for names and shapes, and the steps of its pipelines.

    Raises:
        InputError: There is no such file, it is another kind of file, its header holds what a
            published file may not, or its weights are of another model.
    """
    path = Path(path)
    _refuse_long_header(path)
    tensors, text = _read_header(path)
    if text is None:
        raise InputError(
            f'{path} holds weights without a config: give the config too, or a file of '
            'tools/publish_model.py'
        )
    published = _parse(path, text)
    published.refuse_unlisted(str(path))
    if published.model is not None:
        _try_building(published, tensors, str(path))
    return published


def is_published(path: str | Path) -> bool:
    """Whether ``path`` is a whole file in safetensors' format with a header of ours."""
    return Path(path).suffix == SUFFIX and _read_header(Path(path))[1] is not None


def model_parts(config: dict) -> dict:
    """Of a config as plain Python values: what the model is, without how it was trained."""
    loader = config.get('test_dataloader') or {}
    dataset = loader.get('dataset') or {}
    while isinstance(dataset.get('dataset'), dict):
        dataset = dataset['dataset']
    parts = dict(
        model=config['model'],
        test_pipeline=dataset.get('pipeline', config.get('test_pipeline')),
        tta_model=config.get('tta_model'),
        tta_pipeline=config.get('tta_pipeline'),
    )
    scope = config.get('default_scope')
    parts = {name: _without_training(part, scope) for name, part in parts.items()}
    if dataset.get('reduce_zero_label') is not None:
        # A fact of the model, which the reader's data sets are told of through the pipeline.
        for step in parts['test_pipeline'] or ():
            if step.get('type') == 'LoadAnnotations':
                step.setdefault('reduce_zero_label', dataset['reduce_zero_label'])
    return parts


def encode(value: object, where: str = '') -> object:
    """``value`` for JSON, with tuples marked.

    Raises:
        InputError: It holds anything but None, numbers, strings, lists, tuples and dicts.
    """
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise InputError(
                    f'the config cannot be published: {where} has the key {key!r}, '
                    'and a key must be a string'
                )
        return {key: encode(item, f'{where}.{key}'.strip('.')) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [encode(item, f'{where}.{i}') for i, item in enumerate(value)]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise InputError(
        f'the config cannot be published: {where} is {value!r}, and a file holds numbers, '
        'strings, lists, tuples and dicts; name a registered type instead'
    )


def _refuse_long_header(path: Path) -> None:
    if not path.is_file():
        raise InputError(f'published model {path} does not exist')
    with open(path, 'rb') as file:
        length = int.from_bytes(file.read(8), 'little')
    # Longer than the file where it is of another kind; the library says so.
    if _LONGEST_HEADER < length <= path.stat().st_size:
        raise InputError(
            f'{path} has a header of {length} bytes: a published file has one of at most '
            f'{_LONGEST_HEADER}'
        )


def _read_header(path: Path) -> tuple[dict[str, list[int]], str | None]:
    """Names and shapes of the tensors, and the text under :data:`KEY`; no tensor is read."""
    try:
        with safe_open(path, framework='pt') as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
            return shapes, (file.metadata() or {}).get(KEY)
    except SafetensorError as error:
        raise InputError(f'{path} is not a safetensors file, or is truncated: {error}') from error


def _parse(path: Path, text: str) -> PublishedModel:
    if len(text) > _LONGEST_TEXT:
        raise InputError(f'the header of {path} is damaged: it is of {len(text)} characters')
    try:
        header = json.loads(
            text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant
        )
        if header['format'] not in (1, _WITHOUT_CHECK, FORMAT):
            raise InputError(
                f'{path} is of format {header["format"]!r:.80} and this version reads up to '
                f'{FORMAT}: install the newest mmvision_mamba'
            )
        header = _decode(header)
        if header.pop('format') == 1:
            header = _from_format_1(header)
        return PublishedModel(**header)
    except RecursionError as error:
        raise InputError(f'the header of {path} is damaged: it nests too deep') from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = ascii(str(error))
        raise InputError(
            f'the header of {path} is damaged: {type(error).__name__}: {reason:.200}'
        ) from error


def _from_format_1(header: dict) -> dict:
    """Of the whole config that files of the first format hold, only what the model is."""
    config = header.pop('config')
    return dict(scope=config.get('default_scope'), palette=None, **model_parts(config), **header)


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError('a key stands twice')
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError(f'{name} is no number')


def _decode(value: object) -> object:
    if isinstance(value, dict):
        if set(value) == {_TUPLE}:
            return tuple(_decode(item) for item in value[_TUPLE])
        return {key: _decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_decode(item) for item in value]
    return value


def _without_training(node: object, scope: str) -> object:
    if isinstance(node, dict):
        return {
            key: _without_training(child, scope)
            for key, child in node.items()
            # MMEngine notes the scope of inherited parts, which is that of the whole.
            if key not in _OF_TRAINING and not (key == '_scope_' and child == scope)
        }
    if isinstance(node, (list, tuple)):
        return type(node)(_without_training(child, scope) for child in node)
    return node


def _try_building(published: PublishedModel, tensors: dict[str, list[int]], where: str) -> None:
    """Hold the model, before it takes memory, against the weights that the file really has.

    The pipelines' steps are built too, that the first to fail on them is not the data loader.
    """
    left = 1000 + _LAYERS_PER_TENSOR * len(tensors)

    def count(module, name, submodule) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise InputError(f'{where} describes a model of far more layers than it has weights of')

    hook = register_module_module_registration_hook(count)
    try:
        model = build_on_meta(Config(dict(default_scope=published.scope, model=published.model)))
        with DefaultScope.overwrite_default_scope(published.scope):
            for step in (*published.test_pipeline, *(published.tta_pipeline or ())):
                TRANSFORMS.build(deepcopy(step))  # TestTimeAug changes what it is built from
    except InputError:
        raise
    except Exception as error:  # constructors fail in any way when given arguments of any kind
        reason = ascii(str(error))
        raise InputError(
            f'the model or pipeline of {where} cannot be built: {type(error).__name__}: '
            f'{reason:.300}'
        ) from error
    finally:
        hook.remove()
    if not isinstance(model, BaseModel):
        raise InputError(
            f'{where} describes a {type(model).__name__}, which is no detector or segmentor'
        )
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    if shapes != tensors:
        names = sorted(
            name for name in {*shapes, *tensors} if shapes.get(name) != tensors.get(name)
        )
        raise InputError(
            f'the weights of {where} are not of the model that it describes: {len(names)} differ '
            f'in name or shape, such as {names[0]!r:.100}'
        )
