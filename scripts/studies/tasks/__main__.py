"""Train on tasks unlike MVSA, compared with plain linear models; writes results/tasks.json.

Run from the repository's root: ``python -m scripts.studies.tasks [--tasks emoji,long]
[--recipe NAME] [--output FILE]``. The first draw of all tasks comes first, and the file is written
after each. Those that it holds, of the same posts and with the same settings, are not repeated.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from mvcn.cli.process import set_up_process
from mvcn.config import read_recipe
from mvcn.files import write_json
from mvcn.inference.classifier import Classifier
from mvcn.inputs.feature_cache import CACHE_VARIABLE
from mvcn.training.environment import describe_environment
from scripts.results import RESULTS, spread
from scripts.studies.tasks import OURS
from scripts.studies.tasks.posts import TASKS, Draw, Task, generate, write
from scripts.studies.tasks.references import METRICS, evaluate_references, scores

MEASURED = (*METRICS, "seconds")
LAST_LINES = 5


def main(
    tasks: Annotated[str, typer.Option(help="Names, with commas; by default all.")] = "",
    recipe: Annotated[
        str | None, typer.Option(help="Recipe of mvcn train; by default its own choice.")
    ] = None,
    output: Annotated[Path, typer.Option(help="File of the scores.")] = RESULTS / "tasks.json",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Repeat what is there.")] = False,
) -> None:
    """Train on each draw of each task, and score all models on fresh posts."""
    set_up_process()
    content = json.loads(output.read_text("utf-8")) if output.is_file() else {"tasks": {}}
    settings = _settings(recipe)
    chosen = _chosen(tasks)
    known = {name: {} if overwrite else _known_draws(content, name) for name in chosen}
    most = max(TASKS[name].draws for name in chosen)
    for number, name in ((n, name) for n in range(most) for name in chosen):
        if number >= TASKS[name].draws:
            continue
        before = known[name].get(number, {})
        found = _evaluate_draw(name, {"draw": number, **settings}, before)
        known[name][number] = found
        typer.echo(_progress(name, found, is_known=found is before))
        content["tasks"][name] = _describe(TASKS[name], known[name], settings)
        content["environment"] = describe_environment()
        output.parent.mkdir(parents=True, exist_ok=True)
        write_json(output, content)


def _known_draws(content: Mapping[str, Any], name: str) -> dict[int, Mapping[str, Any]]:
    return {one["draw"]: one for one in content["tasks"].get(name, {}).get("draws", [])}


def _chosen(tasks: str) -> list[str]:
    names = [name.strip() for name in tasks.split(",")] if tasks else [*TASKS]
    unknown = [name for name in names if name not in TASKS]
    if unknown:
        raise typer.BadParameter(
            f"There is no task '{unknown[0]}': choose from {', '.join(TASKS)}.",
            param_hint="--tasks",
        )
    return names


def _settings(recipe: str | None) -> dict[str, Any]:
    """Return the recipe, and a digest of its settings: it may change."""
    settings = json.dumps(read_recipe(recipe or "default").to_mapping(), default=str)
    digest = hashlib.blake2b(settings.encode(), digest_size=8)
    return {"recipe": recipe, "settings": digest.hexdigest()}


def _evaluate_draw(
    name: str, about: Mapping[str, Any], known: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return the scores of all models on one draw of posts.

    Args:
        name: Of the task.
        about: Number of the draw, recipe and its settings.
        known: What is known of the draw, of these settings or others: linear models have none.
    """
    draw = generate(name, about["draw"])
    about = {**about, "posts": draw.digest}
    if known.items() >= about.items():
        return known
    models = {OURS: _evaluate(draw, about["recipe"])}
    if known.get("posts") == draw.digest:
        return {**about, "models": known["models"] | models}
    return {**about, "models": models | evaluate_references(draw)}


def _evaluate(draw: Draw, recipe: str | None) -> dict[str, float]:
    """Return the scores of a trained model on the fresh posts, and the seconds of training."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        seconds = _train(write(draw.train, place / "train.csv"), place, recipe)
        predictions = Classifier.from_pretrained(place / "run").predict(draw.fresh)
    labels = [str(post.label) for post in draw.fresh]
    found = scores(labels, [str(prediction.label) for prediction in predictions])
    return {**found, "seconds": seconds}


def _train(table: Path, place: Path, recipe: str | None) -> float:
    """Train as a user does, without features that are known from before; return the seconds.

    No graphs are written, which are for later predictions.
    """
    command = [sys.executable, "-m", "mvcn", "train", "--train", table, "--output", place / "run"]
    command += ["--set", "training.export=false"]
    command += ["--recipe", recipe] if recipe else []
    log, started = place / "log.txt", time.monotonic()
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            [str(word) for word in command],
            env=os.environ | {CACHE_VARIABLE: str(place / "cache")},
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        lines = log.read_text("utf-8").splitlines()[-LAST_LINES:]
        raise SystemExit("\n".join(["mvcn train has failed:", *lines]))
    return time.monotonic() - started


def _progress(name: str, found: Mapping[str, Any], *, is_known: bool) -> str:
    models = found["models"]
    accuracies = ", ".join(f"{kind} {100 * models[kind]['accuracy']:.1f}" for kind in models)
    how = "known" if is_known else f"{models[OURS]['seconds']:.0f} s of training"
    return f"{name}, draw {found['draw'] + 1} of {TASKS[name].draws} ({how}): {accuracies}"


def _describe(
    task: Task, draws: Mapping[int, Mapping[str, Any]], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a task is, its draws, and mean and deviation over those of the settings."""
    found = [one["models"] for one in draws.values() if one.items() >= settings.items()]
    return {
        "about": task.about,
        "classes": len(task.classes),
        "posts": {"train": task.train, "fresh": task.fresh},
        "draws": [draws[number] for number in sorted(draws)],
        "summary": {
            model: {name: spread([one[model][name] for one in found]) for name in MEASURED}
            for model in found[0]
        },
    }


if __name__ == "__main__":
    typer.run(main)
