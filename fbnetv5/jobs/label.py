"""Label: a folder of images and pretrained models become a multitask index that a search or a training reads."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import write_text
from fbnetv5.base.paths import local_path
from fbnetv5.config.identity import identity
from fbnetv5.config.label import LabelConfig
from fbnetv5.config.read import CONFIG
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.targets import build_target, require_members
from fbnetv5.config.write import typed_path
from fbnetv5.data.orientation import UPRIGHT, Frames
from fbnetv5.data.tars import is_folder
from fbnetv5.engine.run_folder import open_run_folder
from fbnetv5.engine.world import world_of
from fbnetv5.labeling.labeler import Labeler, check_teachers
from fbnetv5.labeling.loading import Loaded, load_batches
from fbnetv5.labeling.plan import Plan, read_plan, write_plan
from fbnetv5.labeling.progress import LabelProgress
from fbnetv5.labeling.samples import draw_samples
from fbnetv5.labeling.shards import (
    INDEX,
    UNREADABLE,
    clean,
    count_shards,
    join_shards,
    missing_shards,
    shard_folder,
    write_shard,
)
from fbnetv5.labeling.tally import summary, summary_text

PLAN, SUMMARY, DRAWN = "plan", "summary.json", "drawn.png"
WRITTEN = (CONFIG, PLAN, INDEX, UNREADABLE, SUMMARY, DRAWN)
POLL_SECONDS = 0.2


def run(config: RunConfig, folder: Path) -> None:
    """Label the images below ``label.images``.

    Each process labels every n-th shard that is missing; the first one then joins all of them. Writes to ``folder``:
    config.yaml, plan/, shards/ with the masks, index.parquet, unreadable.csv, summary.json and drawn.png.

    Raises:
        InputError: the configuration, a teacher, the images or a file is at fault; the message says which.
    """
    with world_of(config.runtime, sums_gradients=False) as world:
        options = config.label
        images = _images_folder(options, folder)
        box_teacher = _build_teacher("label.boxes", options.boxes, world)
        pixel_teacher = _build_teacher("label.masks", options.masks, world)
        check_teachers(box_teacher, pixel_teacher)
        teachers = Labeler(box_teacher, pixel_teacher)
        plan = _open_plan(config, folder, images, teachers, world)
        labeler = Labeler(
            box_teacher,
            pixel_teacher,
            plan.label_classes,
            options.box_threshold,
            options.pixel_threshold,
            options.frame,
        )
        missing = missing_shards(folder, plan.num_shards)
        count_shards(folder, sorted(set(range(plan.num_shards)) - set(missing)), labeler.classes)
        world.barrier()  # all have seen the same shards missing before one of them is written
        if world.is_main:
            print(_heading(plan, labeler, missing, world, folder))
        done = plan.num_images - plan.num_images_of(missing)
        with LabelProgress(
            shown=world.is_main, num_images=plan.num_images, done=done, every=config.runtime.log_every
        ) as progress:
            _label_shards(config, labeler, plan, missing[world.rank :: world.size], images, folder, progress)
            if world.is_main:
                _wait_for_others(plan, folder, progress)
        if world.is_main:
            _finish(options, labeler, plan, images, folder)


def _images_folder(options: LabelConfig, folder: Path) -> Path:
    """Return where the images are. Raises InputError where there is no such folder, or the output lies in it."""
    if options.images is None:
        raise InputError("label.images is missing: the folder of the images to label")
    images = local_path(options.images).absolute()
    if not is_folder(images):
        raise InputError(f"label.images={options.images}: there is no such folder")
    if folder.resolve().is_relative_to(images.resolve()):
        raise InputError(f"output={folder} lies in label.images, where its masks would count as images; choose another")
    return images


def _build_teacher(key: str, entry: dict[str, Any] | None, world: World) -> Any:
    if not entry:
        return None
    teacher = build_target(key, entry)
    require_members(key, entry, teacher, ("classes", "to"), "teacher (fbnetv5/labeling/teacher.py)")
    teacher.to(world.device)
    return teacher


def _open_plan(config: RunConfig, folder: Path, images: Path, teachers: Labeler, world: World) -> Plan:
    """Claim the run's folder; list the images, unless an earlier start of the run has done it."""
    known, classes = identity(config), {target.name: names for target, names in teachers.classes.items()}
    planned = folder / PLAN
    if config.resume and planned.exists():
        read_plan(planned, known, classes)  # refuses another configuration before anything is written
    open_run_folder(config, folder, world)
    if world.is_main:
        clean(folder, WRITTEN)
    if world.is_main and not planned.exists():
        labels = None if config.label.labels is None else local_path(config.label.labels)
        try:
            write_plan(planned, images, labels, shard_size=config.label.shard_size, identity=known, classes=classes)
        except BaseException:  # of Ctrl-C too: without a plan there is no run that the folder would hold
            (folder / CONFIG).unlink(missing_ok=True)
            raise
    while not planned.exists():  # no barrier: those of NCCL give up after ten minutes
        time.sleep(POLL_SECONDS)
    return read_plan(planned, known, classes)


