import importlib
import sys

import pytest

from mmvision_mamba.former_paths import FORMER_PATHS


@pytest.mark.parametrize('former', FORMER_PATHS)
def test_a_former_path_gives_the_module_itself(former, monkeypatch):
    monkeypatch.delitem(sys.modules, former, raising=False)
    module = importlib.import_module(former)
    assert module is importlib.import_module(FORMER_PATHS[former])
    assert module.__spec__.name == module.__name__ == FORMER_PATHS[former]


def test_what_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError, match='no_such'):
        importlib.import_module('mmvision_mamba.engine.no_such')
