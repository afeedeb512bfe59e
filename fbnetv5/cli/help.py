"""The text of ``--help``: examples, keys with their defaults, and the classes that a config can name."""

from __future__ import annotations

from collections.abc import Sequence

from fbnetv5.cli.classes import CLASSES
from fbnetv5.config.describe import describe
from fbnetv5.runs.launchers import LauncherConfig

KEYS = "keys (name = default: meaning); what is read may be a path or a URI, such as https://... or hf://owner/name"
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
  python train_net.py --config configs/search/fbnetv5_a.yaml --processes 8 data.root=runs/imagenet_labels \\
      data.train.images=/data/imagenet/train
"""


def help_text() -> str:
    """Return what ``train_net.py --help`` prints below the usage."""
    return "\n\n".join([EXAMPLES.rstrip(), keys_text(), launcher_text(), *map(classes_text, CLASSES)])


def keys_text(starts: tuple[str, ...] = ("",)) -> str:
    """Return the keys of a config that start with one of ``starts``, with default and meaning."""
    return _section(KEYS, [row for row in describe() if row[0].startswith(starts)])


def launcher_text() -> str:
    """Return the keys of a sweep."""
    rows = describe(LauncherConfig, "launcher.")
    return _section("keys of a sweep", [(key.removesuffix(".name"), default, text) for key, default, text in rows])


def classes_text(kind: str) -> str:
    """Return the classes of a kind, a key of ``CLASSES``, with the options of each."""
    rows = [f"  {name}: {options}" for name, options in CLASSES[kind].items()]
    return "\n".join([f"{kind} (_target_: options):", *rows])


def _section(title: str, rows: Sequence[tuple[str, str, str]]) -> str:
    return "\n".join([f"{title}:", *(f"  {key} = {default}: {meaning}" for key, default, meaning in rows)])
