"""The command line: find the config, check it, hand it to hydra, run the job."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fbnetv5.base.errors import InputError, nearest, one_line_errors
from fbnetv5.cli.help import help_text
from fbnetv5.config.read import CONFIGS, SEARCH_PATH, load_config, open_ended, to_run_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.targets import find_function
from fbnetv5.jobs import evaluate, export, label, pretrain, search, train
from fbnetv5.runs.launchers import LauncherConfig, split_launcher
from fbnetv5.runs.plan import swept_keys, with_file_axes
from fbnetv5.runs.run import run_sweep

AFTER_INTERRUPT = "resume=true goes on from the last checkpoint"
PLUGINS = ("hydra/launcher=", "hydra/sweeper=")  # hydra's own way to sweep, with plugins that the user installed
JOBS = {
    "search": search.run,
    "pretrain": pretrain.run,
    "train": train.run,
    "evaluate": evaluate.run,
    "label": label.run,
    "export": export.run,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    known, overrides = _parser().parse_known_args(arguments)
    sys.path.append(str(Path.cwd()))  # for tasks and search methods of your own, beside your config
    with one_line_errors(AFTER_INTERRUPT):
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
            if not run_sweep(file, overrides, launcher, run_job):
                raise SystemExit(1)
            return
    sys.argv = [sys.argv[0], *_hydra_arguments(file, known.multirun), *map(open_ended, overrides)]
    hydra.main(version_base="1.3", config_path=None)(_hydra_job)()


def run_job(config: RunConfig) -> None:
    """Run one job in its folder, ``config.output``: one of ours, or with a dot in its name, a function of a project.

    Raises:
        InputError: the configuration, the data or a file is at fault; the message says which.
    """
    if "." not in config.job and config.job not in JOBS:
        raise InputError(f"job={config.job} is unknown; choose from {', '.join(JOBS)}{nearest(config.job, JOBS)}")
    folder = Path(config.output)
    try:
        job = find_function("job", config.job) if "." in config.job else JOBS[config.job]
        job(config, folder)
    except InputError:
        with contextlib.suppress(OSError):
            folder.rmdir()  # only if nothing was written to it
        raise


def _hydra_job(node: DictConfig) -> None:
    """One job, as hydra calls it."""
    with one_line_errors(AFTER_INTERRUPT):
        run_job(replace(to_run_config(node), output=HydraConfig.get().runtime.output_dir))


def _hydra_arguments(file: Path, multirun: bool) -> list[str]:
    """Return what hydra needs beside the user's overrides: where configs and outputs lie; logging is left to us."""
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train_net.py",
        description="Search topologies for several vision tasks in one run; train, evaluate and export; label images.",
        usage="python train_net.py --config FILE [key=value ...] [--multirun]",
        epilog=help_text(),
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
