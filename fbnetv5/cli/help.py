"""The text of ``--help``: examples, every key with its default, and the classes that a config can name."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence

from fbnetv5.config.describe import describe
from fbnetv5.heads.classifier import Classifier
from fbnetv5.heads.lite_maskformer.head import LiteMaskFormer
from fbnetv5.heads.lite_rcnn import LiteRCNN
from fbnetv5.heads.simple_baseline.head import SimpleBaseline
from fbnetv5.labeling import teachers
from fbnetv5.runs.launchers import LauncherConfig
from fbnetv5.search.algorithms import MultitaskReinforce, RandomSampling
from fbnetv5.search.differentiable import SharedForward, SingleTask, TaskByTask
from fbnetv5.tasks.classification import Classification
from fbnetv5.tasks.detection import Detection
from fbnetv5.tasks.keypoints import Keypoints
from fbnetv5.tasks.segmentation import Segmentation

EXAMPLES = """
examples:
  python train_net.py --config configs/quickstart.yaml
  python train_net.py --config configs/search/pets.yaml data.root=/data/pets seed=1
  python train_net.py --config configs/quickstart.yaml resume=true
  python train_net.py --config configs/quickstart.yaml --multirun seed=0,1,2 output=runs/seeds
  python train_net.py --config configs/train/det/bccd.yaml data.root=/data/bccd
  python train_net.py --config configs/evaluate.yaml evaluate.model=runs/bccd evaluate.images=photos
  python train_net.py --config configs/label/photos.yaml label.images=photos
  python train_net.py --config runs/bccd/config.yaml job=export export.model=runs/bccd output=runs/bccd/export
  python train_net.py --config configs/sweeps/families.yaml --multirun launcher=processes launcher.jobs=2
  torchrun --nproc_per_node 8 train_net.py --config configs/search/fbnetv5_a.yaml data.root=runs/imagenet_labels
"""
CLASSES: dict[str, tuple[type, ...]] = {
    "tasks": (Classification, Detection, Segmentation, Keypoints),
    "search methods": (MultitaskReinforce, SingleTask, TaskByTask, SharedForward, RandomSampling),
    "heads": (Classifier, LiteRCNN, LiteMaskFormer, SimpleBaseline),
    "teachers of the job label": tuple(getattr(teachers, name) for name in teachers.__all__),
}


def help_text() -> str:
    """Return what ``--help`` prints below the usage."""
    sweeping = [
        (key.removesuffix(".name"), default, text) for key, default, text in describe(LauncherConfig, "launcher.")
    ]
    sections = {
        "keys (name = default: meaning)": _keys(describe()),
        "keys of a sweep": _keys(sweeping),
        **{
            f"{title} (_target_: options)": [f"  {_name(chosen)}: {_options(chosen)}" for chosen in group]
            for title, group in CLASSES.items()
        },
    }
    return "\n\n".join([EXAMPLES.rstrip(), *("\n".join([f"{title}:", *rows]) for title, rows in sections.items())])


def _keys(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    return [f"  {key} = {default}: {meaning}" for key, default, meaning in rows]


def _name(target: type) -> str:
    """Return the name that configs have: from the package of the class where that offers it, else from its module."""
    package = sys.modules[target.__module__.rpartition(".")[0]]
    return f"{package.__name__ if hasattr(package, target.__name__) else target.__module__}.{target.__name__}"


def _options(target: type) -> str:
    parameters = inspect.signature(target).parameters.values()
    return ", ".join(f"{p.name}={p.default}" for p in parameters if isinstance(p.default, (int, float, str, tuple)))
