"""Pictures of predictions on their images, with the truth beside them where it is known."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fbnetv5.base.types import BOXES, IGNORE, KEYPOINTS, LABEL, SEGMENTATION, Target, TargetKind
from fbnetv5.report.colours import Colour, class_colours, ink_on
from fbnetv5.report.skeletons import with_keypoints

SIDE = 480  # long side of a drawn image: text and lines then look the same whatever the image's size
TEXT, SMALL = 15, 13  # heights of letters, in pixels
BAR = 26  # height of the line of text above an image
ROW = 22  # height of a line of a legend
PAD = 8
GAP = 12  # between images
INK, GREY, PAPER = (31, 41, 51), (91, 104, 118), (255, 255, 255)
RIGHT, WRONG = (26, 127, 75), (190, 40, 60)
OPACITY = 0.55  # of a mask over its image
NUM_SHOWN = 3  # of the likeliest classes
MIN_SCORE = 0.3
MIN_POINT_SCORE = 0.1  # of a keypoint that is drawn
UNDRAWABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters, and what is not UTF-8
BACKGROUND = "background"  # a class of this name is not painted


class Box(NamedTuple):
    """A box in pixels of the drawn image, its class id, and its score unless it is a true one."""

    corners: list[float]
    label: int
    score: float | None


def draw_prediction(
    image: Tensor,
    prediction: Any,
    target_kind: TargetKind,
    classes: Sequence[str],
    truth: Mapping[str, Any] | None = None,
    *,
    min_score: float = MIN_SCORE,
) -> Image.Image:
    """Draw a prediction on its image, which is scaled to a long side of 480 pixels.

    Boxes, masks and keypoints have the truth at their right; a predicted class is green if it is the true one.

    Args:
        image: uint8 [3, H, W].
        prediction: in the image's pixels; ``metrics.evaluator`` describes it.
        target_kind: SCALAR, BOXES, MASK or KEYPOINTS.
        classes: class names.
        truth: a target dictionary (``label``; ``boxes``, ``box_labels``; ``segmentation``; ``keypoints``), None where
            there is none.
        min_score: boxes of lower score are not drawn.

    Raises:
        ValueError: predictions of this kind cannot be drawn.
    """
    photo, scale = _scaled(image)
    if target_kind is TargetKind.SCALAR:
        return _draw_label(photo, prediction, classes, None if truth is None else truth.get(LABEL.name))
    if target_kind is TargetKind.BOXES:
        return _draw_detections(photo, prediction, scale, classes, _labelled(truth, BOXES), min_score)
    if target_kind is TargetKind.MASK:
        return _draw_masks(photo, prediction, classes, _labelled(truth, SEGMENTATION))
    if target_kind is TargetKind.KEYPOINTS:
        return _draw_keypoints(photo, prediction, scale, classes, _labelled(truth, KEYPOINTS))
    raise ValueError(f"predictions of kind '{target_kind.value}' cannot be drawn")


def draw_predictions(
    image: Tensor,
    predictions: Mapping[str, Any],
    targets: Mapping[str, Target],
    classes: Mapping[str, Sequence[str]],
    truth: Mapping[str, Any] | None = None,
    *,
    min_score: float = MIN_SCORE,
) -> Image.Image:
    """Draw the predictions of several tasks on one image, the classes of the image above; the truth at their right.

    Args:
        image: uint8 [3, H, W].
        predictions: by task, in the image's pixels; ``metrics.evaluator`` describes them.
        targets, classes: of the tasks.
        truth: a target dictionary of some of the targets; None where there is none.
        min_score: boxes of lower score are not drawn.
    """
    photo, scale = _scaled(image)
    panels = [_overlaid(photo, scale, predictions, targets, classes, "prediction", min_score)]
    shown = [predictions]
    if truth is not None:
        known = {task: target for task, target in targets.items() if target.name in truth}
        true = {task: truth if each.kind is TargetKind.BOXES else truth[each.name] for task, each in known.items()}
        panels.append(_overlaid(photo, scale, true, targets, classes, "truth", min_score))
        shown.append(true)
    picture = _side_by_side(panels)
    for task in [task for task, target in targets.items() if target.kind is TargetKind.MASK]:
        ids = {label for side in shown if task in side for label in side[task].unique().tolist()} - {IGNORE}
        named = [label for label in sorted(ids) if classes[task][label].lower() != BACKGROUND]
        picture = _with_legend(picture, named, classes[task])
    return picture


def draw_labels(
    image: Tensor, target: Mapping[str, Any], classes: Mapping[str, Sequence[str]], title: str
) -> Image.Image:
    """Draw an image with all of its labels, a panel a kind, the class above; scaled to a long side of 480 pixels.

    Args:
        image: uint8 [3, H, W].
        target: its target dictionary, of ``label``, ``boxes`` with ``box_labels``, ``segmentation``, ``keypoints``.
        classes: the class names of each target.
        title: goes before the class.
    """
    photo, scale = _scaled(image)
    panels, present = [], []
    if BOXES.name in target:
        boxes = _boxes(target[BOXES.name], target[BOXES.labels_key], scale, None)
        panels.append(_with_boxes(photo, boxes, classes[BOXES.name]))
    if SEGMENTATION.name in target:
        ids = target[SEGMENTATION.name].numpy()
        panels.append(_with_mask(photo, ids, classes[SEGMENTATION.name]))
        present = [label for label in np.unique(ids).tolist() if label != IGNORE]
    if KEYPOINTS.name in target:
        panels.append(with_keypoints(photo, target[KEYPOINTS.name], scale, classes[KEYPOINTS.name], least=1))
    label = target.get(LABEL.name)
    text = title if label is None else f"{title}: {classes[LABEL.name][label]}"
    picture = _titled(_side_by_side(panels or [photo]), text)
    shown = [label for label in present if classes[SEGMENTATION.name][label].lower() != BACKGROUND]
    return _with_legend(picture, shown, classes.get(SEGMENTATION.name, ()))


def contact_sheet(images: Sequence[Image.Image], columns: int) -> Image.Image:
    """Set pictures in a grid, row by row, each column as wide and each row as high as its largest picture.

    Raises:
        ValueError: there are no pictures or no columns.
    """
    if not images or columns < 1:
        raise ValueError(f"a sheet of {len(images)} pictures in {columns} columns")
    rows = [images[start : start + columns] for start in range(0, len(images), columns)]
    widths = [max(row[k].width for row in rows if k < len(row)) for k in range(len(rows[0]))]
    heights = [max(picture.height for picture in row) for row in rows]
    sheet = Image.new("RGB", (sum(widths) + GAP * (len(widths) + 1), sum(heights) + GAP * (len(rows) + 1)), PAPER)
    for r, row in enumerate(rows):
        for k, picture in enumerate(row):
            left, top = GAP * (k + 1) + sum(widths[:k]), GAP * (r + 1) + sum(heights[:r])
            sheet.paste(picture, (left + (widths[k] - picture.width) // 2, top))
    return sheet


def _scaled(image: Tensor) -> tuple[Image.Image, float]:
    """The image with a long side of 480 pixels, and the factor that took it there."""
    scale = SIDE / max(image.shape[1:])
    size = (max(1, round(image.shape[2] * scale)), max(1, round(image.shape[1] * scale)))
    photo = Image.fromarray(image.cpu().permute(1, 2, 0).numpy())
    return photo.resize(size, Image.Resampling.BICUBIC), scale


def _draw_label(photo: Image.Image, prediction: Tensor, classes: Sequence[str], truth: int | None) -> Image.Image:
    """The image, and below it the likeliest classes with bars as long as they are likely."""
    best = prediction.detach().float().cpu().topk(min(NUM_SHOWN, len(classes)))
    num_rows = NUM_SHOWN + (truth is not None)
    canvas = Image.new("RGB", (SIDE, SIDE + num_rows * ROW + PAD), PAPER)
    canvas.paste(photo, ((SIDE - photo.width) // 2, (SIDE - photo.height) // 2))
    draw = ImageDraw.Draw(canvas)
    for place, (probability, label) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
        y = SIDE + PAD / 2 + (place + 0.5) * ROW
        colour = GREY if place or truth is None else RIGHT if label == truth else WRONG
        left, right = SIDE // 2, SIDE - 60
        draw.text((PAD, y), _fit(classes[label], left - 2 * PAD), INK if colour == GREY else colour, _font(TEXT), "lm")
        draw.rectangle((left, y - 6, left + (right - left) * min(1.0, probability), y + 6), fill=colour)
        draw.text((SIDE - PAD, y), f"{100 * probability:.1f} %", INK, _font(SMALL), "rm")
    if truth is not None:
        line = _fit(f"truth: {classes[truth]}", SIDE - 2 * PAD)
        draw.text((PAD, SIDE + PAD / 2 + (num_rows - 0.5) * ROW), line, GREY, _font(TEXT), "lm")
    return canvas


def _draw_detections(
    photo: Image.Image,
    prediction: Mapping[str, Tensor],
    scale: float,
    classes: Sequence[str],
    truth: Mapping[str, Any] | None,
    min_score: float,
) -> Image.Image:
    found = _boxes(prediction["boxes"], prediction["box_labels"], scale, prediction["scores"].tolist())
    shown = sorted(
        (box for box in found if box.score is not None and box.score >= min_score), key=lambda b: b.score or 0
    )
    panels = [_titled(_with_boxes(photo, shown, classes), f"prediction: {len(shown)} (score {min_score:g} or more)")]
    if truth is not None:
        true = _boxes(truth[BOXES.name], truth[BOXES.labels_key], scale, None)
        panels.append(_titled(_with_boxes(photo, true, classes), f"truth: {len(true)}"))
    return _side_by_side(panels)


def _boxes(boxes: Tensor, labels: Tensor, scale: float, scores: Sequence[float] | None) -> list[Box]:
    """Boxes in pixels of the drawn image; without ``scores`` they are true ones."""
    corners = (boxes.detach().double().cpu() * scale).tolist()
    rated: Sequence[float | None] = [None] * len(corners) if scores is None else scores
    return [Box(*entry) for entry in zip(corners, labels.tolist(), rated, strict=True)]


def _with_boxes(photo: Image.Image, boxes: Sequence[Box], classes: Sequence[str]) -> Image.Image:
    """Boxes with class and score, in the order given: what comes later lies above."""
    canvas, colours = photo.copy(), class_colours(len(classes))
    draw = ImageDraw.Draw(canvas)
    for box in boxes:
        left, top, right, bottom = box.corners
        corners = (left, top, max(left, right), max(top, bottom))
        draw.rectangle(corners, outline=PAPER, width=4)  # a light rim, to stand out on any ground
        draw.rectangle(corners, outline=colours[box.label], width=3)
    for box in boxes:
        text = classes[box.label] if box.score is None else f"{classes[box.label]} {box.score:.2f}"
        _tag(draw, canvas.size, box.corners, _fit(text, SIDE // 2, SMALL), colours[box.label])
    return canvas


def _tag(draw: ImageDraw.ImageDraw, size: tuple[int, int], corners: list[float], text: str, colour: Colour) -> None:
    """A label on a box's upper edge: above it where there is room, else inside; never outside of the image."""
    width, height = draw.textlength(text, _font(SMALL)) + 6, SMALL + 4
    x = min(max(0, corners[0]), size[0] - width)
    y = corners[1] - height if corners[1] >= height else corners[1]
    y = min(max(0, y), size[1] - height)
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + 3, y + height / 2), text, ink_on(colour), _font(SMALL), "lm")


