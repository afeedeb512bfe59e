"""Time of an exported file's operators, by the runtime's own profiler."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.exported_files import ExportedFile
from benchmarks.processes import yielded_by
from benchmarks.tables import markdown
from fbnetv5.base.errors import InputError
from fbnetv5.export.extras import needs_extra
from fbnetv5.export.onnx import INPUT

NUM_WARM_UP = 3
NUM_CALLS = 50
SHARE_OF_OTHERS = 0.005  # operators that cost less are summed up


@dataclass(frozen=True)
class OperatorTime:
    """The time of an operator in one call of a file.

    Attributes:
        operator: its name; of XNNPACK's begin with "XNNPACK ".
        count: how often it runs.
        ms: milliseconds, all of them together; of each its fastest run, as what else a machine does only adds.
    """

    operator: str
    count: int
    ms: float


def profile(file: ExportedFile) -> list[OperatorTime]:
    """Return the operators of a file on one thread, the most expensive first.

    Raises:
        InputError: the runtime has no profiler, or was built without it.
    """
    if file.runtime not in PROFILERS:
        raise InputError(f"{file.path}: {file.runtime} has no profile here; {', '.join(PROFILERS)} have")
    rows = yielded_by(PROFILERS[file.runtime], file)
    return sorted(rows, key=lambda row: -row.ms)


def profile_text(file: ExportedFile, rows: Sequence[OperatorTime]) -> str:
    """Return a markdown table of a file's operators."""
    total = sum(row.ms for row in rows)
    shown = [row for row in rows if row.ms >= SHARE_OF_OTHERS * total]
    others = [row for row in rows if row.ms < SHARE_OF_OTHERS * total]
    if others:
        shown.append(OperatorTime("others", sum(row.count for row in others), sum(row.ms for row in others)))
    title = f"{file.model}, {file.runtime} {file.precision}, one thread: {total:.2f} ms in operators"
    cells = [(row.operator, str(row.count), f"{row.ms:.3f}", f"{row.ms / total:.1%}") for row in shown]
    return f"\n{title}\n\n{markdown(('operator', 'calls', 'ms', 'share'), cells)}"


def _executorch(file: ExportedFile) -> list[OperatorTime]:
    with needs_extra("a profile of a .pte file"):
        from executorch.devtools import Inspector
        from executorch.extension.pybindings import portable_lib
    portable_lib._unsafe_reset_threadpool(1)
    data = Path(file.path).read_bytes()  # which the module points into
    module = portable_lib._load_for_executorch_from_buffer(data, enable_etdump=True)
    if not module.has_etdump():
        raise InputError("this build of ExecuTorch cannot profile: it has no event tracer")
    image = torch.zeros(1, 3, file.height, file.width)
    for _ in range(NUM_WARM_UP + NUM_CALLS):
        module.run_method("forward", [image])
    with tempfile.TemporaryDirectory() as folder:
        dump = str(Path(folder) / "profile.etdump")
        module.write_etdump_result_to_file(dump)
        blocks = Inspector(etdump_path=dump).event_blocks
    return executorch_rows([event for block in blocks if block.name == "Execute" for event in block.events])


def executorch_rows(events: Sequence[Any]) -> list[OperatorTime]:
    """Sum ExecuTorch's events by operator.

    A kernel of ExecuTorch's own is timed as ``native_call_NAME``. A call of XNNPACK is timed as a whole, and its
    operators, "NAME #number", in it; what is left is its own expense.
    """
    totals: dict[str, list[float]] = defaultdict(list)
    calls = inside = 0.0
    for event in events:
        if event.perf_data is None:
            continue
        ms = event.perf_data.min
        if event.is_delegated_op:
            totals[f"XNNPACK {event.name.partition(' #')[0]}"].append(ms)
            inside += ms
        elif event.name == "DELEGATE_CALL":
            calls += ms
        elif event.name.startswith("native_call_"):
            totals[event.name.removeprefix("native_call_")].append(ms)
    rows = [OperatorTime(name, len(times), sum(times)) for name, times in totals.items()]
    if calls > inside:
        rows.append(OperatorTime("XNNPACK beside its operators", 1, calls - inside))
    return rows


def _onnx(file: ExportedFile) -> list[OperatorTime]:
    with needs_extra("a profile of an .onnx file"):
        import onnxruntime
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(file.path, options, providers=["CPUExecutionProvider"])
        image = torch.zeros(1, 3, file.height, file.width).numpy()
        for _ in range(NUM_CALLS):
            session.run(None, {INPUT: image})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return onnx_rows(events)


def onnx_rows(events: Sequence[dict[str, Any]]) -> list[OperatorTime]:
    """Sum onnxruntime's events, in microseconds, by operator; a node has one event a call."""
    nodes: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            nodes[event["args"]["op_name"], event["name"]].append(event["dur"] / 1e3)
    totals: dict[str, list[float]] = defaultdict(list)
    for (operator, _), times in nodes.items():
        totals[operator].append(min(times))
    return [OperatorTime(operator, len(times), sum(times)) for operator, times in totals.items()]


PROFILERS = {"executorch": _executorch, "onnx": _onnx}
