"""The JSON file beside an exported model: all that a program needs to use it, and what is known about it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from fbnetv5.base.documents import parse_json, read_json, read_text
from fbnetv5.base.errors import InputError
from fbnetv5.base.files import write_text
from fbnetv5.base.limits import MAX_DESCRIPTION, MAX_SIDE
from fbnetv5.base.types import Size, TargetKind
from fbnetv5.data.inputs import InputSpec
from fbnetv5.export.deployed import ALONE

FORMAT, JOINT_FORMAT = 1, 2  # raised when older versions cannot read it any more
MILLISECONDS = "milliseconds"  # by condition; not written by the export, but by who times the file


@dataclass(kw_only=True)
class FileFacts:
    """What a sidecar says of a file, whatever its tasks.

    Attributes:
        runtime: executorch, onnx, litert, coreml or torchscript.
        precision: fp32, fp16 or int8.
        input: ``name``, ``shape`` [1, 3, height, width], ``dtype``, ``colour``, and under ``resize`` how an image
            becomes it: the trained model's sizes, mean and deviation (of RGB in 0..1).
        outputs: ``name``, ``shape``, ``dtype`` and ``meaning`` of each, in their order; of several tasks also ``task``
            and ``output``, what it would be called in a file of that task alone.
        macs: multiply-adds an image; params: parameters.
        operators: backend to operator to how often it runs there; macs_by_backend: their multiply-adds.
        quantisation: int8: how it was calibrated, and the parts left in float32.
        versions: of the libraries that made it.
        sha256, num_bytes: of the file.
    """

    runtime: str
    precision: str
    input: dict[str, Any]
    outputs: list[dict[str, Any]]
    macs: int
    params: int
    operators: dict[str, dict[str, int]] = field(default_factory=dict)
    macs_by_backend: dict[str, int] = field(default_factory=dict)
    quantisation: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    sha256: str = ""
    num_bytes: int = 0

    @property
    def size(self) -> Size:
        """(height, width) of the input in pixels."""
        return self.input["shape"][2], self.input["shape"][3]

    @property
    def input_spec(self) -> InputSpec:
        """Size and normalisation that the trained model saw images at."""
        return InputSpec.from_dict(self.input["resize"])


@dataclass(kw_only=True)
class TaskFacts:
    """What a sidecar says of a task.

    Attributes:
        target: name of what is predicted: label, boxes, segmentation or keypoints.
        kind: its form: scalar, boxes, mask or keypoints.
        classes: names; a class id is a position in them.
        thresholds: that are applied in the file.
        agreement: largest differences from the trained model on real images.
        metrics: of the trained model and of the file, on the same images.
    """

    target: str
    kind: str
    classes: list[str]
    thresholds: dict[str, float] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def target_kind(self) -> TargetKind:
        """The form of what is predicted."""
        return TargetKind(self.kind)


@dataclass(kw_only=True)
class Sidecar(TaskFacts, FileFacts):
    """Description that is written beside an exported model of one task."""

    format: int = FORMAT

    def by_task(self) -> dict[str, TaskFacts]:
        """Return what it says of its task."""
        return {ALONE: self}


@dataclass(kw_only=True)
class JointSidecar(FileFacts):
    """Description that is written beside an exported model of several tasks.

    Attributes:
        tasks: what is said of each, by name.
    """

    tasks: dict[str, TaskFacts]
    format: int = JOINT_FORMAT

    def by_task(self) -> dict[str, TaskFacts]:
        """Return what it says of its tasks."""
        return self.tasks


AnySidecar = Sidecar | JointSidecar


class Timed(NamedTuple):
    """The milliseconds that an exported file takes for an image, by what they were measured on."""

    runtime: str
    precision: str
    by_condition: dict[str, float]


def sidecar_path(file: Path) -> Path:
    """Return where the sidecar of an exported file lies: ``model.pte.json`` beside ``model.pte``."""
    return file.with_name(f"{file.name}.json")


def write_sidecar(file: Path, sidecar: AnySidecar) -> None:
    """Write the sidecar of an exported file, with the file's checksum. Raises InputError where that fails."""
    data = file.read_bytes()
    sidecar.sha256, sidecar.num_bytes = hashlib.sha256(data).hexdigest(), len(data)
    write_text(sidecar_path(file), json.dumps(asdict(sidecar), indent=2, ensure_ascii=False) + "\n")


def carry_milliseconds(before: Path, file: Path) -> None:
    """Write what the file ``before`` takes for an image into the sidecar of another of the same bytes."""
    sha256 = read_json(sidecar_path(file)).get("sha256")
    if sha256 is not None and read_json(sidecar_path(before)).get("sha256") == sha256:
        for condition, milliseconds in milliseconds_of(sidecar_path(before)).by_condition.items():
            add_milliseconds(file, sha256, condition, milliseconds)


