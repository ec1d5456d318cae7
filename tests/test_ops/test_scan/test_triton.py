"""The kernels run here on the GPU, or in Triton's interpreter where TRITON_INTERPRET=1 is set.

Without either, one test runs those of the kernels in a process of its own that sets it: the
variable counts when triton is first imported, which other tests may have done by then.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import softplus

from mmvision_mamba.ops.scan import triton as triton_scan

# The interpreter of Triton 3.2 sums int32 as int64; Triton 3.4 brings its own ROCm linker.
triton = pytest.importorskip('triton', minversion='3.4')

INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
DEVICE = 'cpu' if INTERPRETED or not torch.cuda.is_available() else 'cuda'
NAMES = ('u', 'delta', 'A', 'B', 'C', 'D', 'delta_bias')


def inputs(
    batch=1, length=21, dim=5, state=4, groups=1, dtype=torch.float64, seed=0, **overrides
):  # fmt: skip
    """Arguments of forward; parameters are float32 where the rest is narrower."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.float64 if dtype == torch.float64 else torch.float32

    def randn(*shape, dtype=dtype):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(DEVICE, dtype)

    given = dict(
        u=randn(batch, length, dim),
        delta=randn(batch, length, dim),
        A=-torch.exp(randn(dim, state, dtype=wide)),
        B=randn(batch, length, groups, state),
        C=randn(batch, length, groups, state),
        D=randn(dim, dtype=wide),
        delta_bias=randn(dim, dtype=wide),
        delta_softplus=True,
    )
    return given | overrides


