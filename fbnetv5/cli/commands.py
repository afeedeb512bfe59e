"""The command ``fbnetv5``: the jobs of ``train_net.py`` as subcommands, for configs by path or by name.

A command is a function of its arguments; those of jobs end in :func:`fbnetv5.cli.launch.launch`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fbnetv5.base.errors import InputError, nearest, one_line_errors
from fbnetv5.base.paths import is_uri
from fbnetv5.base.run_files import MODEL
from fbnetv5.base.version import __version__
from fbnetv5.cli.arguments import add_processes, add_run_arguments
from fbnetv5.cli.command import Command
from fbnetv5.cli.launch import existing_config, find_own_modules, launch
from fbnetv5.cli.on_results import run_collect, run_curve, run_report, run_time
from fbnetv5.config.read import CONFIG, CONFIGS, load_config
from fbnetv5.config.write import path_override
from fbnetv5.runs.ranks import INTERRUPTED

ANY_JOB = "search"  # the schema's default: a file that names no job serves any command
COMMON = ("name", "output", "resume", "seed", "data.", "runtime.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = given[0] if given else "--help"
    if name in ("-h", "--help"):
        print(overview())
    elif name == "--version":
        print(f"fbnetv5 {__version__}")
    else:
        with one_line_errors():
            if name not in COMMANDS:
                similar = nearest(name, COMMANDS) or f"; there are {', '.join(COMMANDS)}"
                raise InputError(f"fbnetv5 {name}: there is no such command{similar}")
        COMMANDS[name].run(name, COMMANDS[name], given[1:])


def overview() -> str:
    """Return what ``fbnetv5 --help`` prints."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: fbnetv5 COMMAND ... (or python -m fbnetv5; on several machines, torchrun ... -m fbnetv5)",
            "",
            "Search topologies for several vision tasks in one run; train, evaluate and export; label images.",
            "",
            "commands:",
            *lines,
            "",
            "A config is a YAML file of yours, or the name of one that comes with the program, such as quickstart or",
            "train/det/shapes; yours builds on them: defaults: [/search/small, _self_].",
            "fbnetv5 COMMAND --help lists the keys.",
        ]
    )


def run_config(name: str, command: Command, arguments: Sequence[str]) -> None:
    """Run a config's job: ``fbnetv5 search CONFIG [key=value ...] [--multirun]``."""
    parser = command.parser(name)
    parser.add_argument("config", metavar="CONFIG", help="YAML file of the run, or the name of one")
    add_run_arguments(parser)
    known, overrides = parser.parse_known_args(arguments)
    with one_line_errors():
        file = existing_config(known.config)
        overrides = [*job_override(name, known.config, file), *overrides]
    launch(file, overrides, sweep=known.multirun, processes=known.processes)


def run_sweep(name: str, command: Command, arguments: Sequence[str]) -> None:
    """Run all combinations of a config's axes: ``fbnetv5 sweep CONFIG key=a,b``."""
    parser = command.parser(name)
    parser.add_argument("config", metavar="CONFIG", help="YAML file of the runs, or the name of one")
    known, overrides = parser.parse_known_args(arguments)
    with one_line_errors():
        file = existing_config(known.config)
    launch(file, overrides, sweep=True)


def run_on_model(name: str, command: Command, arguments: Sequence[str]) -> None:
    """Evaluate or export trained models, with the data of their trainings: ``fbnetv5 export RUN ... [key=value ...]``.

    Where there are several, one that fails does not end the others.
    """
    parser = command.parser(name)
    parser.add_argument(
        "run",
        metavar="RUN",
        type=Path,
        help="folder of a training, or of a sweep of them; or the YAML file of such a run",
    )
    if name == "evaluate":
        add_processes(parser)
    known, overrides = parser.parse_known_args(arguments)
    more = [Path(text) for text in overrides if os.path.isdir(text)]  # noqa: PTH112 - pathlib minds long texts
    overrides = [text for text in overrides if not os.path.isdir(text)]  # noqa: PTH112
    if not known.run.is_dir():
        run_config(name, command, arguments)
        return
    with one_line_errors():
        runs = [run for place in (known.run, *more) for run in _trainings(place)]
    failed = []
    for number, run in enumerate(runs):
        if len(runs) > 1:
            print(f"{run}, {number + 1} of {len(runs)}", flush=True)
        keys = [path_override(f"{name}.model", run), path_override("output", run / name)]
        processes = known.processes if name == "evaluate" else 1
        try:
            launch((run / CONFIG).absolute(), [f"job={name}", "resume=false", *keys, *overrides], processes=processes)
        except SystemExit as end:  # which has said why
            if len(runs) == 1 or end.code == INTERRUPTED:
                raise
            failed.append(str(run))
    with one_line_errors():
        if failed:
            raise InputError(f"{len(failed)} of {len(runs)} failed: {', '.join(failed)}")


