"""Short runs of every kind, and what they come to, to the bit: for a change that should change no result.

    python tests/record.py --write [--data FOLDER]   # before
    python tests/record.py [--data FOLDER]           # after: names what differs, and ends with status 1

One thread, seed 0. Results depend on the processor and on the versions of libraries, so ``recorded.json`` says which
they were; elsewhere record anew before a change. FOLDER has lsp and cifar10; runs whose images are not there are left
out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

ROOT = Path(__file__).parents[1]
RECORD = Path(__file__).with_name("recorded.json")
LIBRARIES = ("torch", "torchvision", "timm", "numpy", "executorch", "onnxruntime")
FNA = "fbnetv5.projects.fna"
FPNAS = "fbnetv5.projects.fpnas"
SMALL = ("runtime.device=cpu", "runtime.threads=1", "runtime.workers=0", "runtime.log_every=5")
TRAIN = ("train.steps=20", "train.eval_every=10", "data.shapes.num_images=512", "data.shapes.num_val_images=64")
MOBILENET = {"network": {"_target_": f"{FNA}.network.FNANetwork", "architecture": "mobilenetv2_100"}}
NANO = {"family": "NANO", "num_stages": 4, "topology": "unet"}
PEOPLE = ("data.crop=null", "data.crop_width=null", "data.long_side=224", "data.scale=[0.8,1.2]")


@dataclass(frozen=True)
class Run:
    """A run: its config, a file or YAML; its overrides; and the folder of images that it needs, if any."""

    config: str
    overrides: tuple[str, ...] = ()
    data: str = ""


def trained(target: str, *overrides: str) -> Run:
    """A training of 20 steps on shapes, with the config for a kind of target."""
    return Run(f"configs/train/{target}/shapes.yaml", (*TRAIN, *overrides))


def with_head(network: Mapping[str, Any], **head: Any) -> Run:
    """A training of 10 steps on shapes with any network and head."""
    keys = {
        "defaults": ["/train/small", "_self_"],
        "name": "head",
        "model": {**network, "head": head},
        "data": {"shapes": {"num_images": 256, "num_val_images": 32, "size": 64}, "short_side": 64, "crop": 64},
        "train": {"steps": 10, "batch_size": 8, "eval_every": 5},
    }
    return Run(yaml.safe_dump(keys))


SEARCH = ("search.steps=40", "search.arch_start=0.25")
FNA_SEARCH = {
    "defaults": ["/fbnetv5/schema", "_self_"],
    "job": f"{FNA}.search.run",
    "name": "fna",
    "model": {"head": {"_target_": f"{FNA}.heads.deeplab.DeepLabV3", "hidden_channels": 16, "rates": [1, 2, 3]}},
    "data": {"shapes": {"num_images": 128, "num_val_images": 32, "size": 64}, "short_side": 64, "crop": 64},
    "train": {"steps": 10, "batch_size": 8},
    "optimizer": {"lr": 0.01},
    "project": {
        "space": "mobilenetv2_035_seg",
        "seed": "mobilenetv2_035",
        "start": "random",
        "architecture_share": 0.3,
        "method": {"_target_": f"{FNA}.differentiable.Differentiable", "weights_first": 0.4},
    },
}
RUNS = {
    "search": Run("configs/quickstart.yaml", SEARCH),
    "search/gates": Run(
        "configs/quickstart.yaml",
        (
            "search.steps=4",
            "search.arch_start=0",
            "search.algorithm._target_=fbnetv5.search.differentiable.TaskByTask",
        ),
    ),
    "pretrain": Run("configs/quickstart.yaml", ("job=pretrain", "search.steps=5")),
    "train/Classifier": trained("cls"),
    "train/LiteRCNN": trained("det"),
    "train/LiteMaskFormer": trained("seg"),
    "train/SimpleBaseline": Run("configs/train/pose/lsp.yaml", ("train.steps=20", *PEOPLE), "lsp"),
    "train/DeepLabV3": with_head(
        MOBILENET, _target_=f"{FNA}.heads.deeplab.DeepLabV3", hidden_channels=16, rates=[1, 2, 3]
    ),
    "train/RetinaNet": with_head(MOBILENET, _target_=f"{FNA}.heads.retinanet.RetinaNet"),
    "train/SSDLite": with_head(MOBILENET, _target_=f"{FNA}.heads.ssdlite.SSDLite"),
    "train/PSPNet": with_head(NANO, _target_=f"{FPNAS}.heads.psp.PSPNet"),
    "train/PooledClassifier": with_head(
        NANO, _target_=f"{FPNAS}.heads.classifier.PooledClassifier", hidden_channels=32
    ),
    "fna": Run(yaml.safe_dump(FNA_SEARCH)),
    "fpnas": Run(
        "projects/fpnas/configs/cifar10_small.yaml",
        ("project.iterations=1", "project.num_candidates=2", "project.jobs=1"),
        "cifar10",
    ),
}
EXPORTED = ("train/Classifier", "train/LiteRCNN", "train/LiteMaskFormer")


def launch(config: Path, *overrides: str) -> None:
    """Run the command line to its end, on one thread."""
    command = [sys.executable, str(ROOT / "train_net.py"), f"--config={config}", *SMALL, *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def digest(data: bytes) -> str:
    """A short fingerprint."""
    return hashlib.sha256(data).hexdigest()[:16]


def weights_digest(file: Path) -> str:
    """The fingerprint of tensors, with their names."""
    weights = load_file(file)
    return digest(b"".join(name.encode() + weights[name].numpy().tobytes() for name in sorted(weights)))


def logged(folder: Path) -> list[dict[str, float]]:
    """A run's records of metrics, without what depends on the clock."""
    file = folder / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [{k: v for k, v in json.loads(line).items() if "seconds" not in k} for line in lines]


