import copy

import pytest
import torch

from mmvision_mamba.backbones import MambaVision
from mmvision_mamba.backbones.mambavision import ARCHITECTURES, Attention, MambaVisionMixer
from mmvision_mamba.ops import available_backends, selective_scan

SMALL = dict(dim=16, in_dim=8, depths=(1, 1, 3, 2), num_heads=(1, 2, 4, 8))


@pytest.mark.parametrize('name', ['one_window', 'many_windows', 'padded_odd'])
def test_features_match_the_published_network_under_its_own_names(reference, name):
    fixture = reference(f'mambavision_{name}')
    model = MambaVision(fixture.arch, window_padding='full').eval()
    model.load_state_dict(fixture.state_dict)
    with torch.no_grad():
        fixture.assert_matches(model(fixture.input))


@pytest.mark.parametrize(
    ('arch', 'millions'),
    [
        ('t', 31.15),
        ('t2', 34.46),
        ('s', 49.37),
        ('b', 96.66),
        ('l', 226.39),
        ('l2', 239.99),
        ('l3', 737.53),
    ],
)
def test_every_arch_has_the_published_number_of_parameters(arch, millions):
    with torch.device('meta'):
        model = MambaVision(arch)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=5e-3)


@pytest.mark.parametrize(('depth', 'attention'), [(1, 0), (4, 2), (5, 2), (7, 3), (10, 5)])
def test_the_last_half_of_a_stage_attends_and_the_rest_scans(depth, attention):
    model = MambaVision(SMALL | dict(depths=(1, 1, depth, 1)))
    mixers = [type(block.mixer) for block in model.levels[2].blocks]
    assert mixers == [MambaVisionMixer] * (depth - attention) + [Attention] * attention


@pytest.mark.parametrize('size', [(64, 128), (192, 128)])
def test_paddings_agree_where_the_map_is_a_multiple_of_the_window(size):
    torch.manual_seed(0)
    full = MambaVision(SMALL, window_size=(8, 8, 4, 2), window_padding='full').eval()
    minimal = MambaVision(SMALL, window_size=(8, 8, 4, 2), window_padding='minimal').eval()
    minimal.load_state_dict(full.state_dict())
    image = torch.randn(2, 3, *size)
    for given, expected in zip(minimal(image), full(image)):
        torch.testing.assert_close(given, expected)


@pytest.mark.parametrize(
    ('padding', 'size', 'count', 'side'),
    [
        ('full', 50, 1, 112),
        ('minimal', 50, 1, 50),
        ('full', 150, 2, 112),
        ('minimal', 150, 2, 75),
        ('minimal', 151, 2, 76),
        ('minimal', 112, 1, 112),
    ],
)
def test_windows_are_as_few_and_as_small_as_the_padding_says(padding, size, count, side):
    stage = MambaVision(SMALL, window_size=(8, 8, 112, 56), window_padding=padding).levels[2]
    assert stage.window(size) == (count, side)


def test_blocks_see_one_unpadded_window_when_the_map_is_smaller():
    model = MambaVision(SMALL, window_size=(8, 8, 112, 56)).eval()
    seen = []
    model.levels[2].blocks[0].register_forward_hook(lambda _, args, __: seen.append(args[0].shape))
    model(torch.randn(2, 3, 150, 203))
    assert seen == [(2, 10 * 13, 64)]


def test_the_bias_of_dt_proj_enters_twice():
    """Adding b to the linear's bias must equal adding b to both places; see SPEC, step 4."""
    torch.manual_seed(0)
    mixer = MambaVisionMixer(32).double()
    x = torch.randn(1, 20, 32, dtype=torch.float64)
    torch.nn.init.uniform_(mixer.dt_proj.bias, 0.5, 1.0)
    once_doubled = MambaVisionMixer(32).double()
    once_doubled.load_state_dict(mixer.state_dict())
    bias = mixer.dt_proj.bias.detach().clone()

    from mmvision_mamba.backbones import mambavision

    original = mambavision.selective_scan
    try:
        mambavision.selective_scan = lambda *args, delta_bias, **kw: original(
            args[0], args[1] + bias, *args[2:], **kw
        )
        expected = once_doubled(x)
    finally:
        mambavision.selective_scan = original
    torch.testing.assert_close(mixer(x), expected)


