"""Print how large the package is: files, lines and functions of each of its packages.

Usage: ``python -m scripts.sizes [FOLDER]``, where FOLDER holds a package; ``src/mvcn`` by default.
"""

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "mvcn"
SETTINGS = {"RunConfig", "ModelConfig", "DataConfig", "ObjectiveConfig", "TrainingConfig"}
HEADER = ("package", "files", "lines", "functions", "median", "p90", "max")


def function_lengths(files: Iterable[Path]) -> list[int]:
    """Return the lines of each function, from its `def` to its end, shortest first."""
    trees = [ast.parse(path.read_text("utf-8")) for path in files]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return sorted(node.end_lineno - node.lineno + 1 for node in nodes if isinstance(node, kinds))


def row_of(name: str, files: list[Path]) -> tuple[str | int, ...]:
    """Return a line of the table, in the order of `HEADER`."""
    lengths = function_lengths(files)
    lines = sum(len(path.read_text("utf-8").splitlines()) for path in files)
    p90 = lengths[int(len(lengths) * 0.9)] if lengths else 0
    median = int(statistics.median(lengths)) if lengths else 0
    return name, len(files), lines, len(lengths), median, p90, max(lengths, default=0)


def knows_settings(path: Path) -> bool:
    """Return whether a file names a class of settings."""
    tree = ast.parse(path.read_text("utf-8"))
    return any(isinstance(node, ast.Name) and node.id in SETTINGS for node in ast.walk(tree))


def modules_loaded(module: str) -> int:
    """Return how many modules of mvcn a fresh interpreter loads for one of them."""
    code = f"import sys, {module}; print(sum(name.split('.')[0] == 'mvcn' for name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(found.stdout)


def main(package: Path = PACKAGE) -> None:
    """Print the table, then the files that know settings and what an import loads."""
    packages: dict[str, list[Path]] = {}
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package).parts
        packages.setdefault(inside[0] if len(inside) > 1 else "(top)", []).append(path)
    rows = [row_of(name, files) for name, files in packages.items()]
    rows.sort(key=lambda row: -int(row[2]))
    everything = [path for files in packages.values() for path in files]
    for row in (HEADER, *rows, row_of("all", everything)):
        print(f"{row[0]:<12}" + "".join(f"{cell:>10}" for cell in row[1:]))
    print(f"files that name a class of settings: {sum(map(knows_settings, everything))}")
    if package == PACKAGE:
        print(f"modules that mvcn.training.run loads: {modules_loaded('mvcn.training.run')}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
