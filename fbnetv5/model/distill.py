"""Teachers for hard distillation: classifiers whose answers are learnt beside the labels (DeiT, 2012.12877)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from timm.models import load_state_dict
from torch import Tensor, nn
from torch.nn import functional as F

from fbnetv5.archs.timm_networks import BN_EPSILON
from fbnetv5.archs.trunk_weights import NOT_HAD
from fbnetv5.base.errors import InputError, nearest
from fbnetv5.base.normalisation import IMAGENET, Normalisation
from fbnetv5.base.paths import is_uri, local_path
from fbnetv5.base.run_files import MODEL
from fbnetv5.base.types import LABEL, TargetDict
from fbnetv5.base.weights import UNREADABLE, load_by_name
from fbnetv5.config.schema import TeacherConfig
from fbnetv5.heads.label_head import TEACHER_LABEL
from fbnetv5.model.folder import load_task_model


class Teacher(nn.Module):
    """A classifier that is not trained, on images normalised for another model.

    Args:
        classifier: maps [N, 3, H, W] to scores of the classes, [N, K] or N times [K].
        mean, std: what the classifier's images are normalised with, RGB in [0, 1].
        size: side in pixels that images are resized to; None leaves them as they are.
        given: what the images that it is given are normalised with.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        classifier: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        size: int | None = None,
        *,
        given: Normalisation = IMAGENET,
    ) -> None:
        super().__init__()
        self.classifier = classifier.requires_grad_(False)
        self.size = size
        scale, shift = torch.tensor(given.std) / torch.tensor(std), torch.tensor(given.mean) - torch.tensor(mean)
        self.register_buffer("scale", scale[:, None, None])
        self.register_buffer("shift", (shift / torch.tensor(std))[:, None, None])
        self.eval()

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode, whatever the mode of the model that is taught."""
        return super().train(False)

    @torch.no_grad()
    def labels(self, images: Tensor) -> Tensor:
        """Return the likeliest class of each of ``images`` [N, 3, H, W]: int64 [N]."""
        renormalised = images.to(self.scale.dtype) * self.scale + self.shift
        if self.size is not None and renormalised.shape[-2:] != (self.size, self.size):
            renormalised = F.interpolate(
                renormalised, size=(self.size, self.size), mode="bilinear", align_corners=False, antialias=True
            )
        scores = self.classifier(renormalised)
        return (torch.stack(scores) if isinstance(scores, list) else scores).argmax(dim=1)

    def teach(self, images: Tensor, targets: list[TargetDict]) -> list[TargetDict]:
        """Return the targets of N images with the teacher's answers under ``teacher_label``."""
        answers = self.labels(images).tolist()
        return [{**target, TEACHER_LABEL: answer} for target, answer in zip(targets, answers, strict=True)]


def build_teacher(config: TeacherConfig, classes: Sequence[str], given: Normalisation = IMAGENET) -> Teacher | None:
    """Build the teacher of a configuration, or None where there is none.

    A model of ours must know the same classes in the same order. timm's models have no class names: their class ids are
    taken for ours, so the order of ``classes`` must be that of the data they were trained on.

    Args:
        config: which model, its weights, and the size of its images.
        classes: names of the classes of ``label``.
        given: what the images that it is given are normalised with.

    Raises:
        InputError: the model is unknown, its weights cannot be had, or it knows other classes.
    """
    if config.model is None:
        if given_alone := [key for key in ("weights", "size") if getattr(config, key) is not None]:
            raise InputError(
                f"train.teacher.{given_alone[0]} has no effect without train.teacher.model: name the teacher"
            )
        return None
    if is_uri(config.model) or Path(config.model).expanduser().is_dir() or Path(config.model).name == MODEL:
        return _own_teacher(config, config.model, tuple(classes), given)
    classifier = _timm_model(config, config.model, len(classes))
    data: dict[str, Any] = resolve_model_data_config(classifier)
    size, own_size = config.size, data["input_size"][-1]
    if getattr(classifier, "pretrained_cfg", {}).get("fixed_input_size", False):
        if size not in (None, own_size):
            raise InputError(f"train.teacher.size is {size}; {config.model} takes images of {own_size} pixels alone")
        size = own_size
    return Teacher(classifier, data["mean"], data["std"], size, given=given)


def _own_teacher(config: TeacherConfig, folder: str, classes: tuple[str, ...], given: Normalisation) -> Teacher:
    if config.weights is not None:
        raise InputError(f"train.teacher.weights: the model in {folder} has its own weights; leave this out")
    model = load_task_model(folder)
    if model.head.target != LABEL:
        raise InputError(f"train.teacher.model: {folder} predicts {model.head.target.name}, not a class of the image")
    if model.spec.classes != classes:
        raise InputError(
            f"train.teacher.model: {folder} knows other classes: {_difference(model.spec.classes, classes)}"
        )
    return Teacher(model, model.spec.input.mean, model.spec.input.std, config.size, given=given)


def _difference(theirs: tuple[str, ...], ours: tuple[str, ...]) -> str:
    if len(theirs) != len(ours):
        return f"{len(theirs)}, the data {len(ours)}"
    index = next(i for i, pair in enumerate(zip(theirs, ours, strict=True)) if pair[0] != pair[1])
    return f"class {index} is '{theirs[index]}', in the data '{ours[index]}'"


def _timm_model(config: TeacherConfig, name: str, num_classes: int) -> nn.Module:
    _check_name(name)
    if config.weights is None:
        return _pretrained(name, num_classes)
    epsilon = BN_EPSILON.get(name.partition(".")[0])
    options: dict[str, Any] = {} if epsilon is None else {"bn_eps": epsilon}
    model: nn.Module = timm.create_model(name, num_classes=num_classes, **options)
    path = local_path(config.weights)
    try:
        weights = load_state_dict(str(path), weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"train.teacher.weights: there is no file {path}") from error
    except UNREADABLE as error:
        raise InputError(f"train.teacher.weights: cannot read {path}: {' '.join(str(error).split())}") from error
    if not all(isinstance(value, Tensor) for value in weights.values()):
        raise InputError(f"train.teacher.weights: {path} holds no weights of a model by name")
    load_by_name(model, weights, optional=None, origin=path)
    return model


def _check_name(name: str) -> None:
    """Refuse a name that is neither an architecture of timm's nor one with the tag of its weights."""
    known = timm.list_models()
    if name not in known:
        tagged = timm.list_models(pretrained=True)
        if name not in tagged:
            raise InputError(
                f"train.teacher.model: '{name}' is no folder and no model of timm's{nearest(name, [*known, *tagged])}"
            )


def _pretrained(name: str, num_classes: int) -> nn.Module:
    known = timm.get_pretrained_cfg(name)
    if known is None or not known.has_weights:
        raise InputError(f"timm has no weights for {name}; give train.teacher.weights, or another model")
    if known.num_classes != num_classes:
        raise InputError(
            f"train.teacher.model: timm's {name} knows {known.num_classes} classes, the data {num_classes}; give "
            f"train.teacher.weights, of one that was trained for your classes"
        )
    try:
        model: nn.Module = timm.create_model(name, pretrained=True)
    except NOT_HAD as error:  # no network, or a file that is damaged or not what timm expects
        reason = " ".join(str(error).split())
        raise InputError(f"cannot get timm's weights of {name}: {reason}; give train.teacher.weights") from error
    return model
