"""An exported model's folder by itself, and opened by the package."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from PIL import Image

from mmvision_mamba import Predictor
from mmvision_mamba.errors import InputError
from mmvision_mamba.serve.models import load_models

pytestmark = pytest.mark.slow  # an export takes seconds

SIZES = ((90, 120), (61, 143), (33, 35))


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """A folder of images of several sizes and kinds, and one that is none."""
    folder = tmp_path_factory.mktemp('images')
    random = np.random.default_rng(0)
    for number, size in enumerate(SIZES):
        values = random.integers(0, 256, (6, 7, 3), dtype=np.uint8)
        image = Image.fromarray(values).resize(size[::-1], Image.Resampling.BICUBIC)
        image.save(folder / f'{number}.png')
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(folder / f'turned {number}.jpg', exif=exif)
    image.convert('L').save(folder / 'grey.png')
    (folder / 'text.png').write_text('no image')
    return folder


@pytest.fixture(scope='module')
def expected(segmentor, images):
    """Results of the model itself, by the images' names."""
    paths = [path for path in sorted(images.iterdir()) if path.name != 'text.png']
    predictor = Predictor(segmentor.config, segmentor.weights, device='cpu')
    return {path.name: predictor(path) for path in paths}


def test_without_torch_it_answers_as_the_model_itself(bare, segmentor, images, expected, tmp_path):
    hidden = bare('-c', 'import torch', cwd=tmp_path)
    assert 'No module named' in hidden.stderr
    done = bare(
        segmentor.folder / 'predict.py',
        *(images, '--out', 'out', '--save', 'image,coco,png'),
        cwd=tmp_path,
    )
    assert done.returncode == 1, done.stderr
    assert f'passed over: {images / "text.png"} is not an image' in done.stdout
    assert 'Predicted 7 images' in done.stdout
    written = json.loads((tmp_path / 'out' / 'predictions.json').read_text())
    names = {image['id']: image['file_name'] for image in written['images']}
    assert list(names.values()) == list(expected)
    classes = expected['0.png'].class_names
    assert written['categories'] == [
        dict(id=place + 1, name=name) for place, name in enumerate(classes)
    ]
    for number, name in names.items():
        found = [entry for entry in written['annotations'] if entry['image_id'] == number]
        result = expected[name]
        wanted = result.to_coco(category_ids=range(1, len(classes) + 1))
        assert [entry['category_id'] for entry in found] == [
            entry['category_id'] for entry in wanted
        ]
        path = tmp_path / 'out' / 'labels' / f'{name.rsplit(".", 1)[0]}.png'
        drawn = Image.open(path)
        assert (np.array(drawn) != result.label_map).mean() < 1e-3
        assert drawn.getpalette()[: 3 * len(classes)] == result.palette.ravel().tolist()
        for one, other in zip(found, wanted):
            if (np.array(drawn) == result.label_map).all():
                assert one['segmentation'] == other['segmentation']
                assert one['bbox'] == other['bbox']
            assert one['score'] == other['score']
        assert (tmp_path / 'out' / 'images' / name).is_file()
    assert len({entry['category_id'] for entry in written['annotations']}) > 1
    assert (tmp_path / 'out' / 'legend.csv').read_text().startswith('index,name,color\n0,circle,#')


