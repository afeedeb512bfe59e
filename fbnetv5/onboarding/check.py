"""``fbnetv5 check``: read all data of a config once, and say what would stop a run and what one should look at."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import atomic_path, write_text
from fbnetv5.base.types import Source
from fbnetv5.config.joint import task_entries
from fbnetv5.config.schema import RunConfig
from fbnetv5.data.images import IMAGE_SUFFIXES
from fbnetv5.data.index import IndexSource
from fbnetv5.data.index_checks import require_several
from fbnetv5.data.orientation import Frames
from fbnetv5.data.sources import build_source, build_val_source
from fbnetv5.heads.head import head_target
from fbnetv5.onboarding.findings import Findings
from fbnetv5.onboarding.image_checks import Look, check_across, check_images, look_at_all, mask_counts
from fbnetv5.onboarding.label_checks import check_classes, check_labels, class_counts
from fbnetv5.onboarding.split_labels import SplitLabels, read_split
from fbnetv5.report.pictures import contact_sheet, draw_labels
from fbnetv5.tasks.build import build_tasks

NUM_DRAWN = 16
COLUMNS = 2
SHOWN_CLASSES = 12


def check(config: RunConfig, *, sheet: Path, report: Path | None = None) -> bool:
    """Read the data of a config, print what is found, and draw some labelled images.

    Args:
        config: of a search or a training.
        sheet: picture that is written.
        report: JSON file that is written, with more examples than are printed.

    Returns:
        whether a run can start.

    Raises:
        InputError: the config has no data of its own, or a file cannot be written.
    """
    data = config.data
    if data.root is None:
        if config.label.images is not None:
            raise InputError("the config is for fbnetv5 label, whose images have no labels to check yet")
        raise InputError("data.root is null, so the config has no files to check: it uses the shapes data set")
    if sheet.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(f"--sheet {sheet}: a picture is called like sheet.jpg ({', '.join(IMAGE_SUFFIXES)})")
    findings = Findings()
    sources = _open(config, findings)
    splits, looks, summary = [], [], {}
    for split, files in (("train", data.train), ("val", data.val)):
        if not any(vars(files).values()):
            continue
        read = read_split(data, split, files, findings)
        check_labels(read, findings)
        source = sources.get(split)
        frames = source.frames if isinstance(source, IndexSource) else Frames()
        print(f"{split}: {len(read.images):,} images", flush=True)
        seen = look_at_all(read, frames)
        check_images(read, seen, findings, undecodable=data.undecodable)
        summary[split] = _count(read, seen, findings)
        splits.append(read)
        looks.append(seen)
    if len(looks) == 2:
        check_across(looks[0], looks[1], findings)
    _check_tasks(config, splits, findings)
    print("\n".join([*_summary_lines(summary), *(entry.line() for entry in findings.entries)]))
    if sources and _draw(next(iter(sources.values())), sheet):
        print(f"wrote {sheet}: some images with their labels")
    if report is not None:
        write_text(
            report, json.dumps({"stops": findings.stop, "splits": summary, "findings": findings.as_json()}, indent=1)
        )
        print(f"wrote {report}")
    print("this would stop a run: mend it, and check again" if findings.stop else "nothing here stops a run")
    return not findings.stop


def _open(config: RunConfig, findings: Findings) -> dict[str, Source]:
    """Open the splits as a run does; what it would say is a finding."""
    sources: dict[str, Source] = {}
    try:
        sources["train"] = build_source(config.data)
        val = build_val_source(config.data, sources["train"].classes)
        if val is not None:
            sources["val"] = val
    except InputError as error:
        split = "val" if sources else "train"
        findings.add("refused", "a run ends with", [str(error)], split=split, stops=True)
    return sources


def _count(read: SplitLabels, looks: Sequence[Look], findings: Findings) -> dict[str, Any]:
    """Return images, labelled images and images of each class of a split, and add classes that lack some."""
    counts = class_counts(read)
    if "segmentation" in read.classes:
        counts["segmentation"] = mask_counts(read, looks)
    for target, count in counts.items():
        if read.labelled()[target]:
            check_classes(read, target, count, findings)
    labelled = {target: len(values) for target, values in read.labelled().items()}
    return {"images": len(read.images), "labelled": labelled, "classes": {t: dict(c) for t, c in counts.items()}}


def _check_tasks(config: RunConfig, splits: Sequence[SplitLabels], findings: Findings) -> None:
    """Add the targets that the config learns, and no training image is labelled with, or with one class alone."""
    if config.job == "train" and config.model.head:
        wanted = {"model.head": head_target(config.model.head)}
    elif config.job == "train" and config.model.tasks:
        heads = {f"model.tasks.{name}.head": entry.head for name, entry in task_entries(config.model).items()}
        wanted = {key: head_target(head, key) for key, head in heads.items()}
    elif config.job in ("search", "pretrain") and config.tasks:
        wanted = {f"tasks.{name}": task.target for name, task in build_tasks(config.tasks).items()}
    else:
        wanted = {}
    train = splits[0] if splits and splits[0].split == "train" else SplitLabels("train")
    lacking, refused, values = [], [], train.labelled()
    for key, target in wanted.items():
        if not values.get(target.name):
            lacking.append(f"{key} needs '{target.name}'")
            continue
        try:
            require_several(target, train.classes[target.name])
        except InputError as error:
            refused.append(str(error))
    findings.add("no labels", "labels are missing in data.train", lacking, stops=True)
    findings.add("one class", "a run ends with", list(dict.fromkeys(refused)), split="train", stops=True)


def _summary_lines(summary: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = []
    for split, entry in summary.items():
        for target, count in entry["labelled"].items():
            shown = Counter(entry["classes"].get(target, {})).most_common(SHOWN_CLASSES)
            more = len(entry["classes"].get(target, {})) - len(shown)
            names = ", ".join(f"{name} {number:,}" for name, number in shown) + (f" and {more} more" if more else "")
            lines.append(f"  {split} {target}: {count:,} of {entry['images']:,} images; images of a class: {names}")
    return lines


def _draw(source: Source, path: Path) -> bool:
    """Draw images of a source with their labels, evenly spaced; whether any could be read."""
    count = min(NUM_DRAWN, len(source))
    rows = [len(source) * place // count for place in range(count)]
    panels = []
    for row in rows:
        try:
            sample = source.load(row)
        except InputError:  # named above
            continue
        panels.append(draw_labels(sample.image, sample.target, source.classes, sample.name))
    if panels:
        with atomic_path(path) as temporary:
            contact_sheet(panels, COLUMNS).save(temporary)
    return bool(panels)
