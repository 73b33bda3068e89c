"""Time two ways of doing the same work, each in its own processes, and keep their speeds."""

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from mvcn.errors import DataError
from mvcn.files import atomic_write
from mvcn.training.environment import describe_environment

MATRIX_SIZE = 1536
MATRIX_SECONDS = 5.0

COLUMNS = "{:<26} {:>8} {:>10} {:>7}  {:>8} {:>6}  {}"

Entry = dict[str, Any]
Tell = Callable[[str], None]
Reading = Literal["times faster", "times as long", "times as much", "of the limit", "of it alone"]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One kind of work, our way of doing it, and a plain way of doing it."""

    unit: str
    """Of what both sides return."""
    higher_is_better: bool
    """True for a rate such as images/s, False for a duration."""
    count: int
    """Items of work (images, posts)."""
    quick_count: int
    """Items for a look at whether all works; its numbers mean nothing."""
    prepare: Callable[[Path, int], None]
    """Write this many items of work into a folder; not timed."""
    ours: Callable[[Path], float]
    """Do the work of the folder; return the speed in `unit`."""
    reference: Callable[[Path], float]
    """The same in plain code."""
    reads: Reading = "times faster"
    """What the ratio says of ours; the reference of "of the limit" is what is possible, and that of
    "of it alone" the same work without other processes."""
    needs: str | None = None
    """A package of the extra ``bench`` without which it is left out."""
    limit: Callable[[Path, float], float] | None = None
    """(folder, FLOP/s) -> our side's speed in `unit` if it were matrix products alone."""


def compare(benchmark: Benchmark, folder: Path, *, quick: bool, rounds: int, tell: Tell) -> Entry:
    """Let both sides alternate and return the fastest round of each, and how they compare.

    On a shared machine other work can slow a round down and nothing can speed it up, so the
    fastest round is the nearest to what the code costs.

    Args:
        benchmark: What to compare.
        folder: An empty folder for its work.
        quick: Take the small number of items.
        rounds: How often each side runs, every time in a fresh process.
        tell: Takes one line on each step.
    """
    count = benchmark.quick_count if quick else benchmark.count
    tell(f"preparing {count} items")
    in_fresh_process(benchmark.prepare, folder, count)
    measured: dict[str, list[float]] = {"ours": [], "reference": []}
    for number in range(1, rounds + 1):
        for side, function in (("ours", benchmark.ours), ("reference", benchmark.reference)):
            measured[side].append(in_fresh_process(function, folder))
            tell(f"round {number} of {rounds}, {side}: {measured[side][-1]:.1f} {benchmark.unit}")
    fastest = max if benchmark.higher_is_better else min
    ours, reference = fastest(measured["ours"]), fastest(measured["reference"])
    return {
        "ours": ours,
        "reference": reference,
        "unit": benchmark.unit,
        **_ratio(benchmark, ours, reference),
        "items": count,
        "rounds": measured,
        **_distance_to_limit(benchmark, folder, ours),
        "environment": describe_environment(),
    }


def times_faster(benchmark: Benchmark, ours: float, reference: float) -> float:
    """Return how many times faster `ours` is than `reference`, both in the benchmark's unit."""
    return ours / reference if benchmark.higher_is_better else reference / ours


def _ratio(benchmark: Benchmark, ours: float, reference: float) -> dict[str, Any]:
    """Return the ratio as a number, and as it reads."""
    ratio = times_faster(benchmark, ours, reference)
    if benchmark.reads.startswith("of "):
        return {"ratio": ratio, "reads": f"{ratio:.0%} {benchmark.reads}"}
    if benchmark.reads in {"times as long", "times as much"}:
        ratio = 1 / ratio
    return {"ratio": ratio, "reads": f"{ratio:.3g} {benchmark.reads}"}


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function where no allocator setting, thread pool or cache is left from before."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_be_silent) as pool:
        return pool.submit(function, *arguments).result()


def matrix_rate() -> float:
    """Return this machine's FLOP/s in products of square float32 matrices, kept up for seconds.

    The work that is held against it takes seconds, too. The best of a few products was seen to
    be one and a half times as fast as what a shared machine keeps up.
    """
    import torch  # takes seconds, which a fresh process for other work need not wait

    left, right = torch.randn(2, MATRIX_SIZE, MATRIX_SIZE)
    torch.mm(left, right)
    products, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < MATRIX_SECONDS:
        torch.mm(left, right)
        products += 1
    return 2 * MATRIX_SIZE**3 * products / seconds


def _be_silent() -> None:
    """Keep progress bars of the work off the terminal; errors are raised as exceptions."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)


def _distance_to_limit(benchmark: Benchmark, folder: Path, ours: float) -> dict[str, float]:
    if benchmark.limit is None:
        return {}
    rate = in_fresh_process(matrix_rate)
    limit = in_fresh_process(benchmark.limit, folder, rate)
    share = 1 / times_faster(benchmark, limit, ours)
    return {"matrix_gflops": rate / 1e9, "limit": limit, "share_of_limit": share}


def update(path: Path, measured: Sequence[Entry], order: Iterable[str]) -> None:
    """Write the entries into the file; those of other names stay, known names come in `order`.

    Raises:
        DataError: The file is there and is not a list of entries.
    """
    entries = {entry["name"]: entry for entry in [*_read(path), *measured]}
    names = dict.fromkeys([*order, *entries])
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        json.dump([entries[name] for name in names if name in entries], file, indent=2)
        file.write("\n")


def _read(path: Path) -> list[Entry]:
    if not path.exists():
        return []
    try:
        entries: list[Entry] = json.loads(path.read_text("utf-8"))
        return [{"name": entry["name"], **entry} for entry in entries]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} is not a list of benchmarks: move it out of the way.") from error


def table(entries: Iterable[Entry]) -> str:
    """Return the entries as lines of text."""
    head = COLUMNS.format("name", "ours", "reference", "ratio", "limit", "share", "unit")
    return "\n".join([head, *map(_line, entries)])


def _line(entry: Entry) -> str:
    limit, share = entry.get("limit"), entry.get("share_of_limit")
    return COLUMNS.format(
        entry["name"],
        f"{entry['ours']:.1f}",
        f"{entry['reference']:.1f}",
        f"{entry['ratio']:.2f}",
        "" if limit is None else f"{limit:.1f}",
        "" if share is None else f"{share:.0%}",
        entry["unit"],
    )
