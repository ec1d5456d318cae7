"""The machine that a benchmark ran on, in words."""

import platform
import re
from pathlib import Path

import torch


def machine() -> str:
    """The GPU, or the processor and torch's number of threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path('/proc/cpuinfo')
    names = re.findall(r'model name\s*:\s*(.+)', cpuinfo.read_text()) if cpuinfo.exists() else []
    return f'{names[0] if names else platform.machine()}, {torch.get_num_threads()} threads'
