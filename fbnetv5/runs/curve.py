"""``fbnetv5 curve``: what a search found, trained, exported and timed, beside what people draw by hand.

Of each config of a training, the family of the topology that it names is trained, point by point, each as the config
says and from the same weights. All of them are exported, and timed in the same rounds when nothing else runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fbnetv5.archs.topology import NAMED_BLOCKS, Block, named_topology
from fbnetv5.base.errors import InputError
from fbnetv5.base.lock import locked
from fbnetv5.config.latency import LatencyConfig
from fbnetv5.config.read import CONFIG, load_config
from fbnetv5.config.schema import RunConfig, RuntimeConfig
from fbnetv5.config.write import path_override
from fbnetv5.export.formats import check_support
from fbnetv5.latency.exported import PACKAGES, opened_timer
from fbnetv5.model.exports import EXPORTS
from fbnetv5.report.task_family import DERIVED, FOLDER, Member, TaskFamily, read_families
from fbnetv5.runs.collect import collect_runs, fronts, is_drawn, scores_of
from fbnetv5.runs.file_times import column_of, time_files
from fbnetv5.runs.gather import find_runs, read_rows
from fbnetv5.runs.graph import Known, run_graph
from fbnetv5.runs.job import Job, Run
from fbnetv5.runs.machine import gpus_for
from fbnetv5.runs.sweep import shown
from fbnetv5.runs.warm import WarmProcesses

DRAWN = ("fpn", "panet", "bifpn")  # by hand; U-Net has the blocks of FPN, and the trunk alone is in the family
EXPORTING = "export."  # begins the keys of exports, which trainings do not need
ONE_THREAD = "runtime.threads=1"  # unless an override says otherwise: several trainings share the cores
TOPOLOGY = "topology_"  # begins the name of a derived topology's file, before the task

Runner = Callable[[RunConfig], None]
Overrides = tuple[str, ...]


class Wanted(NamedTuple):
    """What is trained, and where.

    Attributes:
        output: the folder; that of the search with ``_curve`` behind, if None.
        points: at most so many topologies of a family, evenly, with the cheapest and the best; all if None.
        drawn: and those that people draw by hand.
    """

    output: Path | None = None
    points: int | None = None
    drawn: bool = True


@dataclass(frozen=True)
class Curve:
    """A config of a training, and the family of the task whose topology it names.

    Attributes:
        file: the config.
        search: the folder of the search that the family is of.
        family: what it found.
    """

    file: Path
    search: Path
    family: TaskFamily

    def points(self, wanted: Wanted) -> dict[str, Overrides]:
        """Return by name the overrides that set the topologies: of the family, the derived one, drawn ones.

        Those of the same blocks are one point, under the first name.
        """
        members = list(self.family.members)
        if wanted.points is not None and wanted.points < len(members):
            members = [members[round(place)] for place in np.linspace(0, len(members) - 1, wanted.points)]
        members += [member for member in self.family.others if member.name == DERIVED]
        found: list[tuple[str, frozenset[Block], Overrides]]
        found = [(member.name, member.topology.blocks, (self._named(member),)) for member in members]
        num_stages = members[0].topology.num_stages
        for name in DRAWN if wanted.drawn else ():
            stages = max(num_stages, *(stage for stage, _ in NAMED_BLOCKS[name]))
            drawn = named_topology(name, stages).blocks
            found.append((name, drawn, (f"model.topology={name}", f"model.num_stages={stages}")))
        points: dict[frozenset[Block], tuple[str, Overrides]] = {}
        for name, blocks, overrides in found:
            points.setdefault(blocks, (name, overrides))
        return dict(points.values())

    def _named(self, member: Member) -> str:
        file = member.file or f"{TOPOLOGY}{self.family.task}.yaml"
        return path_override("model.topology", self.search / file)


def run_curves(
    files: Sequence[Path],
    overrides: Sequence[str],
    run: Runner,
    timing: LatencyConfig,
    wanted: Wanted,
    num_processes: int,
) -> bool:
    """Train, export and time the families of trainings' topologies, and draw the curves; return whether none failed.

    What has been finished under the same configuration is not done again.

    Args:
        files: configs of trainings, whose ``model.topology`` lies in the folder of a search.
        overrides: of all trainings, and ``export.key=value``.
        run: does a run, ``fbnetv5.cli.launch.run_job``.
        timing: as :func:`fbnetv5.runs.file_times.time_files` takes it.
        wanted: which topologies, and where all goes.
        num_processes: trainings and exports at a time, each of one thread, if ``overrides`` do not say otherwise.

    Raises:
        InputError: a config, a key or a value is wrong, a topology has no family, a package is missing, or files cannot
            be timed; what was done is kept.
    """
    trained_with = [ONE_THREAD, *(text for text in overrides if not text.startswith(EXPORTING))]
    exported_with = [text for text in overrides if text.startswith(EXPORTING)]
    curves = [_curve_of(file, trained_with) for file in files]
    root = _root(curves, wanted.output)
    jobs: list[Job] = []
    for curve in curves:
        for name, chosen in curve.points(wanted).items():
            jobs += _jobs(curve, root / curve.file.stem / name, [*trained_with, *chosen], exported_with, run)
    groups = _timed_groups(curves, trained_with, exported_with)
    if timing.command is not None:
        with opened_timer(timing, groups[0][0], timing.threads or 1):
            pass  # which refuses a wrong command before hours of training
    with locked(root):
        print(f"{len(jobs) // 2} trainings, an export each, {num_processes} at a time, into {shown(root)}", flush=True)
        with WarmProcesses(num_processes, devices=gpus_for(RuntimeConfig())) as place:
            outcomes = run_graph(lambda _: Known(jobs), place)
        for runtime, precision in groups:
            time_files([root], timing, runtime, precision)
            x = column_of((runtime, precision), timing)
            print(f"\n{curves_text(root, x)}\n")
            collect_runs([str(root)], root if len(groups) == 1 else root / f"{runtime}_{precision}", x=x)
    return all(outcome.is_finished for outcome in outcomes.values())


def curves_text(root: Path, x: str) -> str:
    """Return a table a task of the runs below ``root``, the fastest first; ``x`` is the column of their times."""
    rows = [row for run in find_runs([root]) for row in read_rows(run)]
    scores = scores_of(rows, x, None)
    front = fronts(rows, x, scores)
    lines = []
    for task, score in scores.items():
        lines.append(f"{task}: {score} against {x}")
        own = [place for place, row in enumerate(rows) if row.task == task and {x, score} <= row.values.keys()]
        width = max((len(rows[place].run.name) for place in own), default=0)
        for place in sorted(own, key=lambda place: rows[place].values[x]):
            row = rows[place]
            notes = ["drawn by hand"] * is_drawn(row) + ["none faster is as good"] * (place in front)
            values = f"{row.values[x]:8.2f} ms  {row.values[score]:8.4g}"
            lines.append(f"  {row.run.name:<{width}} {values}  {', '.join(notes)}".rstrip())
    return "\n".join(lines)


def _curve_of(file: Path, overrides: Sequence[str]) -> Curve:
    """Find the family of the topology that a training's config names.

    Raises:
        InputError: the config is wrong, of another job, or its topology has no family.
    """
    config = load_config(file, [*overrides, "job=train"])
    topology = Path(config.model.topology or "")
    beside = topology.parent
    if beside.name.startswith(FOLDER):
        search, task = beside.parent, beside.name.removeprefix(FOLDER)
    else:
        search, task = beside, topology.stem.removeprefix(TOPOLOGY)
    families = read_families(search)
    if not topology.is_file() or not (beside.name.startswith(FOLDER) or topology.name.startswith(TOPOLOGY)):
        raise InputError(
            f"{file}: model.topology={config.model.topology} is no file that a search derived, {TOPOLOGY}<task>.yaml: "
            "what is trained lies beside it"
        )
    if task not in families:
        raise InputError(
            f"{search} has no {FOLDER}{task}/family.json: a search with search.last_look.family=8 ends with it, which "
            "resume=true adds to a finished one"
        )
    return Curve(file, search, families[task])


def _timed_groups(
    curves: Sequence[Curve], trained_with: Sequence[str], exported_with: Sequence[str]
) -> list[tuple[str, str]]:
    """Return runtimes and precisions of the files that will be timed, which all configs ask for alike.

    Raises:
        InputError: a value is wrong, configs differ, a package is missing, or files cannot be timed.
    """
    asked = {}
    for curve in curves:
        options = load_config(curve.file, [*trained_with, *exported_with, "job=train"]).export
        asked[tuple(options.formats), tuple(options.precisions)] = curve.file
    if len(asked) > 1:
        raise InputError(f"{' and '.join(map(str, asked.values()))} ask for other files: give export.formats=[onnx]")
    ((formats, precisions),) = asked
    groups = [(runtime, precision) for runtime in formats for precision in precisions]
    for group in groups:
        check_support(*group)
    groups = [group for group in groups if group[0] in PACKAGES]
    if not groups:
        raise InputError(f"export.formats={list(formats)}: milliseconds are of {', '.join(PACKAGES)}")
    return groups


def _root(curves: Sequence[Curve], output: Path | None) -> Path:
    if output is not None:
        return output.absolute()
    first, *others = {curve.search.absolute(): None for curve in curves}
    if others:
        raise InputError(f"topologies of several searches, {first} and {others[0]}: say where to with --output")
    return first.with_name(f"{first.name}_curve")


def _jobs(
    curve: Curve, folder: Path, trained_with: Sequence[str], exported_with: Sequence[str], run: Runner
) -> list[Job]:
    """Return the training of a point and the export of what it leaves."""
    training = f"{curve.file.stem}/{folder.name}"
    keys = ["job=train", "resume=true", path_override("output", folder)]  # an interrupted training goes on
    train = Run(curve.file, (*trained_with, *keys), run)
    keys = ["job=export", "resume=false", path_override("export.model", folder)]
    keys.append(path_override("output", folder / EXPORTS))
    export = Run(folder / CONFIG, (*keys, *exported_with), run)
    return [
        Job(training, train, folder, group=curve.file.stem),
        Job(f"{training}/{EXPORTS}", export, folder / EXPORTS, (training,), f"{curve.file.stem} {EXPORTS}"),
    ]
