"""Published or own weights that a new training starts from: of a backbone, or of a whole model."""

from mmengine.config import Config

from ..errors import InputError
from ..state_dicts import find_state_dict
from .download import locate
from .published import PUBLISHED
from .reading import read_checkpoint


def start_from(cfg: Config, name: str) -> None:
    """Have a config start from weights, in place.

    A backbone's become its ``init_cfg``. A whole model's are loaded over the whole, but for the
    layers that depend on the number of classes, where that is another.

    Args:
        name: A published name, a path, a URL or a hub repo id.

    Raises:
        InputError: There is no such thing, it cannot be had, or it holds no weights.
    """
    path = locate(name)
    if _is_whole_model(name, path):
        cfg.load_from = str(path)
        allow_other_classes(cfg)
    else:
        checkpoint = name if name in PUBLISHED else str(path)
        cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=checkpoint)


def allow_other_classes(cfg: Config) -> None:
    """Have ``load_from`` leave out layers of another number of classes, and name them."""
    cfg.default_hooks.checkpoint_match = dict(type='CheckpointMatchHook', other_classes=True)


def _is_whole_model(name: str, path) -> bool:
    if name in PUBLISHED:
        return PUBLISHED[name].kind == 'model'
    weights = find_state_dict(read_checkpoint(path))
    if weights is None:
        raise InputError(f'{path} holds no weights')
    parts = {each.removeprefix('module.').split('.')[0] for each in weights}
    return 'backbone' in parts and len(parts) > 1
