"""A check of what a file of few bits gives itself.

So that a small fault is found, which the tolerance of its distance from the model would hide.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..standalone import check as checks
from ..standalone.network import Model
from ..standalone.verify import verify
from .compare import TOLERANCES
from .folder import write_folder
from .self_check import TOLERANCE, map_entry

# int8 rounds what differs by a hair to another step.
_OWN = {'fp16': TOLERANCE, 'int8': 5e-3}
# Maps that are made before a network's weights come into it.
_BEFORE = ('resized', 'input')


def of_its_own(check: dict, model: bytes, description: Mapping, precision: str) -> dict:
    """A check of a file's own maps and result, which are near those of the model.

    Args:
        check: Of :func:`mmvision_mamba.export.self_check.for_network`, of what the model gives.
        model: The network's file.
        description: Of model.json.
        precision: ``'fp16'`` or ``'int8'``.

    Raises:
        Deviation: A map is farther from the model's than the precision allows.
    """
    near = TOLERANCES[precision].features
    maps = [
        entry if entry['name'] in _BEFORE else dict(entry, tolerance=near)
        for entry in check['maps']
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, 'folder')
        # Objects and pixels are held against the model's when a file is proved.
        loose = dict(check, maps=maps, result=None)
        write_folder(folder, model, description, loose, approve=verify)
        tensors = [entry['tensor'] for entry in maps if entry['name'] not in _BEFORE]
        network = Model(folder, sorted({*tensors} - {*description['outputs']}))
        image = checks.check_image(checks.parse_check(check, 'the check'))
        prepared = network.prepare(image)
        outputs = network.run([prepared], sorted({*tensors, *description['outputs']}))
        result = check['result']
        if result is not None:
            result = checks.result_of(network.results([prepared], outputs)[0])
    maps = [
        entry
        if entry['name'] in _BEFORE
        else map_entry(entry['name'], outputs[entry['tensor']], entry['tensor'], _OWN[precision])
        for entry in maps
    ]
    return dict(check, maps=maps, result=result)