def read_sidecar(file: Path) -> AnySidecar:
    """Read the sidecar of an exported file, and check that it is that of this very file.

    Raises:
        InputError: one of the two is missing or damaged, or they do not belong together.
    """
    path = sidecar_path(file)
    if not file.is_file():
        raise InputError(f"{file}: there is no such file")
    try:
        document = parse_json(read_text(path, MAX_DESCRIPTION))
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror or error}); an export writes it beside its file"
        ) from error
    except ValueError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    sidecar = _parse(path, document)
    data = file.read_bytes()
    if len(data) < sidecar.num_bytes:
        raise InputError(f"{file} is cut off: {len(data):,} of {sidecar.num_bytes:,} bytes; export it again")
    if hashlib.sha256(data).hexdigest() != sidecar.sha256:
        raise InputError(f"{file} is not the file that {path.name} describes: their checksums differ; export it again")
    return sidecar


def add_milliseconds(file: Path, sha256: str, condition: str, milliseconds: float) -> None:
    """Write into a file's sidecar how long it takes for an image; those of other conditions stay.

    Args:
        file: exported.
        sha256: of the file that was timed.
        condition: what it was measured on: device, runtime and threads.
        milliseconds: for an image.

    Raises:
        InputError: the sidecar cannot be read or written, or the file has been exported again since.
    """
    path = sidecar_path(file)
    document = read_json(path)
    if document.get("sha256") != sha256:
        raise InputError(f"{path} is not that of the file that was timed; time it again")
    document[MILLISECONDS] = {**milliseconds_of(path).by_condition, condition: milliseconds}
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def milliseconds_of(sidecar: Path) -> Timed:
    """Return what a sidecar says of its file's milliseconds; nothing where it is damaged or says none."""
    document = read_json(sidecar)
    stated = document.get(MILLISECONDS)
    known = stated if isinstance(stated, dict) else {}
    numbers = {str(name): float(ms) for name, ms in known.items() if isinstance(ms, (int, float))}
    return Timed(str(document.get("runtime", "")), str(document.get("precision", "")), numbers)


def _parse(path: Path, document: Any) -> AnySidecar:
    if not isinstance(document, dict) or not isinstance(document.get("format"), int):
        raise InputError(f"{path} does not describe an exported model: it has no 'format'")
    if document["format"] > JOINT_FORMAT:
        raise InputError(f"{path} is of format {document['format']}; this version reads formats up to {JOINT_FORMAT}")
    try:
        sidecar = _sidecar(path, document)
        _check_values(sidecar)
    except LookupError as error:
        raise InputError(f"{path} is damaged: {error} is missing") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    return sidecar


def _sidecar(path: Path, document: dict[str, Any]) -> AnySidecar:
    if document["format"] < JOINT_FORMAT:
        return Sidecar(**_known(path, document, Sidecar))
    known = _known(path, document, JointSidecar)
    if not known["tasks"]:
        raise ValueError("it has no task")
    for task, facts in known["tasks"].items():
        known["tasks"][task] = TaskFacts(**_known(path, facts, TaskFacts, f"tasks.{task}."))
    return JointSidecar(**known)


def _known(path: Path, document: Any, kind: type, place: str = "") -> dict[str, Any]:
    """Return the fields of a dataclass in a document. Raises InputError where one is missing."""
    names = [entry.name for entry in fields(kind)]
    missing = [name for name in names if name not in document]
    if missing:
        raise InputError(f"{path}: '{place}{missing[0]}' is missing")
    return {name: document[name] for name in names}


def _check_values(sidecar: AnySidecar) -> None:
    """Raise ValueError, TypeError, LookupError or AttributeError for values that no export writes."""
    shape = sidecar.input["shape"]
    if not isinstance(shape, list) or len(shape) != 4 or not all(type(n) is int and 0 < n <= MAX_SIDE for n in shape):
        raise ValueError(f"the input's shape is no list of four sizes up to {MAX_SIDE}")
    texts = [sidecar.runtime, sidecar.precision, sidecar.sha256, *(output["name"] for output in sidecar.outputs)]
    for facts in sidecar.by_task().values():
        if not isinstance(facts.classes, list):
            raise ValueError("classes are no list")
        texts += [facts.target, *facts.classes]
        _ = facts.target_kind
    if isinstance(sidecar, JointSidecar):
        texts += [output["output"] for output in sidecar.outputs]
        if any(output["task"] not in sidecar.tasks for output in sidecar.outputs):
            raise ValueError("an output is of none of the tasks")
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a name has another type")
    if type(sidecar.num_bytes) is not int:
        raise ValueError("num_bytes is no whole number")
    _ = sidecar.input_spec
