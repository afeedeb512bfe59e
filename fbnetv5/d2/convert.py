"""Detectors between our model folders and Detectron2's checkpoints.

python -m fbnetv5.d2.convert RUN_FOLDER OUTPUT                 # model.pth, config.yaml and topology.yaml in OUTPUT
python -m fbnetv5.d2.convert --back CONFIG WEIGHTS OUTPUT      # model.safetensors and config.json in OUTPUT

Of a supernet's folder (a search's or a pretraining's) the network alone is written, for the ``MODEL.WEIGHTS`` that a
training starts from. Only the names differ: both sides have the background's score last, deltas (dx, dy, dw, dh) for
each class, anchors by size and then ratio, and RGB. Only ``--back`` needs Detectron2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.base.files import write_text
from fbnetv5.base.run_files import MODEL
from fbnetv5.base.weights import WEIGHTS, about_weights, load_by_name, read_about, read_weights
from fbnetv5.cli.arguments import parser_of
from fbnetv5.d2 import not_installed
from fbnetv5.d2.cfg_node import add_fbnetv5_config
from fbnetv5.d2.checkpoint import about_of, state_of, write_checkpoint
from fbnetv5.d2.rcnn_config import to_config, to_spec
from fbnetv5.model.folder import load_task_model, save_model
from fbnetv5.model.task_net import build_model

PREFIXES = {  # ours: Detectron2's
    "network.": "backbone.network.",
    "head.rpn.head.": "proposal_generator.rpn_head.",
    "head.roi.box_head.": "roi_heads.box_head.",
    "head.roi.box_predictor.scores.": "roi_heads.box_predictor.cls_score.",
    "head.roi.box_predictor.deltas.": "roi_heads.box_predictor.bbox_pred.",
}
CONSTANTS = ("pixel_mean", "pixel_std", "proposal_generator.anchor_generator.")  # of the config, not learnt
CHECKPOINT, D2_CONFIG, TOPOLOGY = "model.pth", "config.yaml", "topology.yaml"


def to_detectron2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of our detector under Detectron2's names. Raises InputError for a name that it does not have."""
    return _renamed(state, PREFIXES)


