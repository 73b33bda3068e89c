"""What is compared: tools with what each of them gets, and draws of training posts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mvcn.config import DataConfig
from mvcn.data.reading import TrainingPosts, draw_training_posts, read_training_posts
from mvcn.types import Post

FEW_POSTS = 300
DRAWS, FEWER_DRAWS = 5, 3
"""The latter where a fit takes many minutes."""
QUICK_POSTS = 60
TEXT, TEXT_AND_IMAGE = "text", "text, image"
UNIMODAL_LABELS = ("text_label", "image_label")


@dataclass(frozen=True)
class Tool:
    """A tool, and what it gets."""

    file: str
    """Name of its file in `scripts.peers.tools`."""
    reads: str
    options: Mapping[str, Any] = field(default_factory=dict)
    quick_options: Mapping[str, Any] = field(default_factory=dict)
    """In place of the options in a trial."""
    has_unimodal_labels: bool = False
    """Whether it learns separate labels of text and image as well."""
    draws: int = DRAWS
    """Of few training posts."""
    draws_of_all: int = FEWER_DRAWS

    @property
    def is_ours(self) -> bool:
        """Whether it runs in the environment of this package."""
        return self.file == "mvcn"


def _ours(recipe: str, **about: Any) -> Tool:
    few_steps = {"settings": ["training.min_steps=5", "training.epochs=1"]}
    settings = {"recipe": recipe}
    return Tool("mvcn", TEXT_AND_IMAGE, settings, {**settings, **few_steps}, **about)


SLOW = {"draws": FEWER_DRAWS, "draws_of_all": 1}
MINUTES, FEW_SECONDS = {"time_limit": 1800}, {"time_limit": 30}
TOOLS = {
    "linear script": Tool("linear", TEXT_AND_IMAGE, draws_of_all=DRAWS),
    "Trainer": Tool("trainer", TEXT, {"epochs": 3}, {"epochs": 1}),
    "SetFit": Tool("setfit", TEXT, {"max_steps": 1000}, {"max_steps": 5}, **SLOW),
    "AutoGluon": Tool("autogluon", TEXT_AND_IMAGE, MINUTES, FEW_SECONDS, **SLOW),
    "mvcn default": _ours("default"),
    "mvcn best": _ours("best", **SLOW),
    "mvcn default, unimodal labels": _ours("default", has_unimodal_labels=True),
}


class Task(NamedTuple):
    """A measurement to make: a tool, training posts (None for all), and a draw or seed."""

    tool: str
    limit: int | None
    draw: int


def tasks(names: Sequence[str], *, quick: bool = False) -> Iterator[Task]:
    """Yield what is measured, the first draw of all tools first."""
    limits = (QUICK_POSTS,) if quick else (FEW_POSTS, None)
    for draw in range(1 if quick else DRAWS):
        for limit in limits:
            for name in names:
                if draw < (TOOLS[name].draws_of_all if limit is None else TOOLS[name].draws):
                    yield Task(name, limit, draw)


def read_draw(root: Path, task: Task) -> TrainingPosts:
    """Return the training posts that are drawn, and all dev posts, of MVSA-Single."""
    config = DataConfig(name="mvsa-single", root=root, splits=root / "splits")
    posts = read_training_posts(config, task.draw)
    return draw_training_posts(posts, task.limit, task.draw)


def rows(posts: Sequence[Post], columns: Sequence[str]) -> list[dict[str, str]]:
    """Return posts as rows with a text, an image file and other columns of a post."""
    return [
        {
            "id": post.id,
            "text": post.text,
            "image": str(Path(str(post.image)).resolve()),
            **{name: str(getattr(post, name)) for name in columns},
        }
        for post in posts
    ]
