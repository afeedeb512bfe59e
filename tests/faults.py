"""Bad input, replayed through the command line: each ends with status 1 and one line, and none hangs.

``python -m tests.faults`` takes them all, in processes of their own, and prints those that end otherwise.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from fbnetv5.data.build import build_index
from fbnetv5.data.index import METADATA_KEY
from fbnetv5.model.folder import save_model
from tests.base.test_documents import BOMB
from tests.data.conftest import Folder
from tests.export.models import random_model
from tests.jobs.runs import ROOT, arguments
from tests.jobs.test_bad_input import files, write_boxes
from tests.labeling.photos import label_config, write_photos
from tests.processes import FORKS, PRELOADED, command_line_of, run, script

LIMIT = 30.0  # seconds for each, on a machine that does other work as well
STEP = ("search.steps=1", "search.last_look.candidates=0", "search.batch_size=8", "search.num_samples=2")
SCHEMA = "defaults: [/fbnetv5/schema, _self_]\n"
DEEP = "[" * 3000 + "]" * 3000
REFERENCES = "project:\n  x0: aaaaaaaaaa\n" + "".join(
    f"  x{n}: {''.join([f'${{project.x{n - 1}}}'] * 10)}\n" for n in range(1, 12)
)
Work = tuple[Callable[..., Any], Sequence[Any]]  # what is called in a process of its own, and with what
OVERRIDES = (
    "optimizer.lr=nan",
    "search.task_weights={det: .inf}",
    "tasks.det.anchor_sizes=[-32,64]",
    "tasks.det.roi_size=0",
    "tasks.det.num_proposals=0",
    "tasks.mine={_target_: fractions.Fraction}",
    "tasks.cls={_target_: builtins.int}",
    "search.algorithm={_target_: collections.Counter}",
    "data.short_side=10000000",
    "data.shapes.size=10000000",
    "model.num_stages=10000000",
    "search.num_samples=10000000",
    "runtime.workers=10000000",
    "runtime.timeout=0",
    "runtime.timeout=nan",
    "seed=1000000000000000000000000",
    "job=label",
    "job=evaluate",
    "job=export",
    "job=fbnetv5.projects.fna.search.run",
    "job=os.getcwd",
)
CONFIGS = {
    "empty": "",
    "a comment": "# nothing\n",
    "text": "just words\n",
    "aliases that multiply": SCHEMA + BOMB,
    "references that multiply": SCHEMA + REFERENCES,
    "a reference to itself": f"{SCHEMA}project: {{a: '${{project.a}}'}}\n",
    "deep nesting": f"{SCHEMA}project: {DEEP}\n",
    "a key twice": f"{SCHEMA}name: a\nname: b\n",
    "too large": SCHEMA + "#" * 2**18 + "\n",
    "not UTF-8": SCHEMA.encode() + b"name: \xff\n",
    "no numbers of a project": (
        f"{SCHEMA}job: fbnetv5.projects.fna.search.run\nname: a\n"
        "data: {shapes: {num_images: 8, num_val_images: 4, size: 32}}\nproject: {architecture_share: .nan}\n"
    ),
    "no numbers of another": (
        f"{SCHEMA}job: fbnetv5.projects.fpnas.search.run\nname: a\n"
        "data: {shapes: {num_images: 8, num_val_images: 4, size: 32}}\nproject: {validation_share: .nan}\n"
    ),
}
TOPOLOGY = "num_stages: 1\nblocks: [[1, 3]]\noutputs: [3]\n"
TOPOLOGIES = {
    "a key twice": TOPOLOGY + "num_stages: 2\n",
    "very many stages": TOPOLOGY.replace("1\n", "100000\n", 1),
    "aliases that multiply": BOMB,
    "deep nesting": DEEP,
    "not UTF-8": b"\xff\xfe",
}


def configs(folder: Path) -> Iterator[tuple[str, Work]]:
    """Configs that cannot be meant, by themselves and where another builds on them."""
    for override in OVERRIDES:
        yield override, (command_line_of, [arguments(*STEP, override, f"output={folder / 'run'}")])
    for name, content in CONFIGS.items():
        place = folder / name.replace(" ", "_")
        place.mkdir()
        (place / "pulled.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
        (place / "mine.yaml").write_text("defaults: [/fbnetv5/schema, pulled, _self_]\n")
        for file in ("pulled", "mine"):
            given = [f"--config={place / file}.yaml", f"output={folder / 'run'}"]
            if not (file == "mine" and "project" in name):
                yield f"config, {name}: {file}", (command_line_of, [given])
    os.mkfifo(folder / "pipe.yaml")
    yield "config, a pipe", (command_line_of, [[f"--config={folder / 'pipe.yaml'}"]])
    ablation = yaml.safe_load((ROOT / "projects/table5/configs/shapes.yaml").read_text())
    for key in ("match", "tolerance"):
        (folder / f"{key}.yaml").write_text(yaml.safe_dump(ablation | {key: float("nan")}))
        given = [ROOT / "projects/table5/__main__.py", "--config", folder / f"{key}.yaml", "--output", folder / "out"]
        yield f"ablation's {key}", (script, given)


def write_data(root: Path) -> None:
    """Write eight images with labels, boxes and masks."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    names = [f"{number}.png" for number in range(8)]
    for number, name in enumerate(names):
        Image.new("RGB", (64, 64), (number * 30, 90, 200)).save(root / "images" / name)
        Image.new("L", (64, 64), number % 2).save(root / "masks" / name)
    rows = "".join(f"{name},{'ab'[number % 2]}\n" for number, name in enumerate(names))
    (root / "labels.csv").write_text(f"file_name,label\n{rows}")
    write_boxes(root, [10, 10, 20, 20])


