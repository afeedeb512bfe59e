"""What networks of a table of truth take as exported files, and what is reached within these milliseconds.

    python -m projects.table5.milliseconds --truth projects/table5/configs/truth_pets.yaml \
        --found projects/table5/found_pets.csv --table projects/table5/truth_pets.csv \
        --times projects/table5/milliseconds_pets.csv --runtime onnx --threads 1 data.root=FOLDER model.weights=FILE

Hand-made topologies and those that a search found are exported with their tasks' heads, those of a task timed in the
same rounds; each hand-made one is compared with the slowest found one that is not slower. Weights do not matter to
that, so networks are not trained. A second call goes on with what has been exported and timed.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from fbnetv5.archs.families import get_family
from fbnetv5.archs.topology import NAMED_BLOCKS
from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.base.files import csv_lines, write_text
from fbnetv5.cli.arguments import at_least, parser_of
from fbnetv5.config.latency import LatencyConfig
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.write import yaml_of
from fbnetv5.export.deployed import deploy
from fbnetv5.latency.bundle import TIMES, Exportable, write_bundle
from fbnetv5.latency.exported import PACKAGES, file_conditions, opened_timer, timed_by
from fbnetv5.latency.rounds import measure_files
from fbnetv5.model.build import build_final_model
from fbnetv5.model.task_net import TaskNet
from fbnetv5.projects.table5.published import FOUND, read_found
from fbnetv5.projects.table5.score import kept_sources
from fbnetv5.projects.table5.truth import CONFIG
from fbnetv5.projects.table5.truth_options import load_truth
from fbnetv5.projects.table5.truth_plan import Network, TruthPlan
from fbnetv5.projects.table5.truth_table import Row, read_rows
from fbnetv5.runs.markdown import NOTHING, difference, markdown_table, spread

COLUMNS = ("conditions", "task", "topology", "ms", "deviation")


@dataclass(frozen=True)
class Time:
    """A network's time: device, runtime, threads and image size, its task and topology, median and deviation in ms."""

    conditions: str
    task: str
    topology: str
    ms: float
    deviation: float

    def line(self) -> tuple[str, ...]:
        """Return it as text, by columns."""
        return self.conditions, self.task, self.topology, f"{self.ms:.4f}", f"{self.deviation:.4f}"


def time_networks(plan: TruthPlan, task: str, options: LatencyConfig, folder: Path) -> list[Time]:
    """Export and time the hand-made and the added networks of a task.

    Args:
        plan: of the table of truth.
        task: of the table.
        options: runtime, precision, threads, and rounds (``repeats``).
        folder: of the files; what is there already stays.

    Raises:
        InputError: a package is missing, the data do not serve the task, or a file cannot be timed.
    """
    training = plan.trainings[task]
    networks: dict[str, Network] = {}  # each once, whatever it is called
    for network in (*plan.named[task], *plan.added[task]):
        networks.setdefault(network.code, network)
    size = _model(training, plan.file(next(iter(networks.values())))).spec.input.nominal_size()
    conditions = file_conditions(get_family(training.model.family), size, replace(options, repeats=1))
    stride = training.export.map_stride
    parts = [
        Exportable(
            name,
            repr((conditions.family, size, stride, sorted(training.model.head.items(), key=str), network.topology)),
            3,
            size,
            partial(_deployed, training, plan, network),
        )
        for name, network in networks.items()
    ]
    with opened_timer(options, conditions.runtime_name, conditions.threads) as timer:
        bundle = write_bundle(parts, conditions, folder, print)
        table, who = folder / TIMES, timed_by(conditions)
        rounds = measure_files(bundle.files, timer, options.repeats, table, say=print, steady=False, timed_by=who)
    on = f"{conditions}{f', map_stride={stride}' if stride > 1 else ''}"
    return [
        Time(on, task, network.name, statistics.median(ms), statistics.stdev(ms))
        for network in (*plan.named[task], *plan.added[task])
        for ms in [rounds[network.code]]
    ]


def markdown(
    plan: TruthPlan, task: str, found: Collection[str], times: Sequence[Time], rows: Sequence[Row]
) -> list[str]:
    """Return the table of a task: each hand-made topology beside the slowest of those ``found`` that is not slower."""
    ms = {time.topology: time.ms for time in times}
    scores: dict[str, dict[int, float]] = {}
    for row in rows:
        if row.task == task:
            scores.setdefault(row.topology, {})[row.seed] = 100 * row.score
    metric = plan.config.train[task].metric
    lines = [["Topology", "ms", metric, "Found", "ms", metric, "Difference"]]
    by_time = sorted(found, key=ms.__getitem__)
    for network in plan.named[task]:
        name, own = network.name, scores.get(network.name, {})
        within = [one for one in by_time if ms[one] <= ms[name]]
        cells = [name, f"{ms[name]:.2f}", spread([*own.values()])]
        if not within:
            lines.append([*cells, NOTHING, NOTHING, NOTHING, NOTHING])
            continue
        best = scores.get(within[-1], {})
        pairs = [best[seed] - own[seed] for seed in own if seed in best]
        lines.append([*cells, within[-1], f"{ms[within[-1]]:.2f}", spread([*best.values()]), difference(pairs)])
    curve = [f"{ms[one]:.2f} ms {spread([*scores.get(one, {}).values()])}" for one in by_time]
    return [f"**{task}**, {times[0].conditions}", "", *markdown_table(lines, numeric_from=1), "",
            f"What was found, the fastest first: {', '.join(curve)}"]  # fmt: skip


