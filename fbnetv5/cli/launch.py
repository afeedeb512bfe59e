"""The command line: find the config, check it, hand it to hydra, run the job."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fbnetv5.base.errors import InputError, nearest
from fbnetv5.config.read import CONFIGS, SEARCH_PATH, load_config, open_ended, to_run_config
from fbnetv5.config.schema import describe
from fbnetv5.heads.classifier import Classifier
from fbnetv5.heads.lite_maskformer.head import LiteMaskFormer
from fbnetv5.heads.lite_rcnn import LiteRCNN
from fbnetv5.heads.simple_baseline.head import SimpleBaseline
from fbnetv5.labeling import teachers
from fbnetv5.runs.launchers import LauncherConfig, split_launcher
from fbnetv5.runs.plan import swept_keys, with_file_axes
from fbnetv5.runs.run_job import run_job
from fbnetv5.runs.sweep import run_sweep
from fbnetv5.search.algorithms import MultitaskReinforce, RandomSampling
from fbnetv5.search.differentiable import SharedForward, SingleTask, TaskByTask
from fbnetv5.tasks.classification import Classification
from fbnetv5.tasks.detection import Detection
from fbnetv5.tasks.keypoints import Keypoints
from fbnetv5.tasks.segmentation import Segmentation

TASKS = (Classification, Detection, Segmentation, Keypoints)
METHODS = (MultitaskReinforce, SingleTask, TaskByTask, SharedForward, RandomSampling)
HEADS = (Classifier, LiteRCNN, LiteMaskFormer, SimpleBaseline)
TEACHERS = tuple(getattr(teachers, name) for name in teachers.__all__)
PLUGINS = ("hydra/launcher=", "hydra/sweeper=")  # hydra's own way to sweep, with plugins that the user installed

EPILOG = """
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

keys (name = default: meaning):
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    known, overrides = _parser().parse_known_args(arguments)
    sys.path.append(str(Path.cwd()))  # for tasks and search methods of your own, beside your config
    with _one_line_errors():
        file = _existing(known.config)
        launcher, overrides = split_launcher(overrides)
        overrides = with_file_axes(file, overrides)
        sweeps = known.multirun and not any(text.startswith(PLUGINS) for text in overrides)
        if launcher != LauncherConfig() and not sweeps:
            raise InputError("launcher is for a sweep: add --multirun (without hydra/launcher and hydra/sweeper)")
        if not known.multirun and (axes := swept_keys(overrides)):
            raise InputError(f"{axes[0]} has several values; --multirun runs them all, or quote the value")
        config = load_config(file, overrides, sweep=known.multirun)  # before hydra does, for errors that can be read
        _writable(config.output)
        if sweeps:
            if not run_sweep(file, overrides, launcher):
                raise SystemExit(1)
            return
    sys.argv = [sys.argv[0], *_hydra_arguments(file, known.multirun), *map(open_ended, overrides)]
    hydra.main(version_base="1.3", config_path=None)(_hydra_job)()


def _hydra_job(node: DictConfig) -> None:
    """One job, as hydra calls it."""
    with _one_line_errors():
        run_job(replace(to_run_config(node), output=HydraConfig.get().runtime.output_dir))


def _hydra_arguments(file: Path, multirun: bool) -> list[str]:
    """What hydra is told beside the user's overrides: where configs and outputs lie, and to leave logging to us."""
    return [
        f"--config-dir={file.parent}",
        f"--config-name={file.stem}",
        *(["--multirun"] if multirun else []),
        SEARCH_PATH,
        "hydra.run.dir=${output}",
        "hydra.sweep.dir=${output}",
        "hydra.sweep.subdir=${hydra.job.num}",
        "hydra.output_subdir=null",
        "hydra/job_logging=disabled",
        "hydra/hydra_logging=disabled",
    ]


def _existing(path: str) -> Path:
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        known = [str(f) for f in CONFIGS.rglob("*.yaml") if f.parent.name != "topologies"]
        raise InputError(f"--config {path}: there is no such file{nearest(str(file), known)}")
    if file.suffix != ".yaml":
        raise InputError(f"--config {path}: hydra reads files that end in .yaml")
    return file


def _writable(output: str) -> None:
    """Make the folder of the run. Raises InputError where that cannot be done."""
    try:
        Path(output).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise InputError(f"output={output} cannot be written to: {error.strerror or error}") from error


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn an InputError into one line on stderr and status 1, and Ctrl-C into a hint."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("\ninterrupted; resume=true goes on from the last checkpoint", file=sys.stderr)
        raise SystemExit(130) from None


def _options(target: type) -> str:
    parameters = inspect.signature(target).parameters.values()
    return ", ".join(f"{p.name}={p.default}" for p in parameters if isinstance(p.default, (int, float, str, tuple)))


def _parser() -> argparse.ArgumentParser:
    rows = "\n".join(f"  {key} = {default}: {text}" for key, default, text in describe())
    sweeping = [(key.removesuffix(".name"), *rest) for key, *rest in describe(LauncherConfig, "launcher.")]
    rows += "\n\nkeys of a sweep:\n" + "\n".join(f"  {key} = {default}: {text}" for key, default, text in sweeping)
    classes = "".join(
        f"\n\n{title} (_target_: options):\n"
        + "\n".join(f"  {chosen.__module__}.{chosen.__name__}: {_options(chosen)}" for chosen in group)
        for title, group in (
            ("tasks", TASKS),
            ("search methods", METHODS),
            ("heads", HEADS),
            ("teachers of the job label", TEACHERS),
        )
    )
    parser = argparse.ArgumentParser(
        prog="train_net.py",
        description="Search topologies for several vision tasks in one run; train, evaluate and export; label images.",
        usage="python train_net.py --config FILE [key=value ...] [--multirun]",
        epilog=f"{EPILOG}{rows}{classes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="YAML file of the run; see configs/")
    parser.add_argument(
        "--multirun",
        action="store_true",
        help="sweep over key=a,b,c and the axes of the file; one folder a job; see docs/SWEEPS.md",
    )
    return parser


if __name__ == "__main__":
    main()
