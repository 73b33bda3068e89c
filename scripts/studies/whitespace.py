"""How well whitespace alone predicts the labels of HFM; writes results/hfm-whitespace.json.

Run from the repository's root: ``python -m scripts.studies.whitespace DIR``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mvcn.data.datasets import read_corpus
from mvcn.data.text import ODD_WHITESPACE
from mvcn.types import Post
from scripts import results

SARCASTIC = "sarcastic"


def main(root: Annotated[Path, typer.Argument(help="Folder of HFM.")]) -> None:
    """Call a post sarcastic if it has leading, trailing or repeated whitespace; count the hits."""
    posts = read_corpus("hfm", root, splits=["train", "dev"]).posts
    content = {
        split: _evaluate([post for post in posts if post.split == split])
        for split in ("train", "dev")
    }
    results.write("hfm-whitespace", content)


def _evaluate(posts: Sequence[Post]) -> dict[str, Any]:
    is_sarcastic = [post.label == SARCASTIC for post in posts]
    is_odd = [ODD_WHITESPACE.search(post.text) is not None for post in posts]
    return {
        "n": len(posts),
        "accuracy_of_whitespace_alone": sum(map(bool.__eq__, is_odd, is_sarcastic)) / len(posts),
        "share_of_majority": 1 - sum(is_sarcastic) / len(posts),
    }


if __name__ == "__main__":
    typer.run(main)
