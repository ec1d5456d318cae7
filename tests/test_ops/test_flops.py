import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmvision_mamba.backbones import MambaOut, MambaVision


@pytest.mark.slow
@pytest.mark.parametrize(
    'build', [lambda: MambaVision('t', window_size=(8, 8, 32, 16)), lambda: MambaOut('femto')]
)
def test_flops_are_the_same_by_our_operators_as_by_torchs(build):
    """On the meta device linears and attention are torch's own, which it counts itself."""

    def flops(device):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            build().eval().to(device)(torch.zeros(1, 3, 512, 384, device=device))
        return counter.get_total_flops()

    assert flops('cpu') == flops('meta') > 1e9
