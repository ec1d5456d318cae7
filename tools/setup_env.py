"""Make the environment of the project in ``.venv``: ``make env`` runs this.

Standard library only, and syntax that an old Python can still parse, so that
a wrong interpreter is told so instead of failing on this file.
"""

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
REQUIREMENTS = os.path.join(ROOT, 'requirements')
CONSTRAINTS = os.path.join(REQUIREMENTS, 'constraints.txt')
CACHE = os.path.join(
    os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'mmvision_mamba'
)
FREE_GB = 9

# What pip and the compiler print, and the sentence a user can act on.
KNOWN_FAILURES = (
    (
        ('No space left on device', 'Errno 28'),
        'the disk is full: free about {gb} GB under {venv}, the temporary folder and pip cache, '
        'then run make env again.',
    ),
    (
        (
            'NewConnectionError',
            'Temporary failure in name resolution',
            'Name or service not known',
            'ConnectTimeoutError',
            'ReadTimeoutError',
            'ProxyError',
            'Network is unreachable',
            'Connection refused',
            'Connection reset',
        ),
        'the package index could not be reached: check the network, or name a mirror in '
        'PIP_INDEX_URL, then run make env again.',
    ),
    (
        ('No matching distribution found', 'Could not find a version'),
        'the package index has no build that fits this Python and platform: use CPython 3.10 to '
        '3.13 on Linux, or name an index that has it in PIP_INDEX_URL.',
    ),
    (
        ('Killed signal', 'internal compiler error', 'Cannot allocate memory'),
        'the compiler ran out of memory: free 3 GB or set MAX_JOBS=1, then run make env again.',
    ),
    (
        ('Python.h: No such file',),
        "Python's headers are missing: install python3-dev (Debian) or python3-devel (Fedora).",
    ),
)

PROBE = """
import os, sys, torch
from torch.utils.cpp_extension import CUDA_HOME, include_paths
print(torch.__version__)
print('cuda' if torch.cuda.is_available() else 'cpu')
print(CUDA_HOME or '')
print(os.pathsep.join(include_paths()))
"""


class SetupError(Exception):
    """A failure whose message is one sentence that says what to do."""


def check_machine(venv):
    if sys.version_info < (3, 10):
        raise SetupError(
            'Python %d.%d is too old: install Python 3.10 or newer and run '
            'make env PYTHON=/path/to/python3.' % sys.version_info[:2]
        )
    if platform.python_implementation() != 'CPython':
        raise SetupError(
            '%s is not supported: run make env PYTHON=/path/to/cpython3.'
            % platform.python_implementation()
        )
    compiler = os.environ.get('CXX', 'c++')
    if shutil.which(compiler) is None:
        raise SetupError(
            'no C++ compiler (%s) was found, and mmcv has to be compiled: install g++ '
            '(apt-get install g++), or name a compiler in CXX.' % compiler
        )
    free = shutil.disk_usage(os.path.dirname(venv)).free / 1e9
    if not os.path.exists(venv) and free < FREE_GB:
        raise SetupError(
            'only %.1f GB are free under %s and the environment needs %d: free some '
            'space, or name another place with VENV=/path.' % (free, os.path.dirname(venv), FREE_GB)
        )


