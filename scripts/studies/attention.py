"""Attention on the known patch of generated posts; writes results/attention-generated-posts.json.

Run from the repository's root: ``python -m scripts.studies.attention``. A seed decides the posts
and both trainings.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mvcn.cli.process import set_up_process
from mvcn.experiments.demo import ATTENTIONS, DemoPlan, run_demo
from scripts import results
from scripts.results import spread

GROUPS = ("all", "image_decides", "text_decides", "untrained")
OF_A_SEED = ("seed", "models", "mass_sparsemax_minus_softmax", "seconds")


def main(
    seeds: Annotated[list[int] | None, typer.Option("--seed")] = None,
    runs: Annotated[Path, typer.Option(help="Where the demos go.")] = Path("runs"),
) -> None:
    """Train with sparsemax and with softmax for each seed, and compare with chance."""
    set_up_process()
    reports = [
        run_demo(runs / f"attention-{seed}", DemoPlan(seed=seed), overwrite=True, tell=typer.echo)
        for seed in seeds or [0, 1, 2]
    ]
    first = reports[0]
    content = {
        "data": f"generated posts: {first['posts']['train']} train, {first['posts']['dev']} dev",
        "recipe": first["recipe"],
        "chance": first["chance"],
        "seeds": [{name: report[name] for name in OF_A_SEED} for report in reports],
        "summary": {name: _summary([r["models"][name] for r in reports]) for name in ATTENTIONS},
        "mass_sparsemax_minus_softmax": spread(
            [report["mass_sparsemax_minus_softmax"]["mean"] for report in reports]
        ),
    }
    results.write("attention-generated-posts", content)


def _summary(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean and deviation over the seeds of one kind of attention."""
    return {
        "dev_accuracy": spread([model["dev"]["accuracy"] for model in models]),
        "dev_f1_weighted": spread([model["dev"]["f1_weighted"] for model in models]),
        "dev_accuracy_without_images": spread(
            [model["dev_without_images"]["accuracy"] for model in models]
        ),
        "attention": {
            group: _attention([model["attention"][group] for model in models]) for group in GROUPS
        },
        "pointing": {
            method: spread([model["pointing"][method] for model in models])
            for method in models[0]["pointing"]
        },
    }


def _attention(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "mass": spread([one["mass"]["mean"] for one in measured]),
        "hit_rate": spread([one["hit_rate"] for one in measured]),
        "zeros": spread([one["zeros"] for one in measured]),
    }


if __name__ == "__main__":
    typer.run(main)
