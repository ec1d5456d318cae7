"""Exported models in fewer bits."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from mmvision_mamba import Predictor
from mmvision_mamba.errors import InputError
from mmvision_mamba.export.calibration import calibration_images
from mmvision_mamba.export.compare import TOLERANCES
from mmvision_mamba.export.exporter import export_onnx, in_precision, prove, write_export
from mmvision_mamba.export.programs import build_program
from mmvision_mamba.export.proof_images import drawn_images
from mmvision_mamba.export.self_check import verify
from mmvision_mamba.inference.opening import open_model
from mmvision_mamba.standalone.errors import Deviation

pytestmark = pytest.mark.slow
MAPS = ['resized', 'input', 'stage1', 'stage2', 'stage3', 'stage4', 'logits', 'result']


@pytest.fixture(scope='module')
def opened(segmentor):
    return open_model(segmentor.config, segmentor.weights)


@pytest.fixture(scope='module')
def program(opened):
    return build_program(opened)


@pytest.fixture(scope='module')
def exports(opened, program):
    """By precision."""
    export = export_onnx(program)
    images = calibration_images(opened, None, None).calibration[:8]
    return {name: in_precision(export, program, name, images) for name in TOLERANCES}


@pytest.fixture(scope='module')
def folders(opened, program, exports, tmp_path_factory):
    """By precision."""
    folder = tmp_path_factory.mktemp('folders')
    for name in ('fp16', 'int8'):
        write_export(folder / name, opened, program, exports[name], 'small', name)
    return folder


@pytest.mark.parametrize('precision', ['fp16', 'int8'])
def test_a_file_of_few_bits_is_small_near_the_model_and_no_nearer_than_it_can_be(
    precision, program, exports
):
    size = {name: len(export.model.SerializeToString()) for name, export in exports.items()}
    assert size['fp16'] < 0.75 * size['float32']  # most of what is left is the graph
    model, images = exports[precision].model.SerializeToString(), list(drawn_images([(90, 134)]))
    [(_, off)] = prove(program, model, images, TOLERANCES[precision])
    assert off['label_map'] < TOLERANCES[precision].pixels
    assert exports['float32'].operators.total() < exports[precision].operators.total()
    assert [entry.domain for entry in exports[precision].model.opset_import] == ['']


def test_a_proof_fails_beyond_the_tolerance_of_the_precision(program, exports):
    model, images = exports['int8'].model.SerializeToString(), list(drawn_images([(90, 134)]))
    with pytest.raises(InputError, match='label_map of an image of 134 x 90 differs by'):
        list(prove(program, model, images, TOLERANCES['float32']))


@pytest.mark.parametrize('precision', ['fp16', 'int8'])
def test_a_folder_of_few_bits_passes_its_check(precision, folders):
    assert verify(folders / precision) == MAPS
    [image] = drawn_images([(80, 100)])
    assert Predictor(folders / precision)(image).label_map.shape == (80, 100)


@pytest.mark.parametrize('precision', ['fp16', 'int8'])
def test_one_changed_weight_is_found_in_a_file_of_few_bits(precision, folders, tmp_path):
    folder = tmp_path / 'changed'
    folder.mkdir()
    for path in (folders / precision).glob('*.*'):
        (folder / path.name).write_bytes(path.read_bytes())
    model = onnx.load(folder / 'model.onnx')
    kind = TensorProto.FLOAT16 if precision == 'fp16' else TensorProto.INT8
    weight = next(
        weight
        for weight in model.graph.initializer
        if weight.data_type == kind and np.prod(weight.dims) > 200
    )
    values = numpy_helper.to_array(weight).copy()
    place = np.abs(values.astype(np.float32)).argmin()
    values.flat[place] = np.abs(values.astype(np.float32)).max()
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    (folder / 'model.onnx').write_bytes(model.SerializeToString())
    with pytest.raises(Deviation, match=r'^stage\d deviates'):
        verify(folder)


def test_a_check_of_int8_is_of_its_own_maps(folders, segmentor):
    entries = {
        path: {
            entry['name']: entry for entry in json.loads((path / 'check.json').read_text())['maps']
        }
        for path in (folders / 'int8', segmentor.folder)
    }
    own, torch = entries.values()
    assert own['input'] == torch['input']
    assert own['stage4']['values'] != torch['stage4']['values']
    assert own['stage4']['tolerance'] > torch['stage4']['tolerance']
