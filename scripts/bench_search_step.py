"""Measure what an iteration of the search costs, and where its time and memory go.

    python scripts/bench_search_step.py [key=value ...]

prints six things: seconds an iteration for 1, 2, 3 and 6 tasks, and what of the growth the added heads explain; the
same for algorithms 2, 3 and 4 side by side, with 1 to 6 tasks; the time of sampled architectures against their MACs;
the supernet against the same blocks as a static network; peak memory; and, on a CUDA GPU, images a second of the
paper's iteration at full size beside timm's hrnet_w18_small_v2. The weights and the architecture probabilities stay as
they were initialised. About twenty minutes on a CPU, most of them for algorithms 2 and 3.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from benchmarks.algorithms import algorithms_text, measure_algorithms
from benchmarks.architectures import architectures_text, comparisons_text, measure_architectures, measure_comparisons
from benchmarks.full_size import full_size_text, measure_full_size
from benchmarks.memory import measure_memory, memory_text
from benchmarks.runs import build, still_config
from benchmarks.task_counts import measure_task_counts, task_counts_text

from fbnetv5.base.distributed import World, start_world
from fbnetv5.base.errors import one_line_errors
from fbnetv5.base.files import write_text
from fbnetv5.cli.arguments import at_least, parser_of
from fbnetv5.config.schema import RunConfig

QUICKSTART = Path(__file__).resolve().parents[1] / "configs" / "quickstart.yaml"


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    options = _parser().parse_intermixed_args(arguments)
    config = still_config(options.config, options.overrides)
    results = measure(config, options)
    if options.json:
        write_text(options.json, json.dumps(results, indent=2) + "\n")


def measure(config: RunConfig, options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything, print each table as it is there, and return the figures as plain data."""
    results: dict[str, Any] = {
        "config": str(options.config),
        "overrides": options.overrides,
        "torch": torch.__version__,
    }

    def show(key: str, title: str, rows: Sequence[Any], text: str) -> None:
        results[key] = [asdict(row) for row in rows]
        print(f"\n{title}\n{text}", flush=True)

    memory = measure_memory(config, options.tasks, options.threads)  # first, while this process is small
    with start_world(config.runtime.device, options.threads, config.runtime.tf32) as world:
        results["device"] = _describe(world, options.threads)
        print(f"{config.name}: {_sizes(config)}; {results['device']}, torch {torch.__version__}")
        counts = measure_task_counts(config, world, options.tasks, options.repeats)
        show("task_counts", "Seconds an iteration, by number of tasks", counts, task_counts_text(counts))
        several = options.algorithm_tasks or range(1, max(options.tasks) + 1)
        beside = measure_algorithms(config, world, several, options.algorithm_repeats or options.repeats)
        show("algorithms", "Seconds an iteration, by algorithm and number of tasks", beside, algorithms_text(beside))
        run = build(config, world)
        timed = measure_architectures(run, options.architectures, options.repeats)
        show("architectures", "A micro-batch, forward and backward, by architecture", timed, architectures_text(timed))
        compared = measure_comparisons(run, options.comparisons, 3 * options.repeats)
        show("comparisons", "Supernet against static network", compared, comparisons_text(compared))
        show("memory", "Peak memory of an iteration", memory, memory_text(memory))
    title = "Full size: fbnetv5_a"
    if options.full_size_device == "cuda" and not torch.cuda.is_available():
        show("full_size", title, [], "  no CUDA device was at hand, so this was not run")
        return results
    with start_world(options.full_size_device, options.threads) as world:
        full_size = measure_full_size(
            world,
            micro_batch=options.full_size_batch,
            num_samples=options.full_size_samples,
            rounds=options.repeats,
        )
        title += (
            f", {options.full_size_batch} images an architecture, bfloat16 and channels_last; {_describe(world, 1)}"
        )
        show("full_size", title, full_size, full_size_text(full_size))
    return results


def _sizes(config: RunConfig) -> str:
    search = config.search
    return (
        f"family {config.model.family}, {config.model.num_stages} stages, {search.batch_size} images of "
        f"{config.data.crop} pixels, {search.num_samples} architectures an iteration, {config.runtime.precision}"
    )


def _describe(world: World, threads: int) -> str:
    return torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else f"CPU with {threads} thread(s)"


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__)
    add = parser.add_argument
    add(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="keys of the config, such as model.family=A runtime.device=cpu",
    )
    add(
        "--config", type=Path, default=QUICKSTART, metavar="FILE", help="a search's YAML file (default: the quickstart)"
    )
    add("--tasks", type=_counts, default=(1, 2, 3, 6), metavar="T,T,...", help="numbers of tasks (default: 1,2,3,6)")
    add(
        "--algorithm-tasks",
        type=_counts,
        metavar="T,T,...",
        help="numbers of tasks that algorithms 2, 3 and 4 are compared with (default: 1 to the most of --tasks)",
    )
    add("--algorithm-repeats", type=at_least(1), help="rounds of that comparison (default: as --repeats)")
    add("--repeats", type=at_least(1), default=11, help="rounds of everything timed; medians are shown (default: 11)")
    add(
        "--architectures",
        type=at_least(4),
        default=40,
        help="how many to time against their MACs (default: 40, at least 4)",
    )
    add("--comparisons", type=at_least(1), default=6, help="sampled static networks, beside two extremes (default: 6)")
    add("--threads", type=at_least(1), default=1, help="torch's CPU threads (default: 1)")
    add("--json", type=Path, metavar="FILE", help="write the figures there too")
    full = parser.add_argument_group("the full-size iteration")
    full.add_argument("--full-size-device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try it out, slowly")
    full.add_argument("--full-size-batch", type=at_least(1), default=48, help="images an architecture (default: 48)")
    full.add_argument(
        "--full-size-samples", type=at_least(1), help="architectures an iteration (default: 16, at least 2)"
    )
    return parser


def _counts(text: str) -> tuple[int, ...]:
    return tuple(sorted({at_least(1)(part) for part in text.split(",")}))


if __name__ == "__main__":
    main()
