"""CUDA's compiler for building mmcv, without an installed toolkit. Standard library only.

torch's wheels hold the headers and libraries of CUDA; what they lack, nvcc and its parts, are
packages too. Together they make a folder that serves as a ``CUDA_HOME``.
"""

import ctypes
import glob
import os
import re
import shutil
import subprocess

# What ATen's CUDA headers include. A toolkit without one of them compiles nothing here.
HEADERS = ('cuda_runtime.h', 'cublas_v2.h', 'cusparse.h', 'cusolverDn.h')
# Of GPUs that are not at hand: those that torch 2.11 runs on, less what older code of their
# generation serves (8.6 and 8.9 run code for 8.0).
ARCHITECTURES = '7.5;8.0;9.0;10.0;12.0'
# Before CUDA 13 the packages hold a part of the compiler, and no nvcc.
FIRST_PACKAGED = 13
PARTS = ('nvcc', 'nvvm', 'crt', 'cccl', 'cudart')
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*


def gpus(library='libcuda.so.1'):
    """The CUDA version of NVIDIA's driver, as (major, minor), and capabilities of visible GPUs.

    Asked of the driver itself, since torch is not there yet: ``((13, 0), ['8.0', '9.0'])``;
    ``(None, [])`` without a driver or a GPU.
    """
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return None, []
    count, version = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return None, []
    driver.cuDriverGetVersion(ctypes.byref(version))
    capabilities = set()
    for index in range(count.value):
        device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        driver.cuDeviceGet(ctypes.byref(device), index)
        driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
        driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
        capabilities.add((major.value, minor.value))
    numbers = version.value // 1000, version.value % 1000 // 10
    return numbers, ['{}.{}'.format(*capability) for capability in sorted(capabilities)]


def system_toolkit(major):
    """The folder of a whole CUDA toolkit of that major version, or None.

    As torch looks for one: ``CUDA_HOME``, ``CUDA_PATH``, the nvcc in ``PATH``, ``/usr/local/cuda``.
    """
    nvcc = shutil.which('nvcc')
    for home in (
        os.environ.get('CUDA_HOME'),
        os.environ.get('CUDA_PATH'),
        nvcc and os.path.dirname(os.path.dirname(os.path.realpath(nvcc))),
        '/usr/local/cuda',
    ):
        if (
            home
            and all(os.path.exists(os.path.join(home, 'include', name)) for name in HEADERS)
            and _release(os.path.join(home, 'bin', 'nvcc')) == major
        ):
            return home
    return None


def _release(nvcc):
    """The major version of an nvcc; None where there is none that runs."""
    try:
        output = subprocess.check_output([nvcc, '--version'], stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(rb'release (\d+)\.', output)
    return int(found.group(1)) if found else None


def requirement(cuda, toolkit):
    """What pip is to install: the compiler of the CUDA that torch was built for.

    ``cuda-toolkit`` pins each part's version; the runtime is among the parts, or nvcc would draw
    in the newest, which it does not fit.

    Args:
        cuda: torch's own CUDA version, ``'13.0'``.
        toolkit: The version of the ``cuda-toolkit`` that torch required, ``'13.0.2'``, or ``''``.
    """
    return 'cuda-toolkit[{}]=={}'.format(','.join(PARTS), toolkit or cuda + '.*')


def assemble(packages, torch_cuda):
    """Make a ``CUDA_HOME`` of the installed packages and of what torch's wheels hold.

    Args:
        packages: The folder that pip has installed the packages into (``--target``).
        torch_cuda: torch's own folder of CUDA, ``site-packages/nvidia/cu13``.

    Returns:
        Its path, within ``packages``.
    """
    home = os.path.join(packages, 'nvidia', os.path.basename(torch_cuda))
    # The compiler's own files stay real: nvcc finds its parts beside itself.
    for folder, _, names in os.walk(torch_cuda):
        here = os.path.join(home, os.path.relpath(folder, torch_cuda))
        os.makedirs(here, exist_ok=True)
        for name in names:
            if not os.path.lexists(os.path.join(here, name)):
                os.symlink(os.path.join(folder, name), os.path.join(here, name))
    # Wheels hold libraries by the names that are loaded, a linker asks for those without a number.
    for path in glob.glob(os.path.join(home, 'lib', 'lib*.so.*')):
        plain = path[: path.index('.so.') + 3]
        if not os.path.lexists(plain):
            os.symlink(path, plain)
    return home