def recurrence(u, delta, A, B, C, D, delta_bias, delta_softplus):
    """The scan one step at a time, as the paper's Eq. 2 reads, in the dtype given."""
    batch, length, dim = u.shape
    B, C = (x.repeat_interleave(dim // x.shape[2], dim=2) for x in (B, C))
    if delta_bias is not None:
        delta = delta + delta_bias
    if delta_softplus:
        delta = softplus(delta, threshold=100)
    h, y = u.new_zeros(batch, *A.shape), []
    for t in range(length):
        step = delta[:, t, :, None]
        h = torch.exp(step * A) * h + step * B[:, t] * u[:, t, :, None]
        y.append((h * C[:, t]).sum(-1))
    y = torch.stack(y, dim=1) if y else torch.zeros_like(u)
    return y if D is None else y + D * u


def double(given):
    return {k: v.double() if torch.is_tensor(v) else v for k, v in given.items()}


def kernels(given, dy):
    """Output and gradients by the kernels, by name."""
    gradients = triton_scan.backward(dy, **given)
    return triton_scan.forward(**given), dict(zip(NAMES, gradients))


def expected(given, dy):
    """Output and gradients in float64 by autograd, by name."""
    exact = double(given)
    leaves = {k: v.detach().requires_grad_() for k, v in exact.items() if torch.is_tensor(v)}
    y = recurrence(**(exact | leaves))
    y.backward(dy.double())
    return y.detach(), {name: leaf.grad for name, leaf in leaves.items()}


def assert_equal(given, tolerance, dy=None):
    """Kernels equal autograd, each value to a tolerance of the largest of its tensor."""
    if dy is None:
        dy = torch.randn_like(given['u'])
    y, gradients = kernels(given, dy)
    true_y, true_gradients = expected(given, dy)
    assert y.dtype == given['u'].dtype
    assert y.is_contiguous()
    assert relative_error(y, true_y) < tolerance
    for name, gradient in gradients.items():
        if given[name] is None:
            assert gradient is None, name
            continue
        assert gradient.dtype == given[name].dtype, name
        assert gradient.shape == given[name].shape, name
        assert relative_error(gradient, true_gradients[name]) < tolerance, name


def relative_error(value, true):
    error = (value.double() - true).abs().max() / true.abs().max().clamp_min(1e-30)
    return float(error)  # nan where a value is


class TestKernels:
    __test__ = triton_scan.unavailable() is None

    @pytest.fixture(autouse=True)
    def short_chunks(self, monkeypatch):
        """Several chunks of few steps, combined in several parts."""
        monkeypatch.setattr(triton_scan, '_MIN_CHUNK', 5)
        monkeypatch.setattr(triton_scan, '_COMBINE_ROWS', 2)

    @pytest.mark.parametrize(
        'sizes',
        [
            dict(),
            dict(batch=2, length=13, dim=6, groups=2, state=3),
            dict(dim=3, groups=3, length=9),
            dict(dim=1, state=1, length=17),
            dict(length=1, batch=3),
            dict(length=4, dim=33, state=8),
            dict(length=7, dim=2, state=20),
        ],
    )
    def test_equal_the_recurrence_and_its_gradients(self, sizes):
        assert_equal(inputs(**sizes), 1e-12)

    @pytest.mark.parametrize('left_out', ['D', 'delta_bias', 'delta_softplus'])
    def test_skip_bias_and_softplus_may_be_left_out(self, left_out):
        given = inputs(length=12, groups=1)
        if left_out == 'delta_softplus':
            given |= dict(delta=given['delta'].abs(), delta_bias=None, delta_softplus=False)
        else:
            given[left_out] = None
        assert_equal(given, 1e-12)

    @pytest.mark.parametrize(
        ('dtype', 'tolerance'),
        [(torch.float32, 5e-6), (torch.float16, 1e-3), (torch.bfloat16, 8e-3)],
    )
    def test_narrow_types_are_computed_in_float32(self, dtype, tolerance):
        assert_equal(inputs(dtype=dtype, groups=1, state=8), tolerance)

    def test_one_chunk_needs_no_combination(self, monkeypatch):
        monkeypatch.setattr(triton_scan, '_MIN_CHUNK', 100)
        monkeypatch.setattr(triton_scan, '_combine', None)
        assert_equal(inputs(length=13), 1e-12)

    def test_enough_rows_fill_the_device_with_one_chunk_each(self, monkeypatch):
        monkeypatch.setattr(triton_scan, '_PROGRAMS', 2)
        given = inputs(batch=2, length=13)
        assert triton_scan._plan(given['u'], given['B']).chunks == 1

    def test_slices_and_transposes_are_read_as_what_they_are(self):
        given = inputs(batch=2, length=11, dim=6, state=4)
        joint = torch.cat([given['B'], given['C'], torch.zeros_like(given['B'])], dim=-1)
        given |= dict(B=joint[..., :4], C=joint[..., 4:8])
        given['u'] = torch.cat([given['u'], given['delta']], dim=-1)[..., :6]
        given['delta'] = given['delta'].transpose(1, 2).contiguous().transpose(1, 2)
        given['A'] = given['A'].T.contiguous().T
        dy = torch.randn_like(given['u']).transpose(0, 1).contiguous().transpose(0, 1)
        assert_equal(given, 1e-12, dy)

    def test_constant_matrices_may_be_expanded(self):
        given = inputs(batch=2, length=11)
        B = given['B'][:1, :1].expand(2, 11, 1, 4)
        dy = torch.ones((), dtype=torch.float64, device=DEVICE).expand(given['u'].shape)
        assert_equal(given | dict(B=B), 1e-12, dy)

    @pytest.mark.parametrize('decay', [1e-6, 1e4])
    def test_tiny_and_huge_decays_stay_finite_and_right(self, decay):
        given = inputs(dtype=torch.float32)
        assert_equal(given | dict(A=torch.full_like(given['A'], -decay)), 1e-5)

    def test_step_sizes_are_precise_however_small_or_large(self):
        """One step from zero with B = C = u = 1 is the step size itself."""
        delta = torch.tensor([-80, -40, -17, -9, -3, -1e-3, 0, 1e-3, 0.7, 5, 17, 80, 1e4])
        delta = delta.to(DEVICE)[None, None]
        one = torch.ones_like(delta)
        given = dict(
            u=one, delta=delta, A=-one[0, 0, :, None], B=one[:, :, :1, None], C=one[:, :, :1, None],
            D=None, delta_bias=None, delta_softplus=True,
        )  # fmt: skip
        y, gradients = kernels(given, one)
        exact = delta.double()
        torch.testing.assert_close(y.double(), softplus(exact, threshold=100), rtol=1e-5, atol=0)
        torch.testing.assert_close(
            gradients['delta'].double(), torch.sigmoid(exact), rtol=1e-5, atol=0
        )  # fmt: skip

    @pytest.mark.parametrize('sizes', [dict(batch=0), dict(length=0)])
    def test_empty_batches_and_sequences_give_empty_outputs(self, sizes):
        given = inputs(**sizes)
        y, gradients = kernels(given, torch.empty_like(given['u']))
        assert y.shape == given['u'].shape
        for name, gradient in gradients.items():
            assert gradient.shape == given[name].shape, name
            assert not gradient.any(), name

    @pytest.mark.parametrize('tag', ['small', 'state16', 'long'])
    def test_match_the_fixture_and_all_its_gradients(self, recorded_scan, tag, monkeypatch):
        if tag == 'long' and INTERPRETED:
            pytest.skip('1200 steps take minutes in the interpreter')
        if INTERPRETED:  # as many steps in fewer tiles take less time
            monkeypatch.setattr(triton_scan, '_TILE_ELEMENTS', 128)
        fixture = recorded_scan(tag)

        def channels_last(name):
            x = torch.tensor(fixture[f'{tag}.{name}'], dtype=torch.float32, device=DEVICE)
            if name.rpartition('.')[2] in ('B', 'C'):
                return x.transpose(1, 2).unsqueeze(2)
            return x.transpose(1, 2) if x.dim() == 3 else x

        given = {name: channels_last(name) for name in NAMES} | dict(delta_softplus=True)
        y, gradients = kernels(given, channels_last('dy'))
        assert relative_error(y, channels_last('y').double()) < 1e-5
        for name, gradient in gradients.items():
            assert relative_error(gradient, channels_last(f'grad.{name}').double()) < 1e-5, name


@pytest.mark.slow
@pytest.mark.skipif(TestKernels.__test__, reason='the kernels are tested in this very process')
def test_kernels_in_the_interpreter():
    run = subprocess.run(
        [
            sys.executable,
            '-m',
            'pytest',
            '-q',
            '-p',
            'no:cacheprovider',
            f'{__file__}::TestKernels',
        ],
        env=dict(os.environ, TRITON_INTERPRET='1', OMP_NUM_THREADS='1'),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]


@pytest.fixture
def scan_kernels(monkeypatch, tmp_path):
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / 'benchmarks')
    import scan_kernels

    return scan_kernels


def _skip_without_compiler(target):
    backend = 'amd' if target.startswith('gfx') else 'nvidia'
    if backend not in triton.backends.backends:
        pytest.skip(f'this triton was built without its {backend} backend')


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason='there is nothing to compile in the interpreter')
@pytest.mark.parametrize('target', ['sm_80', 'sm_90', 'sm_100', 'gfx942'])
def test_kernels_compile_without_a_device_and_spill_no_more_than_recorded(target, scan_kernels):
    _skip_without_compiler(target)
    recorded = json.loads(scan_kernels.RECORDED.read_text())
    if recorded['triton'] != triton.__version__:
        pytest.skip(f'registers were recorded with triton {recorded["triton"]}')
    rows = scan_kernels.resources(target, scan_kernels.real_arguments())
    assert [(row['pass'], row['kernel']) for row in rows] == [
        ('forward', '_summarise'),
        ('forward', '_combine'),
        ('forward', '_output'),
        ('backward', '_summarise'),
        ('backward', '_combine'),
        ('backward', '_gradient'),
    ]
    for row, before in zip(rows, [r for r in recorded['rows'] if r['target'] == target]):
        assert 0 < row['registers'] <= 255
        assert row['spilled'] <= before['spilled'], row


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason='there is nothing to compile in the interpreter')
@pytest.mark.parametrize('target', ['sm_90', 'gfx942'])
def test_kernels_of_a_single_step_and_channel_compile(target, scan_kernels):
    _skip_without_compiler(target)
    given = scan_kernels.arguments(1, 1, 1, 1, torch.float16, vectors=False)
    assert not any(row['spilled'] for row in scan_kernels.resources(target, given))


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    assert triton_scan.unavailable() == 'no CUDA or ROCm device is visible'
    monkeypatch.setenv('TRITON_INTERPRET', '1')
    assert triton_scan.unavailable() is None


def test_the_module_can_be_imported_without_triton(monkeypatch):
    monkeypatch.setitem(sys.modules, 'triton', None)
    spec = importlib.util.spec_from_file_location('without_triton', triton_scan.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.unavailable() == 'triton is not installed: pip install triton'