def _trainings(place: Path) -> list[Path]:
    """Return the folder of a training, or those of all finished trainings below it. Raises InputError without any."""
    if (place / CONFIG).is_file():
        return [place]
    found = sorted(file.parent for file in place.rglob(CONFIG) if (file.parent / MODEL).is_file())
    if not found:
        raise InputError(
            f"{place / CONFIG}: there is no such file; give the folder of a training, or of a sweep of them"
        )
    return found


def run_predict(name: str, command: Command, arguments: Sequence[str]) -> None:
    """Predict images by a trained model: ``fbnetv5 predict MODEL IMAGES [key=value ...]``."""
    parser = command.parser(name)
    parser.add_argument("model", metavar="MODEL", help="folder of a trained model, or a URI such as hf://owner/name")
    parser.add_argument("images", metavar="IMAGES", help="a folder of images, or one image; a path or a URI")
    add_processes(parser)
    known, overrides = parser.parse_known_args(arguments)
    with one_line_errors():
        if more := [text for text in overrides if os.path.isfile(text)]:  # noqa: PTH113 - pathlib minds long texts
            raise InputError(f"{more[0]}: one image, or one folder of images, is predicted at a time")
    known.model = known.model if is_uri(known.model) else str(Path(known.model).expanduser())
    model, images = Path(known.model), Path(os.path.normpath(Path(known.images).expanduser().absolute()))
    folder = Path("runs", model.name) if is_uri(known.model) else model if model.is_dir() else model.parent
    keys = [
        path_override("evaluate.model", known.model),
        path_override("evaluate.images", known.images),
        path_override("output", folder / name / images.name),
    ]
    launch(CONFIGS / "evaluate.yaml", [*keys, *overrides], processes=known.processes)