def _masks(root: Path, pixels: np.ndarray, suffix: str = "png") -> None:
    for path in (root / "masks").iterdir():
        path.unlink()
        Image.fromarray(pixels).save(path.with_suffix(f".{suffix}"))


def _replace(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new, 1))


def _pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


DATA: dict[str, Callable[[Path], Any]] = {
    "a quote that is not closed": lambda root: _replace(root / "labels.csv", "0.png", '"0.png'),
    "labels of one class": lambda root: (root / "labels.csv").write_text("file_name,label\n0.png,a\n1.png,a\n"),
    "labels that are not UTF-8": lambda root: (root / "labels.csv").write_bytes(b"file_name,label\n0.png,\xff\n"),
    "labels that are a pipe": lambda root: _pipe(root / "labels.csv"),
    "masks that are all 255": lambda root: _masks(root, np.full((64, 64), 255, np.uint8)),
    "masks of one class": lambda root: _masks(root, np.zeros((64, 64), np.uint8)),
    "masks of fractions": lambda root: _masks(root, np.full((64, 64), 0.5, np.float32), "tif"),
    "masks below zero": lambda root: _masks(root, np.full((64, 64), -1, np.int16), "tif"),
    "a mask that is a pipe": lambda root: _pipe(root / "masks" / "0.png"),
    "an image that is a pipe": lambda root: _pipe(root / "images" / "0.png"),
    "images that are cut": lambda root: [os.truncate(file, 60) for file in (root / "images").iterdir()],
    "a name that is not UTF-8": lambda root: shutil.copy(
        root / "images" / "0.png", os.fsencode(root / "images") + b"/\xff.png"
    ),
    "boxes that nest deep": lambda root: (root / "boxes.json").write_text("[" * 10**5),
    "boxes that are cut": lambda root: os.truncate(root / "boxes.json", 99),
    "boxes that are a list": lambda root: (root / "boxes.json").write_text("[1]"),
    "boxes that are a pipe": lambda root: _pipe(root / "boxes.json"),
    "boxes that are no numbers": lambda root: write_boxes(root, [float("nan"), 0, 9, 9]),
    "boxes that are not UTF-8": lambda root: (root / "boxes.json").write_bytes(b"\xff"),
}


def data(folder: Path) -> Iterator[tuple[str, Work]]:
    """Files of labels and images that are damaged, misleading or no files."""
    for name, spoil in DATA.items():
        root = folder / name.replace(" ", "_")
        write_data(root)
        spoil(root)
        given = arguments(*STEP, "runtime.workers=0", *files(root), f"output={root / 'run'}")
        yield f"data, {name}", (command_line_of, [given])
    write_data(folder / "twice")
    given = arguments(*STEP, *files(folder / "twice"), "data.mask_classes=[thing,thing]", f"output={folder / 'run'}")
    yield "data, classes of one name", (command_line_of, [given])


