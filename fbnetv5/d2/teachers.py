"""Teachers from Detectron2 and projects on it, such as CenterNet2 and MaskFormer (FBNetV5's own teachers)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from yaml import YAMLError
from yaml.constructor import ConstructorError

from fbnetv5.base.errors import InputError
from fbnetv5.d2.weights import load_weights
from fbnetv5.heads.pixel_classes import likeliest_of_logits
from fbnetv5.labeling.teacher import Boxes, Pixels
from fbnetv5.labeling.teachers.model_teacher import ModelTeacher, check_num_classes, label_by_size

NEEDED = (
    "this teacher needs detectron2, which is not installed and in no package index; datasets/README.md points to its "
    "own install page"
)
MASK_CLASSIFIERS = ("MaskFormer",)  # meta-architectures, whose scores are no logits; Mask2Former's has the same name


class Detectron2Boxes(ModelTeacher):
    """Boxes of a detector of Detectron2, of the scores that its config keeps (``MODEL.ROI_HEADS.SCORE_THRESH_TEST``).

    Args:
        config_file: YAML config of the model.
        weights: its weights: safetensors, .pth, or, if trusted, .pkl.
        project: folder of the project that the model is part of, for imports.
        add_config: functions that add the project's keys to the config, in order: dotted paths, such as
            centernet.config.add_centernet_config.
        overrides: keys of the config and other values for them.
        trust_config: run the Python expressions that a config may hold, as MaskFormer's do.
        classes: names of the classes; by default those of the first data set under ``DATASETS.TEST``.
        trust_pickle: read weights from .pkl, which can run code.
        precision: float32, or bfloat16 for autocast.
        class_map: the model's class: your class, or null to drop it.
        others: classes that ``class_map`` does not name: error, keep or drop.

    Raises:
        InputError: Detectron2 or the project cannot be imported, or config, weights or class names do not fit.
    """

    def __init__(
        self,
        config_file: str,
        weights: str,
        *,
        project: str | None = None,
        add_config: Sequence[str] = (),
        overrides: Mapping[str, Any] | None = None,
        trust_config: bool = False,
        classes: Sequence[str] | None = None,
        trust_pickle: bool = False,
        precision: str = "float32",
        class_map: Mapping[str, str | None] | None = None,
        others: str = "error",
    ) -> None:
        self.config = read_config(config_file, project, add_config, overrides or {}, trusted=trust_config)
        names = _class_names(self.config, "thing_classes", classes)
        network = _build(self.config, weights, trust_pickle)
        super().__init__(network, names, precision=precision, class_map=class_map, others=others)
        self.num_classes = len(names)

    def __call__(self, images: Sequence[Tensor]) -> list[Boxes]:
        """Find the objects in RGB images, uint8 [3, H, W] of any sizes."""
        return label_by_size_of_input(self, self.config, images, self._boxes)

    def _boxes(self, output: dict[str, Any]) -> Boxes:
        if "instances" not in output:
            raise InputError("the Detectron2 model finds no boxes; take one that does, or label pixels with it")
        found = output["instances"]
        _check_count(int(found.pred_classes.max()) + 1 if len(found) else 0, self.num_classes)
        return self.found_boxes(found.pred_boxes.tensor, found.pred_classes, found.scores)


class Detectron2Pixels(ModelTeacher):
    """A class for every pixel, by a model of Detectron2 that returns ``sem_seg``.

    The scores of MaskFormer and Mask2Former are divided by their sum over the classes; those of other models are
    logits, and go through a softmax.

    Args:
        config_file, weights, project, overrides, trust_config, trust_pickle, precision, class_map, others: as for
            :class:`Detectron2Boxes`.
        add_config: likewise; for MaskFormer, detectron2.projects.deeplab.add_deeplab_config and
            mask_former.add_mask_former_config.
        classes: names of the classes; by default the ``stuff_classes`` of the first data set under ``DATASETS.TEST``.

    Raises:
        InputError: Detectron2 or the project cannot be imported, or config, weights or class names do not fit.
    """

    def __init__(
        self,
        config_file: str,
        weights: str,
        *,
        project: str | None = None,
        add_config: Sequence[str] = (),
        overrides: Mapping[str, Any] | None = None,
        trust_config: bool = False,
        classes: Sequence[str] | None = None,
        trust_pickle: bool = False,
        precision: str = "float32",
        class_map: Mapping[str, str | None] | None = None,
        others: str = "error",
    ) -> None:
        self.config = read_config(config_file, project, add_config, overrides or {}, trusted=trust_config)
        names = _class_names(self.config, "stuff_classes", classes)
        check_num_classes(names)
        network = _build(self.config, weights, trust_pickle)
        super().__init__(network, names, precision=precision, class_map=class_map, others=others)
        self.num_classes = len(names)
        self.has_logits = self.config.MODEL.META_ARCHITECTURE not in MASK_CLASSIFIERS

    def __call__(self, images: Sequence[Tensor]) -> list[Pixels]:
        """Classify the pixels of RGB images, uint8 [3, H, W] of any sizes."""
        return label_by_size_of_input(self, self.config, images, self._pixels)

    def _pixels(self, output: dict[str, Any]) -> Pixels:
        if "sem_seg" not in output:
            raise InputError("the Detectron2 model classifies no pixels; take one that does, or label boxes with it")
        scores = output["sem_seg"].float()  # [K, H, W]
        _check_count(len(scores), self.num_classes, exactly=True)
        if self.has_logits:
            return self.found_pixels(*likeliest_of_logits(scores, (scores.shape[1], scores.shape[2])))
        best, labels = scores.max(dim=0)
        total = scores.sum(dim=0).clamp_min(torch.finfo(scores.dtype).tiny)
        return self.found_pixels(labels.to(torch.uint8), best / total)


def label_by_size_of_input(
    teacher: ModelTeacher, config: Any, images: Sequence[Tensor], answer: Callable[[dict[str, Any]], Any]
) -> list[Any]:
    """Return ``answer`` of what the model predicts for each image, in pixels of the stored image."""
    inputs = [prepared(config, image) for image in images]

    def label(positions: list[int]) -> list[Any]:
        batch = [
            {"image": inputs[p].to(teacher.device), "height": images[p].shape[1], "width": images[p].shape[2]}
            for p in positions
        ]
        with teacher.computing():
            return [answer(output) for output in teacher.model(batch)]

    return label_by_size(inputs, label)


def prepared(config: Any, image: Tensor) -> Tensor:
    """Return RGB, uint8 [3, H, W], as Detectron2's predictor gives it to a model: resized float32 [3, h, w]."""
    transforms = importlib.import_module("detectron2.data.transforms")
    side = config.INPUT.MIN_SIZE_TEST
    pixels = image.permute(1, 2, 0).numpy()
    pixels = np.ascontiguousarray(pixels[:, :, ::-1] if config.INPUT.FORMAT == "BGR" else pixels)
    resize = transforms.ResizeShortestEdge([side, side], config.INPUT.MAX_SIZE_TEST).get_transform(pixels)
    return torch.from_numpy(resize.apply_image(pixels).astype("float32").transpose(2, 0, 1))


