"""What is measured of a net: time and memory of a forward pass or a training step."""

import torch
from torch import Tensor, nn

from mmvision_mamba.analysis.measuring import added_bytes, seconds

__all__ = ['Workload', 'added_bytes', 'seconds']


class Workload:
    """One model on one image as a call that can be repeated: a forward pass or a training step."""

    def __init__(
        self, net: nn.Module, image: Tensor, *, training: bool, compiled: bool, bfloat16: bool
    ) -> None:
        self.net, self.image, self.bfloat16 = net, image, bfloat16
        net.train(training)
        self.forward = torch.compile(net) if compiled else net
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4) if training else None
        self.gradients = None  # of the maps, drawn in the first step; a head's, so not counted

    def __call__(self) -> None:
        with (
            torch.set_grad_enabled(self.optimizer is not None),
            torch.autocast(self.image.device.type, torch.bfloat16, enabled=self.bfloat16),
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
