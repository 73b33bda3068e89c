"""Where Ray is installed, and where not."""

from importlib.util import find_spec

import pytest

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None,
    reason="Ray (240 MB) is not installed: `make ray` installs it and runs this",
)
