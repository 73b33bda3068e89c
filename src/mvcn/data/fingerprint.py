"""A digest of posts, to tell whether two runs or files are about the same ones."""

import hashlib
from collections.abc import Iterable

from mvcn.types import Post


def fingerprint(posts: Iterable[Post]) -> str:
    """Return a digest of the posts' ids, texts and labels, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for post in posts:
        fields = (post.id, post.text, post.label, post.text_label, post.image_label)
        digest.update(repr(fields).encode())
    return digest.hexdigest()
