"""Run the demonstration with several seeds and write the attention on the known patch as JSON.

Run from the repository's root: ``python scripts/attention.py``. A seed decides the posts and both
trainings.
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mvcn.cli.process import prepare_process
from mvcn.experiments.demo import ATTENTIONS, DemoPlan, run_demo
from mvcn.files import write_json
from mvcn.training import run_folder

GROUPS = ("all", "image_decides", "text_decides", "untrained")


def main(
    seeds: Annotated[list[int] | None, typer.Option("--seed")] = None,
    runs: Annotated[Path, typer.Option(help="Where the demos go.")] = Path("runs"),
    output: Annotated[Path, typer.Option(help="JSON to write.")] = Path(
        "results/attention-generated-posts.json"
    ),
) -> None:
    """Train with sparsemax and with softmax for each seed, and compare with chance."""
    prepare_process()
    chosen = seeds or [0, 1, 2]
    reports = [
        run_demo(runs / f"attention-{seed}", DemoPlan(seed=seed), overwrite=True, tell=typer.echo)
        for seed in chosen
    ]
    first = reports[0]
    content = {
        "data": f"generated posts: {first['posts']['train']} train, {first['posts']['dev']} dev",
        "recipe": first["recipe"],
        "chance": first["chance"],
        "seeds": [_row(report) for report in reports],
        "summary": {name: _summary(name, reports) for name in ATTENTIONS},
        "mass_sparsemax_minus_softmax": _spread(
            [report["mass_sparsemax_minus_softmax"]["mean"] for report in reports]
        ),
        "environment": run_folder.describe_environment(),
    }
    output.parent.mkdir(exist_ok=True)
    write_json(output, content)
    typer.echo(f"Wrote {output}.")


def _row(report: Mapping[str, Any]) -> dict[str, Any]:
    names = ("seed", "models", "mass_sparsemax_minus_softmax", "seconds")
    return {name: report[name] for name in names}


def _summary(name: str, reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean and sample standard deviation over seeds."""
    models = [report["models"][name] for report in reports]
    groups = {group: [model["attention"][group] for model in models] for group in GROUPS}
    return {
        "dev_accuracy": _spread([model["dev"]["accuracy"] for model in models]),
        "dev_f1_weighted": _spread([model["dev"]["f1_weighted"] for model in models]),
        "dev_accuracy_without_images": _spread(
            [model["dev_without_images"]["accuracy"] for model in models]
        ),
        "attention": {
            group: {
                "mass": _spread([one["mass"]["mean"] for one in found]),
                "hit_rate": _spread([one["hit_rate"] for one in found]),
                "zeros": _spread([one["zeros"] for one in found]),
            }
            for group, found in groups.items()
        },
        "pointing": {
            method: _spread([model["pointing"][method] for model in models])
            for method in models[0]["pointing"]
        },
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.mean(values), "deviation": deviation, "n": len(values)}


if __name__ == "__main__":
    typer.run(main)
