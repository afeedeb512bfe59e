"""Teachers from Hugging Face's transformers, of a local folder or the hub."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from fbnetv5.base.errors import InputError
from fbnetv5.base.paths import local_path
from fbnetv5.base.types import Size
from fbnetv5.heads.lite_maskformer.semantic import semantic_map
from fbnetv5.heads.pixel_classes import likeliest_of_logits
from fbnetv5.labeling.teacher import Boxes, Pixels
from fbnetv5.labeling.teachers.model_teacher import ModelTeacher, check_num_classes, label_by_size

UNUSED_CLASSES = ("N/A",)  # gaps in COCO's ids
MASK_CLASSIFIERS = ("maskformer", "mask2former")
COMPUTED = ("num_batches_tracked", "position_ids", "relative_position_index")  # of no weight, and not in every file
NEEDED = (
    "this teacher needs transformers, which is not installed: pip install --editable '.[label]' in the clone of fbnetv5"
)
REQUIRED = (
    ("config.json",),
    ("preprocessor_config.json", "processor_config.json"),
    ("model.safetensors", "model.safetensors.index.json"),
)


class TransformersBoxes(ModelTeacher):
    """Boxes of DETR, RT-DETR and others of ``AutoModelForObjectDetection``, of all scores.

    Args:
        model: a folder that ``save_pretrained`` has written, or a name on the hub.
        local_files_only: do not ask the hub for what is not on this machine.
        precision: float32, or bfloat16 for autocast.
        class_map: the model's class: your class, or null to drop it.
        others: classes that ``class_map`` does not name: error, keep or drop.

    Raises:
        InputError: transformers is missing, or the model cannot be had, is no detector, or has no safetensors.
    """

    def __init__(
        self,
        model: str,
        *,
        local_files_only: bool = False,
        precision: str = "float32",
        class_map: Mapping[str, str | None] | None = None,
        others: str = "error",
    ) -> None:
        library = _transformers()
        config = _config(library, model, local_files_only)
        if type(config) not in library.MODEL_FOR_OBJECT_DETECTION_MAPPING:
            raise InputError(f"{model} is of the type {config.model_type}, which finds no boxes")
        network, self.processor = _load(library, model, "AutoModelForObjectDetection", local_files_only)
        super().__init__(
            network,
            _names(model, config),
            precision=precision,
            class_map=class_map,
            others=others,
            unused=UNUSED_CLASSES,
        )

    def __call__(self, images: Sequence[Tensor]) -> list[Boxes]:
        """Find the objects in RGB images, uint8 [3, H, W] of any sizes."""
        inputs = [_prepared(self.processor, image) for image in images]
        sizes = [_padded_size(size, given) for size, given in zip(_sizes(images), inputs, strict=True)]

        def label(positions: list[int]) -> list[Boxes]:
            with self.computing():
                outputs = _outputs(self, [inputs[position] for position in positions])
            found = self.processor.post_process_object_detection(
                outputs, threshold=0.0, target_sizes=torch.tensor([sizes[p] for p in positions], device=self.device)
            )
            return [self.found_boxes(one["boxes"], one["labels"], one["scores"]) for one in found]

        return label_by_size([one["pixel_values"][0] for one in inputs], label)


class TransformersPixels(ModelTeacher):
    """A class for every pixel: MaskFormer, Mask2Former, and SegFormer and others with a score a class and pixel.

    The probabilities of MaskFormer and Mask2Former are those of their semantic inference, divided by their sum over the
    classes. Their masks are resized to the model's input before the classes are scored, as the papers' code does it;
    transformers does so for Mask2Former alone, and to 384 x 384 pixels.

    Args:
        model, local_files_only, precision, class_map, others: as for :class:`TransformersBoxes`.

    Raises:
        InputError: transformers is missing, or the model cannot be had, classifies no pixels, or has no safetensors.
    """

    def __init__(
        self,
        model: str,
        *,
        local_files_only: bool = False,
        precision: str = "float32",
        class_map: Mapping[str, str | None] | None = None,
        others: str = "error",
    ) -> None:
        library = _transformers()
        config = _config(library, model, local_files_only)
        self.has_queries = config.model_type in MASK_CLASSIFIERS
        if not self.has_queries and type(config) not in library.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING:
            raise InputError(
                f"{model} is of the type {config.model_type}, which is none of {', '.join(MASK_CLASSIFIERS)} and "
                f"AutoModelForSemanticSegmentation"
            )
        kind = "AutoModelForUniversalSegmentation" if self.has_queries else "AutoModelForSemanticSegmentation"
        network, self.processor = _load(library, model, kind, local_files_only)
        _check_covers_image(
            model, self.processor, ("do_center_crop",) if self.has_queries else ("do_center_crop", "do_pad")
        )
        names = _names(model, config)
        check_num_classes(names)
        super().__init__(network, names, precision=precision, class_map=class_map, others=others)

    def __call__(self, images: Sequence[Tensor]) -> list[Pixels]:
        """Classify the pixels of RGB images, uint8 [3, H, W] of any sizes."""
        inputs = [_prepared(self.processor, image) for image in images]
        sizes = _sizes(images)

        def label(positions: list[int]) -> list[Pixels]:
            with self.computing():
                outputs = _outputs(self, [inputs[position] for position in positions])
            return [
                self.found_pixels(*self._pixels(outputs, row, inputs[position], sizes[position]))
                for row, position in enumerate(positions)
            ]

        return label_by_size([one["pixel_values"][0] for one in inputs], label)

    def _pixels(self, outputs: Any, row: int, given: dict[str, Tensor], size: Size) -> tuple[Tensor, Tensor]:
        """Return classes and probabilities of one image's pixels; ``given`` is what the model was given for it."""
        if not self.has_queries:
            return likeliest_of_logits(outputs.logits[row], size)
        height, width = given["pixel_values"].shape[-2:]
        return semantic_map(
            outputs.class_queries_logits[row],
            outputs.masks_queries_logits[row],
            image_size=(height, width),
            true_size=_covered(given),
            output_size=size,
        )


