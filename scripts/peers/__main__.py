"""Measure what other tools make of MVSA-Single; writes results/peers.json.

Run from the repository's root: ``python -m scripts.peers DIR``, the folder of MVSA-Single with
splits in DIR/splits. The file is written after each measurement, and those that it holds, with the
same options, are not repeated. Nothing else should run on the machine meanwhile.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from mvcn.cli.process import set_up_process
from mvcn.files import write_json
from mvcn.training.environment import describe_environment
from scripts.peers.comparison import TOOLS, Task, read_draw, tasks
from scripts.peers.measurement import measure, python_of
from scripts.results import RESULTS

ALL = ", ".join(TOOLS)


def main(
    root: Annotated[Path, typer.Argument(help="Folder of MVSA-Single.")],
    tools: Annotated[list[str] | None, typer.Option("--tool", help=f"Only this: {ALL}.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A trial with 60 posts.")] = False,
    python: Annotated[Path, typer.Option(help="Of the other tools' environment.")] = Path(
        ".venv-peers/bin/python"
    ),
    work: Annotated[Path, typer.Option(help="Where predictions go.")] = Path("runs/peers"),
    output: Annotated[Path | None, typer.Option(help="By default results/peers.json.")] = None,
) -> None:
    """Make each measurement that is not known yet."""
    set_up_process()
    names = _chosen(tools)
    output = output or (work / "quick.json" if quick else RESULTS / "peers.json")
    content = json.loads(output.read_text("utf-8")) if output.is_file() else {}
    content = {"data": "MVSA-Single", "cores": os.cpu_count(), "tools": {}} | content
    known = {_key(one): one for one in content.get("measurements", [])}
    for task in tasks(names, quick=quick):
        tool, posts = TOOLS[task.tool], read_draw(root, task)
        options = dict(tool.quick_options if quick else tool.options)
        about = {**task._asdict(), "posts": len(posts.train), "options": options}
        if known.get(_key(about), {}).get("options") == options:
            continue
        place = (
            work
            / f"{task.tool.replace(', ', '-').replace(' ', '-')}-{len(posts.train)}-{task.draw}"
        )
        found = measure(task, posts, python_of(task.tool, python.absolute()), place, options)
        content["tools"][task.tool] = {"reads": tool.reads, **found.pop("installation")}
        known[_key(about)] = {**about, **found}
        content |= {"measurements": list(known.values()), "environment": describe_environment()}
        output.parent.mkdir(parents=True, exist_ok=True)
        write_json(output, content)
        typer.echo(_line(task, known[_key(about)]))


def _chosen(tools: list[str] | None) -> list[str]:
    unknown = [name for name in tools or () if name not in TOOLS]
    if unknown:
        raise typer.BadParameter(
            f"There is no tool '{unknown[0]}': choose from {ALL}.", param_hint="--tool"
        )
    return tools or [*TOOLS]


def _key(about: Mapping[str, Any]) -> tuple[Any, ...]:
    return about["tool"], about["posts"], about["draw"]


def _line(task: Task, found: Mapping[str, Any]) -> str:
    scores = f"accuracy {found['accuracy']:.3f}, weighted F1 {found['f1_weighted']:.3f}"
    seconds = f"fitted in {found['fit']['seconds']:.0f} s"
    speed = f"{found['predict']['posts_per_second']:.0f} posts/s"
    return (
        f"{task.tool}, {found['posts']} posts, draw {task.draw + 1}: {scores}, {seconds}, {speed}"
    )


if __name__ == "__main__":
    typer.run(main)
