"""What a recipe says of a backbone beside the model: statistics, optimizer rules, weights."""

from collections.abc import Sequence

from mmengine.config import Config
from mmengine.logging import print_log

# Of ImageNet in RGB, with which the published weights of both families were trained.
_MEAN = [123.675, 116.28, 103.53]
_STD = [58.395, 57.12, 57.375]
_OWN_CONSTRUCTOR = 'LayerDecayOptimWrapperConstructor'
_DEFAULT_CONSTRUCTORS = (None, 'DefaultOptimWrapperConstructor', _OWN_CONSTRUCTOR)
# What MMEngine's constructor may be told and ours does anyway, or does without.
_DONE_ANYWAY = {'custom_keys', 'norm_decay_mult', 'bias_decay_mult', 'bypass_duplicate'}


def set_statistics(node: dict) -> None:
    """Have a model's data preprocessor, in place, normalise as the backbones were trained."""
    preprocessor = node.get('data_preprocessor')
    if not preprocessor:
        return
    if 'data_preprocessor' in preprocessor:  # one for each branch of semi-supervised training
        set_statistics(preprocessor)
        return
    preprocessor.pop('rgb_to_bgr', None)
    wanted = dict(mean=_MEAN, std=_STD, bgr_to_rgb=True)
    preprocessor.update({k: v for k, v in wanted.items() if preprocessor.get(k) != v})


def drop_old_weights(node: dict) -> None:
    """Have a model, in place, start without weights that were trained with its old backbone."""
    if node.get('pretrained') is not None:
        node['pretrained'] = None
    if 'Pretrained' in str(node.get('init_cfg')):
        node['init_cfg'] = None


def import_backbones(cfg: Config) -> None:
    """Have a config, in place, import this package."""
    package = __name__.split('.')[0]
    if 'custom_imports' not in cfg:
        cfg.custom_imports = dict(imports=[package], allow_failed_imports=False)
        return
    imports = cfg.custom_imports.get('imports') or []
    imports = [imports] if isinstance(imports, str) else list(imports)
    if not any(name.split('.')[0] == package for name in imports):
        cfg.custom_imports.imports = [*imports, package]


def adapt_optimizer(cfg: Config, old: Sequence[str], new: Sequence[str]) -> None:
    """Take rules that are of the old backbone out of a config's optimizer, in place.

    Those are layer-wise decay that counts its layers, and keys of its parameters. Where MMEngine's
    own constructor, or one of layer-wise decay, was in use, this package's takes its place: it
    counts the layers of the new backbone, and spares norms and biases by itself.

    Args:
        cfg: The whole config.
        old: Names of the old backbone's parameters in the model.
        new: Names of the new one's.
    """
    wrapper = cfg.get('optim_wrapper') or {}
    rules = wrapper.get('paramwise_cfg') or {}
    keys = rules.get('custom_keys') or {}
    gone = [key for key in keys if _is_of_old(key, keys[key], old, new)]
    decay = rules.get(
        'layer_decay_rate', rules.get('decay_rate') if 'num_layers' in rules else None
    )
    if not gone and decay is None:
        return
    kept = {key: rule for key, rule in keys.items() if key not in gone}
    default = wrapper.get('constructor') in _DEFAULT_CONSTRUCTORS
    if decay is not None or (default and _are_done_anyway(rules)):
        wrapper.constructor = _OWN_CONSTRUCTOR
        rules = {} if decay is None else dict(layer_decay=decay)
    rules = {key: rule for key, rule in rules.items() if key != 'custom_keys'}
    if kept:
        rules['custom_keys'] = kept
    wrapper.pop('paramwise_cfg')
    if rules:
        wrapper.paramwise_cfg = rules
    if gone:
        names = ', '.join(gone[:4]) + (f' and {len(gone) - 4} more' if len(gone) > 4 else '')
        print_log(f'Pairing: optimizer rules of the old backbone are dropped: {names}', 'current')


def _is_of_old(key: str, rule: dict, old: Sequence[str], new: Sequence[str]) -> bool:
    if not any(key in name for name in old) or key == 'backbone':
        return key.startswith('backbone.')
    spares = rule.get('decay_mult') == 0 and rule.get('lr_mult', 1) == 1
    return key.startswith('backbone.') or spares or not any(key in name for name in new)


def _are_done_anyway(rules: dict) -> bool:
    decays = {rules.get(key, 0) for key in ('norm_decay_mult', 'bias_decay_mult')}
    return set(rules) <= _DONE_ANYWAY and decays == {0}