def _label_shards(
    config: RunConfig,
    labeler: Labeler,
    plan: Plan,
    shards: Sequence[int],
    images: Path,
    folder: Path,
    progress: LabelProgress,
) -> None:
    """Write this process's share of the shards."""
    options = config.label
    batches = load_batches(
        plan, shards, images, batch_size=options.batch_size, workers=config.runtime.workers if shards else 0
    )
    for shard, group in itertools.groupby(batches, key=lambda batch: batch[0].shard):
        names = [entry.name for entry in plan.shard(shard)]
        write_shard(shard_folder(folder, shard), names, _told(group, plan, folder, progress), labeler)


def _told(batches: Iterable[list[Loaded]], plan: Plan, folder: Path, progress: LabelProgress) -> Iterator[list[Loaded]]:
    """Yield the batches of a shard, and tell how far the run is: the shards of all processes, and this one's begun."""
    begun = 0
    for batch in batches:
        yield batch
        begun += len(batch)
        if progress.due():
            progress.show(_num_done(plan, folder) + begun)


def _wait_for_others(plan: Plan, folder: Path, progress: LabelProgress) -> None:
    shown = 0
    while (done := _num_done(plan, folder)) < plan.num_images:
        if done > shown:
            progress.show(done)
            shown = done
        time.sleep(POLL_SECONDS)


def _num_done(plan: Plan, folder: Path) -> int:
    return plan.num_images - plan.num_images_of(missing_shards(folder, plan.num_shards))


def _finish(options: LabelConfig, labeler: Labeler, plan: Plan, images: Path, folder: Path) -> None:
    """Join the shards; write and print what was found, and how to use it."""
    tally = join_shards(folder, plan.num_shards, labeler.classes)
    content = {"images_folder": str(images), **summary(tally, labeler.classes)}
    write_text(folder / SUMMARY, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    print(summary_text(tally, labeler.classes))
    if tally.num_unreadable:
        print(f"unreadable: {folder / UNREADABLE}")
    if options.num_drawn:
        frames = Frames(upright=options.frame == UPRIGHT)
        draw_samples(folder / DRAWN, folder, images, plan.num_shards, options.num_drawn, frames)
        print(f"drawn: {folder / DRAWN}")
    print(f"index: {folder / INDEX}; to train on it:")
    exif = "" if options.frame == UPRIGHT else " data.exif=ignore"
    places = typed_path("data.root", folder), typed_path("data.train.images", images)
    print(f"  {places[0]} data.train.index={INDEX} {places[1]}{exif}")


def _heading(plan: Plan, labeler: Labeler, missing: Sequence[int], world: World, folder: Path) -> str:
    """Return what is about to run, in one line."""
    targets = ", ".join(f"{target.name} ({len(names)} classes)" for target, names in labeler.classes.items())
    return (
        f"label {targets}: {plan.num_images:,} images, {plan.num_images_of(missing):,} of them to do, in "
        f"{len(missing):,} shards; {world.size} process(es) on {world.device.type}; writing to {folder}"
    )
