"""Draw the pictures of docs/explain.md and of the service's page.

Run from the repository's root, after ``make demo`` and the training of a run on real posts:
``python -m scripts.pictures runs/demo RUN``. Writes results/attention-real-posts.json as well.
"""

from io import BytesIO
from pathlib import Path
from typing import Annotated, cast

import typer
from PIL import Image

from mvcn.cli.process import set_up_process
from mvcn.data.synthetic import generate_posts
from mvcn.explain.figures import draw_attention, draw_post
from mvcn.explain.post import explain
from mvcn.explain.run import TrainedRun
from scripts import results

FIGURES = Path("docs") / "figures"
EXAMPLES = Path("src") / "mvcn" / "serve" / "page" / "examples"
EXAMPLE_SEED = 11
EXAMPLE_POSTS = {"glad": 31, "sad": 22, "plain": 7, "torn": 10}
"""Name of an example of the page -> number of the generated post whose image it shows."""
JPEG_QUALITY = 80


def main(
    demo: Annotated[Path, typer.Argument(help="Folder of mvcn demo.")],
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    post: Annotated[str, typer.Option(help="Id of a dev post of the demo.")] = "post-00658",
) -> None:
    """Write post.png, attention.png with its numbers, and the examples of the page."""
    set_up_process()
    draw_examples()
    picture = _post_picture(TrainedRun(demo / "sparsemax"), post)
    (FIGURES / "post.png").write_bytes(in_fewer_colors(picture))
    trained = TrainedRun(run)
    title = f"{len(trained.posts.dev)} dev posts of {trained.config.data.name}"
    (FIGURES / "attention.png").write_bytes(draw_attention({title: trained.shown_sparsity}))
    curves = {
        name: {"zeros": found.zeros, "mean_weights": found.weights.mean(0).tolist()}
        for name, found in trained.shown_sparsity.items()
    }
    results.write("attention-real-posts", {"posts": title, **curves})


def draw_examples() -> None:
    """Write one JPEG of about 10 kB for each example of the page."""
    posts = generate_posts(max(EXAMPLE_POSTS.values()) + 1, EXAMPLE_SEED)
    EXAMPLES.mkdir(parents=True, exist_ok=True)
    for name, number in EXAMPLE_POSTS.items():
        image = Image.open(BytesIO(cast(bytes, posts[number].post.image)))
        image.save(EXAMPLES / f"{name}.jpg", quality=JPEG_QUALITY, optimize=True)


def _post_picture(run: TrainedRun, post_id: str) -> bytes:
    posts = [post for post in run.posts.dev if post.id == post_id]
    prepared, train = run.encode(posts), run.train.posts
    (found,) = explain(run.model, run.processor, prepared, "occlusion", run.train_space, train)
    return draw_post(found)


def in_fewer_colors(png: bytes) -> bytes:
    """Return a PNG of a palette of 256 colours."""
    picture = Image.open(BytesIO(png)).convert("RGB")
    few = picture.quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(stream := BytesIO(), "PNG", optimize=True)
    return stream.getvalue()


if __name__ == "__main__":
    typer.run(main)
