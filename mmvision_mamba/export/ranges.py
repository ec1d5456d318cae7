"""The least and the greatest values of a network's tensors, over images."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, MinMaxCalibrater, TensorsData


def find_ranges(
    model: Path, nodes: Iterable[str], feeds: Iterable[dict[str, np.ndarray]]
) -> TensorsData:
    """Ranges of what nodes take and give, in about the memory that running the model takes.

    Args:
        model: File of an ONNX model.
        nodes: Names of the nodes.
        feeds: Inputs by name, one or more; one is held at a time.
    """
    calibrater = _Calibrater(model, set(nodes), model.with_name('augmented.onnx'))
    calibrater.augment_graph()
    calibrater.create_inference_session()
    calibrater.collect_data(_Reader(feeds))
    return calibrater.compute_data()


class _Calibrater(MinMaxCalibrater):
    """onnxruntime's, which by itself keeps each tensor until the whole network has run."""

    def __init__(self, model: Path, nodes: set[str], augmented: Path) -> None:
        super().__init__(model, augmented_model_path=augmented)
        self.nodes = nodes

    def select_tensors_to_calibrate(self, model) -> tuple[set[str], dict]:
        tensors, values = super().select_tensors_to_calibrate(model)
        nodes = [node for node in model.graph.node if node.name in self.nodes]
        return tensors & {name for node in nodes for name in (*node.input, *node.output)}, values

    def create_inference_session(self) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        # In the file's order, where a tensor's minimum and maximum come right behind it.
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
        # Images of several sizes: what one took is given back before the next.
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        self.infer_session = onnxruntime.InferenceSession(
            self.augmented_model_path, options, providers=self.execution_providers
        )


class _Reader(CalibrationDataReader):
    def __init__(self, feeds: Iterable[dict[str, np.ndarray]]) -> None:
        self.feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)