def from_detectron2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of Detectron2's model under our names, the inverse of :func:`to_detectron2`.

    The constants that a checkpoint may hold (pixel mean and deviation, anchors) are left out.

    Raises:
        InputError: a name is none of our model.
    """
    learnt = {name: tensor for name, tensor in state.items() if not name.startswith(CONSTANTS)}
    return _renamed(learnt, {theirs: ours for ours, theirs in PREFIXES.items()})


def _renamed(state: Mapping[str, Tensor], prefixes: Mapping[str, str]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in state.items():
        old = next((prefix for prefix in prefixes if name.startswith(prefix)), None)
        if old is None:
            raise InputError(f"'{name}' is no weight of a network with Lite R-CNN")
        renamed[prefixes[old] + name.removeprefix(old)] = tensor
    return renamed


def write_detectron2(folder: Path, output: Path) -> None:
    """Write model.pth, config.yaml and topology.yaml of one of our model folders; of a supernet's, model.pth alone.

    Raises:
        InputError: the folder holds no detector and no supernet, or a file cannot be written.
    """
    if not (folder / MODEL).is_file():
        weights = read_weights(folder / WEIGHTS)
        network = {name: tensor for name, tensor in weights.items() if name.startswith("network.")}
        if not network:
            raise InputError(f"{folder / WEIGHTS} holds no network of fbnetv5")
        write_checkpoint(output / CHECKPOINT, to_detectron2(network), read_about(folder / WEIGHTS))
        return
    model = load_task_model(folder)
    topology = output.resolve() / TOPOLOGY
    config = to_config(model.spec, topology=str(topology), weights=str(output.resolve() / CHECKPOINT))
    about = about_weights(model.spec.input.normalisation, model.origin)
    write_checkpoint(output / CHECKPOINT, to_detectron2(model.state_dict()), about)
    assert model.spec.topology is not None  # else to_config raised
    model.spec.topology.save(topology)
    header = "# A detector of fbnetv5 for Detectron2 and D2Go; MODEL.FBNETV5 is added by add_fbnetv5_config.\n"
    write_text(output / D2_CONFIG, header + yaml.safe_dump(config, sort_keys=False, default_flow_style=None))


def write_ours(config: Path, weights: Path, output: Path, classes: Sequence[str] | None = None) -> None:
    """Write one of our model folders from a config and a checkpoint of Detectron2 or D2Go.

    Args:
        config: YAML; D2Go's keys may be in it.
        weights: the checkpoint; if it holds D2Go's moving average of the weights, that is what is converted.
        output: folder to write.
        classes: names of the classes; by default those that the config or its data sets give.

    Raises:
        InputError: Detectron2 is missing, a file cannot be read, or the model is none that our head reproduces.
    """
    cfg = _read_config(config)
    spec = to_spec(cfg, classes or _class_names(cfg))
    model = build_model(spec)
    load_by_name(model, from_detectron2(state_of(weights)), optional=None, origin=weights)
    model.origin = about_of(weights)[1]
    save_model(output, model, spec)


def _read_config(file: Path) -> Any:
    try:
        from detectron2.config import get_cfg
    except ImportError as error:
        raise not_installed(error) from error
    if not file.is_file():
        raise InputError(f"there is no config {file}")
    cfg = get_cfg()
    add_fbnetv5_config(cfg)
    cfg.set_new_allowed(True)  # D2Go's keys
    try:
        cfg.merge_from_file(str(file), allow_unsafe=False)
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError, OSError, yaml.YAMLError) as error:
        raise InputError(f"cannot read {file}: {' '.join(str(error).split())}") from error
    return cfg


def _class_names(cfg: Any) -> list[str]:
    """Return the names of the data set that a detector was trained on, or those that a converted config holds.

    Raises:
        InputError: both are there and differ, as of a detector that has learnt other classes since.
    """
    own, trained = list(cfg.MODEL.FBNETV5.HEAD.get("classes") or ()), _classes_of_data(cfg)
    if own and trained and own != trained:
        raise InputError(
            f"the classes of DATASETS ({', '.join(trained[:3])} ...) are not those of MODEL.FBNETV5.HEAD.classes "
            f"({', '.join(own[:3])} ...): give --classes"
        )
    return trained or own


def _classes_of_data(cfg: Any) -> list[str]:
    """Return the class names of the first data set that Detectron2 knows; those of files that are not here are none."""
    from detectron2.data import MetadataCatalog

    injected = cfg.get("D2GO_DATA", {}).get("DATASETS", {}).get("COCO_INJECTION", {})
    files = dict(zip(injected.get("NAMES", ()), injected.get("JSON_FILES", ()), strict=True))
    for name in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN):
        if name in files:
            if cfg.MODEL.FBNETV5.HEAD.get("classes") and not Path(files[name]).is_file():
                continue  # on the machine that it was trained on
            return _categories(Path(files[name]))
        if names := MetadataCatalog.get(name).get("thing_classes"):
            return list(names)
    return []


def _categories(file: Path) -> list[str]:
    """Return the names of a COCO json's categories by id, which is Detectron2's order of the classes, and ours."""
    try:
        categories = json.loads(file.read_text(encoding="utf-8"))["categories"]
        return [category["name"] for category in sorted(categories, key=lambda category: category["id"])]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"cannot read the categories of {file}: {error}; give --classes") from error


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    parser = parser_of(__doc__, prog="python -m fbnetv5.d2.convert")
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="RUN_FOLDER OUTPUT, or with --back CONFIG WEIGHTS OUTPUT"
    )
    parser.add_argument("--back", action="store_true", help="from Detectron2 to ours")
    parser.add_argument("--classes", nargs="+", help="with --back: names of the classes, where the config has none")
    known = parser.parse_args(arguments)
    files = [Path(file) for file in known.files]
    if len(files) != (3 if known.back else 2):
        parser.error("give RUN_FOLDER OUTPUT, or --back CONFIG WEIGHTS OUTPUT")
    if known.back:
        config, weights, output = files
        write_ours(config, weights, output, known.classes)
    else:
        folder, output = files
        write_detectron2(folder, output)
    print(f"wrote {output}")


if __name__ == "__main__":
    main()
