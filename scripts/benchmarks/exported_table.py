"""The latencies of exported files as markdown tables."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterator, Sequence

from benchmarks.exported_timing import Timing
from benchmarks.tables import markdown

COLUMNS = ("model", "task", "runtime", "precision", "input", "macs", "bytes", "threads", "ms", "deviation_ms")
TITLES = {"cls": "Classification", "det": "Detection", "seg": "Segmentation"}


def latency_text(timings: Sequence[Timing]) -> str:
    """Return a table a task and runtime, with a row a model, and a line a file of several tasks."""
    kinds = dict.fromkeys((timing.file.task, timing.file.runtime) for timing in timings)
    tables = [_table(_chosen(timings, task=task, runtime=runtime)) for task, runtime in kinds]
    lines = list(joint_lines(timings))
    return "\n".join([*tables, *([""] if lines else []), *lines])


def latency_csv(timings: Sequence[Timing]) -> str:
    """Return a csv file of the timings: a row a file and number of threads, with the deviation over rounds."""
    written = io.StringIO()
    rows = csv.writer(written, lineterminator="\n")
    rows.writerow(COLUMNS)
    for timing in timings:
        file = timing.file
        what = (file.model, file.task, file.runtime, file.precision, f"{file.height}x{file.width}", file.macs)
        deviation = statistics.pstdev(timing.round_ms)
        rows.writerow((*what, file.num_bytes, timing.threads, f"{timing.ms:.3f}", f"{deviation:.3f}"))
    return written.getvalue()


def joint_lines(timings: Sequence[Timing]) -> Iterator[str]:
    """Yield a line for each file of a joint model: its time over that of the separate files, and of the parts.

    The parts are the trunk once, and of each separate file what it takes beyond the trunk.
    """
    for joint in [timing for timing in timings if timing.file.joint and timing.file.model == timing.file.joint]:
        file = joint.file
        beside = _chosen(timings, joint=file.joint, runtime=file.runtime, precision=file.precision)
        ms = {each.file.model: each.ms for each in beside if each.threads == joint.threads}
        whole, trunk = ms.pop(file.joint), ms.pop(f"{file.joint}_trunk", None)
        if not ms:
            continue
        apart = sum(ms.values())
        text = f"the separate files {apart:.1f} ms: {whole / apart:.2f} times"
        if trunk is not None:
            parts = apart - (len(ms) - 1) * trunk
            text += f"; trunk {trunk:.1f} ms, trunk and branches {parts:.1f} ms: {whole / parts:.2f} times"
        threads = f"{joint.threads} thread{'s' * (joint.threads > 1)}"
        yield f"{file.joint}, {file.runtime}, {file.precision}, {threads}: {whole:.1f} ms; {text}"


def over_best_peer(timing: Timing, timings: Sequence[Timing]) -> float | None:
    """Return the milliseconds for 10**9 MACs over those of the peer that needs the fewest; None without a peer.

    Args:
        timing: of one of our models or of a peer.
        timings: all of them; those of the same task, runtime, precision and threads are compared.
    """
    file = timing.file
    beside = _chosen(timings, task=file.task, runtime=file.runtime, precision=file.precision)
    peers = [other.ms_per_gmac for other in beside if other.file.is_peer and other.threads == timing.threads]
    return timing.ms_per_gmac / min(peers) if peers else None


def _table(timings: Sequence[Timing]) -> str:
    """Return one table with its title; all timings are of one task and runtime."""
    precisions = list(dict.fromkeys(timing.file.precision for timing in timings))
    threads = sorted({timing.threads for timing in timings})
    first = timings[0].file
    header = ["model", "input", "M MACs", "M params"]
    for precision in precisions:
        header += [f"{precision}: MB", *(f"ms, {number} thread{'s' * (number > 1)}" for number in threads)]
        header += ["ms/GMAC", "over best peer's"]
    models = dict.fromkeys(timing.file.model for timing in timings)
    rows = [_row(model, precisions, threads, timings) for model in models]
    return f"\n{TITLES.get(first.task, first.task)}, {first.runtime}\n\n{markdown(header, rows)}"


def _row(model: str, precisions: Sequence[str], threads: Sequence[int], timings: Sequence[Timing]) -> list[str]:
    own = {(t.file.precision, t.threads): t for t in timings if t.file.model == model}
    file = next(iter(own.values())).file
    cells = [model, f"{file.height}x{file.width}", f"{file.macs / 1e6:.0f}", f"{file.params / 1e6:.2f}"]
    for precision in precisions:
        chosen = [own.get((precision, number)) for number in threads]
        fewest = chosen[0]
        if fewest is None:  # a file that could not be loaded
            cells += ["-"] * (len(threads) + 3)
            continue
        ratio = over_best_peer(fewest, timings)
        cells += [f"{fewest.file.num_bytes / 1e6:.1f}", *("-" if t is None else f"{t.ms:.1f}" for t in chosen)]
        cells += [f"{fewest.ms_per_gmac:.1f}", "-" if ratio is None else f"{ratio:.2f}"]
    return cells


def _chosen(timings: Sequence[Timing], **attributes: str) -> list[Timing]:
    """Return the timings whose files have these attributes."""
    return [t for t in timings if all(getattr(t.file, name) == value for name, value in attributes.items())]
