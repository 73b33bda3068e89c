"""Options that commands share."""

import pytest

from mvcn.cli.options import parse_pairs
from mvcn.errors import ConfigError


def test_pairs_are_read_with_whitespace_around_them():
    assert parse_pairs(" a = b ,c=", "--set", "x=y") == {"a": "b", "c": ""}


@pytest.mark.parametrize("text", ["", "a", "=b", "a=b,a=c", "a=b,"])
def test_other_forms_are_refused_with_an_example(text):
    with pytest.raises(
        ConfigError, match=rf"^--columns '{text}' is not valid: write it like --columns a=b,c=d\.$"
    ):
        parse_pairs(text, "--columns", "a=b,c=d")
