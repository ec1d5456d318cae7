import copy

import pytest
import torch
from torch import nn

from mmvision_mamba.ops import BatchNorm2d
from mmvision_mamba.ops.scan import cpu

needs_kernel = pytest.mark.skipif(
    cpu.unavailable() is not None, reason=f'no C++ kernels here: {cpu.unavailable()}'
)


def norms(channels, dtype=torch.float32, **options):
    """Ours, and torch's in float64, with the same weights and statistics."""
    torch.manual_seed(0)
    norm = BatchNorm2d(channels, **options)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.uniform_(-1, 1)
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 1.5)
    exact = nn.BatchNorm2d(channels, **options).double()
    exact.load_state_dict(norm.state_dict())
    return norm, exact


def maps(*shape, mean=1.0, dtype=torch.float32):
    """A map and the gradient of the norm's output, channels-last."""
    x, dy = torch.randn(*shape) + mean, torch.randn(*shape) + 0.5
    return (t.to(dtype, memory_format=torch.channels_last) for t in (x, dy))


def results(norm, x, dy):
    x = x.detach().requires_grad_()
    y = norm(x)
    dx, dweight, dbias = torch.autograd.grad(y, (x, norm.weight, norm.bias), dy)
    return dict(
        y=y.detach(),
        dx=dx,
        dweight=dweight,
        dbias=dbias,
        running_mean=norm.running_mean,
        running_var=norm.running_var,
    )


def errors(given, expected):
    return {
        name: float((given[name].double() - value).norm() / value.norm())
        for name, value in expected.items()
    }


def exact_results(exact, x, dy):
    return results(exact, *(t.double().contiguous() for t in (x, dy)))


@needs_kernel
@pytest.mark.parametrize('threads', [1, 2])
def test_a_stem_map_of_a_large_image_loses_no_digits(monkeypatch, threads):
    monkeypatch.setattr(torch, 'get_num_threads', lambda: threads)
    norm, exact = norms(32)
    x, dy = maps(1, 32, 400, 672)
    for name, error in errors(results(norm, x, dy), exact_results(exact, x, dy)).items():
        assert error < (1e-5 if name == 'dweight' else 5e-7), name


@needs_kernel
@pytest.mark.parametrize('channels', [1, 3, 16, 40, 80, 196])
@pytest.mark.parametrize('size', [(1, 2), (7, 9), (16, 33)])
@pytest.mark.parametrize('training', [True, False])
def test_any_number_of_channels_and_pixels(instruction_set, channels, size, training):
    norm, exact = (n.train(training) for n in norms(channels))
    x, dy = maps(2, channels, *size)
    for name, error in errors(results(norm, x, dy), exact_results(exact, x, dy)).items():
        assert error < 1e-5, name


@needs_kernel
def test_a_mean_far_from_zero_and_an_outlying_first_pixel_cost_the_variance_nothing(
    instruction_set,
):
    norm, exact = norms(16)
    x, dy = maps(2, 16, 40, 40, mean=1000.0)
    x[0, :, 0, 0] = -1e4
    given, expected = results(norm, x, dy), exact_results(exact, x, dy)
    assert errors(given, expected)['running_var'] < 1e-6


@needs_kernel
@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.bfloat16, 1e-2), (torch.float16, 1e-3)])
def test_half_types_keep_their_dtype_and_exact_statistics(
    instruction_set, dtype, tolerance, training
):
    norm, exact = (n.train(training) for n in norms(40))
    x, dy = maps(2, 40, 30, 50, dtype=dtype)
    given, expected = results(norm, x, dy), exact_results(exact, x, dy)
    assert given['y'].dtype == given['dx'].dtype == dtype
    errors_of = errors(given, expected)
    assert max(errors_of.values()) < tolerance
    assert max(errors_of[name] for name in ('running_mean', 'running_var')) < 1e-6


