"""Running exported models, each with the runtime of its format."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops.boxes import clip_boxes_to_image

from fbnetv5.base.errors import InputError
from fbnetv5.base.types import Size, Target, TargetKind
from fbnetv5.export.deployed import ALONE
from fbnetv5.export.extras import LITERT, needs_extra
from fbnetv5.export.inputs import fitted
from fbnetv5.export.onnx import INPUT
from fbnetv5.export.quiet import silent
from fbnetv5.export.sidecar import AnySidecar, JointSidecar, Sidecar, read_sidecar
from fbnetv5.model.photos import as_pixels

IDENTIFIER = b"ET"  # at byte 4 of a .pte file, before the version of its format
Runner = Callable[[Tensor], Sequence[Tensor]]
_programs: set[Path] = set()  # .pte files that this process has loaded: they share the runtime's threads


class Opened(NamedTuple):
    """A file in its runtime: what runs it; and where it tells, its input's shape and the number of its outputs."""

    runner: Runner
    interface: tuple[list[int], int] | None


class RunnableFile:
    """An exported file in its runtime, from an image of its size to its outputs.

    Args:
        sidecar: of the file.
        runner: from an image [1, 3, H, W] to the outputs in their order.
    """

    def __init__(self, sidecar: AnySidecar, runner: Runner) -> None:
        self._facts = sidecar
        self._runner = runner

    def run(self, image: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name for a prepared image.

        Args:
            image: float32 [1, 3, H, W], of the file's size, normalised.

        Raises:
            InputError: the image has another shape or type.
        """
        expected = self._facts.input["shape"]
        if list(image.shape) != expected or image.dtype != torch.float32:
            raise InputError(f"the model takes float32 {expected}, not {str(image.dtype)[6:]} {list(image.shape)}")
        names = [output["name"] for output in self._facts.outputs]
        return dict(zip(names, self._runner(image.contiguous()), strict=True))

    def _run_fitted(self, image: Tensor) -> tuple[dict[str, Tensor], Size]:
        """Return the outputs for an image uint8 [3, H, W], and the (height, width) that it covers of the input."""
        prepared, covered = fitted(image, self._facts.input_spec, self._facts.size)
        return self.run(prepared), covered


class ExportedModel(RunnableFile):
    """An exported model of one task, ready to run; :func:`load_exported` opens one.

    Args:
        sidecar: of the file.
        runner: from an image [1, 3, H, W] to the outputs in their order.
    """

    def __init__(self, sidecar: Sidecar, runner: Runner) -> None:
        super().__init__(sidecar, runner)
        self.sidecar = sidecar

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; a class id is a position in them."""
        return tuple(self.sidecar.classes)

    def predict(self, image: Any) -> Any:
        """Return the prediction for one image, in its own pixels, as the trained model's ``predict_tensors`` does.

        Args:
            image: a file, a PIL image, or RGB as uint8 [3, H, W].

        Raises:
            InputError: the file cannot be read as an image.
            ValueError: the tensor is no uint8 [3, H, W].
        """
        pixels = as_pixels(image)
        outputs, covered = self._run_fitted(pixels)
        return decoded(self.sidecar.target_kind, outputs, covered, (pixels.shape[1], pixels.shape[2]))

    def pixels(self, image: Tensor, task: str = ALONE) -> tuple[Tensor, Tensor]:
        """Return the class of every pixel of the input, uint8 [H, W], and its probability, for uint8 [3, H', W']."""
        return covered_pixels(*self._run_fitted(image))


class ExportedJointModel(RunnableFile):
    """An exported model of several tasks, ready to run; :func:`load_exported` opens one.

    Args:
        sidecar: of the file.
        runner: from an image [1, 3, H, W] to the outputs in their order.
    """

    def __init__(self, sidecar: JointSidecar, runner: Runner) -> None:
        super().__init__(sidecar, runner)
        self.sidecar = sidecar

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """The names of each task's classes; a class id is a position in them."""
        return {task: tuple(facts.classes) for task, facts in self.sidecar.tasks.items()}

    @property
    def targets(self) -> dict[str, Target]:
        """What each task predicts."""
        return {task: Target(facts.target, facts.target_kind) for task, facts in self.sidecar.tasks.items()}

    def predict(self, image: Any) -> dict[str, Any]:
        """Return the predictions of all tasks for one image, in one pass; as :meth:`ExportedModel.predict`."""
        pixels = as_pixels(image)
        outputs, covered = self._run_fitted(pixels)
        stored = (pixels.shape[1], pixels.shape[2])
        return {
            task: decoded(target.kind, self._of_task(task, outputs), covered, stored)
            for task, target in self.targets.items()
        }

    def pixels(self, image: Tensor, task: str) -> tuple[Tensor, Tensor]:
        """Return what a task of masks finds, as :meth:`ExportedModel.pixels`."""
        outputs, covered = self._run_fitted(image)
        return covered_pixels(self._of_task(task, outputs), covered)

    def _of_task(self, task: str, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the outputs of a task, under the names that they have in a file of that task alone."""
        return {each["output"]: outputs[each["name"]] for each in self.sidecar.outputs if each["task"] == task}


AnyExported = ExportedModel | ExportedJointModel


def covered_pixels(outputs: dict[str, Tensor], covered: Size) -> tuple[Tensor, Tensor]:
    """Return the classes and the confidence of the pixels of the input that the image covers."""
    height, width = covered
    return outputs["segmentation"][:height, :width], outputs["confidence"][:height, :width]


def decoded(kind: TargetKind, outputs: dict[str, Tensor], covered: Size, stored: Size) -> Any:
    """Return an exported model's outputs as a prediction in the pixels of the stored image.

    Args:
        kind: what is predicted.
        outputs: by name.
        covered: (height, width) of the input that the image covers.
        stored: of the image as stored.
    """
    if kind is TargetKind.SCALAR:
        return outputs["scores"]
    if kind is TargetKind.BOXES:
        count = int(outputs["count"])
        factors = torch.tensor([stored[1] / covered[1], stored[0] / covered[0]] * 2)
        boxes = clip_boxes_to_image(outputs["boxes"][:count] * factors, stored)
        return {"boxes": boxes, "box_labels": outputs["box_labels"][:count], "scores": outputs["scores"][:count]}
    if kind is TargetKind.KEYPOINTS:
        factors = torch.tensor([stored[1] / covered[1], stored[0] / covered[0], 1])
        return (outputs["keypoints"] * factors).minimum(torch.tensor([stored[1], stored[0], 1]))
    classes = outputs["segmentation"][: covered[0], : covered[1]]
    return F.interpolate(classes[None, None].float(), size=stored, mode="nearest-exact")[0, 0].to(torch.uint8)


def load_exported(path: str | os.PathLike[str], *, threads: int | None = None) -> AnyExported:
    """Open an exported model, of one task or several, with the runtime of its format.

    Args:
        path: of the file; its sidecar lies beside it.
        threads: CPU threads; None is the runtime's own choice. ExecuTorch and TorchScript have one number a process.

    Raises:
        InputError: the file or its sidecar is missing or damaged, or its runtime is not installed.
    """
    file = Path(path)
    if threads is not None and threads < 1:
        raise InputError(f"threads={threads} should be at least 1")
    sidecar = read_sidecar(file)
    if sidecar.runtime in ELSEWHERE and not runs_here(sidecar.runtime):
        raise InputError(f"{file} runs on {ELSEWHERE[sidecar.runtime]} alone")
    if sidecar.runtime not in RUNTIMES:
        raise InputError(f"{file}: runtime '{sidecar.runtime}' is none of {', '.join(RUNTIMES)}")
    opened = RUNTIMES[sidecar.runtime](file, threads)
    expected = (sidecar.input["shape"], len(sidecar.outputs))
    if opened.interface not in (None, expected):
        raise InputError(
            f"{file} takes an image of {opened.interface[0]} and returns {opened.interface[1]} tensors; its sidecar "
            f"says {expected[0]} and {expected[1]}: export it again"
        )
    if isinstance(sidecar, JointSidecar):
        return ExportedJointModel(sidecar, opened.runner)
    return ExportedModel(sidecar, opened.runner)


def _executorch(file: Path, threads: int | None) -> Opened:
    with needs_extra("running a .pte file"):
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime
    present = portable_lib._threadpool_get_thread_count()
    if threads not in (None, present):
        if _programs:
            raise InputError(f"threads={threads}: this process runs .pte files with {present}, since it loaded one")
        portable_lib._unsafe_reset_threadpool(threads)  # before anything is loaded: later it would crash
    data = file.read_bytes()
    if data[4:6] != IDENTIFIER:  # of another file the runtime tells by ending the process
        raise InputError(f"{file} is no program of ExecuTorch; export it again")
    try:
        program = Runtime.get().load_program(data)
        program.load_method("forward")
    except RuntimeError as error:
        raise InputError(f"{file} cannot be loaded by ExecuTorch: {error}") from error
    _programs.add(file)
    metadata = program.metadata("forward")
    interface = (list(metadata.input_tensor_meta(0).sizes()), metadata.num_outputs())
    # the program holds what its method points into
    return Opened(lambda image: program.load_method("forward").execute([image]), interface)


def _onnx(file: Path, threads: int | None) -> Opened:
    with needs_extra("running an .onnx file"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base of their own
        raise InputError(f"{file} cannot be loaded by onnxruntime: {error}") from error
    interface = (list(session.get_inputs()[0].shape), len(session.get_outputs()))
    return Opened(
        lambda image: [torch.from_numpy(output) for output in session.run(None, {INPUT: image.numpy()})], interface
    )


def _litert(file: Path, threads: int | None) -> Opened:
    with needs_extra("running a .tflite file", LITERT):
        from ai_edge_litert.interpreter import Interpreter
    try:
        with silent():
            interpreter = Interpreter(model_content=file.read_bytes(), num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{file} cannot be loaded by LiteRT: {error}") from error
    image, outputs = interpreter.get_input_details()[0], interpreter.get_output_details()

    def run(pixels: Tensor) -> Sequence[Tensor]:
        interpreter.set_tensor(image["index"], pixels.numpy())
        interpreter.invoke()
        found = [torch.from_numpy(interpreter.get_tensor(output["index"])) for output in outputs]
        return [tensor.long() if tensor.dtype == torch.int32 else tensor for tensor in found]

    return Opened(run, (image["shape"].tolist(), len(outputs)))


def _torchscript(file: Path, threads: int | None) -> Opened:
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        module = torch.jit.load(str(file), map_location="cpu")
    except RuntimeError as error:
        raise InputError(f"{file} cannot be loaded by torch: {str(error).splitlines()[0]}") from error

    def run(image: Tensor) -> Sequence[Tensor]:
        with torch.no_grad():
            outputs: Sequence[Tensor] = module(image)
        return outputs

    return Opened(run, None)


RUNTIMES: dict[str, Callable[[Path, int | None], Opened]] = {
    "executorch": _executorch,
    "onnx": _onnx,
    "litert": _litert,
    "coreml": _executorch,
    "torchscript": _torchscript,
}
ELSEWHERE = {"coreml": "macOS and iOS"}


def runs_here(runtime: str) -> bool:
    """Whether this machine's system can run files of a runtime."""
    return runtime not in ELSEWHERE or sys.platform == "darwin"