def read_config(
    file: str, project: str | None, add_config: Sequence[str], overrides: Mapping[str, Any], *, trusted: bool = False
) -> Any:
    """Return Detectron2's config with the project's keys, the file's values and the overrides.

    Raises:
        InputError: Detectron2 or the project cannot be imported, a key or value is unknown, or the file holds code and
            is not ``trusted``.
    """
    try:
        get_cfg = importlib.import_module("detectron2.config").get_cfg
    except ImportError as error:
        raise InputError(NEEDED) from error
    path = Path(file).expanduser()
    if not path.is_file():
        raise InputError(f"there is no config {file} of Detectron2")
    if project is not None:
        _make_importable(Path(project).expanduser().resolve())
    config = get_cfg()
    for function in add_config:
        _function(function)(config)
    try:
        config.merge_from_file(str(path), allow_unsafe=trusted)
        config.merge_from_list([part for item in overrides.items() for part in item])
    except ConstructorError as error:
        raise InputError(
            f"{file} or its base holds Python code; set trust_config: true if you trust where it comes from"
        ) from error
    except (AssertionError, KeyError, ValueError, YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"cannot read {file}: {reason}; add_config adds the keys of a project") from error
    return config


def _make_importable(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder} with a project of Detectron2")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _function(path: str) -> Callable[[Any], None]:
    module, _, name = path.rpartition(".")
    try:
        function: Callable[[Any], None] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"add_config: cannot import {path}: {reason}; give its project, and install what that needs"
        ) from error
    return function


def _build(config: Any, weights: str, trust_pickle: bool) -> nn.Module:
    config = config.clone()
    config.MODEL.DEVICE = "cpu"
    try:
        network: nn.Module = importlib.import_module("detectron2.modeling").build_model(config)
    except (KeyError, ImportError) as error:  # KeyError: the model's class is not registered
        reason = " ".join(str(error).split())
        raise InputError(
            f"Detectron2 cannot build the model: {reason}; project and add_config import its code"
        ) from error
    load_weights(network, weights, trust_pickle=trust_pickle)
    return network


def _class_names(config: Any, kind: str, classes: Sequence[str] | None) -> list[str]:
    if classes:
        return list(classes)
    catalog = importlib.import_module("detectron2.data").MetadataCatalog
    names = catalog.get(config.DATASETS.TEST[0]).get(kind) if config.DATASETS.TEST else None
    if not names:
        raise InputError(f"Detectron2 does not know the {kind} of {list(config.DATASETS.TEST)}; give classes")
    return list(names)


def _check_count(num_found: int, num_classes: int, *, exactly: bool = False) -> None:
    if num_found > num_classes or (exactly and num_found != num_classes):
        raise InputError(
            f"the Detectron2 model knows {num_found} classes or more, there are {num_classes} names; give classes"
        )