def test_what_it_cannot_do_is_said_in_a_line(bare, segmentor, copied, images, tmp_path):
    program = segmentor.folder / 'predict.py'
    (copied / 'model.onnx').unlink()
    narrow = json.loads((segmentor.folder / 'model.json').read_text())
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.txt').touch()
    for arguments, words in (
        ((program, 'gone.png', '--out', 'out'), 'error: gone.png: no such file or folder'),
        ((program, images, '--out', images), 'give --out a new folder'),
        ((program, images, '--out', 'mine'), 'holds files that no run of this tool wrote'),
        ((program, images, '--out', 'out', '--score', '0.5'), 'a segmentor gives every pixel'),
        ((program, images, '--out', 'out', '--save', 'pgn'), '--save pgn: of a model for'),
        ((program, images), '--out OUT lacks'),
        ((copied / 'predict.py', images, '--out', 'out'), 'has no model.onnx'),
    ):
        done = bare(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert words in done.stderr
        assert 'Traceback' not in done.stderr
    narrow['input']['height'] = narrow['input']['width'] = 64
    (copied / 'model.json').write_text(json.dumps(narrow))
    (copied / 'model.onnx').write_bytes((segmentor.folder / 'model.onnx').read_bytes())
    done = bare(copied / 'predict.py', images / '0.png', '--out', 'out', cwd=tmp_path)
    assert done.returncode == 1
    assert 'of 120 x 90 comes to 120 x 90, and the model takes 64 x 64' in done.stdout


def test_a_predictor_opens_it_and_gives_the_same_results(segmentor, images, expected):
    predictor = Predictor(segmentor.folder, batch_size=3)
    assert predictor.task == 'segmentation'
    torch_model = Predictor(segmentor.config, segmentor.weights, device='cpu')
    assert predictor.class_names == torch_model.class_names
    np.testing.assert_array_equal(predictor.palette, torch_model.palette)
    found = predictor([images / name for name in expected])
    for result, wanted in zip(found, expected.values(), strict=True):
        assert type(result) is type(wanted)
        assert (result.path, result.image_size) == (wanted.path, wanted.image_size)
        assert result.label_map.dtype == wanted.label_map.dtype
        assert (result.label_map != wanted.label_map).mean() < 1e-3
    with pytest.raises(InputError, match=r'text\.png is not an image'):
        predictor(images / 'text.png')


def test_the_page_serves_it(segmentor, images, expected):
    [(name, predictor)] = load_models([str(segmentor.folder)]).items()
    assert name == 'small'
    found = predictor(np.array(Image.open(images / '0.png')))
    assert (found.label_map != expected['0.png'].label_map).mean() < 1e-3


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(weights='x.pth'), 'weights: .* is run as it is'),
        (dict(amp='bfloat16'), 'amp: .* is run as it is'),
        (dict(tta=True), 'tta: .* is run as it is'),
        (dict(pad_batches=True), 'pad_batches: .* is run as it is'),
        (dict(tile_exact=True), 'tile_exact: .* is run as it is'),
        (dict(cfg_options={'a': 1}), 'cfg_options: .* is run as it is'),
        (dict(device='cuda:1'), 'device cuda:1: .* on the CPU'),
        (dict(probabilities=True), 'export a segmentor with --probabilities'),
        (dict(tile=128), 'export a segmentor with --probabilities'),
    ],
)
def test_a_predictor_refuses_what_an_exported_model_does_not_do(segmentor, options, words):
    with pytest.raises(InputError, match=words):
        Predictor(segmentor.folder, **options)


def test_a_strangers_folder_opens_no_other_file(copied, tmp_path):
    path = copied / 'model.onnx'
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField('raw_data')
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value='../secret')
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match='in another file, which is not opened'):
        Predictor(copied)


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'', 'cannot be loaded by onnxruntime'),
        (b'no model', 'is no ONNX file'),
        (None, 'cannot be loaded by onnxruntime|is no ONNX file'),
    ],
)
def test_a_damaged_network_is_said_so(copied, content, words):
    path = copied / 'model.onnx'
    path.write_bytes(path.read_bytes()[:5000] if content is None else content)
    with pytest.raises(InputError, match=words):
        Predictor(copied)


def test_it_is_tested_on_a_configs_data_with_the_scores_of_the_model(
    segmentor, shapes_data, run_tool, tmp_path
):
    scores = []
    for model in (segmentor.weights, segmentor.folder):
        run_tool(
            'test.py', segmentor.config, model, '--work-dir', model.stem + 's', data=shapes_data
        )
        [path] = (tmp_path / f'{model.stem}s').glob('**/2*/2*.json')
        found = json.loads(path.read_text())
        scores.append({key: value for key, value in found.items() if not key.endswith('time')})
        path.unlink()
    assert 'mIoU' in scores[0]
    assert scores[1] == pytest.approx(scores[0], abs=0.05)
