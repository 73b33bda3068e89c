"""The tables of jobs over many posts: header, rows, and a note below them."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Table: TypeAlias = tuple[Sequence[str], Sequence[Sequence[str]], str]


def bulk_table(results: Mapping[str, Any]) -> Table:
    """How fast each way of a job is."""
    rows = [
        [
            way,
            backend,
            f"{one['posts_per_second']:.1f}",
            f"{one['processor_ms_per_post']:.1f}",
            f"{one['worker_memory_mb']:,}",
            f"{one['core_hours_per_billion']:,}",
        ]
        for backend, ways in results["ways"].items()
        for way, one in ways.items()
    ]
    head = ("workers", "backend", "posts/s", "processor ms a post", "MB a worker")
    note = (
        f"{results['posts']:,} generated posts with images a way, on {results['cores']} cores with "
        f"a load of {results['load']:.0f} from others. The last column is computed."
    )
    return (*head, "core-hours a billion"), rows, note


def bulk_faults_table(results: Mapping[str, Any]) -> Table:
    """What is in the output after each fault."""
    rows = [
        [
            fault,
            *(f"{found[key]:,}" for key in ("shards_before", "scored_again")),
            *(f"{found[key]:,}" for key in ("rows_out", "rows_twice")),
            "yes" if found["as_if_nothing_had_happened"] else "no",
        ]
        for fault, found in results["faults"].items()
    ]
    head = ("fault", "shards finished before", "of them scored again", "rows out", "rows twice")
    note = f"{results['rows_in']:,} rows in {results['files']} files."
    return (*head, "same bytes as without it"), rows, note
