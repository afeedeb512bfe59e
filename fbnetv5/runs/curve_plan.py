"""What ``fbnetv5 curve`` trains: the families of the topologies that configs name, and what people draw by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fbnetv5.archs.families import get_family
from fbnetv5.archs.topology import NAMED_BLOCKS, Topology, named_topology
from fbnetv5.base.documents import read_json
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import write_text
from fbnetv5.base.paths import is_uri
from fbnetv5.base.run_files import TOPOLOGY, topology_file
from fbnetv5.base.types import TargetKind
from fbnetv5.base.weights import WEIGHTS, digest_of, weights_file
from fbnetv5.config.identity import check_identity, identity
from fbnetv5.config.read import load_config
from fbnetv5.config.schema import RunConfig, RuntimeConfig
from fbnetv5.config.write import path_override
from fbnetv5.export.formats import PRECISIONS, SUFFIXES, check_choices, check_support
from fbnetv5.heads.head import head_target
from fbnetv5.latency.exported import PACKAGES
from fbnetv5.model.exports import EXPORTS
from fbnetv5.model.task_net import build_head
from fbnetv5.report.task_family import DERIVED, FOLDER, Member, TaskFamily, read_families
from fbnetv5.runs.job import Job, Run, saved_config

DRAWN = ("fpn", "panet", "bifpn")  # by hand; U-Net has the blocks of FPN, and the trunk alone is in the family
EXPORTING = "export."  # begins the keys of exports, which trainings do not need
OWN = {"output": "--output FOLDER", "job": "no job", "resume": "the same command again"}  # keys, and what is in place
ONE_THREAD = "runtime.threads=1"  # unless an override says otherwise: several trainings share the cores
TRUSTED = "evaluate.trust_code=true"  # a head of one's own, which this very command has just built
STARTS = "starts.json"  # in the folder of curves: what each point was trained from

Overrides = tuple[str, ...]
Runner = Callable[[RunConfig], None]


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


class Point(NamedTuple):
    """A topology to train, and the overrides that set it."""

    topology: Topology
    overrides: Overrides


@dataclass(frozen=True)
class Curve:
    """A config of a training, and the family of the task whose topology it names.

    Attributes:
        file: the config.
        config: the training itself, as it is read with the overrides of all.
        search: the folder of the search that the family is of.
        family: what it found.
    """

    file: Path
    config: RunConfig
    search: Path
    family: TaskFamily

    def points(self, wanted: Wanted) -> dict[str, Point]:
        """Return the topologies by name: of the family, the derived one, drawn ones; each once, as the head sees it."""
        members = list(self.family.members)
        if wanted.points is not None and wanted.points < len(members):
            members = [members[round(place)] for place in np.linspace(0, len(members) - 1, wanted.points)]
        members += [member for member in self.family.others if member.name == DERIVED]
        found = {member.name: Point(member.topology, (self._named(member),)) for member in members}
        num_stages = members[0].topology.num_stages
        for name in DRAWN if wanted.drawn else ():
            stages = max(num_stages, *(stage for stage, _ in NAMED_BLOCKS[name]))
            keys = (f"model.topology={name}", f"model.num_stages={stages}")
            found[name] = Point(named_topology(name, stages), keys)
        first: dict[Topology, str] = {}
        paths = self._paths()
        for name, point in found.items():
            first.setdefault(point.topology.prune(paths), name)
        return {name: found[name] for name in first.values()}

    def _paths(self) -> tuple[int, ...]:
        """The paths that the training's head reads."""
        return build_head(self.config.model.head, get_family(self.config.model.family).channels, num_classes=1).paths

    def _named(self, member: Member) -> str:
        file = member.file or topology_file(self.family.task)
        return path_override("model.topology", self.search / file)


@dataclass(frozen=True)
class Plan:
    """Trainings, each followed by its export.

    Attributes:
        root: the folder that all goes to.
        jobs: all of them.
        runtime: how they run.
        groups: runtimes and precisions of the files that can be timed.
        starts: by point, the blocks and the weights that it is trained from.
    """

    root: Path
    jobs: Sequence[Job]
    runtime: RuntimeConfig
    groups: Sequence[tuple[str, str]]
    starts: Mapping[str, dict[str, str]]

    @property
    def trainings(self) -> list[Job]:
        """The jobs that are no exports."""
        return [job for job in self.jobs if not job.after]

    def write_starts(self) -> None:
        """Write what the points are trained from, beside that of points of other calls."""
        write_text(self.root / STARTS, json.dumps({**read_json(self.root / STARTS), **self.starts}, indent=1) + "\n")


