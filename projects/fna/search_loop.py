"""The differentiable search from its first iteration, or its latest checkpoint, to its last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fbnetv5.data.skipped import SkippedImages
from fbnetv5.engine.checkpoint import Checkpoint
from fbnetv5.engine.log import RunLog
from fbnetv5.engine.loop import run_loop
from fbnetv5.engine.run_folder import open_run_folder
from fbnetv5.projects.fna.search_step import Batches, SearchRun, architecture_step, search_batches, weight_step


def train_super_network(run: SearchRun, folder: Path) -> None:
    """Train weights and architecture parameters to the last step; metrics and checkpoints go to ``folder``.

    Raises:
        InputError: as the steps, as :func:`open_run_folder`, or a file cannot be written.
    """
    config, world = run.problem.config, run.problem.world
    checkpointer, checkpoint = open_run_folder(config, folder, world)
    start_step = checkpoint.step if checkpoint else 0
    log = RunLog(
        folder if world.is_main else None,
        num_steps=run.schedule.num_steps,
        batch_size=config.train.batch_size,
        every=config.runtime.log_every,
        start_step=start_step,
    )
    log.say(_summary(run, folder))
    skipped = SkippedImages(world)
    if checkpoint:
        _restore(run, log, checkpoint)
        log.say(f"resuming from step {start_step}")

    def step_on(step: int, batches: Batches) -> dict[str, float]:
        metrics = weight_step(run, step, batches.weights)
        if batches.architecture is not None:
            metrics |= architecture_step(run, step, batches.architecture)
        if config.data.undecodable == "error":
            return metrics
        return metrics | {"skipped": sum(skipped.count(batch) for batch in batches if batch is not None)}

    def save(step: int) -> None:
        world.average_buffers(run.model)
        if world.is_main:
            checkpointer.save(step, run.model, _state(run, log))
        world.barrier()

    run.model.train()
    with log:
        run_loop(
            search_batches(run, start_step),
            start_step=start_step,
            num_steps=run.schedule.num_steps,
            train_step=step_on,
            on_record=lambda step: log.probabilities(step, {run.problem.target.name: shares(run)}, columns(run)),
            save=save,
            save_every=config.runtime.checkpoint_every,
            log=log,
        )


def columns(run: SearchRun) -> list[str]:
    """Return a name for each candidate of each slot."""
    space = run.problem.space
    named = zip(space.slot_names, space.option_names, strict=True)
    return [f"{slot} {option}" for slot, options in named for option in options]


def shares(run: SearchRun) -> list[float]:
    """Return the probability of each candidate of each slot."""
    rows = zip(run.alpha.probabilities().tolist(), run.problem.space.num_options, strict=True)
    return [share for row, count in rows for share in row[:count]]


def _summary(run: SearchRun, folder: Path) -> str:
    """What is about to run, in one line."""
    problem, schedule = run.problem, run.schedule
    options, splits = problem.options, problem.splits
    start = f"parameters of {problem.seed.origin}" if options.start == "seed" else "random parameters"
    return (
        f"search {problem.space.name}, {len(problem.space.num_options)} layers, for {type(run.model.head).__name__}, "
        f"from {start}: {len(splits.weights):,} images for the weights, {len(splits.architecture):,} for the "
        f"architecture; {schedule.num_steps:,} steps of {problem.config.train.batch_size}, the architecture's from "
        f"step {schedule.first:,} on; {problem.world.size} process(es) on {problem.world.device.type}; writing to "
        f"{folder}"
    )


def _state(run: SearchRun, log: RunLog) -> dict[str, Any]:
    """What a checkpoint holds beside the weights; random numbers are keyed by step and need no state."""
    return {
        "optimizer": run.optimizer.state_dict(),
        "architecture": run.alpha.state_dict(),
        "log": log.state_dict(),
    }


def _restore(run: SearchRun, log: RunLog, checkpoint: Checkpoint) -> None:
    run.model.load_state_dict(checkpoint.weights)
    run.optimizer.load_state_dict(checkpoint.state["optimizer"])
    run.alpha.load_state_dict(checkpoint.state["architecture"])
    log.load_state_dict(checkpoint.state["log"])