def indexes(folder: Path) -> Iterator[tuple[str, Work]]:
    """Parquet indexes that are damaged, or lead out of their folder."""
    made = Folder(folder / "made")
    build_index(**made.all_labels).write(made.root / "index.parquet")
    table = pq.read_table(made.root / "index.parquet")
    metadata = json.loads(table.schema.metadata[METADATA_KEY])
    spoilt = {
        "metadata that is no JSON": table.replace_schema_metadata({METADATA_KEY: b"{"}),
        "metadata that nests deep": table.replace_schema_metadata({METADATA_KEY: b"[" * 10**5}),
        "metadata of another kind": table.replace_schema_metadata(
            {METADATA_KEY: json.dumps(metadata | {"targets": 5}).encode()}
        ),
        "a path that leaves": _with_path(table, "../x.png"),
        "an absolute path": _with_path(table, "/etc/passwd"),
    }
    for name, content in spoilt.items():
        pq.write_table(content, made.root / "index.parquet")
        shutil.copytree(made.root, folder / name)
        given = [f"data.root='{folder / name}'", "data.train.index=index.parquet", f"output={folder / 'run'}"]
        yield f"index, {name}", (command_line_of, [arguments(*STEP, "runtime.workers=0", *given)])
    (folder / "cut").mkdir()
    (folder / "cut" / "index.parquet").write_bytes(b"PAR1 no more")
    given = [f"data.root={folder / 'cut'}", "data.train.index=index.parquet", f"output={folder / 'run'}"]
    yield "index, cut", (command_line_of, [arguments(*STEP, *given)])


def _with_path(table: Any, place: str) -> Any:
    rows = table.to_pylist()
    rows[0]["path"] = place
    return type(table).from_pylist(rows, schema=table.schema)


def topologies(folder: Path) -> Iterator[tuple[str, Work]]:
    """Topologies that cannot be meant, in a training."""
    for name, content in TOPOLOGIES.items():
        file = folder / f"{name.replace(' ', '_')}.yaml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        yield f"topology, {name}", (command_line_of, [_training(f"model.topology={file}", f"output={folder / 'run'}")])
    _pipe(folder / "pipe.yaml")
    given = _training(f"model.topology={folder / 'pipe.yaml'}", f"output={folder / 'run'}")
    yield "topology, a pipe", (command_line_of, [given])


def _training(*overrides: str) -> list[str]:
    small = ("data.shapes={num_images: 16, num_val_images: 4, size: 64}", "data.short_side=64", "data.crop=64")
    steps = ("train.steps=1", "train.batch_size=4", "runtime.workers=0", "runtime.device=cpu")
    return arguments(*small, *steps, *overrides, config="configs/train/cls/shapes.yaml", tiny=False)


STATES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a step beyond all": lambda state: state | {"step": 10**9},
    "no step": lambda state: {key: value for key, value in state.items() if key != "step"},
    "a state of another kind": lambda state: state | {"state": 5},
    "an empty state": lambda state: state | {"state": {}},
    "an identity of another kind": lambda state: state | {"identity": "[" * 10**5},
    "a pickle": lambda state: Path("x"),
}


def checkpoints(folder: Path) -> Iterator[tuple[str, Work]]:
    """Checkpoints that somebody has tampered with, where a search goes on."""
    whole = folder / "whole"
    given = [*STEP, "runtime.workers=0", f"output={whole}"]
    result = run(command_line_of, arguments(*given))
    assert result.returncode == 0, result.stderr
    for name, change in STATES.items():
        spoilt = Path(shutil.copytree(whole, folder / name.replace(" ", "_")))
        (file,) = spoilt.glob("checkpoints/*/state.pt")
        torch.save(change(torch.load(file, weights_only=True)), file)
        given = arguments(*STEP, "runtime.workers=0", f"output={spoilt}", "resume=true")
        yield f"checkpoint, {name}", (command_line_of, [given])
    for name, content in {"no numbers": float("nan"), "another shape": None}.items():
        spoilt = Path(shutil.copytree(whole, folder / name.replace(" ", "_")))
        (file,) = spoilt.glob("checkpoints/*/model.safetensors")
        weights = load_file(file)
        key = next(key for key, value in weights.items() if value.is_floating_point())
        weights[key] = torch.zeros(3) if content is None else torch.full_like(weights[key], content)
        save_file(weights, file)
        given = arguments(*STEP, "runtime.workers=0", f"output={spoilt}", "resume=true")
        yield f"checkpoint, weights of {name}", (command_line_of, [given])


