"""Processes that train together."""

import pytest

from mvcn.errors import ConfigError
from mvcn.training.distributed import check_batch_size


def test_no_process_may_go_without_posts():
    check_batch_size(4, 4)
    with pytest.raises(ConfigError, match="is 4, but 5 processes share each batch"):
        check_batch_size(4, 5)
