"""Models in ONNX, run by onnxruntime beside the models that they are of."""

import numpy as np
import pytest

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

from mmvision_mamba.errors import InputError  # noqa: E402
from mmvision_mamba.export.exporter import export_onnx, prove  # noqa: E402
from mmvision_mamba.export.programs import build_program  # noqa: E402
from mmvision_mamba.export.proof_images import drawn_images  # noqa: E402
from mmvision_mamba.inference.opening import open_model  # noqa: E402

pytestmark = pytest.mark.slow
SEGMENTOR = 'upernet_mambaout_demo_shapes'
DETECTOR = 'mask_rcnn_mambavision_demo_shapes'


@pytest.fixture(scope='module')
def opened(untrained):
    return {name: open_model(*map(str, untrained(name))) for name in (SEGMENTOR, DETECTOR)}


@pytest.fixture(scope='module')
def segmentor(opened):
    program = build_program(opened[SEGMENTOR], preprocess_inside=True, probabilities=True)
    return program, export_onnx(program)


def test_a_segmentor_answers_alike_for_images_of_any_size(segmentor):
    program, export = segmentor
    images = drawn_images([(64, 64), (131, 217), (200, 96)])
    model = export.model.SerializeToString()
    proven = list(prove(program, model, images))
    assert [size for size, _ in proven] == [(64, 64), (131, 217), (200, 96)]
    assert all(off['label_map'] == 0 and off['probabilities'] < 1e-5 for _, off in proven)


def test_a_file_holds_standard_operators_alone(segmentor):
    _, export = segmentor
    assert [entry.domain for entry in export.model.opset_import] == ['']
    assert not export.model.functions
    assert export.operators.total() > 300


def test_weights_are_as_operators_take_them_and_no_notes_are_kept(segmentor):
    graph = segmentor[1].model.graph
    weights = {weight.name for weight in graph.initializer}
    small = ('Reshape', 'Slice', 'Concat', 'Gather')  # of sizes
    moved = [n for n in graph.node if n.op_type not in small and weights.issuperset(n.input)]
    assert [node.op_type for node in moved if node.input] == []
    assert not any(node.metadata_props for node in graph.node)


def test_one_changed_weight_is_found(segmentor):
    program, export = segmentor
    model = onnx.ModelProto.FromString(export.model.SerializeToString())
    largest = max(model.graph.initializer, key=lambda weight: len(weight.raw_data))
    values = onnx.numpy_helper.to_array(largest).copy()
    values.flat[values.size // 2] += 100
    largest.CopyFrom(onnx.numpy_helper.from_array(values, largest.name))
    with pytest.raises(InputError, match=r'of an image of 96 x 64 differs by .* in onnxruntime'):
        list(prove(program, model.SerializeToString(), drawn_images([(64, 96)])))


@pytest.mark.parametrize('padding', ['minimal', 'full'])
def test_a_mambavision_answers_alike_for_images_of_its_size(padding, opened):
    detector = opened[DETECTOR]
    for stage in detector.module.backbone.levels[2:]:
        stage.window_size, stage.window_padding = 5, padding  # several, and padded
    program = build_program(detector, 'backbone', size=(141, 203))
    export = export_onnx(program)
    assert export.operators['Scan'] > 0
    [(_, off)] = prove(program, export.model.SerializeToString(), drawn_images([(141, 203)]))
    assert off
    assert max(off.values()) < 1e-5


def test_a_batch_of_a_fixed_size_is_of_any_number(opened):
    program = build_program(opened[DETECTOR], 'backbone', size=(64, 96))
    assert program.dynamic_shapes[0].keys() == {0}


@pytest.mark.parametrize(
    ('name', 'options', 'said'),
    [
        (DETECTOR, dict(part='backbone'), '--size HEIGHT WIDTH'),
        (DETECTOR, dict(part='neck'), "part is 'neck'; expected one of model, backbone"),
        (SEGMENTOR, dict(part='backbone', probabilities=True), 'those of a whole segmentor'),
    ],
)
def test_what_cannot_be_exported_is_said(name, options, said, opened):
    with pytest.raises(InputError, match=said):
        build_program(opened[name], **options)


@pytest.fixture
def images(shared_if_present, shapes_data):
    """Of COCO where they are, else drawn."""
    folder = shapes_data / 'shapes' / 'coco' if shared_if_present is None else shared_if_present
    folder = folder if shared_if_present is None else folder / 'data' / 'coco'
    return sorted((folder / 'val2017').iterdir())[:2]


def test_the_tool_writes_a_file_whole_or_not_at_all(untrained, run_tool, tmp_path, images):
    config, weights = untrained(SEGMENTOR)
    done = run_tool(
        *('export.py', config, weights, '--part', 'backbone', '--out', tmp_path / 'out'),
        *('--images', *images),
    )
    assert 'opset 20' in done.stdout
    assert done.stdout.count('given, ') == 2
    files = {path.name for path in (tmp_path / 'out').iterdir()}
    assert files == {'model.onnx', 'model.json', 'check.json', 'predict.py', 'standalone'}
    (tmp_path / 'out' / 'notes.txt').touch()
    again = run_tool(
        *('export.py', config, weights, '--part', 'backbone', '--out', tmp_path / 'out'),
        check=False,
    )
    assert again.returncode
    assert 'holds what is no export, such as notes.txt' in again.stderr
    gone = run_tool(
        *('export.py', config, weights, '--out', tmp_path / 'new', '--images', 'gone.jpg'),
        check=False,
    )
    assert (gone.returncode, gone.stderr) == (2, 'error: gone.jpg: no such file or folder\n')
    script = run_tool('export.py', config, '--format', 'torchscript', '--out', 'x', check=False)
    assert script.returncode == 2
    assert 'use onnx, or torch_export' in script.stderr
    script = run_tool('export.py', config, '--calibrate', '.', '--out', 'x', check=False)
    assert '--calibrate is of --precision int8' in script.stderr


def test_drawn_images_are_the_same_each_time():
    first, second = (list(drawn_images([(40, 50)])) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert first[0].shape == (40, 50, 3)
