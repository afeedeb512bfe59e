"""Predict latencies of a published table from 100 of its networks a device, and compare orders.

    python scripts/bench_latency_predictor.py --data FOLDER [--output docs/latency_predictor.csv]

reads FOLDER/table.csv: networks of the FBNet space with their milliseconds on several devices. For each device and
split, the same random networks are known to all predictors, and Spearman's correlation of all others with what was
measured counts: of a ridge regression on the options of the layers, of the predictor that knows sizes of layers, and of
the one that knows other devices' latencies of all networks as well.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from benchmarks.phone_networks import Array, Table, known_features, one_hot, read_table
from scipy import stats

from fbnetv5.base.errors import InputError, one_line_errors
from fbnetv5.base.files import write_text
from fbnetv5.cli.arguments import at_least, parser_of
from fbnetv5.latency.predictor import fit_predictor

PENALTIES = tuple(10.0 ** (power / 4) for power in range(-8, 13))
PREDICTORS = {
    "ridge": "ridge on options",
    "sizes": "sizes of layers, then options",
    "devices": "and other devices",
}
Rows = npt.NDArray[np.int64]


class Result(NamedTuple):
    """Spearman's correlation of a predictor's order with that measured, on networks that it has not seen."""

    device: str
    split: int
    predictor: str
    spearman: float


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    options = _parser().parse_args(arguments)
    table = read_table(options.data)
    if len(table.ms) < 2:
        raise InputError(f"{options.data} has times of one device; what others say of a device takes two at least")
    if len(table.choices) < 2 * options.networks:
        raise InputError(f"--networks={options.networks}: the table has {len(table.choices)}, at least twice as needed")
    results = list(compare(table, options.networks, options.splits))
    print(table_text(results))
    if options.output:
        written = io.StringIO()
        writer = csv.writer(written, lineterminator="\n")
        writer.writerow(Result._fields)
        writer.writerows((*each[:3], f"{each.spearman:.4f}") for each in results)
        write_text(options.output, written.getvalue())


def compare(table: Table, num_known: int, num_splits: int) -> Iterator[Result]:
    """Yield each predictor's result for each device and split of a table."""
    features = known_features(table.choices)
    chosen = one_hot(table.choices).reshape(len(table.choices), -1)
    sums = {device: sum_of_options(chosen, ms) for device, ms in table.ms.items()}
    for device, ms in table.ms.items():
        others = np.stack([found for name, found in sums.items() if name != device], axis=1)
        for split in range(num_splits):
            order = np.random.default_rng(split).permutation(len(ms))
            known, rest = order[:num_known], order[num_known:]
            predicted = {
                "ridge": ridge(chosen, ms, known),
                "sizes": _predicted(features, ms, known),
                "devices": _predicted({**features, "other devices": others}, ms, known),
            }
            for name, found in predicted.items():
                yield Result(device, split, name, float(stats.spearmanr(found[rest], ms[rest]).statistic))


def sum_of_options(chosen: Array, ms: Array) -> Array:
    """Return the milliseconds [N] that a sum over options, fitted to all networks, gives them."""
    ones = np.ones((len(ms), 1))
    design = np.concatenate([chosen, ones], axis=1)
    return np.asarray(design @ np.linalg.lstsq(design, ms, rcond=None)[0])


def ridge(chosen: Array, ms: Array, known: Rows) -> Array:
    """Return the milliseconds [N] by a ridge regression on the known rows, its penalty chosen by leave-one-out."""
    centre, mean = chosen[known].mean(axis=0), ms[known].mean()
    rows, target = chosen[known] - centre, ms[known] - mean
    vectors, values, _ = np.linalg.svd(rows, full_matrices=False)
    errors = []
    for penalty in PENALTIES:
        shrunk = values**2 / (values**2 + penalty)
        hat = (vectors * shrunk) @ vectors.T + 1 / len(known)
        errors.append(float((((target - hat @ target) / (1 - np.diag(hat))) ** 2).mean()))
    penalty = PENALTIES[int(np.argmin(errors))]
    duals = np.linalg.solve(rows @ rows.T + penalty * np.eye(len(known)), target)
    return np.asarray((chosen - centre) @ (rows.T @ duals) + mean)


def _predicted(features: dict[str, Array], ms: Array, known: Rows) -> Array:
    predictor = fit_predictor({name: values[known] for name, values in features.items()}, ms[known])
    return predictor.predict(features)


def table_text(results: Sequence[Result]) -> str:
    """Return a markdown table: mean and deviation over splits, and the smallest lead over the ridge."""
    lines = ["| device | " + " | ".join(PREDICTORS.values()) + " | mean lead, least lead |", "|---|" + "---|" * 4]
    for device in dict.fromkeys(result.device for result in results):
        found = {
            name: np.array([each.spearman for each in results if (each.device, each.predictor) == (device, name)])
            for name in PREDICTORS
        }
        lead = found["devices"] - found["ridge"]
        cells = [f"{values.mean():.3f} ± {values.std():.3f}" for values in found.values()]
        lines.append(f"| {device} | {' | '.join(cells)} | {lead.mean():+.3f}, {lead.min():+.3f} |")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FOLDER", help="that holds table.csv")
    add("--networks", type=at_least(10), default=100, metavar="N", help="known of a device (default: 100)")
    add("--splits", type=at_least(1), default=20, metavar="N", help="random choices of these (default: 20)")
    add("--output", type=Path, metavar="CSV", help="write every split's correlation there")
    return parser


if __name__ == "__main__":
    main()
