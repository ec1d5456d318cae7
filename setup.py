"""Package metadata; what to install is read from ``requirements/``."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def requirements(name: str) -> list[str]:
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith('#')]


setup(
    name='mmvision_mamba',
    version=re.search(
        r"__version__ = '(.+)'", (ROOT / 'mmvision_mamba' / '__init__.py').read_text()
    )[1],
    description='MambaVision and MambaOut for dense prediction on OpenMMLab',
    license='Apache-2.0',
    packages=find_packages(include=['mmvision_mamba', 'mmvision_mamba.*']),
    python_requires='>=3.10',
    install_requires=requirements('runtime'),
    extras_require={'tests': requirements('tests'), 'optional': requirements('optional')},
)
