"""Read mutated checkpoints in one process: ``python mutate_checkpoints.py COUNT SEED``.

Prints what was not as promised, and at the end how many were refused and how many read.
"""

import io
import random
import resource
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save

from mmvision_mamba.checkpoints import check_whole, read_checkpoint
from mmvision_mamba.checkpoints.reading.plain import to_plain
from mmvision_mamba.errors import InputError

MEBIBYTE = 2**20
MOST_SECONDS = 5
MOST_MEMORY = 256 * MEBIBYTE
# What pickles are made of, to be put where it does not belong.
FRAGMENTS = [
    *(bytes([code]) for code in b'().0123IJKLMNQRXU]}abcdehjqrstu\x80\x81\x85\x86\x87\x88\x89\x8a'),
    b'h\x00',
    b'q\x00',
    b'h\x01',
    b'\x8a\xff',
    b'J\xff\xff\xff\x7f',
    b'X\xff\xff\xff\xff',
    b'cnumpy\ndtype\n',
    b'cnumpy\nndarray\n',
    b'c_codecs\nencode\n',
    b'cposix\nsystem\n',
    b'ccollections\nOrderedDict\n',
    b'ctorch._utils\n_rebuild_tensor_v2\n',
    b'ctorch\nFloatStorage\n',
]


def training_checkpoint() -> dict:
    return dict(
        state_dict=torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).state_dict(),
        meta=dict(
            epoch=1, seed=np.int64(3), palette=np.eye(3), classes=('a', 'b'), name=np.str_('a')
        ),
        message_hub=dict(log_scalars={'loss': HistoryBuffer([1.0, 2.0], [1, 1])}),
        optimizer=dict(state={0: dict(step=torch.tensor(2.0))}, param_groups=[dict(lr=1e-3)]),
        milestones=Counter([8, 11]),
    )


def originals() -> dict[str, bytes]:
    made = {}
    for form, checkpoint in {
        'new': to_plain(training_checkpoint()),
        'old': training_checkpoint(),
    }.items():
        for archive in (True, False):
            file = io.BytesIO()
            torch.save(checkpoint, file, _use_new_zipfile_serialization=archive)
            made[f'{form} {"archive" if archive else "legacy"}'] = file.getvalue()
    made['safetensors'] = save(training_checkpoint()['state_dict'])
    return made


def mutated(content: bytes, rng: random.Random) -> bytes:
    """With a few bits flipped, bytes changed, put in, taken out, repeated or swapped."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(data) or 1)
        kind = rng.randrange(7)
        if kind == 0:
            data[at : at + 1] = bytes([data[at] ^ 1 << rng.randrange(8)])
        elif kind == 1:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 2:
            data[at:at] = rng.choice(FRAGMENTS)
        elif kind == 3:
            fragment = rng.choice(FRAGMENTS)
            data[at : at + len(fragment)] = fragment
        elif kind == 4:
            del data[at : at + rng.choice((1, 2, 8, len(data)))]
        elif kind == 5:
            begin = rng.randrange(len(data))
            data[at:at] = data[begin : begin + rng.choice((1, 4, 40, 400))] * rng.choice((1, 3))
        else:
            data[at : at + 8] = rng.choice((0, 1, 2**31, 2**40, 2**63 - 1)).to_bytes(8, 'little')
        if not data:
            break
    return bytes(data)


def mutated_inside(content: bytes, rng: random.Random) -> bytes:
    """An archive that is whole, with another pickle in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, 'w') as new:
        for name in old.namelist():
            entry = old.read(name)
            new.writestr(name, mutated(entry, rng) if name.endswith('data.pkl') else entry)
    return file.getvalue()


def fault(path: Path) -> str | None:
    """What is not as promised in reading a file; None where it is read or refused."""
    began = time.monotonic()
    for read in (check_whole, read_checkpoint):
        try:
            read(path)
        except InputError as error:
            if '\n' in str(error) and 'safetensors' not in str(error):
                return f'a message of several lines: {error}'
        except Exception as error:
            return f'{read.__name__} raised {type(error).__name__}: {error}'
    seconds = time.monotonic() - began
    return f'took {seconds:.1f} s' if seconds > MOST_SECONDS else None


def main(count: int, seed: int) -> None:
    made = originals()
    results = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'a.pth')
        for content in made.values():
            path.write_bytes(content)
            read_checkpoint(path)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for i in range(count):
            rng = random.Random(f'{seed} {i}')
            name = rng.choice(list(made))
            inside = 'archive' in name and rng.random() < 0.7
            content = (mutated_inside if inside else mutated)(made[name], rng)
            path.write_bytes(content)
            problem = fault(path)
            if problem:
                print(f'fault: seed {seed}, number {i}, {name}: {problem}')
            try:
                read_checkpoint(path)
                results['read'] += 1
            except InputError:
                results['refused'] += 1
            except Exception:  # said above
                results['faults'] += 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if grown > MOST_MEMORY:
        print(f'fault: took {grown / MEBIBYTE:.0f} MiB')
    print(dict(results))


if __name__ == '__main__':
    main(*map(int, sys.argv[1:]))
