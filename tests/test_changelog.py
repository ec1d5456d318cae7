import re
from pathlib import Path

import mmvision_mamba

PAGE = Path(__file__).parents[1] / 'CHANGELOG.md'


def test_the_changelog_begins_with_the_version():
    first = re.search(r'^## ([^,\s]+)', PAGE.read_text(), re.MULTILINE)
    assert first[1] == mmvision_mamba.__version__
