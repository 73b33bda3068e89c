"""One tool in a process of its own, which fits it or predicts with it.

Run from the repository's root: ``python -m scripts.peers.process fit TOOL TABLE FOLDER OPTIONS``,
and ``predict TOOL FOLDER TABLE OUTPUT``, with a file of `scripts.peers.tools` as the tool.
"""

import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from scripts.peers import operators
from scripts.peers.installation import installed, size_mb
from scripts.peers.posts import read_table

STARTED = time.perf_counter()


def fit(tool: str, table: str, folder: str, options: str) -> None:
    """Fit on a table of posts, and save the model.

    Args:
        tool: Name of its file.
        table: Of the posts.
        folder: Where the model is saved.
        options: Those of the tool's function, as JSON.
    """
    _import(tool).fit(Path(table), Path(folder), **json.loads(options))


def predict(tool: str, folder: str, table: str, output: str) -> None:
    """Load a model, and predict the same posts twice: the first call may load something, too."""
    posts = read_table(Path(table))
    module = _import(tool)
    predict_posts = module.load(Path(folder))
    times = [time.perf_counter()]
    for _ in range(2):
        names, probabilities = predict_posts(posts)
        times.append(time.perf_counter())
    packages = installed(module.PACKAGES)
    content = {
        "load_seconds": times[0] - STARTED,
        "first_seconds": times[1] - times[0],
        "seconds": times[2] - times[1],
        "class_names": [str(name) for name in names],
        "probabilities": [[float(value) for value in row] for row in probabilities],
        "installation": {"megabytes": size_mb(packages), "packages": packages},
    }
    Path(output).write_text(json.dumps(content), "utf-8")


def _import(tool: str) -> Any:
    operators.declare()
    return import_module(f"scripts.peers.tools.{tool}")


if __name__ == "__main__":
    {"fit": fit, "predict": predict}[sys.argv[1]](*sys.argv[2:])
