import pytest
import torch
from torch.nn.functional import softplus
from torch.utils.checkpoint import checkpoint

from mmvision_mamba.ops import available_backends, selective_scan
from mmvision_mamba.ops.scan import torch as chunked_module

BACKENDS = available_backends('cpu')


def inputs(batch=2, dim=6, length=37, state=4, dtype=torch.float64, seed=0, **overrides):
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    given = dict(
        u=randn(batch, dim, length),
        delta=randn(batch, dim, length),
        A=-torch.exp(randn(dim, state)),
        B=randn(batch, state, length),
        C=randn(batch, state, length),
        D=randn(dim),
        delta_bias=randn(dim),
        delta_softplus=True,
    )
    return given | overrides


def relative_error(given, expected):
    given = given.detach()
    return float((given - expected).abs().max() / expected.abs().max())


def gradients(backend, given):
    leaves = {k: v.clone().requires_grad_() for k, v in given.items() if torch.is_tensor(v)}
    y = selective_scan(**(given | leaves), backend=backend)
    y.sin().sum().backward()
    return {name: leaf.grad for name, leaf in leaves.items()}


@pytest.mark.parametrize('backend', BACKENDS)
def test_matches_a_hand_computed_recurrence(backend):
    u, delta = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[0.5, 1.0]]])
    A, B, C = torch.tensor([[-1.0]]), torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[2.0, 5.0]]])
    first = 0.5 * 1 * 3
    second = torch.exp(torch.tensor(-1.0)) * first + 1.0 * 2 * 4
    expected = torch.tensor([[[2 * first + 10, 5 * second + 20]]])
    torch.testing.assert_close(
        selective_scan(u, delta, A, B, C, torch.tensor([10.0]), backend=backend), expected
    )


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('tag', ['small', 'long', 'state16'])
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_matches_the_fixture_and_all_its_gradients(recorded_scan, backend, tag, dtype, tolerance):
    fixture = recorded_scan(tag)
    names = ('u', 'delta', 'A', 'B', 'C', 'D', 'delta_bias')
    given = {n: torch.tensor(fixture[f'{tag}.{n}'], dtype=dtype).requires_grad_() for n in names}
    y = selective_scan(**given, delta_softplus=True, backend=backend)
    y.backward(torch.tensor(fixture[f'{tag}.dy'], dtype=dtype))
    assert relative_error(y.double(), torch.tensor(fixture[f'{tag}.y'])) < tolerance
    for name, leaf in given.items():
        expected = torch.tensor(fixture[f'{tag}.grad.{name}'])
        assert relative_error(leaf.grad.double(), expected) < tolerance, name


@pytest.mark.parametrize('length', [1, 2, 3, 16, 37, 100])
def test_torch_backend_equals_the_reference_at_any_length(length, monkeypatch):
    monkeypatch.setattr(chunked_module, '_CHUNK_ELEMENTS', 1)  # chunks of 16 steps
    given = inputs(length=length)
    torch.testing.assert_close(
        selective_scan(**given, backend='torch'), selective_scan(**given, backend='reference')
    )
    expected = gradients('reference', given)
    for name, gradient in gradients('torch', given).items():
        torch.testing.assert_close(gradient, expected[name], msg=name)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('shape', [dict(batch=1, dim=2, length=5, state=2), dict(dim=1, length=1)])
def test_every_backend_passes_gradcheck(backend, shape):
    given = inputs(**shape)
    leaves = [v.requires_grad_() for v in given.values() if torch.is_tensor(v)]
    assert torch.autograd.gradcheck(
        lambda *x: selective_scan(*x, delta_softplus=True, backend=backend), leaves
    )


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('vectors', [{}, dict(D=None), dict(delta_bias=None)])
def test_the_operator_is_one_that_torch_can_transform(backend, vectors):
    given = inputs(length=20) | vectors
    u, delta, A, B, C, D, bias = (
        value.requires_grad_() if torch.is_tensor(value) else value
        for value in list(given.values())[:-1]
    )
    B, C = (matrix.movedim(-1, 1).unsqueeze(2) for matrix in (B, C))
    args = (u.mT, delta.mT, A, B, C, D, bias, True, backend)
    torch.library.opcheck(torch.ops.mmvision_mamba.selective_scan, args)


@pytest.mark.parametrize('backend', BACKENDS)
def test_channels_last_is_the_same_scan_in_the_layout_of_linear_layers(backend):
    given = inputs()
    expected = selective_scan(**given, backend=backend)
    given |= {name: given[name].mT for name in ('u', 'delta', 'B', 'C')}
    y = selective_scan(**given, channels_last=True, backend=backend)
    torch.testing.assert_close(y.mT, expected)


