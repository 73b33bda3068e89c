"""Time and memory of `mvcn prepare` and `mvcn audit` on many posts; writes results/scale.json.

Run from the repository's root: ``python -m scripts.speed.scale --posts 100000``. The generated
posts are kept in the folder given by ``--work``.
"""

import csv
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing import Pool
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from mvcn.data.synthetic import generate_posts, write_table
from scripts import results

CHUNK = 500
KIBIBYTE = 1024


def main(
    posts: Annotated[int, typer.Option(help="How many posts, in chunks of 500.")] = 100_000,
    work: Annotated[Path, typer.Option(help="Where posts go, some 50 kB each.")] = Path(
        "runs/scale"
    ),
) -> None:
    """Generate posts, then run mvcn prepare and mvcn audit on them, each in its own process."""
    table = _generate(posts // CHUNK, work / "posts")
    prepared, audit = work / "prepared", work / "audit"
    source = ["--data", "prepared", "--root", str(prepared)]
    outputs = ["--json", f"{audit}.json", "--html", f"{audit}.html"]
    commands = {
        "prepare": ["prepare", "--root", str(table), "--output", str(prepared), "--overwrite"],
        "audit": ["audit", *source, *outputs, "--overwrite"],
        "audit_of_files": ["audit", "--root", str(table), *outputs, "--overwrite"],
    }
    count = posts // CHUNK * CHUNK
    content: dict[str, Any] = {"posts": count}
    content |= {name: _measure(command, count) for name, command in commands.items()}
    results.write("scale", content)


def _generate(chunks: int, folder: Path) -> Path:
    """Write chunks of posts in two processes, and one table of all; return the table."""
    with Pool(2) as pool:
        work = pool.imap(_write_chunk, [(number, folder) for number in range(chunks)])
        tables = list(tqdm(work, total=chunks, desc="Generated", unit="chunk"))
    path = folder / "posts.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        for number, table in enumerate(tables):
            with table.open(encoding="utf-8", newline="") as chunk:
                header, *rows = csv.reader(chunk)
            if number == 0:
                writer.writerow(header)
            writer.writerows(_renamed(row, table.parent.name) for row in rows)
    return path


def _write_chunk(task: tuple[int, Path]) -> Path:
    number, folder = task
    chunk = folder / f"{number:05d}"
    if not (chunk / "posts.csv").is_file():
        write_table(generate_posts(CHUNK, seed=number), chunk)
    return chunk / "posts.csv"


def _renamed(row: Sequence[str], chunk: str) -> list[str]:
    post_id, text, image, *labels = row
    return [f"{chunk}-{post_id}", text, f"{chunk}/{image}", *labels]


def _measure(command: Sequence[str], count: int) -> dict[str, float]:
    """Run a command; return its seconds, posts a second, and peak resident memory in MB."""
    program = f"import sys; sys.argv = {['mvcn', *command]!r}; from mvcn.cli import main; main()"
    watcher = (
        "import resource, subprocess, sys; "
        "code = subprocess.run([sys.executable, '-c', sys.argv[1]]).returncode; "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", watcher, program], stdout=subprocess.PIPE, text=True, check=True
    )
    seconds = time.monotonic() - started
    peak_kib = int(done.stdout.split()[-1])
    return {
        "seconds": round(seconds, 1),
        "posts_per_second": round(count / seconds, 1),
        "peak_memory_mb": round(peak_kib * KIBIBYTE / 1e6, 1),
    }


if __name__ == "__main__":
    typer.run(main)
