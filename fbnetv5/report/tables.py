"""The tables and the decisive numbers of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fbnetv5.archs.cost import Cost, network_cost
from fbnetv5.archs.families import get_family
from fbnetv5.archs.topology import ALL_PATHS, Topology
from fbnetv5.base.errors import InputError
from fbnetv5.metrics.names import overall, split_names
from fbnetv5.report.curves import VALIDATION, series, validations
from fbnetv5.report.history import History
from fbnetv5.report.numbers import counted, plain
from fbnetv5.report.run_folder import RunFolder
from fbnetv5.report.task_look import TaskLook
from fbnetv5.report.topology_svg import fingerprint_svg, history_svg, topology_svg, worth_svg


@dataclass(frozen=True)
class Tile:
    """A decisive number: what it is, the number, and what else there is to say."""

    name: str
    value: str
    note: str = ""
    sign: Markup | None = None


@dataclass(frozen=True)
class Found:
    """The result of a search for one task; ``is_final`` where it was derived, else it is the likeliest so far.

    ``seen`` are the blocks that reach the path of the search head, and ``cost`` is theirs and the trunk's, as is
    ``latency_ms``, which a search that was counted in it leaves.
    """

    task: str
    selected: Topology
    seen: Topology
    cost: Cost | None
    share: float | None
    history: History | None
    is_final: bool
    latency_ms: float | None = None
    look: TaskLook | None = None

    @property
    def picture(self) -> Markup:
        """The topology as the search head sees it."""
        return topology_svg(self.task, Topology(self.selected.num_stages, self.selected.blocks, self.seen.outputs))

    @property
    def movements(self) -> Markup | None:
        """The probabilities over time."""
        return None if self.history is None else history_svg(self.history)

    @property
    def worth(self) -> Markup | None:
        """What each block is worth, by the last look."""
        stages = self.selected.num_stages
        if self.look is None or len(self.look.worth) != len(ALL_PATHS) * stages:
            return None
        return worth_svg(self.task, stages, self.look)


def found_topologies(run: RunFolder) -> list[Found]:
    """Return what a search found, task by task; while it runs, what is likeliest."""
    entries = []
    for task in run.tasks:
        derived, history = run.topologies.get(task), run.histories.get(task)
        if derived is None and history is None:
            continue
        if derived is not None:
            selected, path = derived.topology, derived.info.get("head_path")
        else:
            assert history is not None
            selected, path = history.most_likely(), None
        seen = selected.prune((path,) if path in selected.outputs else selected.outputs)
        cost, whole = _cost(run, seen), _cost(run, Topology.full(selected.num_stages))
        share = cost.macs / whole.macs if cost and whole else None
        latency_ms = None if derived is None else derived.latency_ms
        entries.append(
            Found(task, selected, seen, cost, share, history, derived is not None, latency_ms, run.looks.get(task))
        )
    return entries


def supernet_cost(run: RunFolder) -> Cost | None:
    """Return the cost of the supernet without heads at the size that it was trained at."""
    stages = run.get("model.num_stages")
    return _cost(run, Topology.full(stages)) if isinstance(stages, int) else None


def _cost(run: RunFolder, topology: Topology, size: Sequence[int] | None = None) -> Cost | None:
    side = run.get("data.crop") or run.get("data.short_side")
    try:
        height, width = size or (side, side)
        return network_cost(get_family(str(run.get("model.family"))), topology, (int(height), int(width)))
    except (InputError, TypeError, ValueError):
        return None


def model_costs(run: RunFolder) -> list[tuple[str, Cost]]:
    """Return the costs of a trained model's parts and of the whole, as far as metrics.json tells them."""
    macs, params = run.model.get("macs"), run.model.get("params")
    if not isinstance(macs, int) or not isinstance(params, int):
        return []
    whole = [("whole model", Cost(macs, params))]
    if isinstance(run.model.get("tasks"), dict):
        return [*_listed_costs(run, "parts"), *whole, *_listed_costs(run, "separate", "{} alone")]
    network = None if run.trained is None else run.trained.prune(run.trained.outputs)
    backbone = None if network is None else _cost(run, network, run.model.get("input_size"))
    if backbone is None or backbone.macs > macs or backbone.params > params:
        return whole
    return [("backbone", backbone), ("head", Cost(macs - backbone.macs, params - backbone.params)), *whole]


