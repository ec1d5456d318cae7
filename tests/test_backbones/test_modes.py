"""Features stay the published ones however a backbone is run."""

import pytest
import torch

from mmvision_mamba.backbones import MambaOut, MambaVision
from mmvision_mamba.ops import cpp_library, self_attention
from mmvision_mamba.ops.scan.api import _fastest

FIXTURES = ['mambavision_many_windows', 'mambavision_padded_odd', 'mambaout_odd']


def build(fixture, name, **options):
    if name.startswith('mambavision'):
        model = MambaVision(fixture.arch, window_padding='full', **options)
        model.load_state_dict(fixture.state_dict)
        return model.eval()
    model = MambaOut(fixture.arch, **options)
    model.load_state_dict(fixture.state_dict, strict=False)
    for norm in (model.outnorm0, model.outnorm1, model.outnorm2, model.outnorm3):
        norm.forward = lambda x: x  # the fixture's outputs are those before the norms
    return model.eval()


def inference(fixture, name):
    with torch.inference_mode():
        return build(fixture, name)(fixture.input)


def gradients_on(fixture, name):
    return build(fixture, name)(fixture.input)


def checkpointed(fixture, name):
    model = build(fixture, name, with_cp=True)
    outputs = model(fixture.input.clone().requires_grad_())
    sum(output.sum() for output in outputs).backward()
    return outputs


def channels_last(fixture, name):
    with torch.no_grad():
        return build(fixture, name)(fixture.input.to(memory_format=torch.channels_last))


def compiled(fixture, name):
    model = torch.compile(build(fixture, name), fullgraph=True, backend='aot_eager')
    with torch.no_grad():
        return model(fixture.input)


def exported(fixture, name):
    with torch.no_grad():
        program = torch.export.export(build(fixture, name), (fixture.input,))
        return program.module()(fixture.input)


def one_thread(fixture, name):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        return inference(fixture, name)
    finally:
        torch.set_num_threads(threads)


MODES = (inference, gradients_on, checkpointed, channels_last, compiled, exported, one_thread)


@pytest.mark.slow
@pytest.mark.parametrize('name', FIXTURES)
@pytest.mark.parametrize('mode', MODES, ids=lambda mode: mode.__name__)
def test_features_match_the_published_network(reference, name, mode):
    fixture = reference(name)
    fixture.assert_matches([output.detach() for output in mode(fixture, name)])


@pytest.mark.parametrize('name', FIXTURES)
def test_features_match_without_any_kernel_of_our_own(reference, name, monkeypatch):
    monkeypatch.setattr(cpp_library, 'load', lambda: 'not compiled')
    monkeypatch.setattr(self_attention, '_HAS_KERNEL', False)
    _fastest.cache_clear()
    try:
        fixture = reference(name)
        fixture.assert_matches(inference(fixture, name))
    finally:
        _fastest.cache_clear()


@pytest.mark.parametrize('name', FIXTURES)
def test_bfloat16_stays_near(reference, name):
    fixture = reference(name)
    with torch.autocast('cpu', torch.bfloat16):
        outputs = inference(fixture, name)
    for given, expected in zip(outputs, fixture.outputs):
        assert (given.float() - expected).norm() < 0.05 * expected.norm()
