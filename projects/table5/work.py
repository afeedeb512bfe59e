"""What a worker does: one part of an ablation; and whether an earlier run has done it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

from fbnetv5.archs.topology import Topology
from fbnetv5.base.files import write_text
from fbnetv5.cli.launch import run_job
from fbnetv5.config.read import load_config
from fbnetv5.projects.table5.options import PredictConfig
from fbnetv5.projects.table5.plan import Part
from fbnetv5.projects.table5.predict import predict
from fbnetv5.runs.outcome import ended, is_finished
from fbnetv5.runs.plan import SweepJob


class Work(NamedTuple):
    """A part of the ablation in the folder ``root``."""

    part: Part
    root: Path
    options: PredictConfig


def do_part(work: Work) -> None:
    """Do a part; a run that was interrupted goes on from its last checkpoint.

    Raises:
        InputError: the configuration, the data or a file is at fault; the message says which.
    """
    part = work.part
    if part.kind != "predict":
        run_job(load_config(part.config, (*part.all_overrides, "resume=true")))
        return
    folder = work.root / part.name.split("/")[0] / "topologies"
    topologies = {code: Topology.load(folder / f"{part.task}-{code}.yaml") for code in part.codes}
    losses = predict(load_config(part.config, part.all_overrides), part.task, topologies, work.options)
    record = {"inputs": _prediction_inputs(work), "losses": losses}
    write_text(prediction_file(work.root, part.name), json.dumps(record, indent=2) + "\n")


def is_done(work: Work) -> bool:
    """Whether an earlier run of the ablation has done this very part."""
    part = work.part
    if part.kind == "predict":
        return bool(read_json(prediction_file(work.root, part.name)).get("inputs") == _prediction_inputs(work))
    return (part.folder / "config.yaml").exists() and is_finished(
        part.folder, load_config(part.config, part.all_overrides)
    )


def record_end(part: Part, error: str, seconds: float) -> None:
    """Write to the folder of a run how it ended, for :func:`is_done`."""
    if part.kind != "predict":
        ended(SweepJob(part.name, (), part.all_overrides, part.folder), error, time.monotonic() - seconds)


def prediction_file(root: Path, name: str) -> Path:
    """Return where the losses stand that the supernet predicts, by topology."""
    return root / f"{name}.json"


def read_json(file: Path) -> dict[str, Any]:
    """Return what a JSON file holds; an empty mapping where there is none, or none that can be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _prediction_inputs(work: Work) -> dict[str, Any]:
    part = work.part
    return {"codes": list(part.codes), "search": list(part.overrides), **vars(work.options)}