def _draw_masks(
    photo: Image.Image, prediction: Tensor, classes: Sequence[str], truth: Mapping[str, Any] | None
) -> Image.Image:
    masks = {"prediction": prediction} | ({"truth": truth[SEGMENTATION.name]} if truth is not None else {})
    maps = {title: mask.cpu().numpy().astype(np.uint8) for title, mask in masks.items()}
    panels = []
    for title, ids in maps.items():
        note = " (dark: ignored)" if (ids == IGNORE).any() else ""
        panels.append(_titled(_with_mask(photo, ids, classes), title + note))
    picture = _side_by_side(panels)
    present = sorted({int(label) for ids in maps.values() for label in np.unique(ids)} & set(range(len(classes))))
    return _with_legend(picture, [label for label in present if classes[label].lower() != BACKGROUND], classes)


def _draw_keypoints(
    photo: Image.Image, prediction: Tensor, scale: float, names: Sequence[str], truth: Mapping[str, Any] | None
) -> Image.Image:
    panels = [_titled(with_keypoints(photo, prediction, scale, names, least=MIN_POINT_SCORE), "prediction")]
    if truth is not None:
        panels.append(_titled(with_keypoints(photo, truth[KEYPOINTS.name], scale, names, least=1), "truth"))
    return _side_by_side(panels)


