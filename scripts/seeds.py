"""Train a recipe on MVSA-Single with several seeds and write the dev scores as JSON.

Run from the repository's root: ``python scripts/seeds.py --root DIR --splits DIR/splits``. Finished
runs are kept and not trained again; an interrupted one goes on where it was.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mvcn.cli.process import prepare_process
from mvcn.config import RunConfig, read_recipe
from mvcn.data.near_duplicates import plain_text
from mvcn.data.training_posts import TrainingPosts, read_training_posts
from mvcn.files import write_json
from mvcn.inference import Classifier
from mvcn.training import run_folder
from mvcn.training.run import train
from mvcn.types import Post

METRICS = ("accuracy", "f1_weighted", "f1_macro", "expected_calibration_error")


def main(
    root: Annotated[Path, typer.Option(help="Folder of MVSA-Single.")],
    splits: Annotated[Path, typer.Option(help="Folder with train.txt and dev.txt.")],
    recipe: str = "default",
    seeds: Annotated[list[int] | None, typer.Option("--seed")] = None,
    runs: Annotated[Path, typer.Option(help="Where the run folders go.")] = Path("runs"),
    results: Annotated[Path, typer.Option(help="Where the JSON goes.")] = Path("results"),
) -> None:
    """Train each seed, judge it on dev with and without near-duplicates of training texts."""
    prepare_process()
    rows = []
    for seed in seeds or [0, 1, 2]:
        config = read_recipe(recipe)
        config.update({"data": {"name": "mvsa-single", "root": root, "splits": splits}})
        config.update({"training": {"seed": seed}})
        rows.append(_run(config, runs / f"{recipe}-mvsa-single-{seed}"))
    content = {
        "data": "MVSA-Single, the published split of 3611 / 450 / 450 posts, dev part",
        "recipe": recipe,
        "seeds": rows,
        "summary": _summary(rows),
        "environment": run_folder.describe_environment(),
    }
    results.mkdir(exist_ok=True)
    write_json(results / f"{recipe}-mvsa-single.json", content)
    typer.echo(json.dumps(content["summary"], indent=2))


def _run(config: RunConfig, output: Path) -> dict[str, Any]:
    if not run_folder.is_finished(output):
        train(config, output, resume=run_folder.is_run(output))
    report = json.loads((output / run_folder.METRICS_FILE).read_text("utf-8"))
    posts = read_training_posts(config.data, config.training.seed)
    fresh = _without_near_duplicates(posts)
    judged = Classifier.from_pretrained(output).evaluate(fresh).evaluation.to_mapping()
    return {
        "seed": config.training.seed,
        "n": report["dev"]["n"],
        **{name: report["dev"][name] for name in METRICS},
        "without_near_duplicates": {"n": len(fresh), **{name: judged[name] for name in METRICS}},
        "epochs": report["epochs"],
        "seconds": report["seconds"],
    }


def _without_near_duplicates(posts: TrainingPosts) -> list[Post]:
    """Return the dev posts whose text, without addresses and case, is in no training post."""
    known = {plain_text(post.text) for post in posts.train}
    return [post for post in posts.dev if plain_text(post.text) not in known]


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean and sample standard deviation over seeds of each metric, in both dev sets."""
    return {
        "all": {name: _spread([row[name] for row in rows]) for name in METRICS},
        "without_near_duplicates": {
            name: _spread([row["without_near_duplicates"][name] for row in rows])
            for name in METRICS
        },
        "training_seconds": _spread([row["seconds"]["training"] for row in rows]),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.mean(values), "deviation": deviation, "n": len(values)}


if __name__ == "__main__":
    typer.run(main)