def found_names(plan: TruthPlan, task: str, rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the names, in the table of truth, of what was found for a task.

    Args:
        plan: of the table, to which what was found and has no name has been added.
        task: of the table.
        rows: of found.csv.

    Raises:
        InputError: a hand-made topology was found that the table does not have.
    """
    names = {row["topology"] for row in rows if row["task"] == task and row["topology"] in NAMED_BLOCKS}
    if unknown := names - {network.name for network in plan.named[task]}:
        raise InputError(f"{task}/{min(unknown)} was found, and the table of truth has it not: add it to 'named'")
    return list(dict.fromkeys([*sorted(names), *(network.name for network in plan.added[task])]))


def keep(file: Path, times: Sequence[Time]) -> None:
    """Write times to a table, in the place of those of the same conditions and task.

    Raises:
        InputError: the file is no such table, or cannot be written.
    """
    replaced = {(time.conditions, time.task) for time in times}
    before = [time for time in read_times(file) if (time.conditions, time.task) not in replaced]
    write_text(file, "".join(csv_lines([COLUMNS, *(time.line() for time in (*before, *times))])))


def read_times(file: Path) -> list[Time]:
    """Return the rows of a table of times; none where there is no file. Raises InputError where it is none."""
    if not file.exists():
        return []
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        texts = [[row[column] for column in COLUMNS] for row in rows]
        return [Time(on, task, name, float(ms), float(deviation)) for on, task, name, ms, deviation in texts]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{file} is no table of {', '.join(COLUMNS)}: {error}") from error


def _deployed(training: RunConfig, plan: TruthPlan, network: Network) -> nn.Module:
    model = _model(training, plan.file(network))
    return deploy(model, model.spec.input.nominal_size(), training.export.map_stride)


def _model(training: RunConfig, topology: Path) -> TaskNet:
    source, _ = kept_sources(yaml_of(training.data))
    model = replace(training.model, topology=str(topology))
    return build_final_model(model, training.data, source, is_main=False)


@one_line_errors("the same command goes on with what has been timed")
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 where the input is at fault."""
    known = _parser().parse_intermixed_args(arguments)
    rows = read_found(known.found)
    added = list(
        dict.fromkeys(f"{row['task']}/{row['topology']}" for row in rows if row["topology"] not in NAMED_BLOCKS)
    )
    config = load_truth(known.truth, {"output": known.output, "table": known.table, "added": added}, known.overrides)
    plan = TruthPlan(config, Path(config.output).absolute())
    truth = read_rows(Path(config.table), plan.settings)
    options = LatencyConfig(
        runtime=known.runtime, precision=known.precision, threads=known.threads, repeats=known.repeats
    )
    found = {task: found_names(plan, task, rows) for task in plan.tasks}
    for task in plan.tasks:
        folder = plan.root / "files" / f"{known.runtime}_{known.precision}_{known.threads}" / task
        times = time_networks(plan, task, options, folder)
        keep(known.times, times)
        print("\n".join(["", *markdown(plan, task, found[task], times, truth), ""]), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "python -m projects.table5.milliseconds")
    add = parser.add_argument
    add("overrides", nargs="*", metavar="key=value", help="for every network, as for the table's trainings")
    add("--truth", type=Path, default=CONFIG, metavar="FILE", help="config of the table of truth")
    add("--found", type=Path, default=FOUND, metavar="FILE", help="what a search found")
    add("--table", metavar="CSV", help="the table of truth; the config's if not given")
    add("--times", type=Path, required=True, metavar="CSV", help="table that takes the times, beside earlier ones")
    add("--output", metavar="FOLDER", help="of the exported files; the config's if not given")
    add("--runtime", choices=tuple(PACKAGES), default="onnx", help="(default: onnx)")
    add("--precision", choices=("fp32", "int8"), default="fp32", help="(default: fp32)")
    add("--threads", type=at_least(1), default=1, metavar="N", help="CPU threads (default: 1)")
    add("--repeats", type=at_least(2), default=50, metavar="N", help="rounds (default: 50)")
    return parser


if __name__ == "__main__":
    main()
