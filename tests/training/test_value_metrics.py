"""Measures of values against cases worked out by hand."""

import numpy as np
import pytest

from hf_elmo.training.value_metrics import value_scores


def test_values():
    # deviations -1.5 -0.5 0.5 1.5 and -2 -1 -1 4: products sum to 9, squares to 5 and 22
    # ranks 1 2 3 4 and 1 2.5 2.5 4: deviations of the latter -1.5 0 0 1.5, products 4.5, squares 5 and 4.5
    scores = value_scores([1, 2, 3, 4], [0, 1, 1, 6])
    assert scores == pytest.approx({"pearson": 9 / 110**0.5, "spearman": 4.5 / 22.5**0.5, "mse": (1 + 1 + 4 + 4) / 4})


def test_values_that_are_all_the_same_correlate_with_nothing():
    assert value_scores(np.ones(3), [1, 2, 3]) == pytest.approx({"pearson": 0, "spearman": 0, "mse": 5 / 3})
