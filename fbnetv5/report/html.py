"""One page for a run: a self-contained HTML file, made from what the run wrote.

It loads nothing, runs no script, and is the same for the same files. Whatever a user named is escaped.
"""

from __future__ import annotations

import base64
import io
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from fbnetv5.base.files import write_text
from fbnetv5.config.write import typed_path
from fbnetv5.metrics.names import overall
from fbnetv5.report.curves import SETTLING, chart_groups
from fbnetv5.report.family_chart import TRAINING, family_chart
from fbnetv5.report.joint_file import FoundJoint
from fbnetv5.report.numbers import counted
from fbnetv5.report.run_folder import RunFolder, logged_time, read_run
from fbnetv5.report.tables import class_table, found_topologies, latest_metrics, model_costs, supernet_cost, tiles
from fbnetv5.report.topology_svg import topology_svg

REPORT = "report.html"
TEMPLATES = Path(__file__).parent / "templates"
MAX_PICTURE = (1400, 4200)  # width and height in pixels of the sample predictions
MAX_BYTES = 1_000_000  # of them, where one of the qualities gets below
QUALITIES = (82, 65, 45)
JOBS = {"search": "Search", "pretrain": "Pretraining", "train": "Training", "evaluate": "Evaluation"}


def try_report(folder: Path) -> None:
    """Write the report of a run and say where it is; where that fails, warn in one line, as the run itself did not."""
    try:
        print(f"report: {write_report(folder)}")
    except Exception as error:  # whatever it is, the run's results are worth more than their picture
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"warning: no {REPORT}: {reason}; fbnetv5 report {shlex.quote(str(folder))} tries again", file=sys.stderr)


def write_report(folder: str | Path) -> Path:
    """Write ``report.html`` into the folder of a run, finished or not, and return its path.

    Raises:
        InputError: the folder holds no run, or a file cannot be read or written.
    """
    path = Path(folder) / REPORT
    write_text(path, render(read_run(folder)))
    return path


def render(run: RunFolder) -> str:
    """Return the page of a run."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"counted": counted}
    style = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))  # our own
    text = environment.get_template("report.html.jinja").render(style=style, **content(run))
    return text.encode(errors="replace").decode()  # names of files may hold halves of characters


def content(run: RunFolder) -> dict[str, Any]:
    """Return what the template shows."""
    found = found_topologies(run)
    metrics, which = latest_metrics(run)
    columns, classes = class_table(metrics)
    return {
        "name": str(run.get("name", run.path.name)),
        "job": JOBS.get(str(run.get("job")), str(run.get("job", "Run"))),
        "state": _state(run),
        "facts": _facts(run),
        "commands": _commands(run),
        "tiles": tiles(run, found),
        "found": found,
        "families": [family_chart(family, _shown(run.path)) for family in run.families.values()],
        "latency_on": next((each.latency_on for each in run.topologies.values() if each.latency_on), None),
        "training": TRAINING,
        "joint": None if run.joint is None else joint_pictures(run.joint),
        "supernet": supernet_cost(run) if found else None,
        "groups": chart_groups(run),
        "settling": SETTLING,
        "metrics": [(name, metrics[name]) for name in overall(list(metrics))],
        "which": which,
        "num_images": metrics.get("num_images"),
        "columns": columns,
        "classes": classes,
        "costs": model_costs(run),
        "network": None if run.trained is None else topology_svg("the model", run.trained),
        "picture": _picture(run.drawn),
        "config": run.config_text,
    }


def duration(seconds: float) -> str:
    """Return a duration in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _state(run: RunFolder) -> str:
    """How far an unfinished run got; empty for a finished one."""
    if run.is_finished:
        return ""
    step = max((record["step"] for record in run.records), default=0)
    total = run.get("train.steps" if run.get("job") == "train" else "search.steps")
    return f"not finished: step {step:,.0f}" + (f" of {total:,}" if isinstance(total, int) else "")


def _facts(run: RunFolder) -> list[tuple[str, str]]:
    steps = max((record["step"] for record in run.records), default=0)
    _, seconds = logged_time(run.path)
    header = run.header
    network = str(run.get("model.network._target_", ""))
    has_family = run.get("job") in ("search", "pretrain", "train") and not network
    facts = [
        ("date", f"{run.date:%Y-%m-%d %H:%M} UTC"),
        ("training took", duration(seconds) if seconds else ""),
        ("steps", f"{steps:,.0f}" if steps else ""),
        ("seed", str(run.get("seed", ""))),
        ("family", str(run.get("model.family", "")) if has_family else ""),
        ("network", network.rsplit(".", 1)[-1]),
        ("processes", str(_num_processes(run))),
        ("versions", header[0] if header else ""),
    ]
    return [(name, value) for name, value in facts if value]


def _num_processes(run: RunFolder) -> int:
    stated = re.search(r"^(\d+) process", "\n".join(run.header), re.MULTILINE)
    return int(stated[1]) if stated else 1


def _commands(run: RunFolder) -> list[tuple[str, str]]:
    folder = _shown(run.path)
    count = _num_processes(run)
    shared = "" if count == 1 else f" --processes {count}"
    start = f"fbnetv5 run {shlex.quote(str(folder / 'config.yaml'))}{shared}"
    output = typed_path("output", f"{folder}_again")
    afresh = " resume=false" if run.get("resume") else ""
    run_again = ("repeat", f"{start} {output}{afresh}") if run.is_finished else ("resume", f"{start} resume=true")
    return [run_again, ("this page", f"fbnetv5 report {shlex.quote(str(folder))}")]


def joint_pictures(joint: FoundJoint) -> dict[str, Any]:
    """Return what the page shows of one network for all tasks."""
    pictures = [(task, topology_svg(task, topology)) for task, topology in joint.topologies.items()]
    return {"macs": joint.macs, "separate_macs": joint.separate_macs, "pictures": pictures}


def _shown(path: Path) -> Path:
    """Return a folder as a command line would name it: relative to the working directory where it lies below."""
    folder = path.absolute()
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _picture(path: Path | None) -> tuple[str, int, int] | None:
    """Return the sample predictions as a data URI, with width and height; None where there are none to be read."""
    if path is None:
        return None
    try:
        with Image.open(path) as image:
            picture = image.convert("RGB")
    except (OSError, Image.DecompressionBombError):
        return None
    picture.thumbnail(MAX_PICTURE)
    for quality in QUALITIES:
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=quality, optimize=True)
        if data.tell() <= MAX_BYTES:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}", picture.width, picture.height