def run_init(name: str, command: Command, arguments: Sequence[str]) -> None:
    """Look at a folder and write configs: ``fbnetv5 init FOLDER --output my.yaml``."""
    parser = command.parser(name)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="folder of images and labels; it stays as it is")
    parser.add_argument(
        "--output", metavar="FILE", type=Path, default=Path("my.yaml"), help="config of the search, by default my.yaml"
    )
    parser.add_argument(
        "--start",
        choices=("imagenet", "scratch"),
        help="what networks start from: EfficientNet-Lite0's ImageNet weights, the default where they are on this "
        "machine, or from scratch: smaller and faster, for many photos",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    known = parser.parse_args(arguments)
    with one_line_errors():
        from fbnetv5.onboarding.initialise import initialise  # here, as help does not need it

        initialise(known.folder.expanduser(), known.output.expanduser(), start=known.start, overwrite=known.overwrite)


def run_check(name: str, command: Command, arguments: Sequence[str]) -> None:
    """Read all data of a config once; ends with status 1 where a run would stop: ``fbnetv5 check CONFIG``."""
    parser = command.parser(name)
    parser.add_argument("config", metavar="CONFIG", help="YAML file of a search or a training, or the name of one")
    parser.add_argument("--sheet", metavar="FILE", type=Path, help="picture of labelled images; else beside CONFIG")
    parser.add_argument("--json", metavar="FILE", type=Path, help="what was found, as JSON")
    known, overrides = parser.parse_known_args(arguments)
    with one_line_errors("nothing was written"):
        file = existing_config(known.config)
        find_own_modules(file)
        config = load_config(file, overrides)
        place = Path.cwd() if file.is_relative_to(CONFIGS) else file.parent
        sheet = known.sheet or place / f"{file.stem}_sheet.jpg"
        from fbnetv5.onboarding.check import check  # here, as it imports torch

        if not check(config, sheet=sheet, report=known.json):
            raise SystemExit(1)


def job_override(name: str, given: str, file: Path) -> list[str]:
    """Return the override that makes a config's job that of a command.

    Raises:
        InputError: the file is for another command.
    """
    if name == "run":
        return []
    config = load_config(file, ["name=unnamed"])
    own = config.job
    is_search = own == ANY_JOB and config.tasks and config.train.steps is None and config.train.epochs is None
    if own not in (name, ANY_JOB) or (name == "train" and is_search):
        rightful = own if own in COMMANDS else "run"
        raise InputError(f"{given} is for the job {own}: fbnetv5 {rightful} {given}")
    return [f"job={name}"]


CONFIG_USAGE = "CONFIG [key=value ...] [--processes N] [--multirun]"
SEARCH_KEYS = (*COMMON, "model.", "tasks", "optimizer.", "search.")
COMMANDS: dict[str, Command] = {
    "init": Command(
        "look at a folder of data, and write the configs of a search and of trainings on it",
        "FOLDER [--output my.yaml] [--start imagenet|scratch] [--overwrite]",
        run_init,
        ("my_data", "my_data --output cells.yaml --start scratch"),
    ),
    "check": Command(
        "read all data of a config once: what would stop a run, and what one should look at",
        "CONFIG [key=value ...] [--sheet FILE] [--json FILE]",
        run_check,
        ("my.yaml", "my_det.yaml --sheet sheet.jpg --json found.json"),
        ("data.",),
    ),
    "search": Command(
        "search topologies for several tasks in one run",
        CONFIG_USAGE,
        run_config,
        ("quickstart", "my_search.yaml search.steps=2000 output=runs/longer", "my_search.yaml resume=true"),
        SEARCH_KEYS,
        ("tasks", "search methods"),
    ),
    "pretrain": Command(
        "train a supernet with random architectures, for searches to start from",
        CONFIG_USAGE,
        run_config,
        ("pretrain/a_c data.root=/data/imagenet",),
        SEARCH_KEYS,
        ("tasks",),
    ),
    "train": Command(
        "train a final model: a topology, a head and data",
        CONFIG_USAGE,
        run_config,
        ("my_det.yaml", "train/det/shapes", "my_det.yaml --multirun seed=0,1,2 output=runs/seeds"),
        (*COMMON, "model.", "optimizer.", "train.", "evaluate."),
        ("heads",),
    ),
    "evaluate": Command(
        "evaluate trained models on the validation split of their training, or of a config",
        "RUN ... [key=value ...] [--processes N]",
        run_on_model,
        ("runs/my_det", "runs/my_det data.root=/data/others output=runs/others"),
        (*COMMON, "evaluate."),
    ),
    "predict": Command(
        "predict a folder of images, or one, by a trained model",
        "MODEL IMAGES [key=value ...] [--processes N]",
        run_predict,
        ("runs/my_det photos", "runs/my_det photo.jpg output=runs/photo"),
        ("output", "evaluate.", "runtime."),
    ),
    "label": Command(
        "label a folder of images by pretrained models",
        CONFIG_USAGE,
        run_config,
        ("label/photos label.images=photos",),
        ("name", "output", "resume", "label.", "runtime."),
        ("teachers of the job label",),
    ),
    "export": Command(
        "export trained models to devices",
        "RUN ... [key=value ...]",
        run_on_model,
        ("runs/my_det", "runs/my_curve 'export.formats=[executorch,onnx]' 'export.precisions=[fp32,int8]'"),
        (*COMMON, "export."),
    ),
    "report": Command(
        "write the report of a run again, also of one that goes on", "RUN ...", run_report, ("runs/my_search",)
    ),
    "time": Command(
        "time the exported files of trained models, here or on another device",
        "RUN ... [--runtime NAME] [--precision NAME] [--threads N] [--repeats N] [--command TEMPLATE]",
        run_time,
        ("runs/my_det --threads 1", "runs/my_curve --runtime onnx --precision int8"),
    ),
    "curve": Command(
        "train, export and time what a search found for a task, beside what people draw: metric against milliseconds",
        "CONFIG ... [key=value ...] [--points N] [--found-only] [--output FOLDER] [--jobs N] [--threads N] "
        "[--repeats N] [--command TEMPLATE --device NAME]",
        run_curve,
        ("my_cls.yaml my_seg.yaml 'export.formats=[onnx]' --threads 1", "my_det.yaml --points 4 --found-only"),
        ("seed", "data.", "runtime.", "model.", "optimizer.", "train.", "evaluate.", "export."),
        ("heads",),
    ),
    "collect": Command(
        "gather runs into one table, and draw the Pareto front of score against cost",
        "RUNS ... [--x macs|params|latency_ms|ms] [--y METRIC] [--task TASK] [--output FOLDER]",
        run_collect,
        ("runs/families", "'runs/cost_targets/*' --task seg --y loss --output tables"),
    ),
    "sweep": Command(
        "run all combinations of several values, of any job: --multirun of the others",
        "CONFIG [key=a,b ...] [launcher=NAME]",
        run_sweep,
        ("quickstart seed=0,1,2 output=runs/seeds", "sweeps/families launcher=processes launcher.jobs=2"),
        ("",),
    ),
    "run": Command(
        "run the job that a config names, such as that of a project",
        CONFIG_USAGE,
        run_config,
        ("projects/fna/configs/bccd/search.yaml",),
        ("",),
    ),
}


if __name__ == "__main__":
    main()
