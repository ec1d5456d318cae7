"""What is printed by default, and what the log file holds."""

import contextlib
import logging
import os
import sys
import warnings
from collections import OrderedDict

import pytest
from mmengine.logging import MMLogger, print_log

from mmvision_mamba.engine.console import Console

NOISE = (
    'Could not import OneDL. Skipping OneDL datasets.',
    '"FileClient" will be deprecated in future. Please use io functions',
    'The draw is False, it means that the hook for visualization will not take effect.',
    'SyncBN, use single-gpu',
    'The prefix is not set in metric class IoUMetric.',
)


@pytest.fixture(autouse=True)
def _no_loggers_yet(monkeypatch):
    monkeypatch.setattr(MMLogger, '_instance_dict', OrderedDict())


@pytest.fixture
def logged(tmp_path, capsys):
    """Call a function with the console, once without a run's logger and once with it."""

    def logged(function, verbose=False):
        path = tmp_path / 'run.log'
        with Console(verbose) as console:
            function(console)
            console.attach(MMLogger.get_instance('run', log_file=str(path)))
            function(console)
        return capsys.readouterr().out, path.read_text()

    return logged


@pytest.mark.parametrize('text', NOISE)
@pytest.mark.parametrize(
    'say',
    [print, warnings.warn, lambda text: print_log(text, 'current', logging.WARNING)],
    ids=['print', 'warning', 'log'],
)
def test_named_noise_is_in_the_log_file_alone(say, text, logged):
    def twice(console):
        with warnings.catch_warnings():
            warnings.simplefilter('always')
            say(text)

    printed, log = logged(twice)
    assert text not in printed
    assert text in log


def test_other_warnings_and_what_is_printed_are_shown_and_logged(logged):
    def say(console):
        with warnings.catch_warnings():
            warnings.simplefilter('always')
            warnings.warn('the data set is small', stacklevel=1)
        print('from a hook of the user')
        print_log('the disk is nearly full', 'current', logging.WARNING)

    printed, log = logged(say)
    for text in ('UserWarning: the data set is small', 'from a hook of the user', 'nearly full'):
        assert text in printed
        assert text in log


def test_information_of_a_run_is_in_the_log_file_until_results_are_shown(logged):
    def say(console):
        print_log('the whole config', 'current')
        console.showing_results = True
        print_log('| class | AP |', 'current')
        console.showing_results = False

    printed, log = logged(say)
    # Before there is a log file, it is this toolkit that speaks.
    assert printed.count('the whole config') == 1
    assert printed.count('| class | AP |') == 2
    assert log.count('the whole config') == log.count('| class | AP |') == 2


def test_verbose_shows_all(logged):
    def say(console):
        print(NOISE[0])
        print_log('the whole config', 'current')

    printed, _ = logged(say, verbose=True)
    assert printed.count(NOISE[0]) == printed.count('the whole config') == 2


def test_a_traceback_can_go_to_the_log_file_alone(logged):
    def fail(console):
        try:
            raise ValueError('of an option')
        except ValueError as error:
            console.log('the run ended', error)

    printed, log = logged(fail)
    assert printed == ''
    assert 'Traceback' in log
    assert 'ValueError: of an option' in log


def test_everything_is_as_before_after_it(capsys):
    before = sys.stdout
    with Console():
        assert sys.stdout is not before
        print('no newline at the end', end='')
    assert sys.stdout is before
    assert Console.current is None
    assert capsys.readouterr().out == 'no newline at the end'
    with pytest.warns(UserWarning, match='as usual'):
        warnings.warn('as usual', stacklevel=1)


def test_an_output_that_nobody_reads_does_not_end_a_run(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    broken = os.fdopen(writing, 'w', buffering=1)
    monkeypatch.setattr(sys, 'stdout', broken)
    with Console() as console:
        print('to nobody')
        console.report('nor this')
    with contextlib.suppress(BrokenPipeError):
        broken.close()
