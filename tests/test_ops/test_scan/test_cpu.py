"""The C++ kernel in each of its instruction sets, and the package without it."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmvision_mamba.ops import available_backends, cpp_library, selective_scan
from mmvision_mamba.ops.scan import cpu
from mmvision_mamba.ops.scan.api import _fastest

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(
    cpu.unavailable() is not None, reason=f'no C++ scan here: {cpu.unavailable()}'
)


def arguments(batch=2, length=70, dim=37, state=8, groups=1, dtype=torch.float32):
    torch.manual_seed(0)
    u, delta = torch.randn(2, batch, length, dim).to(dtype)
    B, C = torch.randn(2, batch, length, groups, state).to(dtype)
    A = -torch.exp(torch.randn(dim, state))
    return dict(u=u, delta=delta, A=A, B=B, C=C, D=torch.randn(dim), delta_bias=torch.randn(dim))


def run(given, backend):
    """Output and gradients, in float32."""
    leaves = {name: value.clone().requires_grad_() for name, value in given.items()}
    y = selective_scan(**leaves, delta_softplus=True, channels_last=True, backend=backend)
    y.backward(torch.cos(torch.arange(y.numel())).view(y.shape).to(y.dtype))
    return dict(y=y.detach()) | {name: leaf.grad for name, leaf in leaves.items()}


def assert_equals_the_torch_backend(given, tolerance=2e-5):
    expected = run({name: value.double() for name, value in given.items()}, 'torch')
    for name, value in run(given, 'cpu').items():
        error = (value.double() - expected[name]).abs().max()
        assert error <= tolerance * expected[name].abs().max(), (name, float(error))


@pytest.mark.parametrize('state', [1, 3, 4, 8, 16, 21])
def test_any_number_of_states(instruction_set, state):
    assert_equals_the_torch_backend(arguments(state=state))


@pytest.mark.parametrize('dim', [1, 3, 16, 33])
@pytest.mark.parametrize('length', [1, 31, 32, 33, 100])
def test_any_number_of_channels_and_steps(instruction_set, dim, length):
    assert_equals_the_torch_backend(arguments(dim=dim, length=length))


def test_groups_that_do_not_fill_a_vector(instruction_set):
    assert_equals_the_torch_backend(arguments(dim=36, groups=3))


@pytest.mark.parametrize(
    ('dtype', 'tolerance'), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2), (torch.float64, 1e-12)]
)
def test_other_dtypes(instruction_set, dtype, tolerance):
    given = arguments(dtype=dtype)
    if dtype == torch.float64:
        given = {name: value.double() for name, value in given.items()}
    assert_equals_the_torch_backend(given, tolerance)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_types_are_converted_and_rounded_as_torch_does(instruction_set, dtype):
    """With B = 0 and D = 1.1 the scan is a product, over every finite number of the type."""
    patterns = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    u = patterns[patterns.isfinite()].reshape(1, -1, 16)
    zeros = torch.zeros_like(u[..., :1])
    y = selective_scan(
        *(u, torch.zeros_like(u), -torch.ones(16, 1), zeros, zeros, torch.full((16,), 1.1)),
        channels_last=True,
        backend='cpu',
    )
    torch.testing.assert_close(y, (u.float() * 1.1).to(dtype), rtol=0, atol=0)


@pytest.mark.parametrize('bias', [-40.0, -20.0, 0.0, 30.0, 200.0])
def test_softplus_is_accurate_in_both_tails(instruction_set, bias):
    given = arguments()
    given['delta_bias'] += bias
    given['A'] *= 1e-2 if bias > 0 else 1.0
    assert_equals_the_torch_backend(given)


def test_a_decay_near_one_is_kept_over_a_long_sequence(instruction_set):
    """A biased exponential would drift by its error at every step."""
    length = 20000
    ones = torch.ones(1, length, 1)
    y = selective_scan(
        *(ones, ones * 1e-4, torch.full((1, 1), -1.0), ones, ones),
        channels_last=True,
        backend='cpu',
    )
    expected = 1 - torch.exp(torch.tensor(-1e-4 * length, dtype=torch.float64))
    assert float(y[0, -1, 0]) == pytest.approx(float(expected), rel=1e-3)


def test_sums_over_a_long_sequence_of_equal_tokens_lose_no_digits(instruction_set):
    """As over padding, with equal gradients too; one running sum of dA is off by 6e-5 here."""
    given = arguments(batch=2, length=8192, dim=16)
    for name in ('u', 'delta', 'B', 'C'):
        given[name][:, 800:] = given[name][0, 0].clone()

    def run_and_sum(given):
        leaves = {name: value.clone().requires_grad_() for name, value in given.items()}
        y = selective_scan(**leaves, delta_softplus=True, channels_last=True, backend='cpu')
        y.sum().backward()
        return dict(y=y.detach()) | {name: leaf.grad for name, leaf in leaves.items()}

    expected = run_and_sum({name: value.double() for name, value in given.items()})
    for name, value in run_and_sum(given).items():
        error = (value.double() - expected[name]).norm() / expected[name].norm()
        assert error < 1e-5, name


@pytest.mark.parametrize('batch', [1, 3])
def test_chunks_of_the_sequence_join_up_where_threads_outnumber_channels(
    instruction_set, monkeypatch, batch
):
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 16)
    assert_equals_the_torch_backend(arguments(batch=batch, length=1100, dim=5))


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch):
    given = arguments(batch=5, dim=80)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 1)
    expected = run(given, 'cpu')
    for threads in (2, 3, 7):
        monkeypatch.setattr(torch, 'get_num_threads', lambda threads=threads: threads)
        for name, value in run(given, 'cpu').items():
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-5)


def test_infinite_and_nan_inputs_stay_where_they_are(instruction_set):
    given = {name: value.detach() for name, value in arguments(batch=1).items()}
    given['u'][0, 30, 4] = float('nan')
    y = selective_scan(**given, delta_softplus=True, channels_last=True, backend='cpu')
    assert y[0, :30].isfinite().all()
    assert y[0, 30:, 4].isnan().all()
    assert y[0, :, :4].isfinite().all()


@pytest.fixture
def no_library(monkeypatch):
    monkeypatch.setattr(cpp_library, 'load', lambda: 'the C++ scan was not compiled: install g++')
    _fastest.cache_clear()
    yield
    _fastest.cache_clear()


def test_without_the_library_torch_takes_over_and_the_log_says_so_once(no_library, caplog):
    given = arguments()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            selective_scan(**given, channels_last=True)
    assert [record.message for record in caplog.records] == [
        'selective_scan runs in torch operations, several times slower: '
        'the C++ scan was not compiled: install g++'
    ]
    assert available_backends('cpu') == ('torch', 'reference')


def test_without_the_library_asking_for_it_says_how_to_get_it(no_library):
    with pytest.raises(RuntimeError, match=r"cannot use the backend 'cpu': .* install g"):
        selective_scan(**arguments(), channels_last=True, backend='cpu')


def test_the_package_builds_where_no_compiler_is(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            'setup.py',
            'build_ext',
            '--build-lib',
            tmp_path,
            '--build-temp',
            tmp_path,
        ],
        cwd=ROOT,
        env={'PATH': '/nowhere', 'CC': 'no-such-cc', 'CXX': 'no-such-cxx'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert 'no-such-c' in done.stderr
    assert not list(tmp_path.rglob('*.so'))


def steps_adjacent(x):
    """The same numbers as in mamba-ssm's layout: a channel's steps lie side by side."""
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(('length', 'dim'), [(1, 33), (33, 1), (70, 37), (128, 32)])
def test_both_layouts_give_the_same_to_the_bit(instruction_set, dtype, length, dim):
    given = arguments(length=length, dim=dim, groups=1, dtype=dtype)
    computing = torch.float64 if dtype == torch.float64 else torch.float32
    vectors = {name: given[name].to(computing) for name in ('A', 'D', 'delta_bias')}
    rows = {name: given[name] for name in ('u', 'delta', 'B', 'C')}
    columns = {name: steps_adjacent(value) for name, value in rows.items()}
    options = dict(vectors, delta_softplus=True)
    y = cpu.forward(**rows, **options)
    assert torch.equal(cpu.forward(**columns, **options), y)
    expected = cpu.backward(y, **rows, **options)
    found = cpu.backward(steps_adjacent(y), **columns, **options)
    assert all(map(torch.equal, found, expected))


def test_neither_layout_is_copied():
    given = arguments()
    for layout in (lambda x: x, steps_adjacent):
        tensors = {name: layout(given[name]) for name in ('u', 'delta', 'B', 'C')}
        vectors = {name: given[name] for name in ('A', 'D', 'delta_bias')}
        held = cpu._Given(**tensors, **vectors, delta_softplus=True).kept
        assert {x.data_ptr() for x in tensors.values()} <= {x.data_ptr() for x in held}