def _listed_costs(run: RunFolder, key: str, name: str = "{}") -> list[tuple[str, Cost]]:
    """Return costs that metrics.json lists under a key of the model, as far as they are."""
    listed = run.model.get(key)
    found = []
    for part, cost in listed.items() if isinstance(listed, dict) else ():
        macs, params = (cost.get(unit) if isinstance(cost, dict) else None for unit in ("macs", "params"))
        if isinstance(macs, int) and isinstance(params, int):
            found.append((name.format(part), Cost(macs, params)))
    return found


def latest_metrics(run: RunFolder) -> tuple[Mapping[str, float], str]:
    """Return the final metrics, or the latest of a training that goes on, and which they are; empty if it is plain."""
    if run.metrics:
        return run.metrics, "" if run.get("job") == "evaluate" else "final"
    for record in reversed(run.records):
        named = {key.removeprefix(VALIDATION): value for key, value in record.items() if key.startswith(VALIDATION)}
        if named:
            return named, f"after step {record['step']:,.0f}"
    return {}, ""


def class_table(metrics: Mapping[str, float]) -> tuple[list[str], list[tuple[str, list[float | None]]]]:
    """Return the columns and, best first by the first column, the rows of ``metric/class`` entries."""
    parts = [part for part in split_names(metrics).values() if part.of_class]
    columns = list(dict.fromkeys(part.column for part in parts))
    classes = dict.fromkeys(part.of_class for part in parts)
    rows = [(name, [metrics.get(f"{column}/{name}") for column in columns]) for name in classes]
    return columns, sorted(rows, key=lambda row: -1.0 if row[1][0] is None else row[1][0], reverse=True)


def tiles(run: RunFolder, found: Sequence[Found]) -> list[Tile]:
    """Return the decisive numbers of a run."""
    if run.get("job") == "search":
        return [_found_tile(each) for each in found]
    if run.get("job") == "pretrain":
        return [Tile(f"loss of {task}", *_loss_span(run, task)) for task in run.tasks if _loss_span(run, task)]
    metrics, which = latest_metrics(run)
    main = [_metric_tile(run, metrics, name, which) for name in main_names(metrics)]
    size = run.model.get("input_size")
    costs = dict(model_costs(run)).get("whole model")
    if costs is None:
        return main
    tasks = run.model.get("tasks")
    head = f"{len(tasks)} tasks" if isinstance(tasks, dict) else str(run.model.get("head", "")).rsplit(".", 1)[-1]
    sign = None if run.trained is None else fingerprint_svg(run.trained)
    network = str(run.model.get("network", "")).rsplit(".", 1)[-1]
    blocks = Tile("blocks", _num_blocks(run), f"{run.model.get('family', '')}, {head}", sign)
    return [
        *main,
        Tile("MACs", counted(costs.macs), f"at {' x '.join(map(str, size))}" if isinstance(size, list) else ""),
        Tile("parameters", counted(costs.params)),
        Tile("network", network, head) if network else blocks,
    ]


def main_names(metrics: Mapping[str, float]) -> list[str]:
    """Return the name of the first metric over all classes, of each task."""
    names = split_names(metrics)
    return list({names[name].task: name for name in reversed(overall(metrics))}.values())[::-1]


def _metric_tile(run: RunFolder, metrics: Mapping[str, float], name: str, which: str) -> Tile:
    best = max((value for _, value in validations(run).get(name, [])), default=metrics[name])
    way = f"{which}; best on the way {100 * best:.1f} %" if best > metrics[name] else which
    return Tile(name, f"{100 * metrics[name]:.1f} %", way)


def _num_blocks(run: RunFolder) -> str:
    """Return the number of a network's blocks; of several tasks, each one's."""
    tasks = run.model.get("tasks")
    if isinstance(tasks, dict):
        return ", ".join(str(task.get("blocks", "")) for task in tasks.values() if isinstance(task, dict))
    return str(run.model.get("blocks", ""))


def _found_tile(found: Found) -> Tile:
    total = 4 * found.selected.num_stages
    macs = "" if found.cost is None else f"{counted(found.cost.macs)} MACs"
    latency = "" if found.latency_ms is None else f", {plain(found.latency_ms)} ms"
    state = macs + latency if found.is_final else "likeliest so far"
    shown = Topology(found.selected.num_stages, found.selected.blocks, found.seen.outputs)
    return Tile(found.task, f"{len(found.selected.blocks)} of {total}", f"blocks, {state}", fingerprint_svg(shown))


def _loss_span(run: RunFolder, task: str) -> tuple[str, str] | tuple[()]:
    points = series(run.records, f"loss/{task}")
    return (plain(points[-1][1]), f"from {plain(points[0][1])}") if points else ()
