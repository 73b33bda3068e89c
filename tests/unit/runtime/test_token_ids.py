"""Word pieces of many texts in two arrays."""

import pytest

from mvcn.runtime.token_ids import TokenIds


def test_what_was_added_comes_back_as_lists():
    found = TokenIds([[1, 2, 3], []])
    found.extend([(70_000,), [4, 5]])
    assert [*found] == [[1, 2, 3], [], [70_000], [4, 5]]
    assert found[2] == [70_000]
    assert found[-1] == [4, 5]
    assert found.lengths.tolist() == [3, 0, 1, 2]
    assert len(found) == 4


def test_it_can_grow_after_its_lengths_were_read():
    found = TokenIds()
    assert found.lengths.tolist() == []
    found.extend([[1]])
    assert found.lengths.tolist() == [1]


@pytest.mark.parametrize("index", [1, -2])
def test_a_text_that_is_not_there_is_an_index_error(index):
    with pytest.raises(IndexError):
        TokenIds([[1]])[index]
