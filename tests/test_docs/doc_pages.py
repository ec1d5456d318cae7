"""What the pages hold: links, headings and commands, as Markdown has them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Those of the repository; a page of the API reference has more headings than its text.
PAGES = sorted([*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md')])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
NEEDS = '# Needs '
_FENCED = re.compile(r'^```.*?^```', re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of shell commands.

    Attributes:
        commands: As they are typed, a line each, without comments.
        needs: What it says that it needs, empty where nothing.
    """

    commands: tuple[str, ...]
    needs: str


def links(page: Path) -> list[str]:
    return re.findall(r'\]\(([^)\s]+)\)', re.sub(r'`[^`\n]*`', '', text(page)))


def anchors(page: Path, slug) -> set[str]:
    return {slug(heading) for heading in re.findall(r'^#+ (.*)$', text(page), re.MULTILINE)}


def github_slug(heading: str) -> str:
    return re.sub(r'[^\w\- ]', '', heading.strip().lower()).replace(' ', '-')


def mkdocs_slug(heading: str) -> str:
    return re.sub(r'[-\s]+', '-', re.sub(r'[^\w\s-]', '', heading).strip().lower())


def blocks(page: Path) -> Iterator[Block]:
    for block in re.findall(r'^```bash\n(.*?)^```', page.read_text(), re.DOTALL | re.MULTILINE):
        lines = block.replace('\\\n', ' ').splitlines()
        needs = [line.removeprefix(NEEDS) for line in lines if line.startswith(NEEDS)]
        commands = (' '.join(shlex.split(line, comments=True)) and line for line in lines)
        yield Block(tuple(filter(None, commands)), ' '.join(needs))


def text(page: Path) -> str:
    """Without what is fenced."""
    return _FENCED.sub('', page.read_text())


def python_blocks(page: Path) -> list[str]:
    return re.findall(r'^```python\n(.*?)^```', page.read_text(), re.DOTALL | re.MULTILINE)


def inline_code(page: Path) -> list[str]:
    return [' '.join(code.split()) for code in re.findall(r'`([^`]+)`', text(page))]


def calls(command: str) -> list[list[str]]:
    """The programs that a line of shell starts, each with its arguments."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.commenters = '#'
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for token in lexer:
        if set(token) <= set('|;&()'):
            found.append([])
        else:
            found[-1].append(token)
    return [_without_variables(call) for call in found if call]


def _without_variables(call: list[str]) -> list[str]:
    while call and re.fullmatch(r'\w+=.*', call[0], re.DOTALL):
        call = call[1:]
    return call
