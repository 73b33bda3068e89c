"""Values that are not there, as Python, NumPy and pandas write them."""

import math

import numpy as np

PANDAS_MISSING = ("NAType", "NaTType")
"""Types of pandas, which need not be installed."""


def is_missing(value: object) -> bool:
    """Tell whether a value is None, NaN, ``pandas.NA`` or ``pandas.NaT``."""
    if isinstance(value, (float, np.floating)):
        return math.isnan(value)
    return value is None or type(value).__name__ in PANDAS_MISSING
