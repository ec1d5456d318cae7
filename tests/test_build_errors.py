"""What a config's value led to is one sentence with its key, whatever the exception."""

import errno
from collections import OrderedDict

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS

from mmvision_mamba.build_errors import explain_build_error
from mmvision_mamba.cli import Console, parse_options, run
from mmvision_mamba.errors import InputError


@pytest.fixture(autouse=True)
def _no_loggers_yet(monkeypatch):
    monkeypatch.setattr(MMLogger, '_instance_dict', OrderedDict())


@MODELS.register_module()
class Failing:
    """Raises what it is told to."""

    def __init__(self, error, child=None):
        if child is not None:
            MODELS.build(child)
        if error is not None:
            raise error


def caught(function):
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError('nothing was raised')


def config(error):
    # Two of a type, so that the values have to tell which it is.
    return Config(
        dict(
            model=dict(type='Failing', error=None, child=dict(type='Failing', error=error)),
            neck=[dict(type='Failing', error=None)],
        )
    )


@pytest.mark.parametrize(
    ('error', 'message'),
    [
        (ValueError('size must be even'), 'size must be even'),
        (AssertionError('at least 1'), 'AssertionError: at least 1'),
        (AssertionError(), 'AssertionError: raise error'),
        (TypeError('not a list'), 'TypeError: not a list'),
        (KeyError('arch'), "KeyError: 'arch'"),
        (AttributeError('no dims'), 'AttributeError: no dims'),
        (ImportError('no module mamba_ssm'), 'ImportError: no module mamba_ssm'),
        (RuntimeError('size mismatch\n  for weight'), 'RuntimeError: size mismatch for weight'),
        (IndexError('out of range'), 'IndexError: out of range'),
        (ZeroDivisionError('division by zero'), 'ZeroDivisionError: division by zero'),
    ],
)
def test_the_sentence_names_type_and_key(error, message):
    cfg = config(error)
    failed = caught(lambda: MODELS.build(cfg.model))
    assert explain_build_error(failed, cfg) == f'model.child (Failing): {message}'


def test_a_long_text_is_cut():
    cfg = config(RuntimeError('word ' * 1000))
    assert len(explain_build_error(caught(lambda: MODELS.build(cfg.model)), cfg)) < 700


@pytest.mark.parametrize(
    'error', [torch.OutOfMemoryError('CUDA'), torch.distributed.DistNetworkError('no answer')]
)
def test_what_a_device_or_another_process_did_is_no_mistake_of_the_config(error):
    cfg = config(error)
    assert explain_build_error(caught(lambda: MODELS.build(cfg.model)), cfg) is None


def test_an_error_of_a_loaders_worker_is_its_last_line():
    text = 'Caught ValueError in DataLoader worker process 0.\nOriginal Traceback\nValueError: bad'
    assert explain_build_error(caught(lambda: Failing(ValueError(text))), Config({})) == 'bad'


def fail(error, *, building=True, work_dir=None):
    console = Console()

    def main():
        console.building = building
        console.cfg = Config(dict(work_dir=work_dir))
        raise error

    run(main, console=console)


def test_until_the_first_iteration_a_tool_ends_in_the_sentence(capsys):
    with pytest.raises(SystemExit, match='2'):
        fail(ValueError('size must be even'))
    assert capsys.readouterr().err == 'error: size must be even\n'


def test_a_bug_in_training_keeps_its_traceback():
    with pytest.raises(ValueError, match='a bug'):
        fail(ValueError('a bug'), building=False)


@pytest.mark.parametrize('number', [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC])
def test_a_file_that_cannot_be_written_is_one_sentence_in_training_too(number, capsys):
    with pytest.raises(SystemExit, match='2'):
        fail(OSError(number, 'No', '/work_dir/epoch_1.pth'), building=False)
    assert capsys.readouterr().err.startswith('error: No: /work_dir/epoch_1.pth')


def test_a_work_dir_that_was_removed_is_named(tmp_path, capsys):
    work_dir = str(tmp_path / 'removed')
    missing = FileNotFoundError(errno.ENOENT, 'No such file', f'{work_dir}/epoch_1.pth')
    with pytest.raises(SystemExit, match='2'):
        fail(missing, building=False, work_dir=work_dir)
    assert f'the work dir {work_dir} was removed or moved' in capsys.readouterr().err


def test_another_file_that_is_missing_in_training_is_a_bug(tmp_path):
    missing = FileNotFoundError(errno.ENOENT, 'No such file', str(tmp_path / 'image.jpg'))
    with pytest.raises(FileNotFoundError):
        fail(missing, building=False, work_dir=str(tmp_path))


def test_options_are_read_as_mmengine_reads_them():
    options = parse_options(['a.b=[1,2]', 'c=x', 'd=a=b', 'e=1e-3', 'a.b=3'])
    assert options == {'a.b': 3, 'c': 'x', 'd': 'a=b', 'e': 1e-3}
    assert parse_options(None) == {}


@pytest.mark.parametrize('pair', ['abc', '=1', 'a=[1,2'])
def test_an_option_that_cannot_be_read_is_named(pair):
    with pytest.raises(InputError) as caught:
        parse_options([pair])
    assert f'--cfg-options {pair}: ' in str(caught.value)
