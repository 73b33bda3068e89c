"""How well blanks alone tell the labels of HFM: writes results/hfm-blanks.json.

Run from the repository's root: ``python scripts/blanks.py --root DIR``.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mvcn.data.datasets import read_corpus
from mvcn.data.text import ODD_BLANKS
from mvcn.files import write_json
from mvcn.training.run_folder import describe_environment
from mvcn.types import Post

SARCASTIC = "sarcastic"


def main(
    root: Annotated[Path, typer.Option(help="Folder of HFM.")],
    results: Annotated[Path, typer.Option(help="Where the JSON goes.")] = Path("results"),
) -> None:
    """Call a post sarcastic if it has a leading, trailing or repeated blank; count the hits."""
    posts = read_corpus("hfm", root, splits=["train", "dev"]).posts
    content: dict[str, Any] = {
        part: _judge([post for post in posts if post.split == part]) for part in ("train", "dev")
    }
    write_json(results / "hfm-blanks.json", content | {"environment": describe_environment()})
    typer.echo(json.dumps(content, indent=2))


def _judge(posts: Sequence[Post]) -> dict[str, Any]:
    odd = [ODD_BLANKS.search(post.text) is not None for post in posts]
    is_sarcastic = [post.label == SARCASTIC for post in posts]
    hits = [a == b for a, b in zip(odd, is_sarcastic, strict=True)]
    return {
        "n": len(posts),
        "accuracy_of_blanks_alone": sum(hits) / len(posts),
        "share_of_majority": 1 - sum(is_sarcastic) / len(posts),
    }


if __name__ == "__main__":
    typer.run(main)
