"""An exported model in the place of a config's model, for testing on the config's data."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData
from torch import Tensor

from ..datasets.checking.check import leaf_datasets
from ..datasets.checking.classes import dataset_labels, shown_names
from ..errors import InputError
from .exported import ExportedModel
from .image_files import MAX_PIXELS
from .input_pipeline import Loaded, step_name
from .opening import TASKS
from .results import DetectionResult


@MODELS.register_module()
class ExportedNetwork(BaseModel):
    """An exported model as MMEngine's loops have models: it prepares images by itself.

    Args:
        folder: Of the exported model.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.model = ExportedModel(folder, probabilities=False, max_pixels=MAX_PIXELS)

    def forward(self, inputs: list[Tensor], data_samples: list, mode: str = 'predict') -> list:
        """Fill in what is found in images.

        Args:
            inputs: (3, H, W) each, BGR, as large as they are.
            data_samples: mmdet's or mmseg's, of the images.
            mode: ``'predict'``.
        """
        for image, sample in zip(inputs, data_samples):
            pixels = image.permute(1, 2, 0).flip(2).cpu().numpy().astype(np.uint8)
            prepared = self.model.transform(Loaded(pixels, Path(sample.get('img_path') or 'image')))
            [result] = self.model.predict([prepared])
            if isinstance(result, DetectionResult):
                sample.pred_instances = _instances(result)
            else:
                labels = torch.from_numpy(result.label_map.astype(np.int64))
                sample.pred_sem_seg = PixelData(data=labels[None])
        return data_samples


def use_exported(cfg: Config, folder: str) -> None:
    """Have a config test an exported model in place of its own, on whole images of its data.

    Raises:
        InputError: The exported model is of another task, or of other classes than the data.
    """
    model = ExportedModel(folder, probabilities=False, max_pixels=MAX_PIXELS)
    if TASKS.get(cfg.get('default_scope')) != model.task:
        raise InputError(f'{folder} is for {model.task}, and the config is not')
    for dataset in leaf_datasets(cfg.test_dataloader.dataset):
        labels = dataset_labels(dataset, cfg.default_scope)
        if labels is not None and labels.classes and tuple(labels.classes) != model.class_names:
            raise InputError(
                f'{folder} has the classes {shown_names(model.class_names)}, and the data of the '
                f'config {shown_names(labels.classes)}: they must be equal'
            )
        # What changes an image is done by the exported model.
        dataset.pipeline = [
            step for step in dataset.pipeline if step_name(step).startswith(('Load', 'Pack'))
        ]
    cfg.model = dict(type='ExportedNetwork', folder=folder)
    cfg.pop('data_preprocessor', None)  # which MMEngine would hand to it


def _instances(result: DetectionResult) -> InstanceData:
    found = InstanceData(
        bboxes=torch.from_numpy(result.boxes),
        scores=torch.from_numpy(result.scores),
        labels=torch.from_numpy(result.labels),
    )
    masks = result.masks
    if masks is not None:
        found.masks = torch.from_numpy(masks)
    return found
