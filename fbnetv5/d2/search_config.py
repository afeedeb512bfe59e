"""The configuration of a search that D2Go runs: our YAML file, and D2Go's keys above it.

``MODEL.FBNETV5.SEARCH`` names the file. What D2Go has keys of its own for can be set in either place; D2Go's key wins
where it is set, and is filled in from the file where it is not, so that both say the same once the run begins:

==========================  ==========================  =======
D2Go's key                  of our file                 not set
==========================  ==========================  =======
SOLVER.MAX_ITER             search.steps                0
SOLVER.IMS_PER_BATCH        search.batch_size           0
SOLVER.BASE_LR              optimizer.lr                0
SOLVER.CHECKPOINT_PERIOD    runtime.checkpoint_every    0
DATALOADER.NUM_WORKERS      runtime.workers             -1
SEED                        seed                        -1
==========================  ==========================  =======

``OUTPUT_DIR`` and ``MODEL.DEVICE`` always are D2Go's, ``DATASETS.TRAIN`` where it names data sets. Everything else is
the file's: schedule, clipping, precision, augmentation. Images and rates are those of all processes together, whatever
their number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fbnetv5.base.errors import InputError
from fbnetv5.config.read import CONFIGS, load_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.write import path_override

SHARED = (  # D2Go's key, ours, and D2Go's value that says "not set"; D2Go's own defaults would pass for settings
    ("SOLVER.MAX_ITER", "search.steps", 0),
    ("SOLVER.IMS_PER_BATCH", "search.batch_size", 0),
    ("SOLVER.BASE_LR", "optimizer.lr", 0.0),
    ("SOLVER.CHECKPOINT_PERIOD", "runtime.checkpoint_every", 0),
    ("DATALOADER.NUM_WORKERS", "runtime.workers", -1),
    ("SEED", "seed", -1),
)
REPLACED = (  # what would change the search behind its file's back, and what to set instead
    ("SOLVER.AMP.ENABLED", "runtime.precision=bfloat16 in MODEL.FBNETV5.OVERRIDES"),
    ("SOLVER.CLIP_GRADIENTS.ENABLED", "optimizer.clip_norm in MODEL.FBNETV5.OVERRIDES"),
    ("MODEL_EMA.ENABLED", "nothing: a search keeps no moving average"),
    ("QUANTIZATION.QAT.ENABLED", "nothing: quantise what the topologies are trained to"),
    ("MODEL.WEIGHTS", "model.weights in MODEL.FBNETV5.OVERRIDES"),
    ("MODEL.FBNETV5.FAMILY", "model.family in MODEL.FBNETV5.OVERRIDES"),
    ("MODEL.FBNETV5.TOPOLOGY", "nothing: topologies are what a search finds"),
    ("MODEL.FBNETV5.HEAD", "tasks in MODEL.FBNETV5.OVERRIDES"),
    ("MODEL.FBNETV5.NUM_CLASSES", "nothing: classes are those of the data"),
    ("DATASETS.TEST", "nothing: what a search finds is evaluated once it is trained"),
)

UNREAD = (  # what a run of D2Go reads elsewhere, and a search in its file's data.* and its weights' normalisation
    *("INPUT.MIN_SIZE_TRAIN", "INPUT.MAX_SIZE_TRAIN", "INPUT.CROP.ENABLED", "INPUT.RANDOM_FLIP", "INPUT.FORMAT"),
    *("D2GO_DATA.AUG_OPS.TRAIN", "D2GO_DATA.MAPPER.NAME", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD"),
)
OBEYED = (  # keys of SOLVER that a search follows; the others are its own file's
    *("MAX_ITER", "IMS_PER_BATCH", "BASE_LR", "CHECKPOINT_PERIOD"),
    *("REFERENCE_WORLD_SIZE", "AUTO_SCALING_METHODS", "DETERMINISTIC"),
)


def set_search_defaults(cfg: Any) -> None:
    """Change D2Go's defaults to those of a search; the keys that it shares with our file become "not set"."""
    for key, _, unset in SHARED:
        _assign(cfg, key, unset)
    cfg.MODEL.META_ARCHITECTURE = "FBNetV5Supernet"
    cfg.MODEL.FBNETV5.FAMILY = ""  # the file says it
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 0  # or D2Go would scale rate, batch and iterations with the processes
    cfg.TEST.FINAL_EVAL = False
    cfg.PROFILERS = []  # they would run the supernet once more, in evaluation


