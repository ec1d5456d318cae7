"""Whether a program is being recorded for another runtime."""

import torch


def is_exporting() -> bool:
    """True in ``torch.export`` and TorchScript tracing: only torch's own operators belong there.

    Not in ``torch.compile``, whose graphs run here; under it, torch's own answers are all True.
    """
    if torch.compiler.is_dynamo_compiling():
        return False
    return torch.compiler.is_exporting() or torch.jit.is_tracing()
