"""``examples/cpp/predict.cpp``, compiled and run, where onnxruntime's headers are to be had."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from mmvision_mamba.export.exporter import export_onnx
from mmvision_mamba.export.programs import build_program
from mmvision_mamba.export.proof_images import drawn_images
from mmvision_mamba.inference.opening import open_model
from mmvision_mamba.inference.predictor import Predictor

pytestmark = pytest.mark.slow
SOURCE = Path(__file__).parents[3] / 'examples' / 'cpp' / 'predict.cpp'


def flags(folder: Path) -> list[str]:
    """Of the compiler: headers of a release or a package, the library of onnxruntime's wheel.

    The library is linked into ``folder`` by the name that it goes by.
    """
    named = os.environ.get('ONNXRUNTIME_INCLUDE')
    for include in [named] if named else ['/usr/include/onnxruntime', '/usr/local/include']:
        if Path(include, 'onnxruntime_cxx_api.h').is_file():
            [library] = Path(onnxruntime.__file__).parent.glob('capi/libonnxruntime.so.*')
            (folder / 'libonnxruntime.so').symlink_to(library)
            (folder / 'libonnxruntime.so.1').symlink_to(library)
            return [f'-I{include}', f'-L{folder}', f'-Wl,-rpath,{folder}', '-lonnxruntime']
    pytest.skip(
        "needs onnxruntime's C++ headers: the package libonnxruntime-dev, or the folder that holds "
        'onnxruntime_cxx_api.h in ONNXRUNTIME_INCLUDE'
    )


@pytest.fixture(scope='module')
def program(tmp_path_factory):
    """Run the compiled program on a model and an image (H, W, 3); returns the finished process."""
    folder = tmp_path_factory.mktemp('cpp')
    found = flags(folder)
    compiler = shutil.which('g++') or shutil.which('clang++')
    if compiler is None:
        pytest.skip('needs a C++ compiler')
    binary = folder / 'predict'
    subprocess.run([compiler, '-std=c++17', SOURCE, '-o', binary, *found], check=True)

    def run(made, image: np.ndarray) -> subprocess.CompletedProcess:
        built = build_program(open_model(made.config, made.weights), preprocess_inside=True)
        (folder / 'model.onnx').write_bytes(export_onnx(built).content)
        Image.fromarray(image).save(folder / 'image.ppm')
        command = [binary, folder / 'model.onnx', folder / 'image.ppm', '0.05']
        return subprocess.run(command, capture_output=True, text=True)

    return run


def test_a_segmentors_classes_are_those_of_the_model(program, made_segmentor):
    [image] = drawn_images([(90, 140)])
    done = program(made_segmentor, image)
    assert (done.returncode, done.stderr) == (0, '')
    found = dict(tuple(map(int, line.split())) for line in done.stdout.splitlines())
    labels = Predictor(made_segmentor.config, made_segmentor.weights, device='cpu')(image).label_map
    wanted = dict(zip(*(values.tolist() for values in np.unique(labels, return_counts=True))))
    assert found.keys() == wanted.keys()
    assert sum(abs(found[label] - wanted[label]) for label in wanted) < 1e-2 * labels.size


def test_a_detectors_objects_are_those_of_the_model(program, made_detector):
    [image] = drawn_images([(160, 160)])
    done = program(made_detector, image)
    assert (done.returncode, done.stderr) == (0, '')
    found = np.array([line.split() for line in done.stdout.splitlines()], np.float64)
    result = Predictor(made_detector.config, made_detector.weights, device='cpu')(image).above(0.05)
    assert len(found) == len(result.scores) > 0
    np.testing.assert_allclose(found[:, 1], result.scores, atol=1e-3)
    np.testing.assert_allclose(found[:, 2:], result.boxes, atol=0.5)