class Environment:
    """The virtual environment: what runs in it is logged, and explained when it fails."""

    def __init__(self, folder):
        self.folder = folder
        self.python = os.path.join(folder, 'bin', 'python')
        self.log = os.path.join(folder, 'setup.log')

    def create(self):
        if (
            os.path.exists(self.python)
            and subprocess.call(
                [self.python, '-m', 'pip', '--version'],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            == 0
        ):
            return
        made = subprocess.run(
            [sys.executable, '-m', 'venv', '--clear', self.folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if made.returncode:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise SetupError(
                "Python's venv module failed: install python3-venv (Debian, Ubuntu) "
                'and check that %s can be written and has %d GB free.'
                % (os.path.dirname(self.folder), FREE_GB)
            )

    def run(self, what, command, **kwargs):
        start = time.time()
        print('  %s ...' % what, end='', flush=True)
        with open(self.log, 'ab+') as log:
            log.write(('\n$ %s\n' % ' '.join(command)).encode())
            log.flush()
            begin = log.tell()
            code = subprocess.call(command, stdout=log, stderr=subprocess.STDOUT, **kwargs)
            log.seek(begin)
            output = log.read().decode(errors='replace')
        print(' %.0f s' % (time.time() - start))
        if code:
            raise SetupError(self.explain(what, output))
        return output

    def explain(self, what, output):
        for signs, sentence in KNOWN_FAILURES:
            if any(sign in output for sign in signs):
                return sentence.format(gb=FREE_GB, venv=self.folder)
        return '%s failed: see the end of %s, mend what it names and run make env again.' % (
            what,
            self.log,
        )

    def pip(self, what, *args):
        self.run(
            what,
            [
                self.python,
                '-m',
                'pip',
                'install',
                '--progress-bar=off',
                '--disable-pip-version-check',
                '-c',
                CONSTRAINTS,
                *args,
            ],
        )


def pinned(name):
    with open(CONSTRAINTS) as f:
        for line in f:
            if line.startswith(name + '=='):
                return line.split('==')[1].strip()
    raise SetupError(
        '%s has no line %s==VERSION: restore the file from the repository.' % (CONSTRAINTS, name)
    )


def mmcv_wheel(env):
    """Path of an mmcv wheel for this torch and Python, from the cache or built into it."""
    version = pinned('onedl-mmcv')
    torch_version, device, cuda_home, includes = (
        subprocess.check_output([env.python, '-c', PROBE], stderr=subprocess.DEVNULL)
        .decode()
        .splitlines()
    )
    if device == 'cuda' and not cuda_home:
        raise SetupError(
            "a CUDA GPU is here but the CUDA compiler (nvcc) is not, and mmcv's CUDA "
            'operators need it: install the CUDA toolkit and set CUDA_HOME, or hide '
            'the GPU with CUDA_VISIBLE_DEVICES= for a CPU environment.'
        )
    folder = os.path.join(
        CACHE,
        'wheels',
        '-'.join(
            [
                'mmcv',
                version,
                'torch',
                torch_version,
                device,
                platform.machine(),
                'cp%d%d' % sys.version_info[:2],
            ]
        ),
    )
    if os.path.isdir(folder):
        return os.path.join(folder, os.listdir(folder)[0])
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    build = tempfile.mkdtemp(dir=os.path.dirname(folder), prefix='building-')
    try:
        flags = ['-O2', '-g0', '-w']
        header = os.path.join(build, 'torch_headers.h')
        with open(header, 'w') as f:
            f.write('#include <ATen/ATen.h>\n#include <torch/types.h>\n')
        # GCC ignores a precompiled header whose flags differ from the user's, silently.
        python_include = subprocess.check_output(
            [env.python, '-c', 'import sysconfig; print(sysconfig.get_paths()["include"])']
        )
        env.run(
            'precompiling the torch headers for mmcv',
            [
                os.environ.get('CXX', 'c++'),
                *flags,
                '-fPIC',
                '-std=c++17',
                '-DTORCH_API_INCLUDE_EXTENSION_H',
                '-DTORCH_EXTENSION_NAME=_ext',
                *('-I' + path for path in includes.split(os.pathsep)),
                '-I' + python_include.decode().strip(),
                '-x',
                'c++-header',
                header,
                '-o',
                header + '.gch',
            ],
        )
        variables = dict(
            os.environ,
            CFLAGS=' '.join([*flags, '-include', header]),
            PATH=os.path.dirname(env.python) + os.pathsep + os.environ['PATH'],
        )
        variables.setdefault('MAX_JOBS', str((os.cpu_count() or 1) + 1))
        wheels = os.path.join(build, 'wheel')
        env.run(
            'compiling mmcv, some minutes',
            [
                env.python,
                '-m',
                'pip',
                'wheel',
                '--no-deps',
                '--no-build-isolation',
                '--no-cache-dir',
                '--no-binary=onedl-mmcv',
                '--disable-pip-version-check',
                '-w',
                wheels,
                'onedl-mmcv==' + version,
            ],
            env=variables,
        )
        try:
            os.rename(wheels, folder)
        except OSError:  # another set-up on this machine built the same wheel first
            if not os.path.isdir(folder):
                raise
        return os.path.join(folder, os.listdir(folder)[0])
    finally:
        shutil.rmtree(build, ignore_errors=True)


def stamp(env):
    """A file that exists when this very set of requirements was installed whole."""
    digest = hashlib.sha256(('%s %s' % (sys.version, ROOT)).encode())
    kernels = os.path.join(ROOT, 'mmvision_mamba', 'ops', 'csrc')
    for path in [__file__, os.path.join(ROOT, 'setup.py')] + [
        os.path.join(folder, name)
        for folder in (REQUIREMENTS, kernels)
        for name in sorted(os.listdir(folder))
    ]:
        with open(path, 'rb') as f:
            digest.update(f.read())
    return os.path.join(env.folder, 'installed-' + digest.hexdigest()[:16])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--venv',
        default=os.path.join(ROOT, '.venv'),
        help='folder of the environment (default: .venv)',
    )
    env = Environment(os.path.abspath(parser.parse_args().venv))
    check_machine(env.folder)
    done = stamp(env)
    if os.path.exists(done):
        return
    start = time.time()
    print('Setting up %s' % env.folder)
    env.create()
    env.pip('pip and build tools', '-U', 'pip', '-r', os.path.join(REQUIREMENTS, 'build.txt'))
    env.pip('torch and torchvision (the largest download, 2 GB)', 'torch', 'torchvision')
    env.pip('mmcv', '--no-deps', mmcv_wheel(env))
    env.pip(
        'OpenMMLab, timm and the test tools',
        *(
            argument
            for name in ('runtime.txt', 'tests.txt')
            for argument in ('-r', os.path.join(REQUIREMENTS, name))
        ),
    )
    if subprocess.call([env.python, '-c', 'import cv2'], stderr=subprocess.DEVNULL):
        # A machine without libGL: the same library without its windows.
        env.pip(
            'OpenCV without a display', '--force-reinstall', '--no-deps', 'opencv-python-headless'
        )
    env.pip('mmvision_mamba and its C++ kernels', '--no-deps', '--no-build-isolation', '-e', ROOT)
    env.run('checking', [env.python, '-c', 'import mmcv.ops, mmdet, mmseg, mmvision_mamba'])
    open(done, 'w').close()
    print('Ready in %.0f s.' % (time.time() - start))


if __name__ == '__main__':
    try:
        main()
    except SetupError as error:
        sys.exit('make env: %s' % error)
    except KeyboardInterrupt:
        sys.exit('\nmake env: interrupted; run it again to go on.')