@needs_kernel
@pytest.mark.parametrize('threads', [1, 2, 7, 64])
def test_any_number_of_threads(monkeypatch, threads):
    monkeypatch.setattr(torch, 'get_num_threads', lambda: threads)
    norm, exact = norms(20)
    x, dy = maps(2, 20, 30, 31)
    assert max(errors(results(norm, x, dy), exact_results(exact, x, dy)).values()) < 1e-5


@needs_kernel
@pytest.mark.parametrize('training', [True, False])
def test_a_nan_or_an_infinity_stays_in_its_channel(instruction_set, training):
    norm = norms(8)[0].train(training)
    x, dy = maps(1, 8, 20, 20)
    x[0, 2, 3, 3], dy[0, 5, 4, 4] = float('nan'), float('inf')
    given = results(norm, x, dy)
    others = [0, 1, 3, 4, 6, 7]
    assert all(given[name][:, others].isfinite().all() for name in ('y', 'dx'))
    assert given['y'][:, 2].isnan().sum() == (400 if training else 1)
    assert not given['dbias'][5].isfinite()
    if not training:
        assert given['dx'].isfinite().sum() == 8 * 400 - 1


def test_a_gradient_of_another_layout_is_read_as_what_it_is():
    norm, exact = norms(12)
    x, dy = maps(2, 12, 10, 11)
    given = results(norm, x, dy.contiguous())
    assert max(errors(given, exact_results(exact, x, dy)).values()) < 1e-5


@pytest.mark.parametrize('momentum', [0.1, 0.7, None])
def test_running_statistics_move_as_torchs(momentum):
    norm, exact = norms(12, momentum=momentum)
    for step in range(3):
        x, dy = maps(2, 12, 10, 11, mean=float(step))
        given, expected = results(norm, x, dy), exact_results(exact, x, dy)
    assert max(errors(given, expected).values()) < 1e-5
    assert norm.num_batches_tracked == exact.num_batches_tracked == 3


@pytest.mark.parametrize('options', [dict(affine=False), dict(track_running_stats=False)])
def test_a_norm_without_weights_or_statistics_is_torchs(options):
    torch.manual_seed(0)
    x = next(maps(2, 12, 10, 11))
    expected = nn.BatchNorm2d(12, **options)(x)
    torch.testing.assert_close(BatchNorm2d(12, **options)(x), expected)


def test_one_pixel_a_channel_cannot_be_trained_on():
    with pytest.raises(ValueError, match='more than 1 value per channel'):
        BatchNorm2d(4)(torch.randn(1, 4, 1, 1).to(memory_format=torch.channels_last))


def test_every_door_to_torchs_batch_norm_stays_open():
    norm = BatchNorm2d(4)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.state_dict().keys() == nn.BatchNorm2d(4).state_dict().keys()
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(norm))[0]
    assert type(converted) is nn.SyncBatchNorm
    assert converted.weight is norm.weight


@needs_kernel
@pytest.mark.parametrize('training', [True, False])
def test_the_operator_is_one_that_torch_can_transform(training):
    norm = norms(4)[0]
    x = next(maps(2, 4, 5, 6)).requires_grad_()
    statistics = (None, None) if training else (norm.running_mean, norm.running_var)
    arguments = (x, norm.weight, norm.bias, *statistics, norm.eps)
    torch.library.opcheck(torch.ops.mmvision_mamba.batch_norm, arguments)


@pytest.mark.parametrize('training', [True, False])
def test_compiled_it_is_the_same(training):
    eager = norms(12)[0].train(training)
    compiled = copy.deepcopy(eager)
    x, dy = maps(2, 12, 10, 11)
    expected = results(eager, x, dy)
    torch._dynamo.reset()
    compiled.compile(fullgraph=True, backend='aot_eager')
    given = results(compiled, x, dy)
    for name, value in expected.items():
        torch.testing.assert_close(given[name], value, msg=name)


def test_an_exported_program_holds_the_operator_that_every_runtime_knows():
    norm = norms(12)[0].eval()
    program = torch.export.export(norm, (next(maps(2, 12, 10, 11)),))
    assert not any('mmvision_mamba' in str(node.target) for node in program.graph.nodes)
