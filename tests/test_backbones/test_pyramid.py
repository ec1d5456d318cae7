"""What both families promise alike."""

import copy
import os
import subprocess
import sys

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

import mmvision_mamba  # noqa: F401  (registers the backbones)

SMALL = {
    'MambaVision': dict(dim=16, in_dim=8, depths=(1, 2, 3, 2), num_heads=(1, 2, 4, 8)),
    'MambaOut': dict(depths=(1, 2, 3, 2), dims=(16, 32, 64, 128)),
}
both = pytest.mark.parametrize('family', list(SMALL))


# One block of each kind: what is compiled costs seconds a block.
FEW_BLOCKS = dict(depths=(1, 1, 2, 1))


def build(family, arch=None, **options):
    torch.manual_seed(0)
    return MODELS.build(dict(type=family, arch=SMALL[family] | (arch or {}), **options))


@both
@pytest.mark.parametrize('size', [(32, 32), (33, 95), (64, 96), (150, 203)])
def test_maps_have_strides_4_to_32_at_any_size(family, size):
    outputs = build(family)(torch.randn(2, 3, *size))
    for i, output in enumerate(outputs):
        stride = 2 ** (i + 2)
        assert output.shape == (2, 16 * 2**i, -(-size[0] // stride), -(-size[1] // stride))
        assert output.is_contiguous()


@both
def test_out_indices_choose_maps_and_nothing_deeper_is_built(family):
    model = build(family, drop_path_rate=0.0).eval()
    image = torch.randn(1, 3, 64, 64)
    chosen = build(family, out_indices=(1, 2), drop_path_rate=0.0).eval()
    chosen.load_state_dict(model.state_dict(), strict=False)
    for given, expected in zip(chosen(image), model(image)[1:3], strict=True):
        torch.testing.assert_close(given, expected)
    sum(output.sum() for output in chosen(image)).backward()
    assert all(p.grad is not None for p in chosen.parameters())


@both
@pytest.mark.parametrize('frozen', [-1, 0, 2, 4])
def test_frozen_stages_keep_their_weights_and_statistics(family, frozen):
    model = build(family, frozen_stages=frozen).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    sum(output.square().sum() for output in model(torch.randn(2, 3, 64, 64))).backward()
    optimizer.step()
    for i, stage in enumerate(model.stages_to_freeze()):
        names = {id(p): n for n, p in model.named_parameters()}
        stage_names = {names[id(p)] for p in stage.parameters()}
        changed = any((before[n] != model.state_dict()[n]).any() for n in stage_names)
        assert changed == (i > frozen)
        assert stage.training == (i > frozen)
    assert all(p.requires_grad for n, p in model.named_parameters() if n.startswith('outnorm'))


@both
def test_checkpointing_activations_changes_no_gradient(family):
    image = torch.randn(1, 3, 64, 64)
    gradients = []
    for with_cp in (False, True):
        model = build(family, with_cp=with_cp, drop_path_rate=0.0).train()
        sum(output.square().mean() for output in model(image)).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, msg=name)


@both
def test_checkpointing_saves_memory(family):
    def saved_bytes(with_cp):
        model = build(family, with_cp=with_cp).train()
        parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
        kept = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in parameters:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            alive = model(torch.randn(1, 3, 128, 128))
        assert alive
        return sum(kept.values())

    assert saved_bytes(True) < 0.7 * saved_bytes(False)


@both
def test_drop_path_rate_takes_effect_in_training_alone(family):
    model = build(family, drop_path_rate=0.5, norm_eval=True)
    image = torch.randn(1, 3, 64, 64)
    model.train()
    assert not torch.equal(model(image)[3], model(image)[3])
    model.eval()
    torch.testing.assert_close(model(image)[3], model(image)[3])


def test_norm_eval_keeps_running_statistics():
    model = build('MambaVision', norm_eval=True).train()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    model(torch.randn(2, 3, 64, 64))
    assert norms
    assert all(torch.equal(norm.running_mean, old) for norm, old in zip(norms, before))


@both
def test_init_cfg_starts_from_a_classification_checkpoint(family, tmp_path):
    trained = build(family)
    torch.nn.init.normal_(next(trained.parameters()))
    weights = {k: v for k, v in trained.state_dict().items() if not k.startswith('outnorm')}
    path = tmp_path / 'classifier.pth.tar'
    torch.save(dict(epoch=300, state_dict=weights | {'head.weight': torch.zeros(10, 128)}), path)
    model = build(family, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    model.init_weights()
    given = model.state_dict()
    assert all(torch.equal(given[name], value) for name, value in weights.items())


@both
def test_in_channels_may_differ_from_three(family):
    assert len(build(family, in_channels=5)(torch.randn(1, 5, 64, 64))) == 4


@both
def test_padding_does_not_swell_the_gradients_of_random_weights(family):
    norms = []
    for padded in (1, 64):
        model = build(family, drop_path_rate=0.0).train()
        image = torch.randn(2, 3, 128, 128)
        image[..., -padded:] = 0
        sum(output[:, 0].mean() for output in model(image)).backward()
        norms.append(torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]))
    assert norms[1] < 2 * norms[0]