def test_initialisation_follows_the_paper():
    model = MambaVision('t')
    mixer = model.levels[2].blocks[0].mixer
    torch.testing.assert_close(mixer.A_log[3], torch.arange(1.0, 9).log())
    assert (mixer.D == 1).all()
    assert (mixer.dt_proj.bias == 0).all()
    assert mixer.in_proj.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_layer_scale_of_the_arch_can_be_overridden():
    assert ARCHITECTURES['b']['layer_scale'] == 1e-5
    assert MambaVision(SMALL | dict(layer_scale=1e-5)).levels[2].blocks[0].gamma_1[0] == 1e-5
    assert MambaVision(SMALL, layer_scale=0.1).levels[2].blocks[0].gamma_2[0] == 0.1
    assert (
        MambaVision(SMALL | dict(layer_scale=1e-5), layer_scale=None).levels[2].blocks[0].gamma_1
        is None
    )


@pytest.mark.parametrize('windows', [14, (8, 8, 14), (8, 8, 0, 7), 'wide'])
def test_windows_must_be_four_positive_integers(windows):
    with pytest.raises(ValueError, match='window_size of MambaVision must be four positive'):
        MambaVision(SMALL, window_size=windows)


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match=r'stage 2 .* 64 channels, which 5 heads do not divide'):
        MambaVision(SMALL | dict(num_heads=(1, 2, 5, 8)))


def flat_image(*size):
    """Uniform regions, as sky and walls are: their equal pixels add up to long sums."""
    regions = torch.nn.functional.interpolate(torch.randn(2, 3, 4, 4) + 1, size)
    return regions + 0.1 * torch.randn(2, 3, *size)


@pytest.mark.parametrize(
    ('out_indices', 'size'), [((0,), (512, 640)), ((0, 1, 2, 3), (128, 160))], ids=['stem', 'all']
)
def test_float32_gradients_are_those_of_float64(out_indices, size):
    """torch's channels-last batch norm alone puts the stem's off by 5e-3."""
    torch.manual_seed(0)
    model = MambaVision(SMALL, drop_path_rate=0.0, out_indices=out_indices)
    exact = copy.deepcopy(model).double()
    image = flat_image(*size)
    outputs = model(image)
    dys = [torch.randn_like(output) for output in outputs]
    torch.autograd.backward(outputs, dys)
    torch.autograd.backward(exact(image.double()), [dy.double() for dy in dys])
    for (name, given), wanted in zip(model.named_parameters(), exact.parameters()):
        # Batch norm takes these off again: their gradient is zero but for rounding.
        if not name.endswith(('conv1.bias', 'conv2.bias')):
            error = (given.grad - wanted.grad).norm() / wanted.grad.norm()
            assert error < 5e-5, name


def test_losses_and_gradients_in_float64_do_not_depend_on_the_scans_backend(monkeypatch):
    torch.manual_seed(0)
    model = MambaVision(SMALL, drop_path_rate=0.0).double()
    image = flat_image(64, 96).double()

    def loss_and_gradients(backend):
        monkeypatch.setattr(
            'mmvision_mamba.backbones.mambavision.selective_scan',
            lambda *args, **options: selective_scan(*args, **options, backend=backend),
        )
        loss = sum(output.square().sin().mean() for output in model(image))
        return [loss.detach(), *torch.autograd.grad(loss, model.parameters())]

    expected = loss_and_gradients('reference')
    for backend in available_backends('cpu'):
        for given, wanted in zip(loss_and_gradients(backend), expected):
            torch.testing.assert_close(given, wanted, rtol=1e-10, atol=1e-12)
