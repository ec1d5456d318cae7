"""What is measured of a net: time and memory of a forward pass or a training step."""

import torch
from torch import Tensor, nn

from mmvision_mamba.analysis.measuring import added_bytes, seconds

__all__ = ['Workload', 'added_bytes', 'seconds']


class Workload:
    """One model on one batch as a call that can be repeated: a forward pass or a training step.

    Args:
        dtype: ``float32``, ``tf32`` (float32 whose products a GPU rounds to 19 bits), or what
            autocast computes in, ``float16`` or ``bfloat16``.
        channels_last: Whether weights and image lie so in memory.
    """

    def __init__(
        self,
        net: nn.Module,
        image: Tensor,
        *,
        training: bool,
        compiled: bool,
        dtype: str = 'float32',
        channels_last: bool = False,
    ) -> None:
        if channels_last:
            net = net.to(memory_format=torch.channels_last)
            image = image.to(memory_format=torch.channels_last)
        self.net, self.image = net, image
        # Of the process: torch's default rounds convolutions and not matrix products.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = dtype == 'tf32'
        self.autocast = None if dtype in ('float32', 'tf32') else getattr(torch, dtype)
        net.train(training)
        self.forward = torch.compile(net) if compiled else net
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4) if training else None
        self.gradients = None  # of the maps, drawn in the first step; a head's, so not counted

    def __call__(self) -> None:
        kind, autocast = self.image.device.type, self.autocast
        with (
            torch.set_grad_enabled(self.optimizer is not None),
            torch.autocast(kind, autocast, enabled=autocast is not None),
        ):
            outputs = self.forward(self.image)
        if self.optimizer is not None:
            # Not a sum of the maps: its gradient through a LayerNorm is zero but for rounding.
            self.gradients = self.gradients or [torch.randn_like(output) for output in outputs]
            torch.autograd.backward(outputs, self.gradients)
            self.optimizer.step()
            self.optimizer.zero_grad()

    def held_bytes(self) -> int:
        """Bytes that stay between calls."""
        tensors = [self.image, *self.net.parameters(), *self.net.buffers()]
        if self.optimizer is not None:
            states = self.optimizer.state.values()
            tensors += [x for state in states for x in state.values() if torch.is_tensor(x)]
        return sum(tensor.nbytes for tensor in tensors)
