"""Which parameters of a test run in the fast lane."""

from collections.abc import Iterable

import pytest


def first_fast(values: Iterable, count: int = 1) -> list:
    """Mark all but the first `count` of a test's parameters as slow: they take the same way with other values."""
    values = list(values)
    slow = (value if type(value) is tuple else (value,) for value in values[count:])
    return [*values[:count], *(pytest.param(*value, marks=pytest.mark.slow) for value in slow)]
