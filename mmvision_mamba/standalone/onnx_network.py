"""An ONNX file, computed by onnxruntime."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from .errors import InputError
from .onnx_file import more_outputs, refuse_external_data


class OnnxNetwork:
    """A network that onnxruntime computes on the CPU.

    Args:
        path: Of the file.
        also: Names of tensors within it that are to be had too.
        threads: To compute in; 0 for as many as there are cores.

    Attributes:
        inputs, outputs: Names of the tensors that it takes and gives.
    """

    def __init__(self, path: Path, also: Sequence[str], threads: int) -> None:
        if path.suffix != '.onnx':
            raise InputError(f'{path} is not run by onnxruntime: it is a program of PyTorch')
        content = path.read_bytes()
        refuse_external_data(content, str(path))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # what it logs, it raises too
        try:
            self._session = onnxruntime.InferenceSession(
                content + more_outputs(also), options, providers=['CPUExecutionProvider']
            )
        except Exception as error:  # classes of its own, without a base
            raise InputError(
                f'{path} cannot be loaded by onnxruntime: {" ".join(str(error).split())[:200]}'
            ) from error
        self.inputs = frozenset(value.name for value in self._session.get_inputs())
        self.outputs = frozenset(value.name for value in self._session.get_outputs())

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of these names; raises whatever onnxruntime does."""
        return dict(zip(names, self._session.run(list(names), dict(feeds))))
