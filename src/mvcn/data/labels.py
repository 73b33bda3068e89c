"""Numbers of labels: the place of a class among those of a model."""

from collections.abc import Sequence
from typing import Literal

from mvcn.errors import DataError
from mvcn.types import Post

NO_LABEL = -1
LabelField = Literal["label", "text_label", "image_label"]


def label_ids(
    posts: Sequence[Post], class_names: Sequence[str], field: LabelField = "label"
) -> list[int]:
    """Return the class number of each post's label, -1 where it has none.

    Args:
        posts: Posts.
        class_names: Classes in the order of their numbers, from 0.
        field: Which label of a post.

    Raises:
        DataError: A label is not among the classes; names the post.
    """
    numbers: dict[str | None, int] = {name: number for number, name in enumerate(class_names)}
    numbers[None] = NO_LABEL
    for post in posts:
        if getattr(post, field) not in numbers:
            raise _unknown_label(post, class_names, field)
    return [numbers[getattr(post, field)] for post in posts]


def _unknown_label(post: Post, class_names: Sequence[str], field: LabelField) -> DataError:
    label = getattr(post, field)
    alike = [name for name in class_names if name.casefold() == label.casefold()]
    hint = f", so write it as '{alike[0]}', or join labels by --normalize-labels" if alike else ""
    return DataError(
        f"Post {post.id} has the {field.replace('_', ' ')} '{label}', which the model does not "
        f"know: its classes are {', '.join(class_names)}{hint}."
    )