def found(folder: Path) -> Iterator[tuple[str, Any]]:
    """What a run came to: name and value of each thing."""
    for file in sorted(folder.rglob("*.safetensors")):
        if "checkpoints" not in file.parts:
            yield str(file.relative_to(folder)), weights_digest(file)
    for file in sorted([*folder.glob("topology_*.yaml"), *folder.glob("architecture.yaml")]):
        document = yaml.safe_load(file.read_text())
        document.pop("info", None)
        yield file.name, document if file.name.startswith("topology") else digest(json.dumps(document).encode())
    for name in ("probabilities.csv", "candidates.csv"):
        if (folder / name).exists():
            yield name, digest((folder / name).read_bytes())
    if records := logged(folder):
        yield "metrics", digest(json.dumps(records).encode())
        yield "last", records[-1]
    if (folder / "metrics.json").exists():
        yield "metrics.json", json.loads((folder / "metrics.json").read_text())["metrics"]


def exported(folder: Path) -> Iterator[tuple[str, Any]]:
    """The outputs of a trained model's files for one image."""
    launch(
        folder / "config.yaml",
        "job=export",
        f"export.model={folder}",
        f"output={folder / 'export'}",
        "export.formats=[onnx,executorch]",
        "export.precisions=[fp32]",
        "export.num_evaluated=4",
    )
    from fbnetv5.export.runtime import RUNTIMES

    for name, file in (("onnx", "model_fp32.onnx"), ("executorch", "model_fp32.pte")):
        sidecar = json.loads((folder / "export" / f"{file}.json").read_text())
        image = torch.randn(*sidecar["input"]["shape"], generator=torch.Generator().manual_seed(0))
        outputs = RUNTIMES[name](folder / "export" / file, 1).runner(image)
        yield name, [digest(value.contiguous().numpy().tobytes()) for value in outputs]


def results(data: Path | None, only: Sequence[str]) -> dict[str, Any]:
    """What all runs come to, by name."""
    all_found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        for name, run in RUNS.items():
            if (only and name not in only) or (run.data and (data is None or not (data / run.data).is_dir())):
                continue
            print(name, flush=True)
            folder, file = Path(work) / name, ROOT / run.config
            if "\n" in run.config:
                file = Path(work) / "config.yaml"
                file.write_text(run.config)
            images = (f"data.root={data / run.data}",) if run.data and data else ()
            launch(file, *run.overrides, *images, f"output={folder}")
            all_found[name] = dict(found(folder))
            if name in EXPORTED:
                all_found[f"{name}/export"] = dict(exported(folder))
    return all_found


def main() -> None:
    """Record, or compare with what is recorded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record what the runs come to now")
    parser.add_argument("--data", type=lambda text: Path(text).resolve(), help="folder that has lsp and cifar10")
    parser.add_argument("--only", nargs="*", default=[], help="names of runs")
    options = parser.parse_args()
    versions = {name: version(name) for name in LIBRARIES}
    runs = json.loads(json.dumps(results(options.data, options.only)))
    record = {"python": platform.python_version(), **versions, "runs": runs}
    if options.write:
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
        return
    before = json.loads(RECORD.read_text())
    for name, now in record["runs"].items():
        then = before["runs"].get(name, {})
        for key in {**then, **now}:
            if then.get(key) != now.get(key):
                print(f"{name}: {key} was {then.get(key)}, is {now.get(key)}")
    if any(before["runs"].get(name) != now for name, now in record["runs"].items()):
        raise SystemExit(1)
    print(f"{len(record['runs'])} results are the same")


if __name__ == "__main__":
    main()
