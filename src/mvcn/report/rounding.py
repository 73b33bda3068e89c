"""Shares as text, with no more digits than the number of posts supports."""

import math
from collections.abc import Sequence

LARGEST_ERROR_PERCENT = 50
"""Standard error of a share of one post: the root of 1/2 times 1/2."""


def decimals(posts: int) -> int:
    r"""Return the decimals of a percentage over so many posts.

    The last digit stands for at most the largest standard error that a share of n posts can have,
    :math:`50 / \sqrt{n}` percent: none up to 2,500 posts, one up to 250,000.
    """
    return max(0, math.ceil(math.log10(math.sqrt(max(posts, 1)) / LARGEST_ERROR_PERCENT)))


def number(share: float, posts: int) -> str:
    """Return a share from 0 to 1, or a difference of shares, in percent but without its sign."""
    text = f"{100 * share:.{decimals(posts)}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def percent(share: float, posts: int) -> str:
    """Return a share from 0 to 1 in percent."""
    return f"{number(share, posts)} %"


def ends(interval: Sequence[float], posts: int) -> str:
    """Return both ends of an interval of shares in percent but without its sign."""
    return " to ".join(number(end, posts) for end in interval)
