"""Links between pages lead somewhere, on the site and in the repository alike."""

import os
import re
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import unquote
from urllib.request import Request, urlopen

import doc_pages as pages
import pytest
import yaml

PATH = re.compile(
    r'(?<![\w/.~-])'  # within no longer path
    r'(?:benchmarks|configs|docs|mmvision_mamba|requirements|tests|tools)/\w[\w./*-]*'
)
EXTERNAL = sorted(
    {
        link
        for name in pages.NAMES
        for link in pages.links(pages.ROOT / name)
        if link.startswith('http')
    }
)
GONE = (404, 410)  # others are of hosts that want no programs, or a password


@pytest.mark.parametrize('name', pages.NAMES)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(name):
    page = pages.ROOT / name
    for link in pages.links(page):
        if re.match(r'\w+:', link):
            continue
        path, _, anchor = unquote(link).partition('#')
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(pages.ROOT), link
        if anchor:
            # The two do not make the same of every heading.
            for slug in (pages.github_slug, pages.mkdocs_slug):
                assert anchor in pages.anchors(target, slug), link


@pytest.mark.parametrize('name', pages.NAMES)
def test_every_file_of_the_repository_that_is_named_exists(name):
    for code in pages.inline_code(pages.ROOT / name):
        for path in PATH.findall(code):
            # Names in capital letters stand for others, and so may what follows them.
            if not re.search(r'[A-Z]{3}', path):
                assert list(pages.ROOT.glob(path.rstrip('./'))), code


def test_the_site_has_every_page_once():
    # Tags of Python are mkdocs' to know.
    text = (pages.ROOT / 'mkdocs.yml').read_text()
    nav = re.findall(r'[\w/]+\.md', str(yaml.safe_load(text)['nav']))
    assert len(nav) == len(set(nav))
    docs = {name.removeprefix('docs/') for name in pages.NAMES if name.startswith('docs/')}
    assert docs <= set(nav)
    assert set(nav) - docs == {name for name in pages.NAMES if '/' not in name} - {'README.md'}


@pytest.mark.skipif('EXTERNAL_LINKS' not in os.environ, reason='asks hosts: EXTERNAL_LINKS=1')
@pytest.mark.parametrize('link', EXTERNAL)
def test_what_is_linked_elsewhere_is_there(link):
    request = Request(link, method='HEAD', headers={'User-Agent': 'Mozilla/5.0'})
    status = None
    try:
        urlopen(request, timeout=20).close()
    except HTTPError as error:
        status = error.code
    except (OSError, HTTPException) as error:
        pytest.skip(f'{link} cannot be reached: {error}')
    assert status not in GONE, link
