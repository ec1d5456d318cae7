"""Make the environment of the project in ``.venv``: ``make env`` runs this.

With an NVIDIA GPU, mmcv is built with its CUDA operators, by a compiler out of the package index
where no CUDA toolkit is installed.

Standard library only, and syntax that an old Python can still parse, so that
a wrong interpreter is told so instead of failing on this file.
"""

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time

import cuda_compiler

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
        ('Unsupported gpu architecture', 'Unknown CUDA arch'),
        "this CUDA's compiler does not know one of the GPUs or of TORCH_CUDA_ARCH_LIST: name "
        'others in TORCH_CUDA_ARCH_LIST, or run make env DEVICE=cpu.',
    ),
    (
        ('unsupported GNU version', 'is greater than the maximum required version'),
        "the C++ compiler is newer than CUDA's compiler accepts: name an older one in CC and CXX.",
    ),
    (
        ('Python.h: No such file',),
        "Python's headers are missing: install python3-dev (Debian) or python3-devel (Fedora).",
    ),
)

PROBE = """
import importlib.metadata, os, sysconfig, torch
from torch.utils.cpp_extension import include_paths
print(torch.__version__)
print(torch.version.cuda or '')
try:
    print(importlib.metadata.version('cuda-toolkit'))
except importlib.metadata.PackageNotFoundError:
    print()
print(sysconfig.get_paths()['purelib'])
print(sysconfig.get_paths()['include'])
print(os.pathsep.join(include_paths()))
"""
CHECK = """
import mmcv.ops, mmdet, mmseg, mmvision_mamba
print('mmcv.ops:', mmcv.ops.get_compiling_cuda_version())
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
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, **kwargs)
            try:
                self.wait(process, what, begin)
            except BaseException:
                process.terminate()
                process.wait()
                raise
            log.seek(begin)
            output = log.read().decode(errors='replace')
        print(' %.0f s' % (time.time() - start))
        if process.returncode:
            raise SetupError(self.explain(what, output))
        return output

    def wait(self, process, what, begin):
        """Until a process ends; on a terminal, show how many of ninja's files are compiled."""
        shown = None
        while True:
            try:
                process.wait(timeout=1)
                return
            except subprocess.TimeoutExpired:
                pass
            if not sys.stdout.isatty():
                continue
            with open(self.log, 'rb') as log:
                log.seek(begin)
                steps = re.findall(rb'^ *\[(\d+)/(\d+)\]', log.read(), re.MULTILINE)
            if steps and steps[-1] != shown:
                shown = steps[-1]
                line = '  %s: %d of %d files ...' % (what, *map(int, shown))
                print('\r' + line, end='', flush=True)

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


class Torch:
    """The installed torch, as far as building mmcv asks."""

    def __init__(self, env):
        output = subprocess.check_output([env.python, '-c', PROBE], stderr=subprocess.DEVNULL)
        (
            self.version,
            self.cuda,  # '13.0', or '' of a build without CUDA
            self.toolkit,
            self.site_packages,
            self.python_include,
            includes,
        ) = output.decode().splitlines()
        self.includes = includes.split(os.pathsep)

    def check(self, architectures, driver):
        """Say why this torch can not run on the GPUs that an environment is made for."""
        if not architectures:
            return
        if not self.cuda:
            raise SetupError(
                'torch %s, which the package index gave or which was there, is a build without '
                'CUDA: remove the environment, name an index that has a CUDA build in '
                'PIP_INDEX_URL and run make env again, or run make env DEVICE=cpu.' % self.version
            )
        if driver and driver[0] < int(self.cuda.split('.')[0]):
            raise SetupError(
                "NVIDIA's driver is for CUDA %d.%d and torch %s for CUDA %s: update the driver, "
                'name an index of builds for CUDA %d in PIP_INDEX_URL, or run make env DEVICE=cpu.'
                % (*driver, self.version, self.cuda, driver[0])
            )


def mmcv_wheel(env, architectures):
    """Path of an mmcv wheel for this torch and Python, from the cache or built into it.

    Args:
        architectures: Those of the GPUs it is for, ``'8.0;9.0'``; ``''`` for a CPU.
    """
    version = pinned('onedl-mmcv')
    torch = Torch(env)
    torch.check(architectures, cuda_compiler.gpus()[0])
    parts = ['mmcv', version, 'torch', torch.version, 'cuda' if architectures else 'cpu']
    parts += [architectures.replace(';', '_')] if architectures else []
    parts += [platform.machine(), 'cp%d%d' % sys.version_info[:2]]
    folder = os.path.join(CACHE, 'wheels', '-'.join(parts))
    if os.path.isdir(folder):
        return os.path.join(folder, os.listdir(folder)[0])
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    build = tempfile.mkdtemp(dir=os.path.dirname(folder), prefix='building-')
    try:
        wheels = os.path.join(build, 'wheel')
        build_mmcv(env, torch, version, architectures, build, wheels)
        try:
            os.rename(wheels, folder)
        except OSError:  # another set-up on this machine built the same wheel first
            if not os.path.isdir(folder):
                raise
        return os.path.join(folder, os.listdir(folder)[0])
    finally:
        shutil.rmtree(build, ignore_errors=True)


