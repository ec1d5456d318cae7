"""Two sets of names and shapes compared: weights that are given, and those that a model has."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from .errors import InputError


def find_state_dict(checkpoint: Mapping) -> dict[str, Tensor] | None:
    """The weights in a checkpoint, out of the envelopes in use; None where it holds none.

    Of two sets the averaged one (``state_dict_ema``, ``model_ema``) is taken, as timm does; what
    is no tensor is left out.
    """
    for envelope in ('state_dict_ema', 'model_ema', 'state_dict', 'model'):
        if isinstance(checkpoint.get(envelope), Mapping):
            return find_state_dict(checkpoint[envelope])
    weights = {
        name: value
        for name, value in checkpoint.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    return weights or None


def strip_prefixes(names: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A backbone's own names, of it alone, wrapped, or inside a whole model."""
    for prefix in ('module.', 'model.', 'backbone.', 'module.'):
        if any(name.startswith(prefix) for name in names):
            names = {
                name.removeprefix(prefix): value
                for name, value in names.items()
                if name.startswith(prefix)
            }
    return dict(names)


@dataclass
class Comparison:
    """Names and shapes of given weights beside those of a backbone.

    Attributes:
        loaded: Names in both, of one shape.
        missing, misshapen, unknown: What makes the weights not of this backbone.
        untrained: Output norms that no classification checkpoint holds.
        unused: The classifier, and stages that are not built.
    """

    title: str
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    untrained: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        return not (self.missing or self.misshapen or self.unknown)

    def __str__(self) -> str:
        lines = [f'{self.title}: {len(self.loaded)} tensors fit']
        for label, names in {
            'missing': self.missing,
            'of another shape': self.misshapen,
            'unknown to it': self.unknown,
            'not in the file, as expected (output norms)': self.untrained,
            'not used, as expected (classifier, stages not built)': self.unused,
        }.items():
            if names:
                lines.append(f'  {label}: {len(names)}')
                lines += [f'    {name}' for name in names[:6]]
                lines += ['    ...'] if len(names) > 6 else []
        return '\n'.join(lines)


def compare(
    title: str,
    expected: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    unused: Callable[[str], bool],
) -> Comparison:
    """Compare the state dict of a backbone with given weights under the same names.

    Args:
        title: What is compared, for the report's first line.
        unused: Whether a given name, unknown to the backbone, is of something it does without.
    """
    result = Comparison(title)
    for name, value in expected.items():
        if name not in given:
            # Batch norms of very old checkpoints do not count their batches.
            if name.startswith('outnorm'):
                result.untrained.append(name)
            elif not name.endswith('num_batches_tracked'):
                result.missing.append(name)
        elif given[name].shape != value.shape:
            result.misshapen.append(
                f'{name} {tuple(given[name].shape)}, expected {tuple(value.shape)}'
            )
        else:
            result.loaded.append(name)
    for name in given:
        if name not in expected:
            (result.unused if unused(name) else result.unknown).append(name)
    return result


def refuse_other_model(source: str, given: Mapping, wanted: Mapping) -> None:
    """Raise InputError unless a state dict has every tensor of a model, in its shape.

    Args:
        source: What the state dict is called in the message.
        given: The state dict.
        wanted: The model's own, or the part that is needed.
    """
    missing = [name for name in wanted if name not in given]
    misshaped = [
        f'{name} {tuple(given[name].shape)}, expected {tuple(value.shape)}'
        for name, value in wanted.items()
        if name in given and given[name].shape != value.shape
    ]
    if missing or misshaped:
        raise InputError(
            f'{source} is not of this model: of {len(wanted)} tensors, {len(missing)} are missing '
            f'({_first(missing)}) and {len(misshaped)} have another shape ({_first(misshaped)}); '
            'give the config it was trained with, or, for ImageNet weights, '
            'model.backbone.init_cfg'
        )


def class_layers(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> set[str]:
    """Names outside the backbone whose tensors differ in their first size alone: a row a class."""
    return {
        name
        for name, value in wanted.items()
        if name in given
        and not name.startswith('backbone.')
        and given[name].ndim == value.ndim > 0
        and given[name].shape[1:] == value.shape[1:]
        and len(given[name]) != len(value)
    }


def _first(names: list[str], count: int = 3) -> str:
    return ', '.join(names[:count]) + (', ...' if len(names) > count else '') if names else 'none'
