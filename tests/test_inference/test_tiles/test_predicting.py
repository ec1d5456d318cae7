"""A predictor with tiles answers for images of any size."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmvision_mamba import Predictor
from mmvision_mamba.errors import InputError
from mmvision_mamba.inference.outputs import LabelMap
from mmvision_mamba.inference.tiles.grid import Tiling
from mmvision_mamba.inference.tiles.predicting import segment_in_tiles

pytestmark = pytest.mark.slow  # in sum


@pytest.fixture(params=['detector', 'segmentor'])
def net(request):
    return request.getfixturevalue(request.param)


def tiled(net, **options):
    return Predictor(
        net.config, net.weights, **(dict(device='cpu', tile=96, overlap=0.25) | options)
    )


def test_images_no_larger_than_a_tile_are_answered_as_ever(net, noise):
    image = noise(96, 80)
    result, expected = tiled(net)(image), net.predictor(image)
    for field in ('boxes', 'scores', 'labels') if hasattr(result, 'boxes') else ('label_map',):
        np.testing.assert_array_equal(getattr(result, field), getattr(expected, field))


def test_objects_of_a_large_image_are_those_of_its_tiles_in_its_pixels(detector, noise):
    image = noise(150, 230)
    result = tiled(detector)(image)
    assert result.image_size == (150, 230)
    assert result.masks.shape[1:] == (150, 230)
    assert (np.diff(result.scores) <= 0).all()
    of_tiles = 0
    for box in Tiling(96, 0.25).boxes(150, 230):
        part = detector.predictor(box.of(image))
        of_tiles += len(part)
        # The best of a tile is there, or better and merged.
        assert result.scores.max() >= part.scores.max() - 1e-6
    assert 0 < len(result) <= of_tiles
    assert (result.boxes >= 0).all()
    assert (result.boxes <= (230, 150, 230, 150)).all()
    assert result.draw(image).dtype == np.uint8
    assert len(result.to_coco()) == len(result)


def test_the_label_map_of_a_large_image_is_that_of_blended_probabilities(segmentor, noise):
    image = noise(110, 230)
    predictor = tiled(segmentor, probabilities=True, batch_size=3)
    result = predictor(image)
    assert result.label_map.shape == (110, 230)
    np.testing.assert_allclose(result.probabilities.sum(axis=0), 1, atol=1e-5)
    assert (result.probabilities.argmax(axis=0) == result.label_map).all()
    alone = Predictor(segmentor.config, segmentor.weights, device='cpu', probabilities=True)
    boxes = Tiling(96, 0.25).boxes(110, 230)
    # What one tile alone sees is as that tile has it.
    seen = np.zeros((110, 230), int)
    for box in boxes:
        box.of(seen)[:] += 1
    for box in boxes:
        once = box.of(seen) == 1
        expected = alone(np.ascontiguousarray(box.of(image))).probabilities[:, once]
        np.testing.assert_allclose(
            box.of(result.probabilities.transpose(1, 2, 0))[once].T, expected, atol=1e-4
        )
    assert (seen == 1).any()


def test_an_image_and_the_same_on_its_side_are_labelled_alike(noise):
    """The one is blended row by row, the other column by column."""

    def predict(tiles):
        """Of each pixel its colour, and how far it is from the middle of its tile."""
        made = []
        for tile in tiles:
            rows, columns = (torch.linspace(-1, 1, size) for size in tile.shape[:2])
            distance = torch.hypot(rows[:, None], columns).expand(1, *tile.shape[:2])
            made.append(torch.cat([torch.from_numpy(tile).permute(2, 0, 1) / 255, distance]))
        return made

    def blended(image):
        labels = dict(class_names=tuple('rgbd'), palette=np.zeros((4, 3), np.uint8))
        into = LabelMap(image.shape[:2], labels, None, probabilities=True)
        segment_in_tiles(image, Tiling(96, 0.25), predict, 2, into)
        return into.result(None)

    image = noise(110, 330)
    flat, upright = blended(image), blended(image.transpose(1, 0, 2))
    assert upright.label_map.shape == (330, 110)
    np.testing.assert_allclose(
        upright.probabilities.transpose(0, 2, 1), flat.probabilities, atol=1e-6
    )
    np.testing.assert_allclose(flat.probabilities[:3], image.transpose(2, 0, 1) / 255, atol=1e-6)


def test_large_and_small_images_are_answered_in_order_and_bad_ones_passed_over(
    net, noise, tmp_path
):
    path = tmp_path / 'large.png'
    Image.fromarray(noise(40, 200)).save(path)
    images = [noise(50, 60), path, noise(50, 60), tmp_path / 'absent.png', noise(50, 60)]
    images += [noise(1, 300), noise(130, 30)]
    bad = []
    predictor = tiled(net, batch_size=2)
    results = list(predictor.stream(images, on_error=lambda image, error: bad.append(error)))
    sizes = [result.image_size for result in results if result.image_size != (1, 300)]
    assert sizes == [(50, 60), (40, 200), (50, 60), (50, 60), (130, 30)]
    assert results[1].path == path
    assert len(bad) + len(results) == len(images)


def test_an_image_whose_tiles_the_pipeline_fails_on_is_passed_over(detector, noise):
    predictor = tiled(detector, cfg_options={'test_dataloader.dataset.pipeline.1.scale': (32, 32)})
    bad = []
    sizes = [(1, 300), (40, 300)]
    images = [noise(*size) for size in sizes]
    results = predictor.stream(images, on_error=lambda image, error: bad.append(str(error)))
    assert [result.image_size for result in results] == [(40, 300)]
    assert '96 x 1 cannot be transformed' in bad[0]


def test_options_that_do_not_go_together_are_refused(segmentor):
    with pytest.raises(InputError, match='tile and tta'):
        tiled(segmentor, tta=True)
    with pytest.raises(InputError, match='tile is 10'):
        tiled(segmentor, tile=10)
    with pytest.raises(InputError, match='overlap is 1'):
        tiled(segmentor, overlap=1)
