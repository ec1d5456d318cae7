"""A model as a program of PyTorch: its folder opened by the package, where it is trusted."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmvision_mamba import Predictor
from mmvision_mamba.checkpoints import trust_checkpoints
from mmvision_mamba.errors import InputError
from mmvision_mamba.export.exporter import feeds, write_export
from mmvision_mamba.export.programs import build_program
from mmvision_mamba.export.proof_images import drawn_images
from mmvision_mamba.export.self_check import verify
from mmvision_mamba.export.torch_programs import export_torch, prove_torch
from mmvision_mamba.inference.exported_programs import TorchProgram, is_compiled
from mmvision_mamba.inference.opening import open_model
from mmvision_mamba.ops import selective_scan
from mmvision_mamba.standalone.errors import Deviation

pytestmark = pytest.mark.slow  # an export takes seconds
SIZES = [(64, 96), (75, 61)]


def exported(made, folder: Path, **options) -> Path:
    opened = open_model(made.config, made.weights)
    program = build_program(opened, **options)
    export = export_torch(program, folder / 'model.pt2')
    sizes = SIZES if program.size is None else [program.size]
    assert [size for size, _ in prove_torch(program, export, drawn_images(sizes))] == sizes
    write_export(folder / 'small', opened, program, export, 'small')
    return folder / 'small'


@pytest.fixture(scope='module')
def segmentor(made_segmentor, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('out')
    return exported(made_segmentor, folder, preprocess_inside=True, probabilities=True)


@pytest.fixture(scope='module')
def detector(made_detector, tmp_path_factory) -> Path:
    return exported(made_detector, tmp_path_factory.mktemp('out'))


@pytest.fixture(scope='module')
def images():
    return list(drawn_images([(90, 120), (61, 143)]))


def test_a_segmentors_folder_answers_as_the_model_itself(segmentor, made_segmentor, images):
    assert {path.name for path in segmentor.iterdir()} == {'model.pt2', 'model.json', 'check.json'}
    expected = Predictor(made_segmentor.config, made_segmentor.weights, device='cpu')(images)
    with trust_checkpoints():
        predictor = Predictor(segmentor)
    for found, wanted in zip(predictor(images), expected, strict=True):
        assert (found.label_map != wanted.label_map).mean() < 1e-3


def test_a_detectors_folder_answers_as_the_model_itself(detector, made_detector, images):
    expected = Predictor(made_detector.config, made_detector.weights, device='cpu')(images)
    with trust_checkpoints():
        predictor = Predictor(detector)
    for found, wanted in zip(predictor(images), expected, strict=True):
        assert len(wanted.scores) > 3
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
        np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.01)
        assert (found.masks != wanted.masks).mean() < 1e-3


def test_it_names_what_deviates_from_its_check(segmentor, tmp_path):
    with trust_checkpoints():
        names = verify(segmentor)
    assert names[2:] == ['stage1', 'stage2', 'stage3', 'stage4', 'logits', 'result']
    copied = shutil.copytree(segmentor, tmp_path / 'copied')
    description = (copied / 'model.json').read_text()
    (copied / 'model.json').write_text(description.replace('bilinear', 'nearest'))
    with trust_checkpoints(), pytest.raises(Deviation, match=r'^resized deviates'):
        verify(copied)


def test_it_is_a_program_and_not_opened_unless_it_is_trusted(segmentor, run_tool):
    for opens in (Predictor, verify):
        with pytest.raises(InputError, match=r'model\.pt2 is a program of PyTorch, .*--trust-ch'):
            opens(segmentor)
    done = run_tool('predict.py', '--verify', segmentor, check=False)
    assert done.returncode == 2
    assert 'pass --trust-checkpoint' in done.stderr


@pytest.mark.parametrize('content', [b'', b'no program', None])
def test_a_damaged_program_is_said_so(content, segmentor, tmp_path):
    path = tmp_path / 'model.pt2'
    whole = (segmentor / 'model.pt2').read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with trust_checkpoints(), pytest.raises(InputError, match=r'model\.pt2 cannot be loaded'):
        TorchProgram(path)


def test_a_program_that_gives_something_else_is_refused(segmentor, made_detector, tmp_path):
    copied = shutil.copytree(segmentor, tmp_path / 'copied')
    opened = open_model(made_detector.config, made_detector.weights)
    program = build_program(opened, 'backbone')
    export_torch(program, copied / 'model.pt2')
    with trust_checkpoints(), pytest.raises(InputError, match='gives no label_map'):
        Predictor(copied)


class ScannedImage(nn.Module):
    """Little to compile: an image's pixels, normed and scanned along its rows."""

    def forward(self, image):
        u = F.layer_norm(image.flatten(2).transpose(1, 2), (3,))
        A = -torch.ones(3, 2)
        return (selective_scan(u, u.exp(), A, u[..., :2], u[..., 1:], channels_last=True),)


@pytest.mark.skipif(not shutil.which('g++'), reason='AOTInductor needs a C++ compiler')
def test_a_compiled_program_answers_alike_and_is_opened_where_it_is_trusted(
    made_detector, tmp_path
):
    whole = build_program(open_model(made_detector.config, made_detector.weights), 'backbone')
    program = replace(whole, module=ScannedImage(), output_names=('y',))
    image = next(drawn_images([(40, 56)]))
    export = export_torch(program, tmp_path / 'model.pt2', compiled=True)
    assert is_compiled(export.content)
    assert 'mmvision_mamba.selective_scan.default' in export.operators
    # Its channels lie last in memory, which what is compiled would not notice.
    assert not feeds(program, image)['image'].flags.c_contiguous
    [(_, off)] = prove_torch(program, export, [image])
    assert off['y'] < 1e-5
    with pytest.raises(InputError, match='is a program of PyTorch'):
        TorchProgram(export.content)
