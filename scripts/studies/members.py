"""What a run with members says of itself, and what posts that took no part in it say.

Run from the repository's root: ``python -m scripts.studies.members DIR``, the folder of
MVSA-Single with splits in DIR/splits. Trains the recipe `default` on draws of training posts, and
evaluates it on the other training posts and the dev posts, next to a plain script of scikit-learn:
is it as good as its out-of-fold scores, better than the script, and is disagreement a better reason
to give no label than a low probability? Finished runs are kept and not trained again. Writes
results/members.json.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from mvcn.cli.process import set_up_process
from mvcn.config import RunConfig, read_recipe
from mvcn.data.reading import read_posts
from mvcn.inference.classifier import Classifier
from mvcn.training.run import train
from mvcn.training.run_folder import Run
from mvcn.types import Post
from scripts import results
from scripts.results import spread
from scripts.studies.tasks.references import fit_on_features, mean_features, scores

POSTS = (100, 300, 1000)
DRAWS = (0, 1, 2)
METRICS = ("accuracy", "f1_weighted")
REASONS = ("probability", "disagreement")
GAINS = {"above_out_of_fold": "out_of_fold", "above_script": "script"}
"""Difference of the scores on unseen posts -> the scores that are subtracted."""


def main(
    root: Annotated[Path, typer.Argument(help="Folder of MVSA-Single.")],
    runs: Annotated[Path, typer.Option(help="Where the run folders go.")] = Path("runs/members"),
) -> None:
    """Train on each draw of posts, and evaluate on all others."""
    set_up_process()
    config = read_recipe("default")
    data = {"name": "mvsa-single", "root": root, "splits": root / "splits"}
    config.update({"data": data})
    every = [post for name in ("train", "dev") for post in read_posts(config.data, name).posts]
    features = mean_features(every, every[:1])["both features"][0]
    draws = {
        str(posts): [
            _evaluate(config, posts, draw, every, features, runs / f"{posts}-{draw}")
            for draw in DRAWS
        ]
        for posts in POSTS
    }
    content = {
        "data": "the other training posts of MVSA-Single and its dev posts",
        "draws": draws,
        "summary": {posts: _summary(found) for posts, found in draws.items()},
    }
    results.write("members", content)


def _evaluate(
    config: RunConfig,
    posts: int,
    draw: int,
    every: Sequence[Post],
    features: np.ndarray,
    folder: Path,
) -> dict[str, Any]:
    """Train on a draw of posts unless that is done, and evaluate on all others."""
    config.update({"data": {"limit": posts}, "training": {"seed": draw, "export": False}})
    run = Run(folder)
    if not run.is_finished:
        run = train(config, folder, resume=run.is_started)
    learned = {post.id for post in run.posts.train}
    is_seen = np.array([post.id in learned for post in every])
    unseen = [post for post in every if post.id not in learned]
    found = Classifier.from_pretrained(run.folder).evaluate(unseen)
    labels = np.array([str(post.label) for post in every])
    script = fit_on_features(features[is_seen], labels[is_seen].tolist())
    said = script.predict(features[~is_seen])
    script = scores(labels[~is_seen].tolist(), said)
    return {
        "unseen_posts": len(unseen),
        "out_of_fold": {name: run.metrics["out_of_fold"][name] for name in METRICS},
        "unseen": {name: getattr(found.evaluation, name) for name in METRICS},
        "script": {name: script[name] for name in METRICS},
        "area_under_risk_coverage": dict(found.risk),
    }


def _summary(draws: list[dict[str, Any]]) -> dict[str, Any]:
    areas = [one["area_under_risk_coverage"] for one in draws]
    return {
        **{
            kind: {name: spread([one[kind][name] for one in draws]) for name in METRICS}
            for kind in ("out_of_fold", "unseen", "script")
        },
        **{
            gain: {
                name: spread([one["unseen"][name] - one[kind][name] for one in draws])
                for name in METRICS
            }
            for gain, kind in GAINS.items()
        },
        **{name: spread([one[name] for one in areas]) for name in REASONS},
        "difference": spread([one["disagreement"] - one["probability"] for one in areas]),
    }


if __name__ == "__main__":
    typer.run(main)
