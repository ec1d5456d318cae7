"""Imports run one way: a module stands above all that it imports."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'mmvision_mamba'
# From the ground up; what shares a line does not import each other.
LAYERS = (
    ('standalone',),
    ('errors', 'former_paths', 'start_up', 'versions'),
    ('ops', 'state_dicts'),
    ('backbones',),
    ('checkpoints', 'datasets', 'evaluation'),
    ('build_errors', 'config', 'devices'),
    ('pairing', 'publishing'),
    ('analysis',),
    ('engine',),
    ('cli',),
    ('inference',),
    ('export', 'serve'),
    ('weights',),
    ('__init__', '__main__'),
)
HEIGHT = {room: height for height, rooms in enumerate(LAYERS) for room in rooms}
MODULES = sorted(PACKAGE.rglob('*.py'))


def room(module: tuple[str, ...]) -> str:
    # A command of a room's stands on top of the command line's own module.
    return '__main__' if module[-1] == '__main__' else module[0]


def imported(path: Path) -> set[tuple[str, ...]]:
    """Modules of the package that a file imports, anywhere in it, as parts of their names."""
    here = path.relative_to(PACKAGE.parent).with_suffix('').parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split('.')) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else ()
            base += tuple((node.module or '').split('.')) if node.module else ()
            names = [(*base, alias.name) for alias in node.names]
        else:
            continue
        found.update(name[1:] for name in names if name[0] == PACKAGE.name and len(name) > 1)
    return found


@pytest.mark.parametrize('path', MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_from_its_own_room_and_from_below(path):
    own = path.relative_to(PACKAGE).with_suffix('').parts
    for module in imported(path):
        assert module[0] == own[0] or HEIGHT[room(module)] < HEIGHT[room(own)], (
            f'{".".join(own)} imports {".".join(module)}'
        )


def test_every_room_has_its_layer():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == '.py'}
    rooms |= {path.parent.name for path in PACKAGE.glob('*/__init__.py')}
    assert rooms == set(HEIGHT) - {'__main__'}


def test_the_picture_of_the_layout_has_every_room_above_what_it_may_import():
    page = (PACKAGE.parent / 'CONTRIBUTING.md').read_text()
    picture = page.partition('mmvision_mamba/\n')[2].partition('\nconfigs/')[0]
    drawn = [line.split()[0].removesuffix('.py').rstrip('/') for line in picture.splitlines()]
    heights = [HEIGHT[room] for room in drawn]
    assert heights == sorted(heights, reverse=True)
    assert set(drawn) >= {path.parent.name for path in PACKAGE.glob('*/__init__.py')}