def _with_mask(photo: Image.Image, ids: np.ndarray, classes: Sequence[str]) -> Image.Image:
    """Classes as colours over the image, with a line around each region; ignored pixels are darkened."""
    large = np.asarray(Image.fromarray(ids).resize(photo.size, Image.Resampling.NEAREST))
    colours = np.zeros((256, 3), np.float32)
    colours[: len(classes)] = class_colours(len(classes))
    opacity = np.zeros(256, np.float32)
    opacity[[label for label, name in enumerate(classes) if name.lower() != BACKGROUND]] = OPACITY
    opacity[IGNORE] = OPACITY
    alpha = opacity[large][..., None]
    pixels = np.asarray(photo, np.float32) * (1 - alpha) + colours[large] * alpha
    border = np.zeros(large.shape, bool)
    border[1:] |= large[1:] != large[:-1]
    border[:, 1:] |= large[:, 1:] != large[:, :-1]
    pixels[border] = 255
    return Image.fromarray(pixels.round().astype(np.uint8))


def _overlaid(
    photo: Image.Image,
    scale: float,
    values: Mapping[str, Any],
    targets: Mapping[str, Target],
    classes: Mapping[str, Sequence[str]],
    title: str,
    min_score: float,
) -> Image.Image:
    """Predictions or truths of several tasks, masks below boxes below keypoints; classes stand in the title."""
    words = [title]
    for kind in (TargetKind.SCALAR, TargetKind.MASK, TargetKind.BOXES, TargetKind.KEYPOINTS):
        for task in [task for task in values if targets[task].kind is kind]:
            value, names = values[task], classes[task]
            if kind is TargetKind.SCALAR:
                words.append(_in_words(value, names))
            elif kind is TargetKind.MASK:
                photo = _with_mask(photo, value.cpu().numpy().astype(np.uint8), names)
            elif kind is TargetKind.BOXES:
                scores = value["scores"].tolist() if "scores" in value else None
                found = _boxes(value[targets[task].name], value[targets[task].labels_key], scale, scores)
                photo = _with_boxes(photo, [b for b in found if b.score is None or b.score >= min_score][::-1], names)
            else:
                photo = with_keypoints(photo, value, scale, names, least=MIN_POINT_SCORE)
    return _titled(photo, ": ".join([title, ", ".join(words[1:])]) if words[1:] else title)


