"""Small networks whose weights a formula fills, and their features, held by the project.

The features were recorded when the backbones matched the published networks. To record anew, only
while they match, run ``python tests/test_backbones/recorded.py``.
"""

from pathlib import Path

import numpy as np
import torch

from mmvision_mamba.backbones import MambaOut, MambaVision

FILE = Path(__file__).with_name('recorded_features.npz')
VISION = dict(
    dim=8, in_dim=4, depths=(1, 1, 3, 2), num_heads=(1, 2, 2, 4), window_size=(8, 8, 3, 2)
)
VISION_SCALED = VISION | dict(layer_scale=0.5)
OUT = dict(depths=(1, 2, 1, 1), dims=(8, 16, 24, 32))


def out_before_norms() -> MambaOut:
    model = MambaOut(OUT)
    for i in model.out_indices:
        setattr(model, f'outnorm{i}', torch.nn.Identity())
    return model


BUILD = {
    'vision_full': lambda: MambaVision(VISION_SCALED, window_padding='full'),
    'vision_minimal': lambda: MambaVision(VISION),
    'out': lambda: MambaOut(OUT),
    'out_before_norms': out_before_norms,
}


def fill(model: torch.nn.Module) -> torch.nn.Module:
    """Give every tensor of the state dict values that depend on its name and place alone."""
    for name, value in model.state_dict().items():
        if not value.is_floating_point():
            continue
        phase = sum(map(ord, name))
        wave = torch.sin(torch.arange(value.numel(), dtype=torch.float64) * 0.7 + phase)
        if name.endswith('running_var') or (value.dim() == 1 and name.endswith('weight')):
            wave = 1 + 0.3 * wave
        elif value.dim() > 1 and not name.endswith('A_log'):
            wave = wave * (2 / value[0].numel()) ** 0.5
        value.copy_(wave.view_as(value))
    return model.eval()


def image() -> torch.Tensor:
    ramp = torch.arange(3 * 70 * 101, dtype=torch.float64)
    return torch.sin(ramp * 0.013).view(1, 3, 70, 101).float()


@torch.no_grad()
def features(name: str) -> list[torch.Tensor]:
    return list(fill(BUILD[name]())(image()))


if __name__ == '__main__':
    arrays = {f'{name}.{i}': f.numpy() for name in BUILD for i, f in enumerate(features(name))}
    np.savez_compressed(FILE, **arrays)
