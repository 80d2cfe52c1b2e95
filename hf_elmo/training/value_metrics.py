"""How well values of texts were predicted: the measures of relatedness in SemEval-2014 task 1 (Marelli et al. 2014)."""

from collections.abc import Sequence

import numpy as np


def value_scores(predicted: Sequence[float], gold: Sequence[float]) -> dict[str, float]:
    """Pearson's and Spearman's correlations, `pearson` and `spearman`, and the mean squared error, `mse`.

    Correlations with what is all the same are not defined; they count 0.

    Args:
        predicted, gold (`(N,)`): Values.
    """
    predicted, gold = np.asarray(predicted, dtype=np.float64), np.asarray(gold, dtype=np.float64)
    return {
        "pearson": correlation(predicted, gold),
        "spearman": correlation(ranks(predicted), ranks(gold)),
        "mse": float(((predicted - gold) ** 2).mean()),
    }


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one - one.mean(), other - other.mean()
    norms = np.sqrt((one**2).sum() * (other**2).sum())
    return float((one * other).sum() / norms) if norms else 0.0


def ranks(values: np.ndarray) -> np.ndarray:
    """Places in ascending order; equal values share the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[group]
