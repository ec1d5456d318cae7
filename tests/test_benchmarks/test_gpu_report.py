"""The report of a GPU: what it leaves where it is stopped, and what it says of what it has not."""

import importlib
import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'


@pytest.fixture(scope='module')
def report():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module('gpu_report')


@pytest.fixture(scope='module')
def page(report):
    return importlib.import_module('gpu_page')


@pytest.fixture
def parts(report, monkeypatch):
    """A place for parts of a test's own, beside the real ones."""
    modules = importlib.import_module('gpu_parts')
    monkeypatch.setattr(modules, 'PARTS', dict(modules.PARTS))
    return modules


def test_a_part_out_of_time_goes_on_where_it_stopped(report, page, tmp_path):
    stopped = report.run_part('scan_accuracy', 'cpu', tmp_path, minutes=0, fresh=False)
    assert (stopped['results'], stopped['left']) == ([], 8)
    ended = report.run_part('scan_accuracy', 'cpu', tmp_path, minutes=9, fresh=False)
    assert ended['left'] == 0
    rows = [row for result in ended['results'] for row in result['rows']]
    assert {row['dtype'] for row in rows} == {'float16', 'bfloat16', 'float32', 'float64'}
    tolerances = dict(float16=2e-3, bfloat16=2e-2, float32=1e-5, float64=1e-13)
    for row in rows:
        errors = [row[name] for name in ('y', 'du', 'ddelta', 'dA', 'dB', 'dC', 'dD', 'dbias')]
        assert max(errors) < tolerances[row['dtype']]
    before = (tmp_path / 'scan_accuracy.json').read_text()
    report.run_part('scan_accuracy', 'cpu', tmp_path, minutes=9, fresh=False)
    assert (tmp_path / 'scan_accuracy.json').read_text() == before
    text = page.write_page(tmp_path).read_text()
    assert 'no measurement' in text
    assert text.count('Unmeasured.') == len(importlib.import_module('gpu_parts').PARTS) - 1


def test_a_case_that_fails_is_a_result_and_the_next_is_measured(report, parts, page, tmp_path):
    def measure(case, device):
        if case['batch'] == 32:
            raise RuntimeError('CUDA out of memory')
        return [case | dict(ms=1.5)]

    cases = [dict(batch=32), dict(batch=1)]
    parts.PARTS['own'] = parts.Part('Own', lambda small: cases, measure)
    content = report.run_part('own', 'cpu', tmp_path, minutes=9, fresh=False)
    assert content['left'] == 0
    lines = page.section(content)
    assert lines[:3] == ['| batch | ms |', '| --- | --- |', '| 1 | 1.5 |']
    assert lines[-1] == '- batch 32: RuntimeError: CUDA out of memory'


def test_every_part_has_cases_of_both_kinds_or_says_that_it_has_none(report, parts, monkeypatch):
    monkeypatch.setattr('torch.cuda.get_device_capability', lambda: (9, 0))
    for name, part in parts.PARTS.items():
        large = part.cases(False)
        assert large, name
        assert json.loads(json.dumps(large)) == large, name  # as they are found again in a file
        assert part.cases(True) or name == 'scan_constants'


def test_an_unknown_part_is_said_with_those_there_are(report, monkeypatch):
    monkeypatch.setattr('sys.argv', ['gpu_report.py', '--part', 'scan_times'])
    with pytest.raises(SystemExit, match=r"no part 'scan_times'; the parts are scan_accuracy, "):
        report.main()


def scan_rows(**ms):
    common = dict(batch=1, length=12544, dim=160, what='forward', dtype='float32')
    return [common | dict(backend=backend, ms=time) for backend, time in ms.items()]


@pytest.mark.parametrize(
    ('rows', 'found', 'held'),
    [
        (scan_rows(triton=1.0, mamba_ssm=2.5), [2.5, 2.5], ['yes', 'yes']),
        (scan_rows(triton=1.0, mamba_ssm=1.5), [1.5, 1.5], ['yes', 'no']),
        (scan_rows(triton=1.0), ['unmeasured'] * 2, ['', '']),
    ],
)
def test_goals_are_held_missed_or_unmeasured(page, rows, found, held):
    goals = page.goals({'scan_time': dict(results=[dict(case={}, rows=rows)])})
    assert [goal['found'] for goal in goals[:2]] == found
    assert [goal['held'] for goal in goals[:2]] == held
    assert {goal['found'] for goal in goals[2:]} == {'unmeasured'}


def test_docs_show_what_is_measured_on_gpus_and_what_is_not(page, tmp_path):
    copy = tmp_path / 'scaling.md'
    copy.write_text(page.SCALING.read_text())
    page.fill_in_scaling(BENCHMARKS / 'results', copy)
    assert copy.read_text() == page.SCALING.read_text()
    row = dict(recipe='upernet_mambavision_t_ade20k', images=2, seconds_per_image=0.0425)
    content = dict(machine='A GPU', device='cuda', results=[dict(case={}, rows=[row])])
    (tmp_path / 'gpu_a').mkdir()
    (tmp_path / 'gpu_a' / 'training.json').write_text(json.dumps(content))
    page.fill_in_scaling(tmp_path, copy)
    assert '| UperNet, MambaVision-T | 0.0425 |' in copy.read_text()
    assert '| UperNet, MambaVision-L2 | unmeasured |' in copy.read_text()
