"""The text of the configs: one of a search for all tasks, one of a training for each, with what they rest on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote

from fbnetv5.base.run_files import topology_file
from fbnetv5.config.write import escaped
from fbnetv5.data.keypoints import other_side
from fbnetv5.onboarding.found import Found
from fbnetv5.onboarding.origins import SCRATCH, Origin
from fbnetv5.onboarding.sizes import (
    BoxSizes,
    Input,
    Shape,
    anchor_sizes,
    box_sizes,
    search_input,
    search_schedule,
    shape_of,
    train_input,
    train_schedule,
)
from fbnetv5.onboarding.survey import VAL_PARTS, Survey

TASKS = {"labels": "cls", "boxes": "det", "masks": "seg", "keypoints": "keypoints"}  # names of tasks by target
NAMED_IN_COMMENT = 12  # classes
LEAST_FOR_LAST_LOOK = 32  # labelled images
PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*")  # needs no quotes in YAML
RESERVED = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "."}
WIDTH = 110

Files = Mapping[str, str]


@dataclass(frozen=True)
class Facts:
    """What the configs are made of.

    Attributes:
        survey: what was found.
        root: the folder, as the configs name it.
        splits: what they say of each split, train and val, by key.
        name: of the search; trainings are called ``<name>_<task>``.
        start: of the paths of the configs: that of the search's, without its ``.yaml``.
        folder: of the files that were written beside the configs, None where there are none.
        origin: what networks start from.
    """

    survey: Survey
    root: str
    splits: Mapping[str, Files]
    name: str
    start: str
    folder: str | None
    origin: Origin = SCRATCH

    @property
    def shape(self) -> Shape:
        """How large the images are."""
        return shape_of(self.survey.listing.sizes)


def config_texts(facts: Facts) -> dict[str, str]:
    """Return the text of each config by the end of its name: ``""`` for the search, ``_cls`` and so on."""
    texts = {"": search_text(facts)}
    for target in facts.survey.found:
        texts[f"_{TASKS[target]}"] = train_text(facts, target)
    return texts


def search_text(facts: Facts) -> str:
    """Return the config of the search."""
    survey, shape = facts.survey, facts.shape
    boxes = box_sizes(survey) if "boxes" in survey.found else None
    seen = search_input(shape, boxes)
    batch, steps = search_schedule(len(survey.train), facts.origin)
    tasks = [_task(target, boxes, seen.short_side) for target in survey.found]
    names = " and ".join([", ".join([TASKS[t] for t in survey.found][:-1]), [TASKS[t] for t in survey.found][-1]])
    rarest, count = fewest_images(survey)
    look = (
        f"{{candidates: {facts.origin.candidates}}}"
        if count >= LEAST_FOR_LAST_LOOK
        else f"{{candidates: 0}}   # {TASKS[rarest]} has {count} images, all to learn from; with "
        f"{LEAST_FOR_LAST_LOOK} there is a last look, which writes families and joint.yaml"
    )
    trainings = [f"#   fbnetv5 train {quote(f'{facts.start}_{TASKS[target]}.yaml')}" for target in survey.found]
    return "\n".join(
        [
            f"# Search for {names.removeprefix(' and ')}, minutes on two CPU cores. fbnetv5 init wrote it; change it.",
            "#",
            f"#   fbnetv5 check {quote(f'{facts.start}.yaml')}",
            f"#   fbnetv5 search {quote(f'{facts.start}.yaml')}",
            *trainings,
            "#",
            *(f"# {' '.join(line.split())}" for line in _found_lines(facts)),
            f"defaults: [{facts.origin.search}, _self_]",
            "",
            f"name: {scalar(facts.name)}",
            "data:",
            *_data_lines(facts, list(survey.found)),
            f"  short_side: {seen.short_side}   # pixels; images have {shape.width}x{shape.height} in the middle",
            f"  long_side: {seen.long_side}",
            f"  crop: {seen.crop}",
            *_flip_lines(survey.found),
            "tasks:",
            *tasks,
            "search:",
            f"  batch_size: {batch}",
            f"  steps: {steps}   # {steps * batch // 2 / max(1, len(survey.train)):.0f} passes over the images",
            "  cost: macs   # or latency: curves in milliseconds, here or on a phone (docs/COST.md)",
            "  budget_share: 0.5   # of what all blocks cost, for those of a topology; null: any",
            f"  last_look: {look}",
            "",
        ]
    )


def fewest_images(survey: Survey) -> tuple[str, int]:
    """Return the target that the fewest training images are labelled for, and how many."""
    counts = {target: sum(image in found.values for image in survey.train) for target, found in survey.found.items()}
    rarest = min(counts, key=counts.__getitem__)
    return rarest, counts[rarest]


def train_text(facts: Facts, target: str) -> str:
    """Return the config of the training of one task."""
    survey, shape, task = facts.survey, facts.shape, TASKS[target]
    found = survey.found[target]
    boxes = box_sizes(survey) if target == "boxes" else None
    seen = train_input(shape, target, boxes, facts.origin)
    count = sum(image in found.values for image in survey.train)
    batch, steps = train_schedule(target, count)
    every = max(100, steps // 200 * 100)
    own = "" if facts.origin is SCRATCH else " model.trunk_weights=pretrained"
    return "\n".join(
        [
            f"# Training for {task} of what the search found, minutes on two CPU cores. fbnetv5 init wrote it.",
            "#",
            f"#   fbnetv5 train {quote(f'{facts.start}_{task}.yaml')}",
            f"#   fbnetv5 predict runs/{facts.name}_{task} PHOTOS",
            "#",
            f"# {count:,} images are labelled for it. Without a search: model.topology=fpn model.weights=null{own}",
            "defaults: [/train/small, _self_]",
            "",
            f"name: {scalar(f'{facts.name}_{task}')}",
            "model:",
            f"  family: {facts.origin.family}",
            f"  topology: {scalar(f'runs/{facts.name}/{topology_file(task)}')}",
            f"  weights: {scalar(f'runs/{facts.name}/model.safetensors')}   # of the search's supernet",
            *_head_lines(target, found, boxes, seen.short_side),
            "data:",
            *_data_lines(facts, [target]),
            *_input_lines(target, seen),
            *_flip_lines({target: found}),
            f"train: {{steps: {steps}, batch_size: {batch}, eval_every: {every}}}   "
            f"# {steps * batch / max(1, count):.0f} passes over the images",
            *([f"optimizer: {facts.origin.optimizer}"] if facts.origin.optimizer else []),
            "",
        ]
    )


def label_text(root: str, name: str, start: str) -> str:
    """Return the config that lets pretrained models label a folder of images."""
    return "\n".join(
        [
            "# Boxes and masks by pretrained models, which are downloaded: pip install 'fbnetv5[label]'.",
            "#",
            f"#   fbnetv5 label {quote(f'{start}.yaml')}",
            "#",
            "# It found images without labels. What it prints at its end says how to search on the result.",
            "defaults: [/label/photos, _self_]",
            "",
            f"name: {scalar(name)}",
            f"label: {{images: {scalar(root)}}}",
            "",
        ]
    )


def scalar(text: str) -> str:
    """Return a string as YAML has it, quoted where it must be; ``${`` is no reference to another key."""
    if PLAIN.fullmatch(text) and text.lower() not in RESERVED and len(text) < WIDTH:
        return text
    return json.dumps(escaped(text), ensure_ascii=False)


def _found_lines(facts: Facts) -> list[str]:
    survey = facts.survey
    lines = [f"Training: {len(survey.train):,} images; validation: {len(survey.val):,}."]
    lines += [_target_line(found) for found in survey.found.values()]
    for target, count in survey.split_off.items():
        lines.append(
            f"{TASKS[target]} had no validation split: {count:,} images, about 1 in {VAL_PARTS} by a hash "
            "of their names, are kept for it."
        )
    if facts.folder is not None:
        lines.append(f"{facts.folder}/ holds what was written for it: the data itself was not touched.")
    return lines


def _target_line(found: Found) -> str:
    names = ", ".join(found.classes[:NAMED_IN_COMMENT]).replace("\n", " ")
    more = f" and {len(found.classes) - NAMED_IN_COMMENT} more" if len(found.classes) > NAMED_IN_COMMENT else ""
    return f"{TASKS[found.target]}: {found.format}, {found.num_classes}: {names}{more}."


def _data_lines(facts: Facts, targets: Sequence[str]) -> list[str]:
    found = facts.survey.found
    lines = [f"  root: {scalar(facts.root)}"]
    for split, files in facts.splits.items():
        kept = {key: value for key, value in files.items() if key in ("images", "index", *targets)}
        lines.append(f"  {split}: {{{', '.join(f'{key}: {scalar(value)}' for key, value in kept.items())}}}")
    is_indexed = "index" in facts.splits["train"]
    if "masks" in targets and not is_indexed:
        lines += _listed("mask_classes", "[]", map(scalar, found["masks"].classes))
        if facts.splits["train"].get("masks") in {ready.place for ready in found["masks"].ready.values()}:
            values = [f"{scalar(key)}: {number}" for key, number in found["masks"].mask_values.items()]
            lines += _listed("mask_values", "{}", values) if values else []
    if "boxes" in targets and not is_indexed and all(found["boxes"].values.values()):
        lines.append("  unannotated: unlabelled   # an image without boxes; or empty: nothing is there")
    return lines


def _listed(key: str, brackets: str, entries: Iterable[str]) -> list[str]:
    """Return a list or mapping of entries, on several lines where one would be long."""
    shown = list(entries)
    lines, line = [], f"  {key}: {brackets[0]}"
    for place, name in enumerate(shown):
        entry = name + (brackets[1] if place == len(shown) - 1 else ", ")
        if len(line) + len(entry) > WIDTH:
            lines.append(line.rstrip())
            line = "    "
        line += entry
    return [*lines, line]


def _task(target: str, boxes: BoxSizes | None, short_side: int) -> str:
    if target == "labels":
        return "  cls: {_target_: fbnetv5.tasks.classification.Classification, hidden_channels: 128}"
    if target == "masks":
        return "  seg: {_target_: fbnetv5.tasks.segmentation.Segmentation}"
    if target == "keypoints":
        return "  keypoints: {_target_: fbnetv5.tasks.keypoints.Keypoints}"
    assert boxes is not None
    anchors = anchor_sizes(boxes, short_side)
    return "\n".join(
        [
            "  det:",
            "    _target_: fbnetv5.tasks.detection.Detection",
            f"    anchor_sizes: {anchors}   # pixels after resizing: small, middle and large boxes",
            "    hidden_channels: 64",
            "    roi_size: 4",
            "    num_proposals: 32",
            "    num_sampled: 16",
        ]
    )


def _head_lines(target: str, found: Found, boxes: BoxSizes | None, short_side: int) -> list[str]:
    if target == "labels":
        options = ["_target_: fbnetv5.heads.classifier.Classifier", "hidden_channels: 256", "label_smoothing: 0.1"]
    elif target == "masks":
        options = ["_target_: fbnetv5.heads.lite_maskformer.LiteMaskFormer"]
        options += [f"num_queries: {max(2, len(found.classes))}   # as many as classes: more learn slowly"]
        options += ["embedding_channels: 128", "hidden_channels: 512", "dropout: 0.0"]
    elif target == "keypoints":
        options = ["_target_: fbnetv5.heads.simple_baseline.SimpleBaseline", "path: 1", "num_deconvs: 1"]
        options += ["hidden_channels: 64"]
    else:
        assert boxes is not None
        anchors = anchor_sizes(boxes, short_side)
        options = ["_target_: fbnetv5.heads.lite_rcnn.LiteRCNN"]
        options += [f"anchor_sizes: {anchors}   # pixels after resizing: small, middle and large boxes"]
        options += ["num_candidates: [500, 300]", "num_proposals: [200, 30]", "num_sampled: 24"]
        options += ["num_sampled_anchors: 64"]
    return ["  head:", *(f"    {option}" for option in options)]


def _input_lines(target: str, seen: Input) -> list[str]:
    whole = [f"  short_side: {seen.short_side}   # pixels", f"  long_side: {seen.long_side}"]
    if target == "labels":
        side = seen.short_side
        return [f"  short_side: {side}   # pixels", f"  crop: {min(side, seen.crop)}", "  area: [0.3, 1.0]"]
    if target == "masks":
        return [*whole, f"  crop: {seen.crop}", "  scale: [0.8, 1.6]"]
    if target == "keypoints":
        return [*whole, "  crop: null   # whole images", "  scale: [0.8, 1.2]", "  rotation: 20"]
    return [*whole, "  crop: null   # whole images", "  scale: [0.8, 1.0]"]


def _flip_lines(found: Mapping[str, Found]) -> list[str]:
    """Return the key that says which classes change places in mirrored images, or that lets no image be mirrored,
    where keypoints have no partners to change places with."""
    if "keypoints" in found and not found["keypoints"].can_mirror:
        return ["  flip: false   # it is not known which keypoints are left and right, and change places"]
    pairs: dict[str, str] = {}
    for target, entry in found.items():
        for name in entry.classes if target != "keypoints" else ():
            partner = other_side(name)
            if partner != name and partner in entry.classes and partner not in pairs:
                pairs[name] = f"[{scalar(name)}, {scalar(partner)}]"
    return _listed("flip_pairs", "[]", pairs.values()) if pairs else []