def test_half_of_a_wider_linear_is_read_in_place():
    given = inputs(batch=3, dim=20, length=50, dtype=torch.float32)
    wide = {name: torch.randn(3, 50, 64) for name in ('u', 'delta', 'B', 'C')}
    slices = {name: tensor[..., 7 : 7 + given[name].shape[1]] for name, tensor in wide.items()}
    y = selective_scan(**(given | slices), channels_last=True)
    dense = {name: tensor.contiguous() for name, tensor in slices.items()}
    expected = selective_scan(**(given | dense), channels_last=True, backend='reference')
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('groups', [1, 2, 3])
def test_grouped_and_constant_matrices_mean_what_their_expansion_means(backend, groups):
    given = inputs()
    B = torch.randn(2, groups, 4, 37, dtype=torch.float64)
    constant = torch.randn(6, 4, dtype=torch.float64)
    y = selective_scan(**(given | dict(B=B, C=constant)), backend=backend)
    B = B.repeat_interleave(6 // groups, dim=1)
    C = constant[None, :, :, None].expand(2, -1, -1, 37)
    delta = softplus(given['delta'] + given['delta_bias'][:, None])
    h, expected = torch.zeros(2, 6, 4, dtype=torch.float64), []
    for t in range(37):
        step = delta[:, :, t, None]
        h = torch.exp(step * given['A']) * h + step * B[..., t] * given['u'][:, :, t, None]
        expected.append((h * C[..., t]).sum(-1) + given['D'] * given['u'][:, :, t])
    torch.testing.assert_close(y, torch.stack(expected, -1))


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('decay', [1e-6, 1e4])
def test_tiny_and_huge_decays_stay_finite_and_right(backend, decay):
    given = inputs(length=300, dtype=torch.float32, A=torch.full((6, 4), -decay))
    exact = {k: v.double() if torch.is_tensor(v) else v for k, v in given.items()}
    y = selective_scan(**given, backend=backend)
    expected = selective_scan(**exact, backend='reference')
    assert relative_error(y.double(), expected) < 1e-4
    assert all(gradient.isfinite().all() for gradient in gradients(backend, given).values())


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_float32(backend, dtype):
    given = inputs(length=200, dtype=dtype)
    wide = {k: v.float() if torch.is_tensor(v) else v for k, v in given.items()}
    y = selective_scan(**given, backend=backend)
    assert y.dtype == dtype
    torch.testing.assert_close(y, selective_scan(**wide, backend=backend).to(dtype))


@pytest.mark.parametrize('backend', BACKENDS)
def test_autocast_does_not_reach_into_the_scan(backend):
    given = inputs(dtype=torch.float32)
    expected = selective_scan(**given, backend=backend)
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(selective_scan(**given, backend=backend), expected)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('shape', [(0, 6, 37), (2, 6, 0)])
def test_empty_batches_and_sequences_give_empty_outputs(backend, shape):
    given = inputs(batch=shape[0], length=shape[2])
    assert selective_scan(**given, backend=backend).shape == shape


@pytest.mark.parametrize('backend', BACKENDS)
def test_non_contiguous_inputs_are_read_as_what_they_are(backend):
    given = inputs()
    strided = {
        k: v.transpose(-1, -2).contiguous().transpose(-1, -2)
        if torch.is_tensor(v) and v.dim() > 1
        else v
        for k, v in given.items()
    }
    torch.testing.assert_close(
        selective_scan(**strided, backend=backend), selective_scan(**given, backend=backend)
    )


def test_backward_keeps_no_state_of_the_whole_sequence():
    """Saved tensors stay below the inputs' order; a kept state would be 4 x 8 times larger."""
    given = inputs(batch=1, dim=32, length=8192, state=8, dtype=torch.float32)
    given['u'].requires_grad_()
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        selective_scan(**given, backend='torch').sum().backward()
    inputs_size = sum(v.nbytes for v in given.values() if torch.is_tensor(v))
    assert sum(kept.values()) < 8 * inputs_size


class Scan(torch.nn.Module):
    def forward(self, u, delta, A, B, C):
        return selective_scan(u, delta, A, B, C, delta_softplus=True)


def scan_arguments(**options):
    given = inputs(dtype=torch.float32, length=64, **options)
    return tuple(given[name] for name in ('u', 'delta', 'A', 'B', 'C'))


def test_an_exported_program_holds_the_scan_as_one_node():
    args = scan_arguments()
    program = torch.export.export(Scan(), args)
    targets = [node.target for node in program.graph.nodes]
    assert targets.count(torch.ops.mmvision_mamba.selective_scan.default) == 1
    torch.testing.assert_close(program.module()(*args), Scan()(*args))


def test_a_compiled_scan_and_its_backward_equal_the_eager_ones():
    eager = [arg.clone().requires_grad_() for arg in scan_arguments()]
    compiled = [arg.clone().requires_grad_() for arg in scan_arguments()]
    expected = Scan()(*eager)
    y = torch.compile(Scan(), fullgraph=True, backend='aot_eager')(*compiled)
    torch.testing.assert_close(y, expected)
    y.sin().sum().backward()
    expected.sin().sum().backward()
    for given, wanted in zip(compiled, eager):
        torch.testing.assert_close(given.grad, wanted.grad)


def test_activation_checkpointing_gives_the_same_gradients():
    plain = [arg.clone().requires_grad_() for arg in scan_arguments()]
    checkpointed = [arg.clone().requires_grad_() for arg in scan_arguments()]
    Scan()(*plain).sum().backward()
    checkpoint(Scan(), *checkpointed, use_reentrant=False).sum().backward()
    for given, wanted in zip(checkpointed, plain):
        torch.testing.assert_close(given.grad, wanted.grad)


def test_a_backend_of_another_device_is_refused_with_what_would_do():
    with pytest.raises(RuntimeError, match=r"cannot use the backend 'triton': .*cuda.*cpu"):
        selective_scan(**inputs(), backend='triton')


def test_an_unknown_backend_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no backend 'cudnn'.*torch.*reference"):
        selective_scan(**inputs(), backend='cudnn')


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('delta', torch.zeros(2, 6, 5)),
        ('A', torch.zeros(5, 4)),
        ('B', torch.zeros(2, 4, 36)),
        ('C', torch.zeros(2, 4, 4, 37)),
        ('D', torch.zeros(7)),
        ('delta_bias', torch.zeros(1)),
        ('u', torch.zeros(2, 6, 37, dtype=torch.long)),
    ],
)
def test_a_wrong_shape_is_named(name, value):
    with pytest.raises(ValueError, match=f'^{name} must be'):
        selective_scan(**inputs(**{name: value}))
