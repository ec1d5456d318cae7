"""docs/pairing_tried.md shows what benchmarks/pairing.py measured, and that is what is claimed."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'


@pytest.fixture(scope='module')
def sweep():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module('pairing')


def test_the_page_is_of_the_rows_that_are_kept(sweep):
    assert sweep.PAGE.read_text() == sweep.page(sweep.read_rows())


def test_of_configs_with_a_pyramid_95_in_a_hundred_pair(sweep):
    rows = [row for row in sweep.with_shared_results(sweep.read_rows()) if sweep.has_pyramid(row)]
    assert len(rows) > 1000
    assert sum(map(sweep.is_paired, rows)) / len(rows) >= 0.95


def test_a_row_that_shares_a_result_names_one_that_has_it(sweep):
    rows = sweep.read_rows()
    own = {(row['config'], row['backbone'], row['model']) for row in rows if 'same_as' not in row}
    shared = [row for row in rows if 'same_as' in row]
    assert shared
    assert all((row['same_as'], row['backbone'], row['model']) in own for row in shared)
