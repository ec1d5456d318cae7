"""Checkpoints read without running what is in them."""

from pathlib import Path

import torch
from safetensors.torch import load_file


def read_checkpoint(path: str | Path, trust: bool = False) -> dict:
    """The content of a ``.pth``, ``.pth.tar`` or ``.safetensors`` file, on the CPU."""
    if str(path).endswith('.safetensors'):
        return load_file(path)
    return torch.load(path, map_location='cpu', weights_only=not trust)
