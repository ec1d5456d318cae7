"""An exported model held against the check in its folder."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from .check import CHECK, check_image, compare_map, compare_result, parse_check, result_of
from .data import read_json
from .description import read_description
from .errors import Deviation, InputError
from .network import Model, open_onnx
from .results import Prepared


def verify(folder: str | Path, open_network: Callable = open_onnx) -> list[str]:
    """Hold an exported model against the check in its folder.

    Args:
        folder: Of the exported model.
        open_network: See :class:`~.network.Model`.

    Returns:
        Names of what was compared, in order.

    Raises:
        Deviation: Something deviates; the first thing that does is named.
        InputError: The folder or its check cannot be used.
    """
    description, path = read_description(folder), Path(folder, CHECK)
    check = parse_check(read_json(path), str(path))
    fed = description.input.name
    tensors = {entry['tensor'] for entry in check['maps']} - {None, fed}
    also = sorted(tensors - set(description.outputs))
    model = Model(folder, also, open_network=open_network)
    image = check_image(check)
    prepared = model.prepare(image, 'the image of the check')
    outputs = None
    for entry in check['maps']:
        if entry['tensor'] in (None, fed):
            compare_map(entry, prepared.resized if entry['tensor'] is None else prepared.tensor)
            continue
        if outputs is None:
            outputs = _outputs(model, prepared, {*tensors, *description.outputs}, entry['name'])
        compare_map(entry, outputs[entry['tensor']])
    if check['result'] is not None:
        if outputs is None:
            outputs = _outputs(model, prepared, description.outputs, 'the result')
        [found] = model.results([prepared], outputs)
        compare_result(check['result'], result_of(found), check['slack'])
    return [entry['name'] for entry in check['maps']] + ['result'] * (check['result'] is not None)


def _outputs(
    model: Model, prepared: Prepared, names: Iterable[str], first: str
) -> dict[str, np.ndarray]:
    try:
        return model.run([prepared], sorted(names))
    except InputError as error:
        raise Deviation(f'{first} deviates: {error}') from error
