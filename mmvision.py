"""``mmvision COMMAND ...``: the tools of mmvision_mamba, from any folder, without a clone.

A module of its own, of the standard library alone: importing the package takes seconds, and
``mmvision --help`` none.
"""

import ast
import difflib
import importlib
import os
import shutil
import sys
import textwrap
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

# A tool is found by the name of its file; these go by a shorter one.
SHORT = {
    'browse_dataset.py': 'browse',
    'plot_logs.py': 'plot',
    'publish_model.py': 'publish',
}
# What modules of the package do on the command line.
MODULES = {'data': 'datasets.__main__', 'pair': 'pairing.__main__', 'weights': 'weights'}
# Of a clone, which they set up or whose pages they write; and what the launchers start.
NOT_COMMANDS = {'demo.py', 'launch.py', 'make_model_zoo.py', 'setup_env.py'}
FIRST = ('train', 'test', 'predict')


def main() -> None:
    name, *arguments = sys.argv[1:] or ['--help']
    if name in ('-h', '--help'):
        print(usage())
        sys.exit(0 if sys.argv[1:] else 2)
    if name == '--version':
        print(f'mmvision_mamba {version("mmvision_mamba")}')
        return
    name = name.replace('_', '-')
    file = commands().get(name)
    if file is None:
        print(unknown(name), file=sys.stderr)
        sys.exit(2)
    sys.argv = [f'mmvision {name}', *arguments]
    run(name, file, arguments)


def run(name: str, file: Path, arguments: list[str]) -> None:
    """Run a command as if its own file had been called."""
    if file.suffix == '.sh':
        environment = dict(os.environ, PYTHON=os.environ.get('PYTHON', sys.executable))
        os.execvpe('bash', ['bash', str(file), *arguments], environment)
    if name in MODULES:
        from mmvision_mamba.cli import run as call

        module = importlib.import_module(f'mmvision_mamba.{MODULES[name]}')
        call(module.main, arguments, f'mmvision {name}')
        return
    sys.path.insert(0, str(file.parent))  # where tools find what they share
    module = sys.modules['__main__'] = ModuleType('__main__')  # worker processes look there
    module.__file__ = str(file)
    exec(compile(file.read_bytes(), file, 'exec'), module.__dict__)


def commands() -> dict[str, Path]:
    """The commands and their files, in the order of the help."""
    package = Path(find_spec('mmvision_mamba').submodule_search_locations[0])
    found = {
        name: package.joinpath(*module.split('.')).with_suffix('.py')
        for name, module in MODULES.items()
    }
    for file in tools_folder(package).iterdir():
        if file.name not in NOT_COMMANDS and is_program(file):
            found[SHORT.get(file.name, file.stem.replace('_', '-'))] = file
    rest = sorted(found.keys() - set(FIRST), key=lambda name: (found[name].suffix == '.sh', name))
    return {name: found[name] for name in (*FIRST, *rest)}


def tools_folder(package: Path) -> Path:
    """Inside the package where it is installed from a wheel, beside it in a clone."""
    # In this order: beside an installed package another's may lie.
    places = (package / '.mim' / 'tools', package.parent / 'tools')
    for place in places:
        if (place / 'train.py').is_file():
            return place
    sys.exit(
        f'error: neither {places[0]} nor {places[1]} has the tools: install mmvision_mamba again'
    )


def is_program(file: Path) -> bool:
    """Whether a file of the tools is called, and not imported or sourced."""
    if file.suffix == '.py':
        return "\nif __name__ == '__main__':" in file.read_text('utf-8')
    return file.suffix == '.sh' and file.read_text('utf-8').startswith('#!')


def usage() -> str:
    found = commands()
    indent = max(map(len, found)) + 6
    columns = min(shutil.get_terminal_size().columns, 100)
    lines = [
        textwrap.fill(
            purpose(file),
            columns,
            initial_indent=f'  {name}'.ljust(indent),
            subsequent_indent=' ' * indent,
        )
        for name, file in found.items()
    ]
    return '\n'.join(
        [
            'usage: mmvision COMMAND ...',
            '',
            'MambaVision and MambaOut for detection and segmentation on OpenMMLab.',
            '',
            *lines,
            '',
            'mmvision COMMAND --help says what a command takes. A config is a file, the name',
            "of one of this package's, such as mask_rcnn_mambavision_t_coco, or one that",
            'mmdet or mmseg ships: mmdet::PATH, mmseg::PATH.',
        ]
    )


def purpose(file: Path) -> str:
    """The first sentence of what a file says of itself."""
    text = file.read_text('utf-8')
    if file.suffix == '.sh':
        return text.splitlines()[1].removeprefix('# ').rstrip('.')
    sentence = ast.get_docstring(ast.parse(text)).split('\n\n')[0].replace('\n', ' ')
    return sentence.rstrip('.').replace('`', '')


def unknown(name: str) -> str:
    known = list(commands())
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f'did you mean {close[0]}?' if close else f'there are {", ".join(known)}'
    return f'error: mmvision has no command {name!r}; {hint}'


if __name__ == '__main__':
    main()
