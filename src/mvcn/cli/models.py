"""``mvcn models`` and ``mvcn export``."""

import json
from dataclasses import replace
from typing import Annotated, Any

import typer

from mvcn.cli.options import Overwrite, Run
from mvcn.cli.process import set_up_process
from mvcn.errors import format_table
from mvcn.types import EARLIER_NETWORKS


def models(
    as_json: Annotated[
        bool, typer.Option("--json", help="With all published results and options, as JSON.")
    ] = False,
) -> None:
    """List the models that --model trains, what they read, and where they were published."""
    entries = _entries()
    if as_json:
        described = [entry | {"options": _options(entry["name"])} for entry in entries]
        typer.echo(json.dumps(described, indent=2, ensure_ascii=False))
        return
    heading = ("model", "reads", "accuracy / F1 on MVSA-Single", "source")
    typer.echo(format_table([heading, *map(_row, entries)]))


def _entries() -> list[dict[str, Any]]:
    """Return what is known of each name that ``--model`` takes.

    The ablations of MVCN come last: recipes for its network.
    """
    from mvcn.experiments.published import published_results
    from mvcn.models.registry import MODELS, system

    results = published_results()
    ablations = {
        name: replace(system(name), source=f"{system(name).source}, ablation", published=None)
        for name in EARLIER_NETWORKS
    }
    return [
        {
            "name": name,
            "inputs": list(about.reads),
            "source": about.source,
            "published": {
                data: systems[about.published]
                for data, systems in results.items()
                if about.published in systems
            },
        }
        for name, about in (MODELS | ablations).items()
    ]


def _options(name: str) -> dict[str, Any]:
    """Return the default values of a network's options, which imports the network."""
    from mvcn.models.registry import system

    return system(name).options().model_dump()


def _row(entry: dict[str, Any]) -> tuple[str, str, str, str]:
    result = entry["published"].get("mvsa-single")
    published = f"{result['accuracy']:.2f} / {result['f1']:.2f}" if result else "-"
    return entry["name"], " ".join(entry["inputs"]), published, entry["source"]


def export(run: Run, overwrite: Overwrite = False) -> None:
    """Write the model as ONNX graphs into its run folder, and compare both on its posts.

    mvcn train does so at its end, unless training.export is false.
    """
    from mvcn.training import run_folder
    from mvcn.training.export import export_run

    set_up_process()
    found = export_run(run_folder.Run(run), overwrite=overwrite)
    kind = "generated posts, since those of the run are gone"
    kind = kind if found.are_generated else "posts of the run"
    typer.echo(
        f"Wrote graphs of {found.megabytes:.0f} MB into {run}. On {found.posts} {kind}: "
        f"{found.changed:.2%} get another class, no probability differs by more than "
        f"{found.difference:.1e}."
    )
