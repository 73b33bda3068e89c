"""Limits that contradict each other."""

import pytest

from mvcn.errors import ConfigError
from mvcn.serve.limits import Limits


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"posts": 0}, "posts must be above 0"),
        ({"pixels": 10**9}, "allow fewer"),
        ({"posts": 9, "queue_posts": 8}, "make the queue longer"),
        ({"body_bytes": 9, "held_bytes": 8}, "allow smaller bodies"),
    ],
)
def test_limits_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Limits(**settings)
