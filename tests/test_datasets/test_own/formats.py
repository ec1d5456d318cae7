"""The drawn data set as other tools would have written it, by supervision's writers."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import supervision as sv
from PIL import Image

from mmvision_mamba.datasets import ADE_METAINFO

SPLITS = ('train', 'val')


def coco_split(shapes: Path, split: str, masks: bool = True) -> sv.DetectionDataset:
    """The drawn data set of a split; its crowds are objects here like others."""
    coco = shapes / 'coco'
    annotations = coco / 'annotations' / f'instances_{split}2017.json'
    data = sv.DetectionDataset.from_coco(
        str(coco / f'{split}2017'), str(annotations), force_masks=masks
    )
    if not masks:
        for found in data.annotations.values():
            found.mask = None
    for found in data.annotations.values():
        found.data.pop('iscrowd', None)
    return data


def ultralytics(shapes: Path, target: Path, masks: bool = True) -> Path:
    """YOLO as ultralytics has it: images/train, labels/train, data.yaml with numbered names."""
    for split in SPLITS:
        data = coco_split(shapes, split, masks)
        data.as_yolo(
            images_directory_path=str(target / 'images' / split),
            annotations_directory_path=str(target / 'labels' / split),
            approximation_percentage=0.0,
        )
        names = ''.join(f'  {number}: {name}\n' for number, name in enumerate(data.classes))
    text = f'path: ../datasets/shapes\ntrain: images/train\nval: images/val\nnames:\n{names}'
    (target / 'data.yaml').write_text(text)
    return target


def roboflow(shapes: Path, target: Path, masks: bool = True) -> Path:
    """YOLO as Roboflow exports it: train/images, train/labels, data.yaml with a list."""
    for split, folder in zip(SPLITS, ('train', 'valid')):
        data = coco_split(shapes, split, masks)
        data.as_yolo(
            images_directory_path=str(target / folder / 'images'),
            annotations_directory_path=str(target / folder / 'labels'),
            approximation_percentage=0.0,
        )
    text = (
        f'train: ../train/images\nval: ../valid/images\nnc: {len(data.classes)}\n'
        f'names: {data.classes}\n'
    )
    (target / 'data.yaml').write_text(text)
    (target / 'README.dataset.txt').write_text('shapes\n')
    return target


def roboflow_coco(shapes: Path, target: Path) -> Path:
    """COCO as Roboflow exports it: train/_annotations.coco.json beside the images."""
    for split, folder in zip(SPLITS, ('train', 'valid')):
        shutil.copytree(shapes / 'coco' / f'{split}2017', target / folder)
        path = shapes / 'coco' / 'annotations' / f'instances_{split}2017.json'
        content = json.loads(path.read_text())
        whole = dict(id=0, name='shape', supercategory='none')
        content['categories'] = [whole, *content['categories']]
        (target / folder / '_annotations.coco.json').write_text(json.dumps(content))
    return target


def one_coco_file(shapes: Path, target: Path) -> Path:
    """A single annotations.json with images beside it, as labelling tools export."""
    shutil.copytree(shapes / 'coco' / 'train2017', target / 'images')
    shutil.copy(
        shapes / 'coco' / 'annotations' / 'instances_train2017.json', target / 'annotations.json'
    )
    return target


def voc(shapes: Path, target: Path) -> Path:
    """Pascal VOC: JPEGImages, Annotations and ImageSets/Main, boxes alone."""
    lists = target / 'ImageSets' / 'Main'
    lists.mkdir(parents=True)
    for split in SPLITS:
        data = coco_split(shapes, split, masks=False)
        # Both splits of the drawn set have the same names.
        folder = target / 'of_split'
        data.as_pascal_voc(str(folder / 'images'), str(folder / 'xml'))
        names = []
        for kind, to in (('images', 'JPEGImages'), ('xml', 'Annotations')):
            (target / to).mkdir(exist_ok=True)
            for file in sorted((folder / kind).iterdir()):
                file.rename(target / to / f'{split}_{file.name}')
                names.append(f'{split}_{file.stem}')
        (lists / f'{split}.txt').write_text('\n'.join(dict.fromkeys(names)) + '\n')
        shutil.rmtree(folder)
    return target


def xml_beside(shapes: Path, target: Path) -> Path:
    """Pascal VOC's files beside the images, without lists."""
    voc(shapes, target)
    for folder in ('JPEGImages', 'Annotations'):
        for file in (target / folder).iterdir():
            file.rename(target / file.name)
    for folder in ('JPEGImages', 'Annotations', 'ImageSets'):
        shutil.rmtree(target / folder)
    return target


def labelme(shapes: Path, target: Path) -> Path:
    """LabelMe: a JSON file beside each image."""
    for split in SPLITS:
        data = coco_split(shapes, split)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of objects in several pieces
            data.as_labelme(str(target / split), str(target / split))
    return target


def index_masks(shapes: Path, target: Path) -> Path:
    """Images, index masks without a value for the unlabelled, and classes.txt; no split."""
    _maps(shapes, target, lambda labels: labels - 1)  # 0, unlabelled, becomes 255
    (target / 'classes.txt').write_text('\n'.join(ADE_METAINFO['classes']) + '\n')
    return target


def numbered_masks(shapes: Path, target: Path) -> Path:
    """The same with 0 for the unlabelled and 1 for the first class."""
    _maps(shapes, target, lambda labels: labels)
    (target / 'classes.txt').write_text('\n'.join(ADE_METAINFO['classes']) + '\n')
    return target


def colour_masks(shapes: Path, target: Path) -> Path:
    """Masks in colours, with a table of them, and a split by folders."""
    palette = np.array([(0, 0, 0), *ADE_METAINFO['palette']], np.uint8)
    _maps(shapes, target, lambda labels: palette[labels], split_folders=True)
    rows = zip(ADE_METAINFO['classes'], ADE_METAINFO['palette'])
    lines = [f'{name},{r},{g},{b}' for name, (r, g, b) in rows]
    (target / 'class_dict.csv').write_text('\n'.join(['name,r,g,b', *lines]) + '\n')
    return target


def _maps(shapes: Path, target: Path, change, split_folders: bool = False) -> None:
    ade = shapes / 'ADEChallengeData2016'
    for split, folder in (('train', 'training'), ('val', 'validation')):
        below = split if split_folders else ''
        for kind in ('images', 'masks'):
            (target / kind / below).mkdir(parents=True, exist_ok=True)
        for path in sorted((ade / 'images' / folder).iterdir()):
            shutil.copy(path, target / 'images' / below / path.name)
            labels = np.array(Image.open(ade / 'annotations' / folder / f'{path.stem}.png'))
            to = target / 'masks' / below / f'{path.stem}.png'
            Image.fromarray(change(labels)).save(to)


DETECTION = (ultralytics, roboflow, roboflow_coco, one_coco_file, voc, xml_beside, labelme)
SEGMENTATION = (index_masks, numbered_masks, colour_masks)
