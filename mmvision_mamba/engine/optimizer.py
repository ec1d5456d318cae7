"""Which learning rate and weight decay each parameter of a model trains with."""

from collections import defaultdict

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn
from torch.nn import GroupNorm, LayerNorm
from torch.nn.modules.batchnorm import _NormBase

from ..backbones.pyramid import PyramidBackbone

# By name and not by shape: under FSDP every shard of a parameter is flat.
_SCAN_AND_SCALES = {'A_log', 'D', 'gamma', 'gamma_1', 'gamma_2'}
_OPTIONS = {'layer_decay', 'custom_keys'}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Layer-wise learning-rate decay of the backbone, and weight decay where it belongs.

    A layer of the backbone, counted from 0, the stem, has ``lr * layer_decay ** (n - layer)``, n
    being their number (see :meth:`PyramidBackbone.layers`); the output norms, and the model's
    other parts, have ``lr``. Weight decay spares norms, biases, layer scales and the scan's A_log
    and D, which its authors mark as exempt (arXiv 2312.00752).

    Parameters of equal settings share a group, so that the optimizer updates them together.

    Args:
        optim_wrapper_cfg: As in MMEngine: the optimizer under ``optimizer``, with ``lr`` and
            ``weight_decay``, and the wrapper's own options.
        paramwise_cfg: ``layer_decay``, in (0, 1], default 1 (none); ``custom_keys``, parts of
            parameter names with ``lr_mult`` and ``decay_mult``, of which the longest that matches
            is multiplied in.

    Raises:
        ValueError: Another option, or ``layer_decay`` out of its range.
    """

    def _validate_cfg(self) -> None:
        unknown = set(self.paramwise_cfg) - _OPTIONS
        if unknown:
            raise ValueError(
                f'paramwise_cfg of {type(self).__name__} has {sorted(unknown)}; it takes '
                f'{sorted(_OPTIONS)}, and always spares norms and biases of weight decay'
            )
        layer_decay = self.paramwise_cfg.get('layer_decay', 1.0)
        if not 0 < layer_decay <= 1:
            raise ValueError(f'paramwise_cfg.layer_decay must be in (0, 1], got {layer_decay}')
        # The parent goes through add_params only where there are options.
        self.paramwise_cfg = dict(self.paramwise_cfg, layer_decay=layer_decay)
        super()._validate_cfg()

    def add_params(self, params: list[dict], module: nn.Module) -> None:
        """Append the groups of a model's trainable parameters to ``params``."""
        shares = _learning_rate_shares(module, self.paramwise_cfg['layer_decay'])
        groups = defaultdict(list)
        seen = set()
        for prefix, owner in module.named_modules():
            for name, parameter in owner.named_parameters(recurse=False):
                if not parameter.requires_grad or id(parameter) in seen:
                    continue
                seen.add(id(parameter))
                custom = self._custom(f'{prefix}.{name}')
                share = shares.get(id(parameter), 1.0) * custom.get('lr_mult', 1.0)
                decay = 0.0 if _spared(owner, name) else custom.get('decay_mult', 1.0)
                groups[share, decay].append(parameter)
        for (share, decay), parameters in sorted(groups.items(), key=lambda item: item[0]):
            group = dict(params=parameters, lr=self.base_lr * share)
            if self.base_wd is not None:
                group['weight_decay'] = self.base_wd * decay
            params.append(group)
            settings = ', '.join(f'{key} {group[key]:.3g}' for key in group if key != 'params')
            print_log(f'Optimizer: {len(parameters)} parameters with {settings}', 'current')

    def _custom(self, name: str) -> dict:
        keys = [key for key in self.paramwise_cfg.get('custom_keys', {}) if key in name]
        return self.paramwise_cfg['custom_keys'][max(keys, key=len)] if keys else {}


def _spared(owner: nn.Module, name: str) -> bool:
    norm = isinstance(owner, _NormBase | GroupNorm | LayerNorm)
    # Of multi-head attention one is named in_proj_bias.
    return norm or name.endswith('bias') or name in _SCAN_AND_SCALES


def _learning_rate_shares(model: nn.Module, layer_decay: float) -> dict[int, float]:
    """The share of the learning rate by ``id`` of parameter, for those of a backbone's layers."""
    shares = {}
    for backbone in model.modules():
        if isinstance(backbone, PyramidBackbone):
            layers = backbone.layers()
            for i, modules in enumerate(layers):
                for module in modules:
                    for parameter in module.parameters():
                        shares[id(parameter)] = layer_decay ** (len(layers) - i)
    return shares
