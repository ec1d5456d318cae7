import os

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from mmvision_mamba.standalone.errors import InputError
from mmvision_mamba.standalone.onnx_file import more_outputs, refuse_external_data


def a_model() -> onnx.ModelProto:
    """Sums, with a constant within a branch and one within a function."""
    constant = numpy_helper.from_array(np.float32([1, 2]), 'inner')
    branch = helper.make_graph(
        [helper.make_node('Constant', [], ['b'], value=constant)],
        'branch',
        [],
        [helper.make_tensor_value_info('b', TensorProto.FLOAT, [2])],
    )
    function = helper.make_function(
        'local',
        'Plus',
        ['v'],
        ['r'],
        [
            helper.make_node('Constant', [], ['one'], value=constant),
            helper.make_node('Add', ['v', 'one'], ['r']),
        ],
        [helper.make_opsetid('', 18)],
    )
    graph = helper.make_graph(
        [
            helper.make_node('Add', ['x', 'w'], ['sum']),
            helper.make_node('If', ['yes'], ['c'], then_branch=branch, else_branch=branch),
            helper.make_node('Add', ['sum', 'c'], ['more']),
            helper.make_node('Plus', ['more'], ['plus'], domain='local'),
            helper.make_node('Relu', ['plus'], ['y']),
        ],
        'graph',
        [helper.make_tensor_value_info('x', TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, [2])],
        [
            numpy_helper.from_array(np.float32([-5, 5]), 'w'),
            numpy_helper.from_array(np.array(True), 'yes'),
        ],
    )
    opsets = [helper.make_opsetid('', 18), helper.make_opsetid('local', 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=10)


def tensors(model: onnx.ModelProto) -> dict[str, TensorProto]:
    branch = model.graph.node[1].attribute[0].g
    return {
        'initializer': model.graph.initializer[0],
        'branch': branch.node[0].attribute[0].t,
        'function': model.functions[0].node[0].attribute[0].t,
    }


def test_a_file_that_holds_all_of_itself_is_let_through():
    refuse_external_data(a_model().SerializeToString(), 'model.onnx')


@pytest.mark.parametrize('place', ['initializer', 'branch', 'function'])
def test_a_tensor_in_another_file_is_refused_wherever_it_stands(place, tmp_path):
    model = a_model()
    tensor = tensors(model)[place]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value='secret.bin')
    with pytest.raises(InputError, match='in another file, which is not opened'):
        refuse_external_data(model.SerializeToString(), 'model.onnx')


@pytest.mark.parametrize('content', [b'no model', os.urandom(200), b'\xff' * 30, b'\x3a\xff\x7f'])
def test_what_is_no_onnx_file_is_said_so(content):
    with pytest.raises(InputError, match='is no ONNX file, or is damaged'):
        refuse_external_data(content, 'model.onnx')


def test_tensors_within_the_network_are_had_by_bytes_behind_its_file():
    content = a_model().SerializeToString() + more_outputs(['sum', 'more'])
    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    found = session.run(['y', 'sum', 'more'], {'x': np.float32([1, 1])})
    np.testing.assert_array_equal(found, [[0, 10], [-4, 6], [-3, 8]])
    assert [value.name for value in onnx.load_from_string(content).graph.output] == [
        *('y', 'sum', 'more')
    ]
