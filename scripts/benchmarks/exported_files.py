"""The files that are timed: written once, and used again as long as nothing has changed that they are made by."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchmarks.exported_models import Built, Candidate, sources_digest
from fbnetv5.base.files import atomic_path, write_text
from fbnetv5.export.formats import SUFFIXES, Converter, check_support

LIBRARIES = (
    *("torch", "torchvision", "timm", "executorch", "torchao", "onnx", "onnxscript", "onnxruntime"),
    *("litert-torch", "ai-edge-litert", "ai-edge-quantizer", "coremltools"),
)
NUM_CALIBRATION = 4  # random images: latency does not depend on what they show


@dataclass(frozen=True)
class ExportedFile:
    """A model in the format and precision of a runtime.

    Attributes:
        path: of the file.
        model, task, is_peer: of the :class:`Candidate`.
        runtime, precision: as ``convert`` takes them.
        height, width: of the input in pixels.
        macs: multiply-adds an image; params: parameters.
        num_bytes: of the file.
        operators: backend to operator to how often it runs there.
        made_by: checksum of all that the file depends on.
        joint: of the :class:`Candidate`.
    """

    path: str
    model: str
    task: str
    is_peer: bool
    runtime: str
    precision: str
    height: int
    width: int
    macs: int
    params: int
    num_bytes: int
    operators: Mapping[str, Mapping[str, int]]
    made_by: str
    joint: str = ""


def exported_files(
    candidates: Sequence[Candidate], runtimes: Sequence[str], precisions: Sequence[str], folder: Path
) -> Iterator[ExportedFile]:
    """Yield a file of each model, runtime and precision; what is missing in ``folder`` or out of date is written.

    Raises:
        InputError: a runtime lacks a precision, a package is missing, a model cannot be exported, or a file cannot be
            written.
    """
    for runtime in runtimes:
        for precision in precisions:
            check_support(runtime, precision)
    made_by = {candidate.name: _made_by(candidate) for candidate in candidates}
    for candidate in candidates:
        built: Built | None = None
        for runtime in runtimes:
            for precision in precisions:
                path = folder / f"{candidate.name}_{precision}{SUFFIXES[runtime]}"
                found = _kept(path, made_by[candidate.name])
                if found is None:
                    built = built or candidate.build()
                    found = _written(candidate, built, runtime, precision, path, made_by[candidate.name])
                yield found


def _kept(path: Path, made_by: str) -> ExportedFile | None:
    """Return a file that is there and was made by the same."""
    try:
        found = ExportedFile(**json.loads(_description(path).read_text(encoding="utf-8")))
        matches = found.made_by == made_by and path.stat().st_size == found.num_bytes
    except (OSError, ValueError, TypeError):
        return None
    return found if matches else None


def _written(
    candidate: Candidate, built: Built, runtime: str, precision: str, path: Path, made_by: str
) -> ExportedFile:
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(1, 3, *built.size, generator=generator) for _ in range(NUM_CALIBRATION)]
    calibration = images if precision == "int8" else None
    lowered = Converter(built.module, built.size).convert(runtime, calibration, precision=precision)
    with atomic_path(path) as temporary:
        temporary.write_bytes(lowered.data)
    written = ExportedFile(
        path=str(path.resolve()),
        model=candidate.name,
        task=candidate.task,
        is_peer=candidate.is_peer,
        runtime=runtime,
        precision=precision,
        height=built.size[0],
        width=built.size[1],
        macs=built.macs,
        params=built.params,
        num_bytes=len(lowered.data),
        operators=lowered.operators,
        made_by=made_by,
        joint=candidate.joint,
    )
    write_text(_description(path), json.dumps(asdict(written), indent=2) + "\n")
    return written


def _description(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _made_by(candidate: Candidate) -> str:
    parts = [candidate.name, candidate.identity, sources_digest(), json.dumps(library_versions())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that files are made by, of those that are installed."""
    found = {}
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
