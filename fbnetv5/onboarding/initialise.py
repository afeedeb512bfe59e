"""``fbnetv5 init``: look at a folder, say what is in it, and write the configs of a search and of trainings."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterable
from pathlib import Path

from fbnetv5.base.errors import InputError
from fbnetv5.base.files import atomic_folder, write_text

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # of a config that any command line takes without quotes
FOLDER_END = "_labels"  # of the folder of what is written beside the configs
ABOUT = "about.txt"  # in it, by which it is known
TOLD_EVERY = 1000  # masks
LABEL_SUFFIXES = (".json", ".csv", ".xml")  # of files that hardly anything but labels is in
CLASSES_SHOWN = 8


def initialise(root: Path, output: Path, *, start: str | None = None, overwrite: bool = False) -> None:
    """Look at a folder, print what is in it, and write configs.

    Args:
        root: the folder; nothing in it is changed.
        output: the config of the search, which ends in .yaml; those of trainings and a folder of what had to be
            converted lie beside it, under names that start with its own.
        start: what networks start from, ``imagenet`` (EfficientNet-Lite0's weights) or ``scratch``; None for ImageNet,
            on condition that its weights are on this machine.
        overwrite: whether to replace files that are there.

    Raises:
        InputError: there is no such folder, no image in it, a name cannot be taken, or a file is there or cannot be
            written; or the weights are not here.
    """
    _check(root, output, overwrite)
    from fbnetv5.onboarding.convert import link_to, needs_folder, write_splits  # here, as they import torch
    from fbnetv5.onboarding.listing import list_folder
    from fbnetv5.onboarding.origins import origin_of
    from fbnetv5.onboarding.survey import survey
    from fbnetv5.onboarding.write_yaml import LEAST_FOR_LAST_LOOK, TASKS, Facts, config_texts, fewest_images, label_text

    if any(name.lower().endswith(LABEL_SUFFIXES) for name in list_folder(root).files):
        origin_of(start)  # refused before all is read, which takes minutes where there is much
    found = survey(root)
    print("\n".join(_report(root, found)))
    folder = output.with_name(output.stem + FOLDER_END)
    configs = [output, *(output.with_name(f"{output.stem}_{TASKS[target]}.yaml") for target in found.found)]
    if not found.found:
        _refuse_existing([output], overwrite)
        write_text(output, label_text(str(root), output.stem, str(output.with_suffix(""))))
        print(f"wrote {output}: fbnetv5 label {shlex.quote(str(output))} lets pretrained models make labels")
        return
    if not found.train:
        raise InputError(f"{root}: only one image is labelled; a search needs some to learn from")
    origin, whence = origin_of(start)
    converts = needs_folder(found)
    _refuse_existing([*configs, *([folder] if converts else [])], overwrite)
    splits = {}
    if converts:
        with atomic_folder(folder) as temporary:
            splits = write_splits(found, temporary, link_to(folder, root), _tell)
            (temporary / ABOUT).write_text(
                f"Written by fbnetv5 init from {root} for {output.name}.\n", encoding="utf-8"
            )
            _remove_own(folder)
        print(f"wrote {folder}/: {_content(folder)}; {root} is as it was")
    else:
        splits = write_splits(found, folder, "", _tell)
    written = folder.name if converts else None
    facts = Facts(found, str(root), splits, output.stem, str(output.with_suffix("")), written, origin)
    for end, text in config_texts(facts).items():
        write_text(output.with_name(f"{output.stem}{end}.yaml"), text)
    print(f"wrote {', '.join(map(str, configs))}")
    if overwrite:
        for task in {*TASKS.values()} - {TASKS[target] for target in found.found}:
            _remove_stale(output.with_name(f"{output.stem}_{task}.yaml"))
    print(whence)
    print(_next_steps(configs, fewest_images(found)[1] >= LEAST_FOR_LAST_LOOK))


def _next_steps(configs: Iterable[Path], has_families: bool) -> str:
    """Return the commands to give then; there is a curve where the search ends with families."""
    search, *trainings = (shlex.quote(str(config)) for config in configs)
    steps = [f"check {search}", f"search {search}", *(f"train {training}" for training in trainings)]
    if has_families:
        steps.append(f"curve {' '.join(trainings)}   # or a row of topologies a task: its metric against milliseconds")
    return "\n".join(["next:", *(f"  fbnetv5 {step}" for step in steps)])


def _check(root: Path, output: Path, overwrite: bool) -> None:
    """Raise InputError for what can be known before anything is read."""
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder")
    if output.suffix != ".yaml" or not NAME.fullmatch(output.stem):
        raise InputError(f"--output {output}: should be called like my.yaml, of letters, digits, '_', '-' and '.'")
    if output.absolute().parent.resolve().is_relative_to(root.resolve()):
        raise InputError(f"--output {output} lies in {root}, which is to stay as it is: choose a place outside of it")
    _refuse_existing([output], overwrite)


def _refuse_existing(places: Iterable[Path], overwrite: bool) -> None:
    for place in places:
        if place.is_dir() and overwrite and not (place / ABOUT).is_file():
            raise InputError(f"{place} is there, and not of fbnetv5 init: move it away, or choose another --output")
        if place.exists() and not overwrite:
            raise InputError(f"{place} is there already: --overwrite replaces it, or choose another --output")


def _remove_stale(config: Path) -> None:
    """Remove the config of a training that an earlier call wrote, of labels that are not there any more."""
    if not config.is_file():
        return
    text = config.read_text(encoding="utf-8", errors="replace")
    if "fbnetv5 init wrote it" in text and f"\nname: {config.stem}\n" in text:
        config.unlink()
        print(f"removed {config}: its labels are not there any more")


def _remove_own(folder: Path) -> None:
    if (folder / ABOUT).is_file():
        shutil.rmtree(folder)


def _tell(what: str, done: int, total: int) -> None:
    if done % TOLD_EVERY == 0:
        print(f"{what}: {done:,} of {total:,}", flush=True)


def _content(folder: Path) -> str:
    names = (f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    return ", ".join(sorted(name for name in names if name != ABOUT))


def _report(root: Path, found: object) -> list[str]:
    """Return what is printed of a folder."""
    from fbnetv5.onboarding.sizes import shape_of
    from fbnetv5.onboarding.survey import LOOKED_FOR, Survey
    from fbnetv5.onboarding.write_yaml import TASKS

    assert isinstance(found, Survey)
    listing, parts = found.listing, {"train": set(found.train), "val": set(found.val), "test": set(found.test)}
    shape = shape_of(listing.sizes)
    labelled = sum(map(len, parts.values()))
    lines = [f"{root}: {len(listing.images):,} images, {shape.width}x{shape.height} pixels in the middle"]
    for target, entry in found.found.items():
        counts = [(split, sum(image in entry.values for image in images)) for split, images in parts.items()]
        shares = ", ".join(f"{split} {count:,}" for split, count in counts if count)
        things = f", {entry.num_things:,} boxes" if target == "boxes" else ""
        names = ", ".join(entry.classes[:CLASSES_SHOWN]) + (" ..." if len(entry.classes) > CLASSES_SHOWN else "")
        lines.append(
            f"  {TASKS[target]}: {entry.format} ({', '.join(entry.where[:3])}): {len(entry.values):,} images ({shares})"
            f"{things}, {entry.num_classes}: {names}"
        )
        lines += [f"    {note}" for note in entry.notes]
        if target in found.split_off:
            count = found.split_off[target]
            what = f"{count:,} images are split off, by a hash of names" if count else "too few images for one"
            lines.append(f"    no validation split: {what}")
    if not found.found:
        lines.append(f"  no labels; looked for {LOOKED_FOR}")
    elif labelled < len(listing.images):
        lines.append(f"  {len(listing.images) - labelled:,} images without any label are left out")
    return [*lines, *(f"  {note}" for note in found.notes)]
