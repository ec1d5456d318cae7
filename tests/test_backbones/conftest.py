import json

import numpy as np
import pytest
import recorded
import torch


class Features:
    """One fixture: a small network's arch, weights, input and outputs."""

    def assert_matches(self, outputs):
        for given, expected in zip(outputs, self.outputs, strict=True):
            assert given.shape == expected.shape
            assert (given - expected).abs().max() < 1e-4
            assert (given - expected).norm() < 1e-5 * expected.norm()


class ReferenceFeatures(Features):
    """Of a published network."""

    def __init__(self, path):
        arrays = np.load(path)
        self.arch = json.loads(str(arrays['arch']))
        self.input = torch.tensor(arrays['input'])
        self.outputs = [torch.tensor(arrays[f'output{i}']) for i in range(4)]
        self.state_dict = {
            key.removeprefix('weight:'): torch.tensor(arrays[key])
            for key in arrays
            if key.startswith('weight:')
        }


class RecordedFeatures(Features):
    """Of a network of this project's, recorded when it matched the published one."""

    def __init__(self, family):
        name = dict(mambavision='vision_full', mambaout='out_before_norms')[family]
        arrays = np.load(recorded.FILE)
        self.arch = dict(mambavision=recorded.VISION_SCALED, mambaout=recorded.OUT)[family]
        self.input = recorded.image()
        self.outputs = [torch.tensor(arrays[f'{name}.{i}']) for i in range(4)]
        self.state_dict = recorded.fill(recorded.BUILD[name]()).state_dict()


@pytest.fixture
def reference(shared_if_present):
    """A fixture by name; on a machine without the reference features, the one that is recorded."""

    def find(name: str) -> Features:
        if shared_if_present:
            return ReferenceFeatures(shared_if_present / 'fixtures' / f'{name}.npz')
        return RecordedFeatures(name.split('_')[0])

    return find
