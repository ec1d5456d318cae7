import json

import pytest
import torch
from numpy import load


class ReferenceFeatures:
    """One fixture: a small network's arch, weights, input and outputs."""

    def __init__(self, path):
        arrays = load(path)
        self.arch = json.loads(str(arrays['arch']))
        self.input = torch.tensor(arrays['input'])
        self.outputs = [torch.tensor(arrays[f'output{i}']) for i in range(4)]
        self.state_dict = {
            key.removeprefix('weight:'): torch.tensor(arrays[key])
            for key in arrays
            if key.startswith('weight:')
        }

    def assert_matches(self, outputs):
        for given, expected in zip(outputs, self.outputs, strict=True):
            assert given.shape == expected.shape
            assert (given - expected).abs().max() < 1e-4
            assert (given - expected).norm() < 1e-5 * expected.norm()


@pytest.fixture
def reference(shared):
    return lambda name: ReferenceFeatures(shared / 'fixtures' / f'{name}.npz')
