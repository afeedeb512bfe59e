"""An index of a million made-up rows: CPU seconds to open, check and draw, and memory of a process and a worker."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.tables import aligned
from fbnetv5.base.types import Target, TargetKind
from fbnetv5.data.index import Index, IndexSource
from fbnetv5.data.sampler import StepSampler, images_of_step
from fbnetv5.jobs.exchange import count_labels, labelled_images

TARGETS = (
    Target("label", TargetKind.SCALAR),
    Target("boxes", TargetKind.BOXES),
    Target("segmentation", TargetKind.MASK),
)
CLASSES = {"label": 1000, "boxes": 80, "segmentation": 171}
MEAN_BOXES = 3
BATCH, SAMPLES, STEPS = 768, 16, 20


@dataclass(frozen=True)
class Million:
    """What was measured: seconds of a CPU, and the memory that is private to a process, in bytes."""

    rows: int
    file_bytes: int
    open_seconds: float
    labels_seconds: float
    first_draw_seconds: float
    step_seconds: float
    counts_seconds: float
    row_microseconds: float
    rank_bytes: int
    worker_bytes: int


def measure_million(rows: int) -> Million:
    """Write an index of made-up rows, and measure it in a process that has just started."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "index.parquet"
        write_made_up(file, rows)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return Million(**pool.submit(_measure, str(file)).result())


def write_made_up(file: Path, rows: int) -> None:
    """Write ``rows`` images of 500x375 with a label, some boxes and a mask's name each; a tenth lacks the boxes."""
    random = np.random.default_rng(0)
    counts = random.poisson(MEAN_BOXES, rows)
    corners = random.uniform(0, 180, (counts.sum(), 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + 100], axis=1)
    starts = np.concatenate([[0], counts.cumsum()])
    missing = random.random(rows) < 0.1
    names = [f"n{number % 1000:08d}/n{number % 1000:08d}_{number}" for number in range(rows)]
    columns: dict[str, Any] = {
        "path": [f"{name}.JPEG" for name in names],
        "width": np.full(rows, 500, np.int32),
        "height": np.full(rows, 375, np.int32),
        "label": random.integers(0, CLASSES["label"], rows, dtype=np.int32),
        "boxes": _lists(pa.FixedSizeListArray.from_arrays(pa.array(boxes.ravel()), 4), starts, missing),
        "box_labels": _lists(pa.array(random.integers(0, 80, counts.sum(), dtype=np.int32)), starts, missing),
        "segmentation": [f"masks/{name}.png" for name in names],
    }
    classes = {name: [f"class {number}" for number in range(count)] for name, count in CLASSES.items()}
    empty = Index.from_rows([{"path": "x", "width": 1, "height": 1}], TARGETS, classes, "made up")
    table = pa.table({name: columns[name] for name in empty.table.column_names}).cast(empty.table.schema)
    Index(table, TARGETS, empty.classes, "made up").write(file)


def _lists(values: pa.Array, starts: np.ndarray, missing: np.ndarray) -> pa.Array:
    offsets = pa.array(starts.astype(np.int32), mask=np.append(missing, False))  # null where the list is null
    return pa.ListArray.from_arrays(offsets, values)


def _measure(file: str) -> dict[str, Any]:
    before, began = private_bytes(), time.process_time()
    index = Index.read(file)
    opened = time.process_time() - began
    source = IndexSource(index, Path(file).parent)
    labelled, labels = _timed(lambda: labelled_images(source, TARGETS))
    sampler = StepSampler(len(index), BATCH, num_steps=STEPS, seed=0)
    batches: Iterator[Any] = iter(sampler)
    _, first = _timed(lambda: next(batches))
    _, rest = _timed(lambda: list(batches))
    images = images_of_step(1, len(index), BATCH, 0)
    _, counted = _timed(lambda: count_labels(labelled, images, SAMPLES, 1))
    chosen = np.random.default_rng(0).integers(0, len(index), 2000)
    _, read = _timed(lambda: [index.value(name, int(row)) for row in chosen for name in ("path", "boxes", "label")])
    context = multiprocessing.get_context("fork")  # as torch's loader starts its workers on Linux
    parent, child = context.Pipe()
    worker = context.Process(target=_work, args=(index, child))
    after = private_bytes()
    worker.start()
    worker_bytes = parent.recv()
    worker.join()
    found = Million(
        rows=len(index),
        file_bytes=Path(file).stat().st_size,
        open_seconds=opened,
        labels_seconds=labels,
        first_draw_seconds=first,
        step_seconds=rest / (STEPS - 1),
        counts_seconds=counted,
        row_microseconds=1e6 * read / len(chosen),
        rank_bytes=after - before,
        worker_bytes=worker_bytes,
    )
    return asdict(found)


def _work(index: Index, told: Any) -> None:
    """Read ten thousand rows as a worker does; tell what memory is its own."""
    before = private_bytes()
    for row in np.random.default_rng(1).integers(0, len(index), 10_000):
        for name in index.table.column_names:
            index.value(name, int(row))
    told.send(private_bytes() - before)


def private_bytes() -> int:
    """Return the memory that is this process's alone, as Linux counts it."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def _timed(work: Any) -> tuple[Any, float]:
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


def million_text(found: Million) -> str:
    """Return the table."""
    rows = [
        ("rows", f"{found.rows:,}"),
        ("file", f"{found.file_bytes / 1e6:.0f} MB"),
        ("open and check", f"{found.open_seconds:.1f} s"),
        ("which are labelled", f"{found.labels_seconds:.2f} s"),
        (f"first batch of {BATCH} (the order of an epoch)", f"{found.first_draw_seconds:.2f} s"),
        ("each further batch", f"{1e3 * found.step_seconds:.1f} ms"),
        ("label counts of a step", f"{1e3 * found.counts_seconds:.1f} ms"),
        ("a row's values", f"{found.row_microseconds:.0f} us"),
        ("memory of a rank", f"{found.rank_bytes / 1e6:.0f} MB"),
        ("memory of a worker", f"{found.worker_bytes / 1e6:.0f} MB"),
    ]
    return aligned(("what", "measured"), rows)