def build_mmcv(env, torch, version, architectures, build, wheels):
    """Build mmcv's wheel into the folder ``wheels``, which is below the folder ``build``."""
    header, flags = precompiled_header(env, torch, build)
    variables = dict(
        os.environ,
        CFLAGS=' '.join([*flags, '-include', header]),
        PATH=os.path.dirname(env.python) + os.pathsep + os.environ['PATH'],
    )
    what = 'compiling mmcv, some minutes'
    if architectures:
        variables.update(
            FORCE_CUDA='1',
            TORCH_CUDA_ARCH_LIST=architectures,
            CUDA_HOME=cuda_home(env, torch, os.path.join(build, 'cuda')),
        )
        what = 'compiling mmcv with its CUDA operators for %s' % architectures
    else:
        variables.update(CUDA_VISIBLE_DEVICES='', FORCE_CUDA='0')
    variables.setdefault('MAX_JOBS', str(jobs()))
    command = [env.python, '-m', 'pip', 'wheel', '--verbose', '--no-deps', '--no-build-isolation']
    command += ['--no-cache-dir', '--no-binary=onedl-mmcv', '--disable-pip-version-check']
    env.run(what, [*command, '-w', wheels, 'onedl-mmcv==' + version], env=variables)


def jobs():
    """How many compilers the cores, and the memory at 2 GB each, allow."""
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2e9
    return max(1, min(len(os.sched_getaffinity(0)) + 1, int(memory)))


def precompiled_header(env, torch, build):
    """A header of torch's, compiled for mmcv's many files, and the flags that it was compiled with.

    GCC ignores one whose flags differ from the user's, silently.
    """
    flags = ['-O2', '-g0', '-w']
    header = os.path.join(build, 'torch_headers.h')
    with open(header, 'w') as f:
        f.write('#include <ATen/ATen.h>\n#include <torch/types.h>\n')
    command = [os.environ.get('CXX', 'c++'), *flags, '-fPIC', '-std=c++17']
    command += ['-DTORCH_API_INCLUDE_EXTENSION_H', '-DTORCH_EXTENSION_NAME=_ext']
    command += ['-I' + path for path in [*torch.includes, torch.python_include]]
    command += ['-x', 'c++-header', header, '-o', header + '.gch']
    env.run('precompiling the torch headers for mmcv', command)
    return header, flags


def cuda_home(env, torch, folder):
    """A system's CUDA toolkit that fits torch, or one of packages, installed into ``folder``."""
    major = int(torch.cuda.split('.')[0])
    system = cuda_compiler.system_toolkit(major)
    if system:
        return system
    if major < cuda_compiler.FIRST_PACKAGED:
        raise SetupError(
            "torch %s is built for CUDA %s, whose compiler is not on the package index, and mmcv's "
            'CUDA operators need it: install the CUDA toolkit %s and set CUDA_HOME, or run make '
            'env DEVICE=cpu.' % (torch.version, torch.cuda, torch.cuda)
        )
    command = [env.python, '-m', 'pip', 'install', '--disable-pip-version-check']
    command += ['--progress-bar=off', '--target', folder]
    command += [cuda_compiler.requirement(torch.cuda, torch.toolkit)]
    env.run("CUDA's compiler, out of packages", command)
    torch_cuda = os.path.join(torch.site_packages, 'nvidia', 'cu%d' % major)
    return cuda_compiler.assemble(folder, torch_cuda)


def wanted_architectures(device):
    """What mmcv's CUDA operators are to be compiled for, ``'8.0;9.0'``, or ``''`` for a CPU.

    None: whatever an environment has that is there already, since nobody asked and no GPU is here.
    """
    if device == 'cpu':
        return ''
    at_hand = cuda_compiler.gpus()[1]
    if device == 'auto' and not at_hand:
        return None
    named = os.environ.get('TORCH_CUDA_ARCH_LIST', '').replace(' ', ';')
    return named or ';'.join(at_hand) or cuda_compiler.ARCHITECTURES


def is_whole(stamp_file, architectures):
    """Whether the environment was set up to its end, and for these architectures (None: any)."""
    try:
        with open(stamp_file) as f:
            return architectures in (None, f.read())
    except FileNotFoundError:
        return False


def stamp(env):
    """A file that exists when this very set of requirements was installed whole."""
    digest = hashlib.sha256(('%s %s' % (sys.version, ROOT)).encode())
    kernels = os.path.join(ROOT, 'mmvision_mamba', 'ops', 'csrc')
    for path in [__file__, cuda_compiler.__file__, os.path.join(ROOT, 'setup.py')] + [
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
    parser.add_argument(
        '--device',
        choices=('auto', 'cuda', 'cpu'),
        default='auto',
        help='what mmcv is built for: cuda also where no GPU is; TORCH_CUDA_ARCH_LIST names GPUs '
        'that are not at hand (default: cuda where a GPU is)',
    )
    args = parser.parse_args()
    env = Environment(os.path.abspath(args.venv))
    check_machine(env.folder)
    done, architectures = stamp(env), wanted_architectures(args.device)
    if is_whole(done, architectures):
        return
    architectures = architectures or ''
    start = time.time()
    print('Setting up %s%s' % (env.folder, ' for GPUs ' + architectures if architectures else ''))
    env.create()
    env.pip('pip and build tools', '-U', 'pip', '-r', os.path.join(REQUIREMENTS, 'build.txt'))
    env.pip('torch and torchvision (the largest download, 2 GB)', 'torch', 'torchvision')
    # Of the same version may be one that was built for another device.
    env.pip('mmcv', '--no-deps', '--force-reinstall', mmcv_wheel(env, architectures))
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
    found = env.run('checking', [env.python, '-c', CHECK])
    if architectures and 'mmcv.ops: not available' in found:
        raise SetupError('mmcv was built without its CUDA operators: see %s.' % env.log)
    with open(done, 'w') as f:
        f.write(architectures)
    print('Ready in %.0f s.' % (time.time() - start))


if __name__ == '__main__':
    try:
        main()
    except SetupError as error:
        sys.exit('make env: %s' % error)
    except KeyboardInterrupt:
        sys.exit('\nmake env: interrupted; run it again to go on.')
