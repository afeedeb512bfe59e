"""The command line: find the config, check it, run the job; hydra does where a config sets how, and plugins sweep.

What is heavy, torch first of all, is imported once the input has been checked.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from fbnetv5.base.errors import InputError, Interrupted, nearest, one_line_errors
from fbnetv5.base.files import clear_partial
from fbnetv5.base.lock import LOCK, locked
from fbnetv5.base.memory import keep_freed_memory, memory_in_one_line
from fbnetv5.cli.arguments import add_run_arguments
from fbnetv5.cli.help import help_text
from fbnetv5.cli.kept import is_empty, release, sigterm_as_interrupt, what_is_kept
from fbnetv5.config.identity import require_unclaimed
from fbnetv5.config.read import SEARCH_PATH, config_names, find_config, has_key, load_config, open_ended, to_run_config
from fbnetv5.config.schema import RunConfig
from fbnetv5.config.targets import find_function, import_module
from fbnetv5.engine.loggers.logger import check_loggers
from fbnetv5.runs.launchers import LauncherConfig, split_launcher
from fbnetv5.runs.plan import swept_keys, with_file_axes
from fbnetv5.runs.ranks import Ranks

SWEEP_INTERRUPTED = "resume=true goes on with what is not finished"
JOBS = {name: f"fbnetv5.jobs.{name}.run" for name in ("search", "pretrain", "train", "evaluate", "label", "export")}
UNLOGGED = ("evaluate", "label", "export")
CLAIMING = ("search", "pretrain", "train")  # a folder of their own, which another run does not write over
PLUGINS = ("hydra/launcher=", "hydra/sweeper=")  # hydra's own way to sweep, with plugins that the user installed


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    known, overrides = _parser().parse_known_args(arguments)
    with one_line_errors():
        file = existing_config(known.config, "--config ")
    launch(file, overrides, sweep=known.multirun, processes=known.processes)


def launch(file: Path, overrides: Sequence[str], *, sweep: bool = False, processes: int = 1) -> None:
    """Check a config and run it; ends the process with status 1 and one line on stderr where the input is at fault.

    Args:
        file: the config.
        overrides: in hydra's grammar, and keys of the launcher.
        sweep: run all combinations of ``key=a,b`` and of the axes of the file.
        processes: of this machine, that share a run.
    """
    with one_line_errors(SWEEP_INTERRUPTED if sweep else ""):
        launcher, overrides = split_launcher(overrides)
        overrides = with_file_axes(file, overrides)
        sweeps = sweep and not any(text.startswith(PLUGINS) for text in overrides)
        if launcher != LauncherConfig() and not sweeps:
            raise InputError("launcher is for a sweep: add --multirun (without hydra/launcher and hydra/sweeper)")
        if not sweep and (axes := swept_keys(overrides)):
            raise InputError(f"{axes[0]} has several values; --multirun runs them all, or quote the value")
        if processes > 1 and sweep:
            raise InputError("--processes is for one run; launcher=processes launcher.jobs=N does N runs at a time")
        if processes > 1 and "WORLD_SIZE" in os.environ:
            raise InputError("--processes starts processes itself: call it without torchrun")
        config = startable(file, overrides, sweep=sweep)  # before hydra does, for errors that can be read
        if processes > 1:
            _launch_ranks(file, overrides, config, processes)
            return
        if sweeps:
            from fbnetv5.runs.sweep import run_sweep  # here, as it imports torch

            if not run_sweep(file, overrides, launcher, run_job):
                raise SystemExit(1)
            return
    if not sweep and not _is_for_hydra(file, overrides):
        with sigterm_as_interrupt(), one_line_errors():
            run_job(replace(config, output=str(Path(config.output).absolute())))
        return
    sys.argv = [sys.argv[0], *_hydra_arguments(file, sweep), *map(open_ended, overrides)]
    with sigterm_as_interrupt():
        hydra.main(version_base="1.3", config_path=None)(_hydra_job)()


def _launch_ranks(file: Path, overrides: Sequence[str], config: RunConfig, count: int) -> None:
    """Run a config in several processes.

    Raises:
        SystemExit: it failed, and has said why.
        Interrupted: Ctrl-C or SIGTERM ended rank 0 before it could say so.
    """
    folder = Path(config.output)
    is_new = is_empty(folder)
    with locked(folder):
        pass  # rank 0 will hold the lock; what stands against that is said before the others start
    with Ranks(count, ["fbnetv5.cli.launch", f"--config={file.absolute()}", *overrides]) as ranks:
        status = ranks.wait()
    if ranks.is_killed:
        kept = what_is_kept(config, folder)
        (folder / LOCK).unlink(missing_ok=True)
        clear_partial(folder, but=LOCK)
        if is_new:
            release(folder)
        raise Interrupted(kept)
    if status:
        raise SystemExit(status)


def startable(file: Path, overrides: Sequence[str], *, sweep: bool = False) -> RunConfig:
    """Read a config whose run may start, as :func:`runnable` does, and make its folder.

    Args:
        file, overrides, sweep: as :func:`fbnetv5.config.read.load_config` takes them.

    Raises:
        InputError: a key or a value is wrong, a logger is not installed, or the folder cannot be written to.
    """
    config = runnable(file, overrides, sweep=sweep)
    _writable(config.output)
    return config


def runnable(file: Path, overrides: Sequence[str], *, sweep: bool = False) -> RunConfig:
    """Read a config that may run from here: its modules lie where they are looked for, its loggers are installed.

    Raises:
        InputError: a key or a value is wrong, or a logger is not installed.
    """
    find_own_modules(file)
    config = load_config(file, overrides, sweep=sweep)
    if config.job not in UNLOGGED:
        check_loggers(config.runtime.loggers)
    return config


def find_own_modules(file: Path) -> None:
    """Look for tasks, heads and search methods of one's own here and beside a config, after all that is installed."""
    sys.path += [place for place in (str(Path.cwd()), str(file.absolute().parent)) if place not in sys.path]


