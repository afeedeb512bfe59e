"""Evaluate: a trained model and images become metrics, predictions in files, and drawings of some."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from fbnetv5.archs.network import MultiPathNet
from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import atomic_path, remove_folder, reported, write_text
from fbnetv5.base.paths import is_uri, local_path
from fbnetv5.base.run_files import FINAL_METRICS
from fbnetv5.base.types import Sample, Source, Target, TargetKind
from fbnetv5.config.schema import RunConfig
from fbnetv5.data.index import IndexSource
from fbnetv5.data.loader import build_eval_loader
from fbnetv5.data.orientation import STORED
from fbnetv5.data.sources import build_folder_source, build_val_source
from fbnetv5.data.subset import Subset
from fbnetv5.engine.evaluate import Writer, evaluate
from fbnetv5.engine.log import format_metrics
from fbnetv5.engine.run_folder import open_run_folder, saved_keys
from fbnetv5.engine.world import world_of
from fbnetv5.metrics.build import build_evaluator
from fbnetv5.metrics.evaluator import Evaluator
from fbnetv5.metrics.joint import JointEvaluator
from fbnetv5.model.folder import FinalModel, load
from fbnetv5.model.joint_net import JointModel
from fbnetv5.model.task_net import TaskNet
from fbnetv5.report.html import REPORT, try_report
from fbnetv5.report.joint_predictions import JointWriter
from fbnetv5.report.pictures import contact_sheet, draw_prediction, draw_predictions
from fbnetv5.report.predictions import PredictionWriter
from fbnetv5.report.stored_frame import StoredFrameWriter

PREDICTIONS = "predictions"


def run(config: RunConfig, folder: Path) -> None:
    """Evaluate a trained model on ``data.val``, or predict a folder of images.

    Writes to ``folder``: config.yaml, predictions/, report.html and, for images with labels, metrics.json.

    Raises:
        InputError: the configuration, the model, the data or a file is at fault; the message says which.
    """
    with world_of(config.runtime, sums_gradients=False) as world:
        if config.evaluate.model is None:
            raise InputError("evaluate.model is missing: the folder of a trained model")
        model = load(config.evaluate.model, trust_code=config.evaluate.trust_code).to(world.device)
        if config.evaluate.images is not None:
            source: Source | None = build_folder_source(local_path(config.evaluate.images))
        else:
            source = build_val_source(config.data, classes_of(model))
        if source is None:
            raise InputError(
                "nothing to evaluate on: give evaluate.images, a folder or an image, or the files of data.val"
            )
        _require_same(config, folder)
        open_run_folder(config, folder, world)
        if world.is_main:
            clear_evaluated(folder)
            if config.evaluate.images is None:
                _say_unread(config, model)
        world.barrier()  # other ranks write predictions, too
        evaluate_and_report(config, model, source, folder, world)
        if world.is_main:
            try_report(folder)


def _require_same(config: RunConfig, folder: Path) -> None:
    """Raise InputError where a folder holds what another model says, or of other images, or what is of no run."""
    found = saved_keys(folder).get("evaluate")
    if not isinstance(found, dict):
        there = [name for name in (FINAL_METRICS, PREDICTIONS, REPORT) if (folder / name).exists()]
        if there:
            raise InputError(f"{folder / there[0]} is there, and of no evaluation: choose another output")
        return
    model, images = found.get("model"), found.get("images")
    if [_place(model), _place(images)] != [_place(config.evaluate.model), _place(config.evaluate.images)]:
        what = "the validation split" if images is None else images
        held = f"what {model} says of {what}" if model else "a run"
        raise InputError(f"{folder} holds {held}; choose another output")


def _place(name: str | None) -> str | None:
    """Return a path or URI as it is wherever one works."""
    return name if name is None or is_uri(name) else str(Path(name).expanduser().absolute())


def clear_evaluated(folder: Path) -> None:
    """Remove what an earlier evaluation left in a folder: it may be of another model or of other images."""
    with reported(folder):
        for name in (FINAL_METRICS, REPORT):
            (folder / name).unlink(missing_ok=True)
    if (folder / PREDICTIONS).exists():
        remove_folder(folder / PREDICTIONS)


def _say_unread(config: RunConfig, model: FinalModel) -> None:
    """Say where the config asks for images of another size than the model's, which is what it sees."""
    for key in ("short_side", "long_side"):
        asked, own = getattr(config.data, key), getattr(model.spec.input, key)
        if asked != own:
            print(f"data.{key}={asked} is not read: {config.evaluate.model} has {key}={own}, in its config.json")


def evaluate_and_report(config: RunConfig, model: FinalModel, source: Source, folder: Path, world: World) -> None:
    """Evaluate, then write and print the metrics; write and draw predictions as ``config.evaluate`` says."""
    options = config.evaluate
    predictions = folder / PREDICTIONS
    writer: Writer | None = None
    if options.write_predictions:
        plain = _writer(config, model, predictions, world)
        writer = plain
        if options.frame == STORED and options.images is not None and isinstance(source, IndexSource):
            writer = StoredFrameWriter(plain, source.images, model.in_stored_frame)
    metrics = evaluate_on(config, model, source, world, writer)
    if not world.is_main:
        return
    if metrics:
        write_text(
            folder / FINAL_METRICS, json.dumps(_report(config, model, metrics), indent=2, allow_nan=False) + "\n"
        )
        print(f"{format_metrics(metrics)}\nmetrics: {folder / FINAL_METRICS}")
    if options.num_drawn:
        predictions.mkdir(parents=True, exist_ok=True)
        draw_some(model, source, predictions / "drawn.png", options.num_drawn)
    if options.num_drawn or options.write_predictions:
        print(f"predictions: {predictions}")


