"""Does the scan help dense prediction? Patterns and variants of mixers, trained under one budget.

The question of the MambaOut paper (arXiv 2405.07992), and the ablations of the MambaVision paper
(arXiv 2407.08083), at the size of the embedded data set: see ``short_training.py`` for how each is
trained, and docs/research.md, which this writes, for what came of it.

    python benchmarks/ablation.py
    python benchmarks/ablation.py --seeds 1
"""

import argparse

from short_training import Entry, train_all, write_table

MAMBAS_OWN = dict(causal=True, symmetric=False, gated=True)


def mambavision(name: str, *mixers: str, **mixer: bool) -> Entry:
    """A small MambaVision with patterns of its last two stages, or with another Mamba mixer."""
    arch = dict(dim=32, in_dim=16, depths=(1, 2, 4, 2), num_heads=(1, 2, 4, 8))
    arch |= dict(mixers=(None, None, *mixers)) if mixers else {}
    arch |= dict(mixer=mixer) if mixer else {}
    backbone = dict(type='MambaVision', arch=arch, window_size=(8, 8, 14, 7), drop_path_rate=0.0)
    return Entry(name, backbone, (32, 64, 128, 256))


def mambaout(name: str, *mixers: str) -> Entry:
    """A small MambaOut with patterns of its stages."""
    arch = dict(depths=(1, 1, 4, 1), dims=(48, 96, 192, 288))
    arch |= dict(mixers=mixers) if mixers else {}
    return Entry(name, dict(type='MambaOut', arch=arch, drop_path_rate=0.0), arch['dims'])


ENTRIES = (
    mambavision('MambaVision, SSAA SA'),
    mambavision('MambaVision, all G', 'GGGG', 'GG'),
    mambavision(
        'MambaVision, all S, gated: G with the scan', 'SSSS', 'SS', symmetric=False, gated=True
    ),
    mambaout('MambaOut, all G'),
    mambaout('MambaOut, all S: G with the scan', 'S', 'S', 'SSSS', 'S'),
    mambavision('MambaVision, all S', 'SSSS', 'SS'),
    mambavision('MambaVision, all A', 'AAAA', 'AA'),
    mambavision('MambaVision, SASA SA', 'SASA', 'SA'),
    mambavision("MambaVision, SSAA SA, Mamba's own mixer", **MAMBAS_OWN),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seeds', type=int, default=3, help='how many (default: 3)')
    parser.add_argument('--table', action='store_true', help='of the trainings there are')
    args = parser.parse_args()
    if not args.table:
        train_all(ENTRIES, range(args.seeds))
    write_table('ablation', ENTRIES, range(args.seeds))


if __name__ == '__main__':
    main()
