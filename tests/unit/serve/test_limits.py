"""Limits that contradict each other."""

import pytest

from mvcn.errors import ConfigError
from mvcn.serve.limits import Limits


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"posts": 0}, "posts must be above 0"),
        ({"pixels": 10**9}, "use a smaller --max-megapixels"),
        ({"posts": 9, "queue_posts": 8}, "use a larger --queue"),
        ({"body_bytes": 9, "held_bytes": 8}, "use a smaller --max-body-mib"),
    ],
)
def test_limits_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Limits(**settings)