def _in_words(value: Tensor | int, names: Sequence[str]) -> str:
    """A class of an image, likely or true."""
    if not isinstance(value, Tensor):
        return names[value]
    best = value.detach().float().cpu().max(dim=0)
    return f"{names[int(best.indices)]} {100 * float(best.values):.0f} %"


def _with_legend(picture: Image.Image, labels: Sequence[int], classes: Sequence[str]) -> Image.Image:
    """A swatch and a name for each class, below the picture, in columns as wide as the longest name."""
    colours = class_colours(len(classes))
    names = [_fit(classes[label], picture.width - ROW) for label in labels]
    pitch = ROW + 2 * PAD + max((_font(TEXT).getlength(name) for name in names), default=0)
    columns = max(1, int((picture.width + 2 * PAD) // pitch))
    canvas = Image.new("RGB", (picture.width, picture.height + PAD - (-len(names) // columns) * ROW), PAPER)
    canvas.paste(picture)
    draw = ImageDraw.Draw(canvas)
    for place, (label, name) in enumerate(zip(labels, names, strict=True)):
        left, top = place % columns * pitch, picture.height + PAD + place // columns * ROW
        draw.rectangle((left, top + 3, left + 15, top + 18), fill=colours[label])
        draw.text((left + ROW, top + ROW / 2), name, INK, _font(TEXT), "lm")
    return canvas


def _titled(picture: Image.Image, title: str) -> Image.Image:
    canvas = Image.new("RGB", (picture.width, picture.height + BAR), PAPER)
    canvas.paste(picture, (0, BAR))
    ImageDraw.Draw(canvas).text((0, BAR / 2), _fit(title, picture.width), GREY, _font(TEXT), "lm")
    return canvas


def _side_by_side(panels: Sequence[Image.Image]) -> Image.Image:
    width = sum(panel.width for panel in panels) + PAD * (len(panels) - 1)
    canvas, left = Image.new("RGB", (width, max(panel.height for panel in panels)), PAPER), 0
    for panel in panels:
        canvas.paste(panel, (left, 0))
        left += panel.width + PAD
    return canvas


def _labelled(truth: Mapping[str, Any] | None, target: Target) -> Mapping[str, Any] | None:
    return truth if truth is not None and target.name in truth else None


def _fit(text: str, width: float, size: int = TEXT) -> str:
    """Cut a line that is longer than ``width`` pixels, and replace what cannot be drawn by spaces."""
    text = UNDRAWABLE.sub(" ", text)
    if _font(size).getlength(text) <= width:
        return text
    while text and _font(size).getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)  # comes with matplotlib
