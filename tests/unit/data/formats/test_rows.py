"""Names that come repeatedly, and which options were given."""

from io import StringIO

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvcn.data.formats.rows import SAMPLE_ROWS, TableOptions, number_repeated, repeated_name, spread

NAMES = st.lists(st.sampled_from(["a", "b", "a.1", "a.2", "b.1"]), min_size=1, max_size=8)


@given(NAMES)
def test_repeated_names_are_numbered_as_by_pandas(names):
    unique, repeated = number_repeated(names)
    assert list(unique) == list(pandas.read_csv(StringIO(",".join(names) + "\n")).columns)
    assert repeated >= {name for name in names if names.count(name) > 1}


@given(NAMES)
def test_a_name_is_repeated_where_a_set_is_smaller(names):
    found = repeated_name(names)
    assert (found is not None) == (len(set(names)) < len(names))
    assert found is None or names.count(found) > 1


@pytest.mark.parametrize("count", [0, 1, SAMPLE_ROWS - 1, SAMPLE_ROWS, 12_345])
def test_a_sample_is_spread_from_the_first_row_on(count):
    rows = range(count)
    sample = list(spread(rows))
    assert sample == sorted(set(sample) & set(rows))
    assert len(sample) >= min(count, SAMPLE_ROWS)
    assert sample[:1] == list(rows)[:1]


def test_options_that_differ_from_their_defaults_are_named_as_on_the_command_line():
    assert TableOptions(reads_labels=False, remembered={"text": "tweet"}).given == []
    given_options = TableOptions("cp1252", "none", "two", normalize_labels=True).given
    assert given_options == ["--encoding", "--quoting", "--sheet", "--normalize-labels"]
