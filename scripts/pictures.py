"""Draw the pictures of the README: one generated post explained, and attention over real posts.

Run from the repository's root, after ``make demo`` and the training of a run on posts of your own:
``python scripts/pictures.py runs/demo RUN``.
"""

from io import BytesIO
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from mvcn.cli.process import prepare_process
from mvcn.explain.figures import draw_attention, draw_post
from mvcn.explain.post import explain
from mvcn.explain.trained_run import TrainedRun
from mvcn.files import write_json
from mvcn.training.run_folder import describe_environment

FIGURES = Path("docs") / "figures"
NUMBERS = Path("results") / "attention-real-posts.json"


def main(
    demo: Annotated[Path, typer.Argument(help="Folder of mvcn demo.")],
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    post: Annotated[str, typer.Option(help="Id of a dev post of the demo.")] = "post-00640",
) -> None:
    """Write post.png, attention.png, and the numbers of the second as JSON."""
    prepare_process()
    (FIGURES / "post.png").write_bytes(
        _in_fewer_colors(_picture(TrainedRun(demo / "sparsemax"), post))
    )
    trained = TrainedRun(run)
    title = f"{len(trained.posts.dev)} dev posts of {trained.config.data.name}"
    (FIGURES / "attention.png").write_bytes(draw_attention({title: trained.dev_sparsity}))
    curves = {
        name: {"zeros": found.zeros, "mean_weights": found.weights.mean(0).tolist()}
        for name, found in trained.dev_sparsity.items()
    }
    write_json(NUMBERS, {"posts": title, **curves, "environment": describe_environment()})


def _picture(run: TrainedRun, post_id: str) -> bytes:
    posts = [post for post in run.posts.dev if post.id == post_id]
    prepared, train = run.prepare(posts), run.train.posts
    (found,) = explain(run.model, run.processor, prepared, "occlusion", run.train_space, train)
    return draw_post(found)


def _in_fewer_colors(png: bytes) -> bytes:
    picture = Image.open(BytesIO(png)).convert("RGB")
    few = picture.quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(stream := BytesIO(), "PNG", optimize=True)
    return stream.getvalue()


if __name__ == "__main__":
    typer.run(main)
