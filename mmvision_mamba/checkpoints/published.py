"""What was published: names, where each file lies, licences, and scores as published."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

# What a repository of timm's calls its weights.
TIMM_FILE = 'model.safetensors'


@dataclass(frozen=True)
class Published:
    """One published file.

    Attributes:
        name: What a config or a command line calls it by. A model has the name of its config here.
        kind: ``'backbone'``, trained on ImageNet, or ``'model'``, a whole detector or segmentor.
        arch: The backbone's arch in this package.
        repo: Repository on the Hugging Face hub.
        filename: File in that repository.
        licence: Of the weights, not of this code.
        input_size: Side of the training images in pixels, or (short, long) side at most.
        scores: As published by the authors; empty where none was.
        params: Millions of parameters as published, of a backbone with its classifier.
        flops: Billions of FLOPs as published, a multiply-add counted as one.
    """

    name: str
    kind: str
    family: str
    arch: str
    repo: str
    filename: str
    licence: str
    input_size: int | tuple[int, int]
    scores: dict[str, float] = field(default_factory=dict)
    params: float | None = None
    flops: float | None = None

    @property
    def local_name(self) -> str:
        """What the file is called in torch's folder of checkpoints, if a user puts it there."""
        return f'{self.name}.safetensors' if self.filename == TIMM_FILE else self.filename


# Of ImageNet backbones, as their authors publish them: top-1 accuracy, millions of parameters,
# billions of FLOPs.
_BACKBONE_FIGURES = {
    'mambavision_t.in1k': (82.3, 31.8, 4.4),
    'mambavision_t2.in1k': (82.7, 35.1, 5.1),
    'mambavision_s.in1k': (83.3, 50.1, 7.5),
    'mambavision_b.in1k': (84.2, 97.7, 15.0),
    'mambavision_l.in1k': (85.0, 227.9, 34.9),
    'mambavision_l2.in1k': (85.3, 241.5, 37.5),
    'mambavision_b.in21k': (84.9, 97.7, 15.0),
    'mambavision_l.in21k': (86.1, 227.9, 34.9),
    'mambavision_l2_512.in21k': (87.3, 241.5, 196.3),
    'mambavision_l3_256.in21k': (87.3, 739.6, 122.3),
    'mambavision_l3_512.in21k': (88.1, 739.6, 489.1),
    'mambaout_femto.in1k': (78.9, 7.3, 1.2),
    'mambaout_kobe.in1k': (80.0, 9.1, 1.5),
    'mambaout_tiny.in1k': (82.7, 26.5, 4.5),
    'mambaout_small.in1k': (84.1, 48.5, 9.0),
    'mambaout_base.in1k': (84.2, 84.8, 15.8),
}


def _backbone_figures(name: str) -> dict:
    if name not in _BACKBONE_FIGURES:
        return {}
    top1, params, flops = _BACKBONE_FIGURES[name]
    return dict(scores={'top-1': top1}, params=params, flops=flops)


def _mambavision_backbones() -> list[Published]:
    files = {
        'mambavision_t.in1k': ('T-1K', 'mambavision_tiny_1k.pth.tar', 224),
        'mambavision_t2.in1k': ('T2-1K', 'mambavision_tiny2_1k.pth.tar', 224),
        'mambavision_s.in1k': ('S-1K', 'mambavision_small_1k.pth.tar', 224),
        'mambavision_b.in1k': ('B-1K', 'mambavision_base_1k.pth.tar', 224),
        'mambavision_l.in1k': ('L-1K', 'mambavision_large_1k.pth.tar', 224),
        'mambavision_l2.in1k': ('L2-1K', 'mambavision_large2_1k.pth.tar', 224),
        'mambavision_b.in21k': ('B-21K', 'mambavision_base_21k.pth.tar', 224),
        'mambavision_l.in21k': ('L-21K', 'mambavision_large_21k.pth.tar', 224),
        'mambavision_l2_512.in21k': ('L2-512-21K', 'mambavision_L2_21k_240m_512.pth.tar', 512),
        'mambavision_l3_256.in21k': ('L3-256-21K', 'mambavision_L3_21k_740m_256.pth.tar', 256),
        'mambavision_l3_512.in21k': ('L3-512-21K', 'mambavision_L3_21k_740m_512.pth.tar', 512),
    }
    return [
        Published(
            name=name,
            kind='backbone',
            family='MambaVision',
            arch=name.removeprefix('mambavision_').split('.')[0].split('_')[0],
            repo=f'nvidia/MambaVision-{repo}',
            filename=filename,
            licence='CC-BY-NC-SA-4.0',
            input_size=size,
            **_backbone_figures(name),
        )
        for name, (repo, filename, size) in files.items()
    ]