@both
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_training_gives_finite_gradients(family, dtype):
    model = build(family).train()
    with torch.autocast('cpu', dtype):
        outputs = model(torch.randn(2, 3, 64, 64))
    sum(output.float().square().mean() for output in outputs).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.slow
@both
def test_compiled_training_follows_training_without(family):
    image = torch.randn(2, 3, 64, 64)
    gradients = {}
    for compile in (False, True):
        torch.manual_seed(0)
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        options = dict(arch=FEW_BLOCKS, out_indices=(1, 2), drop_path_rate=0.0)
        model = build(family, **options, compile=compile).train()
        assert 'compile' not in ' '.join(model.state_dict())
        sum(output.square().mean() for output in model(image)).backward()
        gradients[compile] = [p.grad for p in model.parameters()]
        # In evaluation images come in many sizes, and none is compiled.
        with torch.no_grad():
            model.eval()(torch.randn(1, 3, 96, 64))
        assert torch._dynamo.utils.counters['stats']['unique_graphs'] == int(compile)
    for compiled, eager in zip(gradients[True], gradients[False]):
        torch.testing.assert_close(compiled, eager, rtol=1e-3, atol=1e-5)


@both
@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(arch='huge'), r"no arch 'huge'; choose one of \["),
        (dict(arch=dict(depth=3)), r"missing \[.*unknown \['depth'\]"),
        (dict(out_indices=(0, 4)), r'out of 0..3, got \(0, 4\)'),
        (dict(out_indices=(2, 1)), 'rising stage numbers'),
        (dict(out_indices=()), 'rising stage numbers'),
        (dict(frozen_stages=5), r'in -1..4, got 5'),
        (dict(drop_path_rate=1.5), r'in \[0, 1\), got 1.5'),
        (dict(window_padding='none'), 'window_padding'),
        (dict(windw_size=(8, 8, 8, 8)), 'windw_size'),
    ],
)
def test_a_wrong_option_is_refused_at_build(family, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        MODELS.build(dict(type=family, arch=SMALL[family]) | options)


@pytest.mark.slow
def test_importing_the_package_needs_no_openmmlab_model_library_and_no_mamba_ssm():
    code = (
        'import sys\n'
        'for name in ("mmcv", "mmdet", "mmseg", "mamba_ssm"): sys.modules[name] = None\n'
        'import mmvision_mamba\n'
        'from mmengine.registry import MODELS\n'
        'assert MODELS.get("MambaVision") and MODELS.get("MambaOut")\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


@both
@pytest.mark.parametrize(
    ('image', 'error', 'message'),
    [
        (torch.zeros(1, 4, 64, 64), ValueError, r'takes images \(batch, 3, .*got \(1, 4, 64, 64\)'),
        (torch.zeros(3, 64, 64), ValueError, r'takes images \(batch, 3, .*got \(3, 64, 64\)'),
        (torch.zeros(1, 3, 0, 64), ValueError, 'an image without pixels'),
        (torch.zeros(1, 3, 64, 0), ValueError, 'an image without pixels'),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), TypeError, 'floating-point .*uint8'),
    ],
)
def test_an_image_that_is_none_is_refused_in_a_sentence(family, image, error, message):
    with pytest.raises(error, match=message):
        build(family).eval()(image)


@pytest.mark.slow
@both
def test_no_operator_runs_that_a_signal_would_make_overwrite_memory(family, tmp_path):
    """oneDNN's float32 inner product puts the stack pointer on the heap: docs/training.md."""
    code = (
        'import torch\n'
        'from mmengine.registry import MODELS\n'
        'import mmvision_mamba\n'
        f'net = MODELS.build(dict(type={family!r}, arch={SMALL[family]!r}))\n'
        'sum(y.square().mean() for y in net(torch.randn(2, 3, 97, 131))).backward()\n'
        'torch.set_grad_enabled(False)\n'
        'net.eval()(torch.randn(1, 3, 97, 131))\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        env=dict(os.environ, ONEDNN_VERBOSE='1'),
        capture_output=True,
        text=True,
        check=True,
    )
    assert 'inner_product' not in done.stdout
    assert not torch.backends.mkldnn.is_available() or 'convolution' in done.stdout


@pytest.mark.slow
@both
def test_a_copy_of_a_compiled_backbone_runs_its_own_weights(family):
    options = dict(arch=FEW_BLOCKS, out_indices=(0,), drop_path_rate=0.0, norm_eval=True)
    model = build(family, **options, compile=True).train()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.outnorm0.bias.fill_(1e3)
    assert other(torch.randn(1, 3, 64, 64))[0].mean() > 500