def evaluate_on(
    config: RunConfig, model: FinalModel, source: Source, world: World, writer: Writer | None = None
) -> dict[str, float]:
    """Return the metrics of a model on the labelled images of ``source``; predict all, where none is labelled.

    Each of several tasks is judged on the images that are labelled for it, in one pass over all of them.
    """
    targets = targets_of(model)
    rows = sorted(set[int]().union(*(source.labelled(target.name) for target in targets)))
    judged = Subset(source, rows) if rows else source
    batches = build_eval_loader(
        judged,
        targets if rows else (),
        model.spec.input,
        world,
        batch_size=config.evaluate.batch_size,
        workers=config.runtime.workers,
        undecodable=config.data.undecodable if config.evaluate.images is None else "skip",
    )
    evaluator = evaluator_of(config, model, source) if rows else None
    return evaluate(model, batches, world, num_images=len(judged), evaluator=evaluator, writer=writer)


def targets_of(model: FinalModel) -> tuple[Target, ...]:
    """Return what a model predicts, each once."""
    found = model.targets.values() if isinstance(model, JointModel) else (model.head.target,)
    return tuple(dict.fromkeys(found))


def classes_of(model: FinalModel) -> dict[str, tuple[str, ...]]:
    """Return the names of a model's classes, by the name of the target."""
    if isinstance(model, JointModel):
        return {target.name: model.classes[task] for task, target in model.targets.items()}
    return {model.head.target.name: model.spec.classes}


def evaluator_of(config: RunConfig, model: FinalModel, source: Source) -> Evaluator | JointEvaluator:
    """Build the evaluator of a model; of several tasks, of those that an image is labelled for.

    Raises:
        InputError: the json files of the validation split, which it reads, are at fault.
    """

    def of(target: Target, classes: tuple[str, ...]) -> Evaluator:
        return build_evaluator(target, classes, ground_truth_file(config, target))

    if not isinstance(model, JointModel):
        return of(model.head.target, model.spec.classes)
    judged = {task: target for task, target in model.targets.items() if source.num_labelled(target.name)}
    return JointEvaluator({task: of(target, model.classes[task]) for task, target in judged.items()})


def _writer(config: RunConfig, model: FinalModel, folder: Path, world: World) -> PredictionWriter | JointWriter:
    def of(target: Target, classes: tuple[str, ...], place: Path) -> PredictionWriter:
        return PredictionWriter(place, target, classes, world, coco_json=ground_truth_file(config, target))

    if not isinstance(model, JointModel):
        return of(model.head.target, model.spec.classes, folder)
    writers = {task: of(target, model.classes[task], folder / task) for task, target in model.targets.items()}
    return JointWriter(folder, writers, world)


def ground_truth_file(config: RunConfig, target: Target) -> Path | None:
    """Return the COCO file of the validation split, whose crowds and areas count; None where an index replaces it."""
    data = config.data
    file = data.val.keypoints if target.kind is TargetKind.KEYPOINTS else data.val.boxes
    if config.evaluate.images is not None or data.root is None or file is None or data.val.index is not None:
        return None
    return local_path(data.root).absolute() / (local_path(file).absolute() if is_uri(file) else file)


def draw_some(model: FinalModel, source: Source, path: Path, count: int) -> None:
    """Draw the predictions of ``count`` images, evenly spaced over the source, as one picture."""
    count = min(count, len(source))
    chosen = [len(source) * i // count for i in range(count)]
    panels = []
    for row in chosen:
        try:
            sample = source.load(row)
        except InputError:  # counted where it was evaluated
            continue
        panels.append(_drawn(model, sample))
    if panels:
        columns = 4 if not isinstance(model, JointModel) and model.head.target.kind is TargetKind.SCALAR else 2
        with atomic_path(path) as temporary:
            contact_sheet(panels, columns).save(temporary)


def _drawn(model: FinalModel, sample: Sample) -> Image.Image:
    """Draw what a model predicts for an image, with the truth where it is known."""
    prediction = model.predict_tensors(sample.image)
    known = any(target.name in sample.target for target in targets_of(model))
    truth = sample.target if known else None
    if isinstance(model, JointModel):
        return draw_predictions(sample.image, prediction, model.targets, model.classes, truth)
    return draw_prediction(sample.image, prediction, model.head.target.kind, model.spec.classes, truth)


def _report(config: RunConfig, model: FinalModel, metrics: Mapping[str, float]) -> dict[str, Any]:
    """Return what metrics.json holds: the metrics, what was measured, and under which configuration."""
    cost = model.cost()
    return {
        "metrics": dict(metrics),
        "model": {
            **(_described_joint(model) if isinstance(model, JointModel) else _described(model)),
            "input_size": list(model.nominal_size),
            "macs": cost.macs,
            "params": cost.params,
        },
        "config": asdict(config),
    }


def _described(model: TaskNet) -> dict[str, Any]:
    network, head = model.network, model.spec.head["_target_"]
    if isinstance(network, MultiPathNet):
        return {"family": network.family.name, "blocks": len(network.topology.blocks), "head": head}
    return {"network": f"{type(network).__module__}.{type(network).__qualname__}", "head": head}


def _described_joint(model: JointModel) -> dict[str, Any]:
    """Return what a joint model is, what each part costs, and what each task would cost alone."""
    tasks = {
        task: {"head": chosen.head["_target_"], "blocks": len(model.network.topologies[task].blocks)}
        for task, chosen in model.spec.tasks.items()
    }
    return {
        "family": model.spec.family,
        "share": model.spec.share,
        "tasks": tasks,
        "parts": {name: asdict(cost) for name, cost in model.costs().items()},
        "separate": {name: asdict(cost) for name, cost in model.separate_costs().items()},
    }