def run_job(config: RunConfig) -> None:
    """Run one job in its folder, ``config.output``: one of ours, or with a dot in its name, a function of a project.

    Raises:
        InputError: the configuration, the data or a file is at fault, or another run is in the folder; the message says
            which.
        Interrupted: Ctrl-C or SIGTERM.
    """
    if "." not in config.job and config.job not in JOBS:
        raise InputError(f"job={config.job} is unknown; choose from {', '.join(JOBS)}{nearest(config.job, JOBS)}")
    folder = Path(config.output)
    is_new = is_empty(folder)
    keep_freed_memory()
    try:
        with locked(folder) if os.environ.get("RANK", "0") == "0" else contextlib.nullcontext():
            if os.environ.get("RANK", "0") == "0":
                clear_partial(folder, but=LOCK)
            if config.job in CLAIMING:
                require_unclaimed(config, folder)  # before what is slow to import
            for module in config.runtime.imports:
                import_module("runtime.imports", module)
            from fbnetv5.data.loader import dead_workers_in_one_line  # here, as it imports torch

            with memory_in_one_line(), dead_workers_in_one_line():
                find_function("job", JOBS.get(config.job, config.job))(config, folder)
    except BaseException as error:
        kept = what_is_kept(config, folder)
        if is_new:
            release(folder)
        if isinstance(error, KeyboardInterrupt) and not isinstance(error, Interrupted):
            raise Interrupted(kept) from error
        raise


def _is_for_hydra(file: Path, overrides: Sequence[str]) -> bool:
    """Whether a config or an override sets how hydra itself runs a job."""
    return any(text.lstrip("+~").startswith("hydra") for text in overrides) or has_key(file, "hydra")


def _hydra_job(node: DictConfig) -> None:
    """One job, as hydra calls it."""
    with one_line_errors():
        runtime = OmegaConf.to_container(HydraConfig.get().runtime, resolve=False)  # its paths are no references
        assert isinstance(runtime, dict)
        run_job(replace(to_run_config(node), output=str(runtime["output_dir"])))


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


def existing_config(name: str, where: str = "") -> Path:
    """Return the config of a path or a name. Raises InputError, which starts with ``where``, where there is none."""
    file = find_config(name)
    if file is None:
        raise InputError(f"{where}{name}: there is no such file{nearest(name, _similar(name))}")
    if file.suffix != ".yaml":
        raise InputError(f"{where}{name}: hydra reads files that end in .yaml")
    return file


def _similar(name: str) -> list[str]:
    """Return what may have been meant: configs beside the file, and names of those that come with the program."""
    folder = Path(name).expanduser().parent
    return [*(str(file) for file in folder.glob("*.yaml")), *config_names()]


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
        usage="python train_net.py --config FILE [key=value ...] [--processes N] [--multirun]",
        epilog=help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="YAML file of the run, or a name; see configs/")
    add_run_arguments(parser)
    return parser


if __name__ == "__main__":
    main()
