"""What mkdocs does besides: pages and files of the repository that lie outside of docs/.

Links in Markdown are those of the repository, where they are read too. Of what they lead to outside
of docs/, Markdown becomes a page, images are copied, and the text of anything else is shown.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# The README says what the first page does.
SAME = {'README.md': 'index.md'}
PAGES = sorted(page.name for page in ROOT.glob('*.md') if page.name not in SAME)
IMAGES = {'.png', '.svg', '.jpg'}
LANGUAGES = {'.py': 'python', '.json': 'json', '.yml': 'yaml', '.cff': 'yaml', '.sh': 'bash'}
OUTSIDE = 'repository/'
# Code shows links as they are.
_LINK = re.compile(r'(```.*?```|`[^`\n]*`)|(\]\()([^)\s]+)(\))', re.DOTALL)
_ROLE = re.compile(r':(?:class|func|meth|data|attr|mod):(?=<code>|`)')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name in PAGES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    linked = {
        target
        for page in files.documentation_pages()
        for _, _, link, _ in _LINK.findall(page.content_string)
        if (target := _target(page, link)) and _place(target).startswith(OUTSIDE)
    }
    for target in sorted(linked):
        files.append(_outside(target, config))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    def moved(match: re.Match) -> str:
        code, opening, link, closing = match.groups()
        target = None if code else _target(page.file, link)
        if target is None:
            return match[0]
        _, hash_, anchor = link.partition('#')
        start = posixpath.dirname(page.file.src_uri)
        return f'{opening}{posixpath.relpath(_place(target), start)}{hash_}{anchor}{closing}'

    return _LINK.sub(moved, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    # Docstrings name what they mean in Sphinx's way too.
    return _ROLE.sub('', html)


def _target(page: File, link: str) -> str | None:
    """The path in the repository that a link of a page leads to; None of links to elsewhere."""
    path = link.partition('#')[0]
    if not path or re.match(r'\w+:', path) or page.src_uri.startswith(OUTSIDE):
        return None
    folder = '' if page.src_uri in PAGES else posixpath.join('docs', page.src_uri, '..')
    return posixpath.normpath(posixpath.join(folder, path))


def _place(target: str) -> str:
    """Where the site has a path of the repository."""
    if target in PAGES or target in SAME:
        return SAME.get(target, target)
    if target.startswith('docs/'):
        return target.removeprefix('docs/')
    return f'{OUTSIDE}{target}' + ('' if Path(target).suffix in IMAGES else '.md')


def _outside(target: str, config: MkDocsConfig) -> File:
    path = ROOT / target
    if path.suffix in IMAGES:
        return File.generated(config, _place(target), abs_src_path=str(path))
    if path.is_dir():
        names = sorted(each.name for each in path.iterdir() if not each.name.startswith(('_', '.')))
        shown = '\n'.join(f'- {name}' for name in names)
    else:
        shown = f'```{LANGUAGES.get(path.suffix, "text")}\n{path.read_text()}```'
    text = f'---\nsearch:\n  exclude: true\n---\n# {target}\n\n{shown}\n'
    return File.generated(config, _place(target), content=text, inclusion=InclusionLevel.NOT_IN_NAV)
