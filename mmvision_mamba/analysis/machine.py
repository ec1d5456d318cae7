"""The machine that something was measured on, in words."""

import platform
import re
from pathlib import Path

import torch


def machine(device: str | None = None) -> str:
    """The GPU; without one, or for ``device='cpu'``, the processor, its instruction set as torch
    uses it, and torch's thread count."""
    if device != 'cpu' and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path('/proc/cpuinfo')
    names = re.findall(r'model name\s*:\s*(.+)', cpuinfo.read_text()) if cpuinfo.exists() else []
    name = names[0] if names else platform.machine()
    instructions = torch.backends.cpu.get_cpu_capability()
    return f'{name} {instructions}, {torch.get_num_threads()} threads'
