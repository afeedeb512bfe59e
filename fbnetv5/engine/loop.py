"""The loop of every run: take a batch, take a step, tell about it, save."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from fbnetv5.engine.log import RunLog

Item = TypeVar("Item")


def run_loop(
    batches: Iterable[Item],
    *,
    start_step: int,
    num_steps: int,
    train_step: Callable[[int, Item], Mapping[str, float]],
    on_record: Callable[[int], None],
    save: Callable[[int], None],
    save_every: int,
    log: RunLog,
    evaluate: Callable[[int], None] | None = None,
    evaluate_every: int | None = None,
) -> None:
    """Run the steps ``start_step`` .. ``num_steps - 1``.

    Args:
        batches: one for each of those steps.
        train_step: takes the step's number and its batch, returns the step's metrics.
        on_record: called after each record of the log, with the number of steps done.
        save: called every ``save_every`` steps and at the end, with the number of steps done.
        evaluate: called every ``evaluate_every`` steps, but not at the end, with the number of steps done.
    """
    for step, batch in zip(range(start_step, num_steps), batches, strict=True):
        log.add(train_step(step, batch))
        done = step + 1
        if log.due(done):
            log.record(done)
            on_record(done)
        if done % save_every == 0 or done == num_steps:
            save(done)  # first: an evaluation that fails loses no step
        if evaluate is not None and evaluate_every is not None and done % evaluate_every == 0 and done < num_steps:
            evaluate(done)