def read_search_config(cfg: Any) -> RunConfig:
    """Read the search that ``cfg`` describes.

    Raises:
        InputError: there is no such file, it describes no search, or it does not fit D2Go's keys.
    """
    node = cfg.MODEL.FBNETV5
    if not node.SEARCH:
        raise InputError(
            "MODEL.FBNETV5.SEARCH is empty: name the YAML file of a search, such as configs/quickstart.yaml"
        )
    given = [(ours, value) for key, ours, unset in SHARED if (value := _value(cfg, key)) != unset]
    overrides = [f"{ours}={value}" for ours, value in given]
    if "search.steps" in dict(given):
        overrides.append("search.epochs=null")
    overrides += [path_override("output", cfg.OUTPUT_DIR), f"runtime.device={cfg.MODEL.DEVICE.partition(':')[0]}"]
    config = load_config(_find(node.SEARCH), [*node.OVERRIDES, *overrides])
    if config.job != "search":
        raise InputError(
            f"{node.SEARCH} has job={config.job}; D2Go runs searches, train_net.py of fbnetv5 the other jobs"
        )
    if config.search.steps is None:
        raise InputError(f"{node.SEARCH} counts epochs, D2Go iterations: set SOLVER.MAX_ITER")
    return config


def fill_shared_keys(cfg: Any, config: RunConfig) -> None:
    """Give the shared keys that are not set in ``cfg`` the values of ``config``."""
    for key, ours, _ in SHARED:
        section, name = ours.split(".") if "." in ours else ("", ours)
        _assign(cfg, key, getattr(getattr(config, section) if section else config, name))


def check_search_config(cfg: Any, num_processes: int, defaults: Any) -> None:
    """Raise InputError where a key of D2Go would change the search behind its file's back, or change nothing.

    Args:
        cfg: of D2Go.
        num_processes: of the run.
        defaults: the config that ``cfg`` was made from.
    """
    for key, instead in REPLACED:
        if _value(cfg, key):
            raise InputError(f"{key}={_value(cfg, key)!r} has no place in a search; unset it and set {instead}")
    for name, value in cfg.SOLVER.items():
        if name not in OBEYED and value != defaults.SOLVER.get(name):
            raise InputError(
                f"SOLVER.{name}={value} has no effect on a search; its file has optimizer.*, which "
                "MODEL.FBNETV5.OVERRIDES changes"
            )
    for key in UNREAD:
        if _value(cfg, key) != _value(defaults, key):
            raise InputError(
                f"{key} has no effect on a search; its file has data.*, which MODEL.FBNETV5.OVERRIDES changes"
            )
    if cfg.SOLVER.REFERENCE_WORLD_SIZE not in (0, num_processes):
        raise InputError(
            f"SOLVER.REFERENCE_WORLD_SIZE={cfg.SOLVER.REFERENCE_WORLD_SIZE} would have D2Go scale rate, batch and "
            f"iterations to {num_processes} process(es); a search is the same with any number: set it to 0"
        )


def _find(name: str) -> Path:
    """Return the file of that name, from the working directory or in the project's own clone."""
    for file in (Path(name).expanduser(), CONFIGS.parent / name):
        if file.is_file():
            return file
    raise InputError(f"MODEL.FBNETV5.SEARCH={name}: there is no such file")


def _value(cfg: Any, key: str) -> Any:
    for name in key.split("."):
        cfg = cfg[name]
    return cfg


def _assign(cfg: Any, key: str, value: Any) -> None:
    *sections, name = key.split(".")
    for section in sections:
        cfg = cfg[section]
    cfg[name] = value
