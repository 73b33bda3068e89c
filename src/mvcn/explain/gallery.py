"""A folder of pictures and numbers that explain a run."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mvcn.errors import DataError
from mvcn.explain.faithfulness import Curve, faithfulness, most_faithful
from mvcn.explain.figures import draw_attention, draw_maps, draw_post
from mvcn.explain.post import explain
from mvcn.explain.saliency import Method, methods_for
from mvcn.explain.space import Space, measure_clusters
from mvcn.explain.trained_run import TrainedRun
from mvcn.files import write_json
from mvcn.inputs.batches import EncodedPosts
from mvcn.outputs import remove_contents, require_output_folder

MARK = "mvcn explain"
NUMBERS = "explanation.json"
MAPS = "maps.png"
ATTENTION = "attention.png"


def create_gallery_folder(folder: Path, *, overwrite: bool) -> None:
    """Make a folder for pictures, or raise a RunError; see `require_output_folder`."""
    is_own = (folder / NUMBERS).is_file()
    require_output_folder(folder, "explanation", is_own=is_own, overwrite=overwrite)
    remove_contents(folder, ("*.png", NUMBERS))
    folder.mkdir(parents=True, exist_ok=True)


def explain_posts(
    run: TrainedRun, posts: EncodedPosts, folder: Path, method: Method, space: Space | None
) -> None:
    """Write a picture for each post, named by its number, and all numbers as JSON."""
    train = run.train.posts if space is not None else []
    found = explain(run.model, run.processor, posts, method, space, train)
    entries = []
    for number, explanation in enumerate(tqdm(found, total=len(posts.posts), unit="post")):
        picture = f"{number:03d}.png"
        (folder / picture).write_bytes(draw_post(explanation))
        entries.append({"picture": picture, **explanation.to_mapping()})
    write_json(folder / NUMBERS, {"report": MARK, "run": str(run.folder), "posts": entries})


def explain_run(run: TrainedRun, folder: Path, beside: TrainedRun | None, sample: int) -> None:
    """Write maps and attention of the dev posts of one run or of two, and numbers as JSON.

    Args:
        run: To be explained.
        folder: Made by `create_gallery_folder`.
        beside: Another run on the same posts, for instance without the constraint.
        sample: Dev posts with an image whose explanations are tested for faithfulness; 0 for none.

    Raises:
        DataError: The two runs were judged by other posts, or know other classes.
    """
    runs = {run.folder.name: run}
    if beside is not None:
        _require_comparable(run, beside)
        names = [one.folder.name for one in (run, beside)]
        if names[0] == names[1]:
            names = [str(one.folder) for one in (run, beside)]
        runs = dict(zip(names, (run, beside), strict=True))
    (folder / MAPS).write_bytes(draw_maps({name: one.dev_space for name, one in runs.items()}))
    pictures = {"maps": MAPS}
    sparsities = {name: one.dev_sparsity for name, one in runs.items() if one.dev_sparsity}
    if sparsities:
        (folder / ATTENTION).write_bytes(draw_attention(sparsities))
        pictures["attention"] = ATTENTION
    entries = {name: run_numbers(one, sample) for name, one in runs.items()}
    write_json(folder / NUMBERS, {"report": MARK, **pictures, "runs": entries})


def _require_comparable(run: TrainedRun, beside: TrainedRun) -> None:
    if beside.folder.resolve() == run.folder.resolve():
        raise DataError(f"{beside.folder} is the run itself: name another one to map beside it.")
    if [post.id for post in beside.posts.dev] != [post.id for post in run.posts.dev]:
        raise DataError(f"{beside.folder} was judged by other posts than {run.folder}.")
    if list(beside.model.class_names) != list(run.model.class_names):
        raise DataError(f"{beside.folder} knows other classes than {run.folder}.")


def run_numbers(run: TrainedRun, sample: int) -> dict[str, Any]:
    """Return how a run's clusters lie, and how faithful its explanations are on dev posts."""
    own = next(iter(run.dev_sparsity.values()), None)
    clusters = measure_clusters(run.dev_space)
    return {
        "posts": len(run.dev_space.labels),
        "clusters": None if clusters is None else dataclasses.asdict(clusters),
        "zeros_in_attention": None if own is None else own.zeros,
        **(measure_faithfulness(run, sample) if sample else {}),
    }


def measure_faithfulness(run: TrainedRun, sample: int) -> dict[str, Any]:
    """Return which way to explain is most faithful on the first dev posts with an image."""
    shown = [post for post in run.dev.posts if post.image is not None][:sample]
    if not shown or run.model.image_encoder is None:
        return {}
    curves = faithfulness(run.model, run.encode(shown), methods_for(run.model))
    return {
        "faithfulness": {"posts": len(shown), **curve_numbers(curves)},
        "most_faithful": most_faithful(curves),
    }


def curve_numbers(curves: Mapping[str, Curve]) -> dict[str, Any]:
    """Return curves as plain values."""
    return {
        name: {
            "gap": curve.gap,
            "interval": list(curve.interval),
            "deletion": curve.deletion.tolist(),
            "insertion": curve.insertion.tolist(),
        }
        for name, curve in curves.items()
    }