def plan_curves(files: Sequence[Path], overrides: Sequence[str], run: Runner, wanted: Wanted) -> Plan:
    """Return what is to be run for the families of some trainings' topologies.

    Args:
        files: configs of trainings, whose ``model.topology`` lies in the folder of a search.
        overrides: of all trainings, and ``export.key=value``.
        run: does a run.
        wanted: which topologies, and where all goes.

    Raises:
        InputError: a config, a key or a value is wrong, a topology has no family, a package is missing, or a point in
            the folder was trained otherwise.
    """
    for text in overrides:
        if instead := OWN.get(text.partition("=")[0].lstrip("+")):
            raise InputError(f"{text} is not for a curve, which takes {instead}")
    trained_with = [ONE_THREAD, *(text for text in overrides if not text.startswith(EXPORTING))]
    exported_with = [text for text in overrides if text.startswith(EXPORTING)]
    curves = [_curve_of(file, trained_with) for file in files]
    _check_heads(curves)
    if twice := next((file for file in files if [one.stem for one in files].count(file.stem) > 1), None):
        raise InputError(f"{twice}: several configs of this name would share a folder; rename one")
    groups = _timed_groups(curves, trained_with, exported_with)
    root = _root(curves, wanted.output)
    jobs: list[Job] = []
    starts = {}
    for curve in curves:
        weights = _weights_of(curve.config)
        for name, point in curve.points(wanted).items():
            training = f"{curve.file.stem}/{name}"
            starts[training] = {
                "blocks": " ".join(f"{s},{p}" for s, p in sorted(point.topology.blocks)),
                "weights": weights,
            }
            jobs += _jobs(curve.file, training, root, [*trained_with, *point.overrides], exported_with, run)
    plan = Plan(root, jobs, curves[0].config.runtime, groups, starts)
    _check_kept(plan)
    return plan


def _curve_of(file: Path, overrides: Sequence[str]) -> Curve:
    """Find the family of the topology that a training's config names.

    Raises:
        InputError: the config is wrong, of another job, or its topology has no family.
    """
    config = load_config(file, [*overrides, "job=train"])
    topology = Path(config.model.topology or "").expanduser()
    beside = topology.parent
    is_member = beside.name.startswith(FOLDER)
    if not topology.is_file() or not (is_member or topology.name.startswith(TOPOLOGY)):
        raise InputError(
            f"{file}: model.topology={config.model.topology} is no file that a search derived, topology_<task>.yaml: "
            "what is trained lies beside it"
        )
    search = beside.parent if is_member else beside
    task = beside.name.removeprefix(FOLDER) if is_member else topology.stem.removeprefix(TOPOLOGY)
    families = read_families(search)
    if task not in families:
        raise InputError(
            f"{search} has no {FOLDER}{task}/family.json: a search with a last look ends with it, where "
            "search.last_look.candidates and family are above 0"
        )
    return Curve(file, config, search, families[task])


def _check_heads(curves: Sequence[Curve]) -> None:
    """Raise InputError where heads of one class predict different tasks: their points would be one curve."""
    task_of: dict[str, str] = {}
    for curve in curves:
        head = str(curve.config.model.head.get("_target_"))
        if task_of.setdefault(head, curve.family.task) != curve.family.task:
            raise InputError(
                f"'{task_of[head]}' and '{curve.family.task}' have heads of one class, and one curve: give their "
                "configs one at a time, each with an --output of its own"
            )


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
        if options.map_stride > 1 and head_target(curve.config.model.head).kind is not TargetKind.MASK:
            raise InputError(
                f"{curve.file}: export.map_stride={options.map_stride} is for masks; set it in their config"
            )
    if len(asked) > 1:
        raise InputError(f"{' and '.join(map(str, asked.values()))} ask for other files: give export.formats=[onnx]")
    ((formats, precisions),) = asked
    check_choices("export.formats", formats, tuple(SUFFIXES))
    check_choices("export.precisions", precisions, PRECISIONS)
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


def _weights_of(config: RunConfig) -> str:
    """Return what tells the weights that a training starts from: of a file its digest, else what the key says."""
    given = config.model.weights
    file = None if given is None or is_uri(given) else weights_file(given)
    return digest_of(file) if file is not None and file.is_file() else str(given)


def _jobs(
    file: Path, training: str, root: Path, keys: Sequence[str], exported_with: Sequence[str], run: Runner
) -> list[Job]:
    """Return the training of a point, of which ``keys`` say all, and the export of what it leaves."""
    folder = root / training
    own = ["job=train", "resume=true", path_override("output", folder)]  # an interrupted training goes on
    train = Run(file, (*keys, *own), run)
    own = ["job=export", path_override("export.model", folder), path_override("output", folder / EXPORTS), TRUSTED]
    export = Run(file, (*keys, *exported_with, *own), run)
    group = training.partition("/")[0]
    return [
        Job(training, train, folder, group=group),
        Job(f"{training}/{EXPORTS}", export, folder / EXPORTS, (training,), f"{group} {EXPORTS}"),
    ]


def _check_kept(plan: Plan) -> None:
    """Raise InputError where a point's folder holds a training of other keys, blocks or weights."""
    before = read_json(plan.root / STARTS)
    for job in plan.trainings:
        assert isinstance(job.work, Run)
        saved = saved_config(job.folder)
        if saved is None or not (any(job.folder.glob("checkpoints/*")) or (job.folder / WEIGHTS).exists()):
            continue  # nothing was learnt there, or by nobody who could tell
        check_identity(identity(load_config(job.work.config, job.work.overrides)), identity(saved), job.folder)
        start = before.get(job.name, plan.starts[job.name])
        if start != plan.starts[job.name]:
            what = " and ".join(key for key in start if start[key] != plan.starts[job.name].get(key))
            raise InputError(
                f"{job.folder} was trained from other {what}: the search has been run again; delete it, or write "
                "elsewhere with --output"
            )