def _mambavision_models() -> list[Published]:
    sizes = {'t': 'tiny', 's': 'small', 'b': 'base'}
    coco = {'t': (51.1, 44.3, 86), 's': (52.3, 45.2, 108), 'b': (52.8, 45.7, 145)}
    ade = {'t': (46.0, 55), 's': (48.2, 84), 'b': (49.1, 126), 'l3': (53.2, 780)}
    flops = {
        'cascade_mask_rcnn_mambavision_t_coco': 740,
        'cascade_mask_rcnn_mambavision_s_coco': 828,
        'cascade_mask_rcnn_mambavision_b_coco': 964,
        'upernet_mambavision_t_ade20k': 945,
        'upernet_mambavision_s_ade20k': 1135,
        'upernet_mambavision_b_ade20k': 1342,
        'upernet_mambavision_l3_ade20k': 3670,
    }
    models = [
        (
            f'cascade_mask_rcnn_mambavision_{arch}_coco',
            arch,
            f'cascade_mask_rcnn_mamba_vision_{sizes[arch]}_3x_coco',
            (800, 1333),
            {'box AP': box, 'mask AP': mask},
            params,
        )
        for arch, (box, mask, params) in coco.items()
    ]
    for arch, (miou, params) in ade.items():
        side = 640 if arch == 'l3' else 512
        size = 'l3_21k' if arch == 'l3' else sizes[arch]
        repo = f'mamba_vision_160k_ade20k-{side}x{side}_{size}'
        name = f'upernet_mambavision_{arch}_ade20k'
        models.append((name, arch, repo, side, {'mIoU': miou}, params))
    return [
        Published(
            name=name,
            kind='model',
            family='MambaVision',
            arch=arch,
            repo=f'nvidia/{repo}',
            filename=f'{repo}.pth',
            licence='CC-BY-NC-SA-4.0',
            input_size=size,
            scores=scores,
            params=params,
            flops=flops[name],
        )
        for name, arch, repo, size, scores, params in models
    ]


def _mambaout_backbones() -> list[Published]:
    """Those that the installed timm knows, under its names."""
    import timm

    cfgs = [timm.get_pretrained_cfg(name) for name in timm.list_pretrained('mambaout_*')]
    return [
        Published(
            name=f'{cfg.architecture}.{cfg.tag}',
            kind='backbone',
            family='MambaOut',
            arch=cfg.architecture.removeprefix('mambaout_'),
            repo=cfg.hf_hub_id,
            filename=TIMM_FILE,
            licence=cfg.license,
            input_size=cfg.input_size[-1],
            **_backbone_figures(f'{cfg.architecture}.{cfg.tag}'),
        )
        for cfg in cfgs
    ]


class _Catalogue(Mapping[str, Published]):
    """Of all that was published by name; timm, which takes a second, is asked with the first."""

    @cached_property
    def _entries(self) -> dict[str, Published]:
        entries = (*_mambavision_backbones(), *_mambavision_models(), *_mambaout_backbones())
        return {entry.name: entry for entry in entries}

    def __getitem__(self, name: str) -> Published:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


PUBLISHED: Mapping[str, Published] = _Catalogue()
