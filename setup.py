"""Package metadata; what to install is read from ``requirements/``."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def requirements(name: str) -> list[str]:
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith('#')]


setup(
    name='mmvision_mamba',
    version='0.1.0',
    packages=find_packages(include=['mmvision_mamba', 'mmvision_mamba.*']),
    python_requires='>=3.10',
    install_requires=requirements('runtime'),
    extras_require={'tests': requirements('tests'), 'optional': requirements('optional')},
)
