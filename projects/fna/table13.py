"""Run rows 1 to 5 of FNA++'s Table 13: what remapping brings before the search, and after it.

    python -m projects.fna.table13 --config projects/fna/configs/table13/pets.yaml data=FOLDER
    python -m projects.fna.table13 --config projects/fna/configs/table13/pets.yaml data=FOLDER --resume
    python -m projects.fna.table13 --config projects/fna/configs/table13/pets.yaml data=FOLDER seeds=[0] rows=[1,4]

For every seed: a search from remapped and one from random parameters, and for each row an adaptation of the
architecture that was found. The seed network is trained first, once, where the config says how. table13.md in the
output folder has the table, table13.json all numbers; both are rewritten whenever a part ends. What has finished is not
repeated.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.base.files import write_text
from fbnetv5.engine.log import clock
from fbnetv5.projects.fna.table13_plan import Part, Table13Config, do_part, is_done, load_table, plan, record_end
from fbnetv5.projects.fna.table13_results import gather, markdown
from fbnetv5.projects.table5.pool import WorkerPool

RESULTS = "table13.json"
TABLE = "table13.md"


def run_table(config: Table13Config, *, num_processes: int, resume: bool) -> bool:
    """Run what is not finished of a table; return whether nothing failed.

    Args:
        config: of the table.
        num_processes: runs at a time, each in a process of one thread.
        resume: go on with the table that the folder holds.

    Raises:
        InputError: the configuration is wrong, or the folder holds a table and ``resume`` is not set.
    """
    root = Path(config.output).absolute()
    if (root / RESULTS).exists() and not resume:
        raise InputError(f"{root} holds a table already: --resume goes on with it, output=FOLDER writes elsewhere")
    parts = plan(config, root)
    errors = {name: "" for name, part in parts.items() if is_done(part)}
    begin, num_before = time.monotonic(), len(errors)
    print(f"{len(parts)} runs, {num_before} of them finished already; writing to {root}", flush=True)
    write_results(config, parts, errors, root)
    with WorkerPool(num_processes, do_part) as pool:
        running: set[str] = set()
        while True:
            for part in ready(parts, errors, running):
                if pool.has_room:
                    pool.start(part.name, part, part.folder / "job.log")
                    running.add(part.name)
            if not pool.is_busy:
                break
            done = pool.wait()
            running.remove(done.name)
            errors[done.name] = done.error
            record_end(parts[done.name], done.error, time.monotonic() - done.seconds)
            write_results(config, parts, errors, root)
            left = (time.monotonic() - begin) / (len(errors) - num_before) * (len(parts) - len(errors))
            how = f"failed: {done.error}" if done.error else f"{done.seconds:.0f} s"
            print(f"[{len(errors)} of {len(parts)}, ETA {clock(left)}] {done.name}: {how}", flush=True)
    print(f"\n{(root / TABLE).read_text(encoding='utf-8')}\ntable: {root / TABLE}\nall numbers: {root / RESULTS}")
    return len(errors) == len(parts) and not any(errors.values())


def ready(parts: dict[str, Part], errors: dict[str, str], running: set[str]) -> list[Part]:
    """Return the parts that can start: neither ended nor running, with all that they need finished."""
    return [
        part
        for name, part in parts.items()
        if name not in errors and name not in running and all(errors.get(needed) == "" for needed in part.after)
    ]


def write_results(config: Table13Config, parts: dict[str, Part], errors: dict[str, str], root: Path) -> None:
    """Write all numbers that there are, and the table."""
    results = gather(config, parts, errors)
    write_text(root / RESULTS, json.dumps(results, indent=1, allow_nan=False) + "\n")
    write_text(root / TABLE, markdown(results))


@one_line_errors("--resume goes on with what is not finished")
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 where the input is at fault or a run failed."""
    parser = argparse.ArgumentParser(
        prog="python -m projects.fna.table13",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="keys of the table: data, seeds, rows, ...")
    parser.add_argument("--config", type=Path, required=True, help="YAML file of the table")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="runs at a time, of one thread each")
    parser.add_argument("--resume", action="store_true", help="go on with the table that the folder holds")
    options = parser.parse_intermixed_args(arguments)
    config = load_table(options.config, options.overrides)
    complete = run_table(config, num_processes=max(1, options.processes), resume=options.resume)
    if not complete:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
