"""Programs as ONNX models of standard operators alone."""

from .convert import OPSET, to_onnx

__all__ = ['OPSET', 'to_onnx']
