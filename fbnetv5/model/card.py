"""The model card: README.md of a model's folder, with the front matter that Hugging Face's hub reads.

It says what files of the folder say, and what they do not say it leaves out or names as not stated. Of paths of this
machine it shows the last parts alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from fbnetv5.base.documents import read_json
from fbnetv5.base.files import write_text
from fbnetv5.base.paths import is_uri
from fbnetv5.base.run_files import FINAL_METRICS
from fbnetv5.base.types import TargetKind
from fbnetv5.base.version import __version__
from fbnetv5.metrics.names import NUM_IMAGES, split_names
from fbnetv5.model.exports import EXPORTS, sidecars_in
from fbnetv5.model.joint_net import JointModel
from fbnetv5.model.task_net import TaskNet

CARD = "README.md"
MARKER = "<!-- Written by fbnetv5, which writes it anew. Delete this line to keep what you edit. -->"
NOT_STATED = "not stated"
MAX_CLASSES = 20  # that are named
HUB_METRICS = {"top1": "accuracy", "mIoU": "mean_iou"}  # what the hub calls ours; others it has no names for
PIPELINES = {
    TargetKind.SCALAR: ("image-classification", "classifies images", "name, score, top(5)"),
    TargetKind.BOXES: ("object-detection", "finds objects", "boxes [m, 4] in pixels of the photo, names, scores"),
    TargetKind.MASK: ("image-segmentation", "classifies pixels", "segmentation [H, W], a class id a pixel"),
    TargetKind.DENSE: ("depth-estimation", "estimates a value for every pixel", "values [H, W]"),
    TargetKind.KEYPOINTS: ("keypoint-detection", "finds keypoints", "keypoints [K, 3] in pixels of the photo, points"),
}
"""Of each kind of target, the hub's name of the task, what a model does, and what a prediction holds."""


def write_card(model: TaskNet | JointModel, folder: Path) -> None:
    """Write the card of a trained model into its folder, unless a person has made it theirs.

    Raises:
        InputError: it cannot be written.
    """
    if is_ours(folder):
        write_text(folder / CARD, card(model, folder, place=folder.resolve().name))


def is_ours(folder: Path) -> bool:
    """Whether the card of a folder is missing, or as the program wrote it."""
    file = folder / CARD
    return not file.is_file() or MARKER in file.read_text(encoding="utf-8", errors="replace")


def card(model: TaskNet | JointModel, folder: Path | None, *, place: str, license: str | None = None) -> str:
    """Return the text of a model's card.

    Args:
        model: the trained model.
        folder: of its training, for metrics.json and what was exported below it; None where there is none.
        place: what ``fbnetv5.load`` takes to read the model; its last part is the title.
        license: of the model; by default that of the weights it started from, if that is known.
    """
    found = {} if folder is None else read_json(folder / FINAL_METRICS)
    stated = _mapping(found, "metrics")
    named = split_names(stated)
    metrics = {name: value for name, value in stated.items() if not named[name].of_class}
    config, (height, width), cost = _mapping(found, "config"), model.nominal_size, model.cost()
    origin = model.origin
    title, data = PurePath(place).name, _data(config)
    about = _about(model)
    license = license or (None if origin is None else origin.license)
    loader = PackageLoader("fbnetv5.model")
    environment = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.get_template("card.md.jinja").render(
        front=_front(about.pipelines, title, data, metrics, license),
        title=title,
        summary=f"This model {about.does}. It was trained with fbnetv5.",
        place=place,
        returns=about.returns,
        classes=_cell(about.classes),
        network=_cell(about.network),
        head=about.head,
        macs=f"{cost.macs / 1e6:,.1f} M at {height}x{width}",
        params=f"{cost.params / 1e6:,.2f} M",
        input=f"RGB, short side {model.spec.input.short_side} pixels",
        data=_cell(data or NOT_STATED),
        origin=_cell(_origin(model, config)),
        origin_license="" if origin is None else _cell(origin.license or NOT_STATED),
        teacher=_cell(_place(_get(config, "train.teacher.model"))),
        metrics=[(_cell(name), f"{value:.4g}") for name, value in metrics.items()],
        exports=list(_exports(folder)),
        version=__version__,
        marker=MARKER,
    )


class _About(NamedTuple):
    """What a card says of a model; ``pipelines`` are the hub's names of its tasks."""

    pipelines: list[str]
    does: str
    returns: str
    classes: str
    network: str
    head: str


def _about(model: TaskNet | JointModel) -> _About:
    if isinstance(model, JointModel):
        return _about_joint(model)
    pipeline, does, returns = PIPELINES[model.head.target.kind]
    topology = model.spec.topology
    blocks = "" if topology is None else f", {len(topology.blocks)} blocks of {topology.num_stages} stages"
    network = f"{model.spec.network_name}{blocks}"
    return _About([pipeline], does, returns, _classes(model.classes), network, type(model.head).__name__)


