"""Every command on a page is one that its program takes, and Python there is Python."""

import argparse
import ast
import importlib
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import doc_pages as pages
import pytest

import mmvision
from mmvision_mamba import weights
from mmvision_mamba.datasets import __main__ as datasets
from mmvision_mamba.pairing import __main__ as pairing
from mmvision_mamba.standalone import command as standalone

ROOT = pages.ROOT
# What a page may start that is not of this repository.
OTHERS = {
    *('./predict', 'cd', 'curl', 'cut', 'docker', 'find', 'g++', 'git', 'label-studio-converter'),
    *('pip', 'pkg-config', 'sbatch', 'source', 'tensorboard', 'tr'),
}
MODULES = {
    'build': None,  # not of this repository
    'mmvision_mamba.datasets': datasets.main,
    'mmvision_mamba.pairing': pairing.main,
    'mmvision_mamba.weights': weights.main,
}
# Where a script's own arguments end, and which tool takes the others.
SCRIPTS = {
    'dist_train.sh': ('train', [0], 2),
    'dist_test.sh': ('test', [0, 1], 3),
    'slurm_train.sh': ('train', [2], 3),
    'slurm_test.sh': ('test', [2, 3], 4),
}


class Parsed(Exception):
    """The arguments were accepted; nothing more is to be done."""


PARSERS = {
    name: getattr(argparse.ArgumentParser, name) for name in ('parse_args', 'parse_intermixed_args')
}


@pytest.fixture
def accepted(monkeypatch) -> Callable[[Callable, list[str]], None]:
    """A function that fails unless the parser of a command line accepts arguments."""

    def accepted(command_line: Callable, arguments: list[str]) -> None:
        for name, parse in PARSERS.items():
            monkeypatch.setattr(argparse.ArgumentParser, name, _stopping(parse, arguments))
        with pytest.raises(Parsed):
            command_line()

    return accepted


def _stopping(parse: Callable, arguments: list[str]) -> Callable:
    def stopping(parser, *_, **__):
        try:
            parse(parser, arguments)
        except SystemExit as end:
            raise AssertionError(f'{parser.prog} does not take {arguments}') from end
        raise Parsed

    return stopping


@pytest.fixture(scope='module')
def tool():
    """A function that gives the command line of a tool, by the tool's name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / 'tools'))
        loaded = {}

        def tool(name: str) -> Callable:
            if name not in loaded:
                spec = importlib.util.spec_from_file_location(f'tool_{name}', _tool_file(name))
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                loaded[name] = getattr(module, 'parse_args', None) or module.main
            return loaded[name]

        yield tool


def _tool_file(name: str) -> Path:
    path = ROOT / 'tools' / f'{name}.py'
    assert path.is_file(), path
    return path


def check_call(call: list[str], tool, accepted) -> None:
    program, *arguments = call
    if program in OTHERS:
        return
    if program == 'make':
        check_make(arguments)
    elif program == 'python' and arguments[0] == '-m':
        assert arguments[1] in MODULES, call
        if command_line := MODULES[arguments[1]]:
            accepted(command_line, arguments[2:])
    elif program == 'python' and arguments[0] == 'FOLDER/predict.py':
        accepted(lambda: standalone.main(Path(), '', arguments[1:]), arguments[1:])
    elif program == 'python' and arguments[0].startswith('tools/'):
        accepted(tool(Path(arguments[0]).stem), arguments[1:])
    elif program == 'python':
        check_source(arguments)
    elif program == 'mmvision':
        check_mmvision(arguments, tool, accepted)
    else:
        assert (ROOT / program).is_file(), call
        name, own, begin = SCRIPTS[Path(program).name]
        assert len(arguments) >= begin, call
        accepted(tool(name), [*(arguments[i] for i in own), *arguments[begin:]])


def check_mmvision(arguments: list[str], tool, accepted) -> None:
    """As what the one command starts."""
    if arguments == ['--help']:
        return
    file = mmvision.commands().get(arguments[0])
    assert file, arguments
    if arguments[0] in mmvision.MODULES:
        name = mmvision.MODULES[arguments[0]].removesuffix('.__main__')
        check_call(['python', '-m', f'mmvision_mamba.{name}', *arguments[1:]], tool, accepted)
    else:
        program = [str(file.relative_to(ROOT))]
        start = program if file.suffix == '.sh' else ['python', *program]
        check_call([*start, *arguments[1:]], tool, accepted)


def check_make(arguments: list[str]) -> None:
    text = (ROOT / 'Makefile').read_text()
    targets = set(re.search(r'^\.PHONY: (.*)$', text, re.MULTILINE)[1].split())
    variables = set(re.findall(r'^(\w+) \?=|\$\(if \$\((\w+)\)', text, re.MULTILINE))
    variables = {name for names in variables for name in names}
    for argument in arguments:
        name, is_value, _ = argument.partition('=')
        assert name in (variables if is_value else targets), argument


def check_source(arguments: list[str]) -> None:
    """Benchmarks and the like: the file is there, and its source has the options."""
    script, *options = arguments
    assert script.startswith(('benchmarks/', 'docs/')), arguments
    source = (ROOT / script).read_text()
    for option in options:
        if option.startswith('--'):
            assert f"'{option}'" in source, arguments


@pytest.mark.parametrize('name', pages.NAMES)
def test_every_command_in_a_block_is_one_that_its_program_takes(name, tool, accepted):
    for block in pages.blocks(ROOT / name):
        for command in block.commands:
            for call in pages.calls(command):
                check_call(call, tool, accepted)


@pytest.mark.parametrize('name', pages.NAMES)
def test_commands_in_the_text_are_of_programs_and_options_that_exist(name, tool):
    for code in pages.inline_code(ROOT / name):
        if code.startswith('make '):
            check_make(code.split()[1:])
        match = re.match(r'(?:python )?(tools/[a-z_]+)\.py\b(.*)', code)
        if match:
            source = ''.join(
                path.read_text()
                for path in (_tool_file(Path(match[1]).name), ROOT / 'tools/command_line.py')
            )
            for option in re.findall(r'(?<!\S)--[\w-]+', match[2]):
                assert f"'{option}'" in source, code


def test_a_mistyped_option_a_lacking_argument_and_an_unknown_target_are_found(tool, accepted):
    for wrong in (
        'python tools/predict.py photos --model work_dirs/mine --scores 0.5',
        'python tools/export.py CONFIG CHECKPOINT',
        'python tools/no_such_tool.py',
        'python -m mmvision_mamba.datasets look my_data',
        'tools/dist_train.sh CONFIG',
        'tools/dist_train.sh CONFIG 8 --ammp',
        'make everything',
        'python benchmarks/backbones.py --no-such-option',
    ):
        [call] = pages.calls(wrong)
        with pytest.raises(AssertionError):
            check_call(call, tool, accepted)


@pytest.mark.parametrize('name', pages.NAMES)
def test_python_on_a_page_is_python_and_what_it_imports_of_the_package_exists(name):
    for code in pages.python_blocks(ROOT / name):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith('mmvision_mamba'):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), code
