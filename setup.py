"""Package metadata; what to install is read from ``requirements/``."""

import re
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup

ROOT = Path(__file__).parent


def requirements(name: str) -> list[str]:
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith('#')]


def kernels() -> Extension:
    """The C++ kernels; where they cannot be compiled the package goes without."""
    sources = Path('mmvision_mamba', 'ops', 'csrc')
    # Apple's clang has no OpenMP: there the kernels run on one thread.
    openmp = [] if sys.platform == 'darwin' else ['-fopenmp']
    return Extension(
        'mmvision_mamba.ops._kernels',
        sources=sorted(map(str, sources.glob('*.cpp'))),
        depends=sorted(map(str, sources.glob('*.h'))),
        language='c++',
        extra_compile_args=[
            *('-std=c++17', '-O3', '-g0', '-w', '-fno-math-errno', '-fno-trapping-math'),
            *openmp,
        ],
        extra_link_args=openmp,
        optional=True,
    )


setup(
    name='mmvision_mamba',
    version=re.search(
        r"__version__ = '(.+)'", (ROOT / 'mmvision_mamba' / '__init__.py').read_text()
    )[1],
    description='MambaVision and MambaOut for dense prediction on OpenMMLab',
    license='Apache-2.0',
    packages=find_packages(include=['mmvision_mamba', 'mmvision_mamba.*']),
    package_data={'mmvision_mamba.export.html': ['site/*']},
    ext_modules=[kernels()],
    python_requires='>=3.10',
    install_requires=requirements('runtime'),
    extras_require={'tests': requirements('tests'), 'optional': requirements('optional')},
)