def _about_joint(model: JointModel) -> _About:
    kinds = {task: PIPELINES[target.kind] for task, target in model.targets.items()}
    does = " and ".join(dict.fromkeys(does for _, does, _ in kinds.values()))
    returns = "; ".join(f"{task}: {returns}" for task, (_, _, returns) in kinds.items())
    apart = sum(cost.macs for cost in model.separate_costs().values()) / 1e6
    return _About(
        list(dict.fromkeys(pipeline for pipeline, _, _ in kinds.values())),
        f"{does}, in one pass",
        f"one entry a task, of which {returns}",
        "; ".join(f"{task}: {_classes(classes)}" for task, classes in model.classes.items()),
        f"{model.spec.network_name}, whose {model.spec.share} the tasks share ({apart:,.1f} M multiply-adds apart)",
        ", ".join(f"{task}: {type(model.head(task)).__name__}" for task in model.spec.tasks),
    )


def _front(pipelines: list[str], title: str, data: str, metrics: Mapping[str, float], license: str | None) -> str:
    """Return the front matter as YAML; the hub files a model under one of its tasks."""
    pipeline, *others = pipelines
    scores = [
        {"type": HUB_METRICS.get(part.metric, name), "name": name, "value": metrics[name]}
        for name, part in split_names(metrics).items()
        if part.metric != NUM_IMAGES
    ]
    document: dict[str, Any] = {
        **({"license": license} if license else {}),
        "library_name": "fbnetv5",
        "pipeline_tag": pipeline,
        "tags": ["fbnetv5", "neural-architecture-search", "safetensors", *others],
    }
    if scores:
        dataset = {"name": data or NOT_STATED, "type": data or NOT_STATED}
        result = {"task": {"type": pipeline}, "dataset": dataset, "metrics": scores}
        document["metrics"] = [score["type"] for score in scores]
        document["model-index"] = [{"name": title, "results": [result]}]
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def _exports(folder: Path | None) -> Iterable[dict[str, str]]:
    """Yield what the sidecars of exported files say, file by file, but for those of other weights."""
    for file in sidecars_in(folder / EXPORTS) if folder is not None else ():
        sidecar = read_json(file)
        metric = str(_mapping(sidecar, "metrics").get("main", ""))
        milliseconds = sidecar.get("milliseconds")
        if not {"runtime", "precision", "num_bytes"} <= sidecar.keys():
            continue
        shape = _mapping(sidecar, "input").get("shape", ())
        value, drop = _rated(sidecar)
        yield {
            "file": _cell(file.stem),
            "runtime": _cell(sidecar["runtime"]),
            "precision": _cell(sidecar["precision"]),
            "megabytes": f"{sidecar['num_bytes'] / 1e6:.2f}",
            "size": "x".join(map(str, shape[2:])),
            "metric": metric,
            "value": value,
            "drop": drop,
            "milliseconds": "" if milliseconds is None else _cell(_milliseconds(milliseconds)),
        }


def _rated(sidecar: Mapping[str, Any]) -> tuple[str, str]:
    """Return the metric of a file and its drop, as text; those of several tasks with commas between."""
    tasks = _mapping(sidecar, "tasks")
    values, drops = [], []
    for start, facts in [(f"{task} ", tasks[task]) for task in tasks] or [("", sidecar)]:
        rated = _mapping(facts, "metrics")
        metric = str(rated.get("main", ""))
        value, drop = _mapping(rated, "exported").get(metric), rated.get("drop_in_points")
        values += [] if value is None else [f"{start}{metric} {value:.4g}"]
        drops += [] if drop is None else [f"{drop:.2f}"]
    return _cell(", ".join(values)), ", ".join(drops)


def _milliseconds(stated: Any) -> str:
    """Return times as text: a number, or numbers with what they were measured on."""
    if isinstance(stated, Mapping):
        return "; ".join(f"{_milliseconds(ms)} ({condition})" for condition, ms in stated.items())
    return f"{stated:.2f}" if isinstance(stated, (int, float)) else str(stated)


def _origin(model: TaskNet | JointModel, config: Mapping[str, Any]) -> str:
    if model.origin is not None:
        return model.origin.weights
    return "random" if config else f"random, or {NOT_STATED}"


def _data(config: Mapping[str, Any]) -> str:
    """Return the name of the data: the folder's, or shapes; empty where nothing says so."""
    if not config:
        return ""
    root = _get(config, "data.root")
    return "shapes (procedural)" if root is None else _place(root)


def _place(place: Any) -> str:
    """Return a URI, or the last part of a path."""
    return "" if not place else str(place) if is_uri(place) else PurePath(str(place)).name


def _classes(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - MAX_CLASSES} more" if len(names) > MAX_CLASSES else ""
    return f"{len(names)} classes: {', '.join(names[:MAX_CLASSES])}{more}"


def _cell(text: Any) -> str:
    """Return text that stays in its cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def _get(node: Any, key: str) -> Any:
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _mapping(node: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = node.get(key)
    return value if isinstance(value, Mapping) else {}
