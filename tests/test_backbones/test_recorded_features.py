"""The features that the project itself holds, for machines without the reference features."""

import numpy as np
import pytest
import torch
from recorded import BUILD, FILE, features


@pytest.mark.parametrize('name', BUILD)
def test_features_equal_the_recorded_ones(name):
    recorded = np.load(FILE)
    for i, given in enumerate(features(name)):
        expected = torch.tensor(recorded[f'{name}.{i}'])
        assert (given - expected).abs().max() < 1e-4
        assert (given - expected).norm() < 1e-5 * expected.norm()
