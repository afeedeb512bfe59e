"""Measure and simulate what a search of the paper's size asks of machines; docs/SCALE.md says what follows from it.

    python scripts/scale.py [--rows 1300000] [--rounds 100]

prints: an index of as many made-up rows, opened, checked and drawn from; images that a core loads; parameters, MACs and
memory of the supernets of families A and G; and what is lost where ranks wait for the dearest architecture, with what
pairs of complementary architectures on one rank save. Seconds are those of a CPU, so that other work does not count.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.loading import Loading, measure_loading
from benchmarks.million import measure_million, million_text
from benchmarks.step_memory import StepMemory, measure_memory_of
from benchmarks.tables import aligned
from benchmarks.waiting import simulate_waiting, waiting_text

from fbnetv5.base.errors import one_line_errors
from fbnetv5.cli.arguments import at_least, parser_of

FAMILIES = ("A", "G")
RANKS = (16, 64)


@one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with status 1 and one line on stderr where the input is at fault."""
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=at_least(1000), default=1_300_000, help="of the index (%(default)s)")
    parser.add_argument("--rounds", type=at_least(1), default=100, help="iterations that are simulated (%(default)s)")
    parser.add_argument("--batches", type=at_least(1), default=20, help="that are loaded (%(default)s)")
    options = parser.parse_args(arguments)
    print(f"An index of {options.rows:,} rows\n{million_text(measure_million(options.rows))}")
    print(f"\nLoading, with labels, boxes and masks\n{loading_text(measure_loading(options.batches))}")
    print(f"\nSupernets without heads, at 224x224\n{memory_text([*map(measure_memory_of, FAMILIES)])}")
    print("\nTime of an iteration over that of an even share: what a rank draws")
    print(waiting_text(simulate_waiting(FAMILIES, RANKS, options.rounds)))


def loading_text(found: Loading) -> str:
    """Return the table."""
    rows = [
        ("images a second and core", f"{found.images_per_second:.0f}"),
        ("an image", f"{found.image_bytes / 1e3:.0f} kB"),
        ("its mask", f"{found.mask_bytes / 1e3:.1f} kB"),
    ]
    return aligned(("what", "measured"), rows)


def memory_text(found: Sequence[StepMemory]) -> str:
    """Return the table."""
    rows = [
        (
            one.family,
            f"{one.params / 1e6:.1f}",
            f"{4 * one.params / 1e6:.0f}",
            f"{one.mean_macs / 1e9:.2f}",
            f"{one.saved_bytes / 1e6:.0f}",
            f"{one.most_saved_bytes / 1e6:.0f}",
        )
        for one in found
    ]
    header = ("family", "M parameters", "MB of gradients", "G MACs at p = 1/2", "MB an image saved", "with all blocks")
    return aligned(header, rows)


if __name__ == "__main__":
    main()