def _covered(given: Mapping[str, Tensor]) -> Size:
    """Return (height, width) of the image in what a model is given, without what it was padded with."""
    if "pixel_mask" not in given:
        height, width = given["pixel_values"].shape[-2:]
        return height, width
    (mask,) = given["pixel_mask"]  # 1 on the image, 0 on the padding
    return int(mask.amax(1).sum()), int(mask.amax(0).sum())


def _padded_size(size: Size, given: Mapping[str, Tensor]) -> Size:
    """Return the size in pixels of an image with its padding: boxes are shares of that."""
    height, width = given["pixel_values"].shape[-2:]
    rows, columns = _covered(given)
    return round(size[0] * height / rows), round(size[1] * width / columns)


def _prepared(processor: Any, image: Tensor) -> dict[str, Tensor]:
    """Return what the model is given for one image, as a batch of one."""
    return dict(processor(images=[image], input_data_format="channels_first", return_tensors="pt"))


def _outputs(teacher: ModelTeacher, inputs: list[dict[str, Tensor]]) -> Any:
    """Return the model's outputs, in float32, for inputs of equal size."""
    batch = {name: torch.cat([one[name] for one in inputs]).to(teacher.device) for name in inputs[0]}
    outputs = teacher.model(**batch)
    for name, value in outputs.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            outputs[name] = value.float()
    return outputs


def _sizes(images: Sequence[Tensor]) -> list[Size]:
    return [(image.shape[1], image.shape[2]) for image in images]


def _names(model: str, config: Any) -> list[str]:
    """Return the names of the classes by id. Raises InputError where the ids are not 0 to K - 1."""
    ids = sorted(config.id2label)
    if ids != list(range(config.num_labels)):
        raise InputError(
            f"the classes of {model} have the ids {ids[0]} to {ids[-1]} in id2label of its config.json; they should be "
            f"0 to {config.num_labels - 1}"
        )
    return [str(config.id2label[index]) for index in ids]


def _check_covers_image(model: str, processor: Any, steps: Sequence[str]) -> None:
    """Refuse a preprocessing whose result does not cover the image exactly: every label would lie elsewhere."""
    for step in steps:
        if getattr(processor, step, None):
            raise InputError(
                f"{model} is given less or more than the image; set {step} to false in its image processor"
            )


def _transformers() -> ModuleType:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise InputError(NEEDED) from error


def _config(library: ModuleType, model: str, local_files_only: bool) -> Any:
    _check_folder(model)
    return _fetched(model, library.AutoConfig.from_pretrained, local_files_only)


def _load(library: ModuleType, model: str, kind: str, local_files_only: bool) -> tuple[nn.Module, Any]:
    """Return a model of the auto class ``kind``, in float32, and its image processor."""
    processor = _fetched(model, library.AutoImageProcessor.from_pretrained, local_files_only)
    network, report = _fetched(
        model, getattr(library, kind).from_pretrained, local_files_only, use_safetensors=True, output_loading_info=True
    )
    missing = sorted(name for name in report["missing_keys"] if not name.endswith(COMPUTED))
    if missing:
        raise InputError(
            f"{model} is not trained for this: its weights lack {', '.join(missing[:3])}"
            f"{' and more' if len(missing) > 3 else ''}"
        )
    return network.float(), processor


def _fetched(model: str, fetch: Callable[..., Any], local_files_only: bool, **options: bool) -> Any:
    """Call one of transformers' ``from_pretrained``, which never runs code that comes with the model."""
    try:
        return fetch(
            str(_folder(model) or model), trust_remote_code=False, local_files_only=local_files_only, **options
        )
    except Exception as error:  # transformers raises errors of many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if _folder(model):
            raise InputError(f"cannot load the teacher in {model}: {reason}") from error
        raise InputError(
            f"{model} is no folder, and cannot be had from the hub: {reason.rstrip('.')}; give a folder that holds "
            f"the model, or run where there is a network"
        ) from error


def _folder(model: str) -> Path | None:
    folder = local_path(model)
    return folder if folder.is_dir() else None


def _check_folder(model: str) -> None:
    """Refuse what can only be a path and is no folder, and a folder that lacks a file."""
    folder = _folder(model)
    if folder is None:
        if model.startswith((".", "/", "~")) or model.count("/") > 1:
            raise InputError(f"there is no folder {model} with a teacher")
        return
    for names in REQUIRED:
        if not any((folder / name).is_file() for name in names):
            advice = ""
            if names[0].endswith("safetensors") and any(folder.glob("*.bin")):
                advice = "; weights in *.bin could run code and are not read, save them as safetensors"
            raise InputError(f"there is no {' or '.join(names)} in {folder}{advice}")
