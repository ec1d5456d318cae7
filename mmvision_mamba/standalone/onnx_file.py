"""A network's file in ONNX's format, as far as it is looked into before onnxruntime has it."""

from collections.abc import Iterator, Sequence

from .errors import InputError

# Which fields of ONNX's messages hold further messages, down to the tensors.
_GRAPH, _NODE, _TENSOR, _SPARSE = 'graph', 'node', 'tensor', 'sparse'
_MESSAGES = {
    'model': {7: _GRAPH, 20: 'training', 25: 'function'},
    'training': {1: _GRAPH, 2: _GRAPH},
    'function': {7: _NODE, 11: 'attribute'},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: 'attribute'},
    'attribute': {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


def refuse_external_data(content: bytes, where: str) -> None:
    """Refuse an ONNX file with a tensor in another file: onnxruntime would open any path.

    Raises:
        InputError: There is such a tensor, or the bytes are no ONNX file.
    """
    waiting = [('model', memoryview(content))]
    while waiting:
        kind, message = waiting.pop()
        for number, value in _protobuf(message, where):
            if kind == _TENSOR and number in (_EXTERNAL_DATA, _DATA_LOCATION) and value != 0:
                raise InputError(f'{where} keeps weights in another file, which is not opened')
            inner = _MESSAGES.get(kind, {}).get(number)
            if inner is not None and isinstance(value, memoryview):
                waiting.append((inner, value))


def _protobuf(message: memoryview, where: str) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a protobuf message."""
    place = 0
    try:
        while place < len(message):
            key, place = _varint(message, place)
            kind = key & 7
            if kind == 0:
                value, place = _varint(message, place)
            else:
                length = {1: 8, 5: 4}.get(kind)
                if kind == 2:
                    length, place = _varint(message, place)
                if length is None or place + length > len(message):
                    raise IndexError
                value, place = message[place : place + length], place + length
            yield key >> 3, value
    except IndexError as error:
        raise InputError(f'{where} is no ONNX file, or is damaged') from error


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
        if shift > 63:
            raise IndexError


def more_outputs(names: Sequence[str]) -> bytes:
    """Bytes that, behind an ONNX file, make tensors within its graph outputs of it.

    Two messages of protobuf's one behind the other are one, whose lists are joined.
    """

    def field(number: int, value: bytes) -> bytes:
        return _as_varint(number << 3 | 2) + _as_varint(len(value)) + value

    if not names:
        return b''
    graph = b''.join(field(12, field(1, name.encode())) for name in names)
    return field(7, graph)


def _as_varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