def models(folder: Path) -> Iterator[tuple[str, Work]]:
    """Model folders and exported files that are damaged, or name what they should not."""
    model = random_model("cls")
    (folder / "secret.yaml").write_text("root:x:0:0\n")
    network = {"_target_": "fbnetv5.projects.fna.network.FNANetwork", "architecture": str(folder / "secret.yaml")}
    changes: dict[str, Callable[[Path], Any]] = {
        "a config that nests deep": lambda place: (place / "config.json").write_text("[" * 10**5),
        "a config that is a pipe": lambda place: _pipe(place / "config.json"),
        "weights that are cut": lambda place: os.truncate(place / "model.safetensors", 100),
        "weights that are no numbers": _spoil_weights,
        "an option that names a file": lambda place: _edit(place / "config.json", {"network": network}),
        "a head of another kind": lambda place: _edit(place / "config.json", {"head": {"_target_": "builtins.int"}}),
        "very many stages": lambda place: _edit(
            place / "config.json", {"topology": {"num_stages": 10**6, "blocks": [], "outputs": [3]}}
        ),
    }
    photos = folder / "photos"
    photos.mkdir()
    Image.new("RGB", (64, 64)).save(photos / "a.png")
    for name, change in changes.items():
        place = folder / name.replace(" ", "_")
        save_model(place, model, model.spec)
        change(place)
        given = [f"evaluate.model={place}", f"evaluate.images={photos}", f"output={folder / 'run'}"]
        evaluation = arguments(*given, "runtime.workers=0", config="configs/evaluate.yaml", tiny=False)
        yield f"model, {name}", (command_line_of, [evaluation])
    for name, sidecar in {"no sidecar": None, "a damaged sidecar": "{", "an empty sidecar": "{}"}.items():
        file = folder / f"{name.replace(' ', '_')}.pte"
        file.write_bytes(os.urandom(4000))
        if sidecar is not None:
            file.with_name(f"{file.name}.json").write_text(sidecar)
        yield f"exported, {name}", (script, [ROOT / "scripts" / "run_exported.py", file, photos])


def _edit(path: Path, change: dict[str, Any]) -> None:
    document = json.loads(path.read_text())
    if "network" in change:
        del document["family"], document["topology"]
    path.write_text(json.dumps(document | change))


def _spoil_weights(place: Path) -> None:
    weights = load_file(place / "model.safetensors")
    key = next(key for key, value in weights.items() if value.is_floating_point())
    save_file(weights | {key: torch.full_like(weights[key], float("nan"))}, place / "model.safetensors")


def labels(folder: Path) -> Iterator[tuple[str, Work]]:
    """Label plans that are damaged, where a labelling goes on."""
    config = label_config(folder, write_photos(folder / "photos"))
    whole = folder / "whole"
    result = run(command_line_of, [f"--config={config}", f"output={whole}"])
    assert result.returncode == 0, result.stderr
    for name, content in {"cut": "{", "deep nesting": "[" * 10**5, "nothing": ""}.items():
        spoilt = Path(shutil.copytree(whole, folder / name.replace(" ", "_")))
        (spoilt / "plan" / "plan.json").write_text(content)
        given = [f"--config={config}", f"output={spoilt}", "resume=true"]
        yield f"label plan, {name}", (command_line_of, [given])


KINDS = (configs, data, indexes, topologies, checkpoints, models, labels)


def replay(kind: Callable[[Path], Iterator[tuple[str, Work]]], folder: Path) -> tuple[int, list[str]]:
    """Take the faults of a kind; return how many there are, and those that end otherwise, one line each."""
    count, odd = 0, []
    for name, (work, given) in kind(folder):
        count += 1
        began = time.monotonic()
        try:
            result = run(work, *given, timeout=LIMIT)
        except AssertionError:
            odd.append(f"{name}: does not end within {LIMIT:g} s")
            continue
        said = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        if result.returncode != 1 or len(said) != 1 or "Traceback" in result.stderr:
            last = (result.stderr.strip().splitlines() or ["nothing"])[-1][:200]
            odd.append(f"{name}: status {result.returncode} after {time.monotonic() - began:.1f} s: {last}")
    return count, odd


def main() -> None:
    """Take all faults; ends with status 1 where one is not refused as it should be."""
    FORKS.set_forkserver_preload([*PRELOADED, "tests.jobs.cases"])
    total, faults = 0, []
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            count, odd = replay(kind, Path(folder))
        print(f"{kind.__name__:12} {count:3} bad inputs, {count - len(odd):3} refused in one line", flush=True)
        for line in odd:
            print(f"  {line}", flush=True)
        total, faults = total + count, faults + odd
    print(f"{'all':12} {total:3} bad inputs, {total - len(faults):3} refused in one line")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
