"""Package metadata; what to install is read from ``requirements/``."""

import re
import shutil
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PACKAGE = ROOT / 'mmvision_mamba'
# What works on a clone, and stays there.
OF_A_CLONE = ('cuda_compiler.py', 'demo.py', 'make_model_zoo.py', 'setup_env.py')


class BuildWithConfigsAndTools(build_py):
    """Puts configs, tools and the model index where mim and ``mmvision`` look for them."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # those of the clone are used
            return
        mim = Path(self.build_lib, PACKAGE.name, '.mim')
        shutil.rmtree(mim, ignore_errors=True)
        left_out = shutil.ignore_patterns('__pycache__', *OF_A_CLONE)
        for folder in ('configs', 'tools'):
            shutil.copytree(ROOT / folder, mim / folder, ignore=left_out)
        shutil.copy(ROOT / 'model-index.yml', mim)


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
        py_limited_api=True,  # they know nothing of Python: one wheel is for every version of it
        optional=True,
    )


setup(
    name='mmvision_mamba',
    version=re.search(r"__version__ = '(.+)'", (PACKAGE / '__init__.py').read_text())[1],
    description='MambaVision and MambaOut for dense prediction on OpenMMLab',
    long_description=(ROOT / 'README.md').read_text('utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmvision_mamba', 'mmvision_mamba.*']),
    package_data={PACKAGE.name: ['**/*.html', '**/*.css', '**/*.js']},
    py_modules=['mmvision'],
    entry_points={'console_scripts': ['mmvision = mmvision:main']},
    ext_modules=[kernels()],
    cmdclass={'build_py': BuildWithConfigsAndTools},
    options={'bdist_wheel': {'py_limited_api': 'cp310'}},
    python_requires='>=3.10',
    install_requires=requirements('runtime'),
    extras_require={'tests': requirements('tests'), 'optional': requirements('optional')},
)
