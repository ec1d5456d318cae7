"""The models that a page offers: the list that was given to it, and no other."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..inference.predictor import Predictor


def load_models(sources: Sequence[str], device: str = 'auto') -> dict[str, Predictor]:
    """Load the models of a command line.

    Args:
        sources: Each a published name, a file of ``publish_model.py``, the work dir of a training,
            a config, or ``CONFIG=WEIGHTS``.
        device: As of :class:`~mmvision_mamba.inference.predictor.Predictor`.

    Returns:
        The models, by the names that visitors choose from.

    Raises:
        InputError: A source is given twice, or is none of those.
    """
    named: dict[str, tuple[str, str | None]] = {}
    for source in sources:
        model, weights = split(source)
        name = _name(model)
        if name in named and weights is not None:
            name = f'{name}, {Path(weights).stem}'
        if name in named:
            raise InputError(f'MODEL {source}: another one is named {name} too: rename a file')
        named[name] = model, weights
    return {
        name: Predictor(model, weights, device=device) for name, (model, weights) in named.items()
    }


def split(source: str) -> tuple[str, str | None]:
    """The model and its weights of ``CONFIG=WEIGHTS``; of anything else, itself and None.

    Raises:
        InputError: Nothing stands before or behind the sign.
    """
    if '=' not in source or Path(source).exists():
        return source, None
    # The first sign with a config before it: a path of weights may have others.
    config, _, weights = source.partition('.py=')
    model, weights = (f'{config}.py', weights) if weights else source.split('=', 1)
    if not model or not weights:
        raise InputError(f'MODEL {source}: give a config and its weights as CONFIG=WEIGHTS')
    return model, weights


def demo_models(folder: Path) -> list[str]:
    """Work dirs of the demo's trainings.

    Raises:
        InputError: None has a checkpoint.
    """
    trained = sorted(str(path.parent) for path in folder.glob('*/last_checkpoint'))
    if not trained:
        raise InputError(
            f'no MODEL was given, and there is none of the demo in {folder}: train those by '
            '`make demo`, or give a work dir, a published file or name, or CONFIG=WEIGHTS'
        )
    return trained


def _name(model: str) -> str:
    """Of a file or a folder the last part of its path, without the suffix of a file."""
    path = Path(model)
    return path.stem if path.suffix in ('.py', '.safetensors') else path.resolve().name
