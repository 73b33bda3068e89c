"""``mvcn models`` and ``mvcn export``."""

import json
from dataclasses import replace
from typing import Annotated, Any

import typer

from mvcn.cli.options import Overwrite, Run
from mvcn.cli.process import set_up_process
from mvcn.errors import PluginError, format_table
from mvcn.plugins import Plugin, available
from mvcn.types import EARLIER_NETWORKS


def models(
    as_json: Annotated[
        bool, typer.Option("--json", help="With all published results and options, as JSON.")
    ] = False,
) -> None:
    """List the models that --model trains, what they read, and where they were published."""
    entries = _entries()
    if as_json:
        described = [entry | {"options": _options(entry)} for entry in entries]
        typer.echo(json.dumps(described, indent=2, ensure_ascii=False))
        return
    heading = ("model", "package", "reads", "accuracy / F1 on MVSA-Single", "source")
    typer.echo(format_table([heading, *map(_row, entries)]))


def _entries() -> list[dict[str, Any]]:
    """Return what is known of each name that ``--model`` takes.

    The ablations of MVCN, recipes for its network, come after the models of this package, and
    plug-ins last.
    """
    from mvcn.experiments.published import published_results
    from mvcn.models.registry import MODELS

    results = published_results()
    ablations = {
        name: replace(about, source=f"{about.source}, ablation", published=None)
        for name, changes in EARLIER_NETWORKS.items()
        for about in (MODELS[changes["network"]],)
    }
    own = [
        {
            "name": name,
            "package": "mvcn",
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
    return [*own, *map(_plugin_entry, available("model"))]


def _plugin_entry(plugin: Plugin) -> dict[str, Any]:
    """Return what is known of a plug-in; its source is why it is unusable, where it is."""
    from mvcn.models.registry import plugged_in

    try:
        about = plugged_in(plugin)
        described = {"inputs": list(about.reads), "source": about.source}
    except PluginError as error:
        described = {"inputs": [], "source": str(error)}
    return {"name": plugin.name, "package": plugin.origin, **described, "published": {}}


def _options(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the default values of a network's options, which imports the network."""
    from mvcn.models.registry import system

    return system(entry["name"]).options().model_dump() if entry["inputs"] else {}


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    result = entry["published"].get("mvsa-single")
    published = f"{result['accuracy']:.2f} / {result['f1']:.2f}" if result else "-"
    inputs = " ".join(entry["inputs"]) or "-"
    return entry["name"], entry["package"], inputs, published, entry["source"]


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
        f"Wrote ONNX graphs of {found.megabytes:.0f} MB to {run}. On {found.posts} {kind}, "
        f"{100 * found.changed:.2f} % get another class, and no probability differs by more than "
        f"{found.difference:.1e}."
    )
