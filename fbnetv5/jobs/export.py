"""Export: a trained model becomes files for ExecuTorch, ONNX or TorchScript, in float32 or int8."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fbnetv5.base.distributed import start_world
from fbnetv5.base.errors import InputError, nearest
from fbnetv5.base.files import atomic_path, reported, write_text, written_beside
from fbnetv5.base.types import Size, Source, TargetKind
from fbnetv5.base.version import __version__
from fbnetv5.base.weights import WEIGHTS
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.write import saved_yaml
from fbnetv5.engine.run_folder import require_own
from fbnetv5.export.agreement import agreement
from fbnetv5.export.coreml import CORE_ML
from fbnetv5.export.deployed import ALONE
from fbnetv5.export.describe import describe
from fbnetv5.export.executorch import XNNPACK
from fbnetv5.export.formats import PRECISIONS, SUFFIXES, Converter, check_choices, check_support
from fbnetv5.export.inputs import fitted, input_size
from fbnetv5.export.joint import AnyDeployed, deploy_any
from fbnetv5.export.lowered import Lowered
from fbnetv5.export.parts import candidate_parts
from fbnetv5.export.progress import ExportProgress
from fbnetv5.export.rating import FixedSizeModel, Predict, by_task, main_metrics, rate
from fbnetv5.export.runtime import ELSEWHERE, AnyExported, load_exported, runs_here
from fbnetv5.export.sensitivity import part_errors
from fbnetv5.export.sidecar import AnySidecar, TaskFacts, carry_milliseconds, sidecar_path, write_sidecar
from fbnetv5.export.tasks import tasks_of
from fbnetv5.heads.head import PixelHead
from fbnetv5.jobs.export_images import calibration_images, rated_source, sizes_of, spread, training_source
from fbnetv5.model.card import write_card
from fbnetv5.model.exports import EXPORTS, files_of, keep_files
from fbnetv5.model.folder import FinalModel, load

NUM_COMPARED = 16  # images that predictions are compared on
NUM_RANKED = 8  # images that parts are ranked on
NEAR_ZERO = 5  # points of a metric beside which a drop tells nothing
LAYERS = (nn.Conv2d, nn.Linear)  # that the time of an export is estimated by
LARGE_DROP = 2  # points that the fixed size may cost before the export says so


def run(config: RunConfig, folder: Path) -> None:
    """Export a trained model in each of ``export.formats`` and ``export.precisions``, and compare each with it.

    Writes to ``folder``: ``model_<precision>.<suffix>`` with a JSON sidecar beside each, and exported.json, which lists
    them (exporting.json until the last is there); files of other formats stay, and in the list, if they are of the same
    weights.

    Raises:
        InputError: the configuration, the model, the data or a package is at fault; the message says which.
    """
    with start_world("cpu", config.runtime.threads) as world:
        if world.size > 1:
            raise InputError("export runs in one process")
        require_own(folder, config.job)
        with ExportProgress() as progress:
            export = build_export(config, progress)
            weights = None if export.model.folder is None else export.model.folder / WEIGHTS
            files = [] if weights is None else files_of(folder, weights) or []
            keep_files(folder, weights, files, finished=False)
            write_text(folder / "config.yaml", saved_yaml(config, f"fbnetv5 {__version__}, export"))
            for runtime, precision in _files(config):
                print(progress.start_file((runtime, precision)), flush=True)
                files.append(export_one(export, runtime, precision, folder).name)
                keep_files(folder, weights, files, finished=False)
                progress.end_file()
        keep_files(folder, weights, files, finished=True)
        trained = export.model.folder
        if trained is not None and folder.resolve() == (trained / EXPORTS).resolve():
            write_card(export.model, trained)  # which shows what was exported


@dataclass
class Export:
    """The parts that all files of an export have in common.

    Attributes:
        config: of the job.
        model: as trained.
        deployed: the form that is exported.
        size: (height, width) of the input.
        val_source: labelled images to rate files on, if there are any.
        calibration: images [1, 3, H, W] for int8.
        progress: is told what is done.
        metrics: of the trained model, by task, on images as it prepares them (``trained``) and at the fixed size
            (``fitted``).
    """

    config: RunConfig
    model: FinalModel
    deployed: AnyDeployed
    size: Size
    val_source: Source | None
    calibration: list[Tensor]
    progress: ExportProgress
    metrics: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)

    @cached_property
    def converter(self) -> Converter:
        """What all files are made by."""
        return Converter(self.deployed, self.size)


def build_export(config: RunConfig, progress: ExportProgress) -> Export:
    """Load the model, put it into a form for one image, and prepare the images that it is calibrated and compared with.

    Raises:
        InputError: something does not fit; nothing was written.
    """
    options = config.export
    if options.model is None:
        raise InputError("export.model is missing: the folder of a trained model")
    check_choices("export.formats", options.formats, tuple(SUFFIXES))
    check_choices("export.precisions", options.precisions, PRECISIONS)
    for runtime, precision in _files(config):
        check_support(runtime, precision)
    model = load(options.model, trust_code=config.evaluate.trust_code)
    spec = model.spec.input
    train_source = training_source(config, model)
    needs_sizes = options.size is None and spec.crop is None and train_source is not None
    size = input_size(model, options.size, sizes_of(config, train_source) if needs_sizes and train_source else ())
    deployed = deploy_any(model, size, options.map_stride)
    _check_parts(deployed, options.float_parts)
    progress.plan(_files(config), sum(isinstance(module, LAYERS) for module in deployed.modules()))
    calibration = []
    if "int8" in options.precisions and train_source is not None:
        calibration = [fitted(image, spec, size)[0] for image in calibration_images(config, train_source)]
    if "int8" in options.precisions and not calibration:
        raise InputError("int8 is calibrated on images of data.train, and none of them can be read")
    source = rated_source(config, model)
    if source is None:
        print("no image of data.val can be rated: files are written without being rated beside the trained model")
        return Export(config, model, deployed, size, None, calibration, progress)
    print(f"rating the trained model on {len(source)} images ...", flush=True)
    predictions = {"trained": model.predict_tensors, "fitted": FixedSizeModel(model, size).predict}
    metrics = {name: rate(model, source, predict, progress) for name, predict in predictions.items()}
    for task in (task for task, each in tasks_of(model).items() if source.num_labelled(each.target.name)):
        if task not in metrics["trained"]:
            print(f"{task or 'the model'} is not rated: these images have nothing that its metric counts")
    return Export(config, model, deployed, size, source, calibration, progress, metrics)


def export_one(export: Export, runtime: str, precision: str, folder: Path) -> Path:
    """Write one file and its sidecar, and return it.

    In int8, ever more parts stay in float32 until the metric drops little enough.

    Raises:
        InputError: the runtime's packages are missing, or a file cannot be written.
    """
    file = folder / f"model_{precision}{SUFFIXES[runtime]}"
    with written_beside(file) as partial:
        _export_partial(export, runtime, precision, partial)
        carry_milliseconds(file, partial)
        with reported(file):
            partial.replace(file)
            sidecar_path(partial).replace(sidecar_path(file))
    print(f"written: {file}")
    return file


def _export_partial(export: Export, runtime: str, precision: str, file: Path) -> None:
    options = export.config.export
    calibration = export.calibration if precision == "int8" else None
    float_parts = list(options.float_parts) if precision == "int8" else []
    errors: dict[str, dict[str, float]] | None = None
    while True:
        export.progress.step("exporting")
        lowered = export.converter.convert(runtime, calibration, float_parts, precision)
        sidecar = _write(export, runtime, precision, file, lowered, float_parts)
        _say(sidecar, lowered)
        drops = {task: facts.metrics.get("drop_in_points", 0.0) for task, facts in sidecar.by_task().items()}
        worst = max(drops, key=lambda task: drops[task])
        if precision != "int8" or options.max_drop is None or drops[worst] <= options.max_drop:
            return
        if errors is None:
            print(f"  the drop is above export.max_drop={options.max_drop:g}")
            errors = _part_errors(export)
        if errors is None:
            return
        hurting = [part for part, error in errors[worst].items() if error > 0]  # not those of other tasks
        ranked = sorted(hurting, key=lambda part: -errors[worst][part])
        left = [part for part in ranked if part not in float_parts]
        if len(left) <= 1:
            print(f"  of the parts that hurt {worst or 'it'} but one is left in int8; the drop stays")
            return
        float_parts += left[: min(max(1, len(float_parts)), len(left) - 1)]
        print(f"  in float32 from now on: {', '.join(float_parts)}")


def _part_errors(export: Export) -> dict[str, dict[str, float]] | None:
    """Return what :func:`part_errors` does; None, and a line, where the packages that it takes are not installed."""
    try:
        check_support("executorch", "int8")
    except InputError as error:
        print(f"  which parts int8 hurts cannot be told, and the drop stays: {error}")
        return None
    print("  measuring which parts int8 hurts ...")
    rows = spread(range(len(export.calibration)), NUM_RANKED)  # of all classes, where files are sorted by them
    return part_errors(export.deployed, [export.calibration[row] for row in rows], export.progress)


def _write(
    export: Export, runtime: str, precision: str, file: Path, lowered: Lowered, float_parts: Sequence[str]
) -> AnySidecar:
    """Write a file with its sidecar, run it, and write the sidecar again with what that showed."""
    sidecar = describe(
        export.model,
        export.deployed,
        export.size,
        lowered,
        runtime=runtime,
        precision=precision,
        num_calibration=len(export.calibration),
        float_parts=float_parts,
    )
    with atomic_path(file) as temporary:
        temporary.write_bytes(lowered.data)
    write_sidecar(file, sidecar)
    if not runs_here(runtime):
        print(f"  runs on {ELSEWHERE[runtime]} alone, and is not compared with the trained model here")
        return sidecar
    exported = load_exported(file)
    if export.val_source is not None:
        export.progress.step("comparing predictions")
        agreements = _agreement(export, export.val_source, exported)
        metrics = _metrics(export, export.val_source, exported.predict)
        for task, facts in sidecar.by_task().items():
            facts.agreement, facts.metrics = agreements[task], metrics.get(task, {})
        write_sidecar(file, sidecar)
    return sidecar


def _agreement(export: Export, source: Source, exported: AnyExported) -> dict[str, dict[str, float]]:
    """Compare the file with the trained model, task by task."""
    images = [source.load(row, ()).image for row in spread(range(len(source)), NUM_COMPARED)]
    trained, tasks, found = FixedSizeModel(export.model, export.size), tasks_of(export.model), {}
    pairs = []
    if any(each.target.kind is not TargetKind.MASK for each in tasks.values()):
        pairs = [[by_task(export.model, model.predict(image)) for image in images] for model in (trained, exported)]
    for task, (head, _) in tasks.items():
        if head.target.kind is not TargetKind.MASK:
            expected, given = ([one[task] for one in side] for side in pairs)
            found[task] = agreement(head.target.kind, expected, given)
        elif isinstance(head, PixelHead):
            maps = [[model.pixels(image, task) for image in images] for model in (trained, exported)]
            found[task] = agreement(head.target.kind, *maps)
        else:
            found[task] = {}
        if any(map(math.isnan, found[task].values())):
            raise InputError(f"{task or 'the exported model'} gives no numbers (NaN) where the trained model does")
    return found


def _metrics(export: Export, source: Source, predict: Predict) -> dict[str, dict[str, Any]]:
    """Rate the file beside the trained model, task by task: what the fixed size costs, and the file beyond that."""
    found, names = rate(export.model, source, predict, export.progress), main_metrics(export.model)
    rated = {}
    for task, metrics in found.items():
        name, before = names[task], {which: of_tasks[task] for which, of_tasks in export.metrics.items()}
        trained, at_size = before["trained"][name], before["fitted"][name]
        rated[task] = {
            "num_images": source.num_labelled(tasks_of(export.model)[task].target.name),
            "main": name,
            **before,
            "exported": metrics,
            "drop_by_size_in_points": 100 * (trained - at_size),
            "drop_in_points": 100 * (at_size - metrics[name]),
        }
    return rated


def _check_parts(deployed: AnyDeployed, parts: Sequence[str]) -> None:
    known = dict(deployed.named_modules())
    for part in parts:
        if part not in known:
            raise InputError(
                f"export.float_parts: the model has no part '{part}'{nearest(part, candidate_parts(deployed))}"
            )


def _files(config: RunConfig) -> list[tuple[str, str]]:
    """Return the runtime and the precision of each file."""
    return [(runtime, precision) for runtime in config.export.formats for precision in config.export.precisions]


def _say(sidecar: AnySidecar, lowered: Lowered) -> None:
    """Print what a file is, and how it compares."""
    print(f"  {sidecar.num_bytes / 1e6:.2f} MB, input {sidecar.size[0]}x{sidecar.size[1]}")
    for backend in (XNNPACK, CORE_ML):
        if backend in lowered.macs:
            print(f"  {backend} computes {lowered.share(backend):.1%} of the multiply-adds")
    if lowered.operators:
        counts = ", ".join(f"{sum(operators.values())} on {name}" for name, operators in lowered.operators.items())
        print(f"  operators: {counts}; the JSON file beside it lists them")
    for task, facts in sidecar.by_task().items():
        _say_of_task(f"  {task}: " if task != ALONE else "  ", facts)


def _say_of_task(start: str, facts: TaskFacts) -> None:
    """Print how a task of a file compares."""
    if facts.agreement:
        differences = ", ".join(f"{name} {value:.3g}" for name, value in facts.agreement.items())
        print(f"{start}against the trained model: {differences}")
    if metrics := facts.metrics:
        name = metrics["main"]
        trained, at_size, found = (100 * metrics[which][name] for which in ("trained", "fitted", "exported"))
        print(
            f"{start}{name} on {metrics['num_images']} images: {trained:.2f} trained, {at_size:.2f} at this size, "
            f"{found:.2f} in this file: a drop of {metrics['drop_in_points']:.2f} points"
        )
        if max(trained, at_size) < NEAR_ZERO:
            print(f"{start}the trained model's {name} is near zero, beside which a drop tells nothing")
        if metrics["drop_by_size_in_points"] > LARGE_DROP:
            print(
                f"{start}the fixed size costs much of the metric: export.size=[height,width] sets one that suits your "
                "images"
            )
