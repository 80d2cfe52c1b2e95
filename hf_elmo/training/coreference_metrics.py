"""Metrics of coreference: MUC, B-cubed and CEAF with their mean, and the F1 of GAP.

Clusters are compared as the official scorer of the CoNLL shared tasks does, version 8.01 (Pradhan et al. 2014): a
mention is right only if both of its ends are, mentions of one side only are kept, and numerators and denominators are
summed up over documents. Singletons count as the data have them: in B-cubed and CEAF as clusters, in MUC, which counts
links, not at all. A mention that a prediction has in several clusters counts in the first.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np

from .metrics import rates

Clusters = Sequence[Sequence[Hashable]]

NO_COUNTS = np.zeros(4)  # numerator and denominator of precision, then those of recall
PRONOUNS = {"she": "feminine", "her": "feminine", "hers": "feminine"}
PRONOUNS |= {"he": "masculine", "his": "masculine", "him": "masculine"}


def coreference_scores(gold: Sequence[Clusters], predicted: Sequence[Clusters]) -> dict[str, float]:
    """Return the official metrics over all documents, as fractions.

    `conll_f1` is the mean of `muc_f1`, `b_cubed_f1` and `ceaf_f1` (with the similarity phi4). Each has a `_precision`
    and a `_recall`; so has `mention_f1`, that of the mentions themselves. A rate of nothing is 0.

    Args:
        gold, predicted: The clusters of each document. Any values may stand for mentions, equal ones for the same.
    """
    counts = dict.fromkeys(("muc", "b_cubed", "ceaf", "mention"), NO_COUNTS)
    for gold_clusters, predicted_clusters in zip(gold, predicted, strict=True):
        right, guess = distinct(gold_clusters), distinct(predicted_clusters)
        found = {
            "muc": [*muc_counts(guess, right), *muc_counts(right, guess)],
            "b_cubed": [*b_cubed_counts(guess, right), *b_cubed_counts(right, guess)],
            "ceaf": ceaf_counts(right, guess),
            "mention": mention_counts(right, guess),
        }
        counts = {name: counts[name] + found[name] for name in counts}
    scores = {}
    for name, (right_predicted, all_predicted, right_gold, all_gold) in counts.items():
        precision = right_predicted / all_predicted if all_predicted else 0.0
        recall = right_gold / all_gold if all_gold else 0.0
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        scores |= {f"{name}_f1": float(f1), f"{name}_precision": float(precision), f"{name}_recall": float(recall)}
    mean = sum(scores[f"{name}_f1"] for name in ("muc", "b_cubed", "ceaf")) / 3
    return {"conll_f1": mean, **scores}


def distinct(clusters: Clusters) -> list[list[Hashable]]:
    """Return clusters without the mentions that an earlier place has, and without empty clusters."""
    seen: set[Hashable] = set()
    kept = []
    for cluster in clusters:
        mentions = [mention for mention in dict.fromkeys(cluster) if mention not in seen]
        seen.update(mentions)
        kept.append(mentions)
    return [cluster for cluster in kept if cluster]


def cluster_numbers(clusters: Clusters) -> dict[Hashable, int]:
    """Return the number of each mention's cluster."""
    return {mention: number for number, cluster in enumerate(clusters) for mention in cluster}


def muc_counts(clusters: Clusters, others: Clusters) -> tuple[int, int]:
    """Return the links of clusters that the others have too, and all their links (Vilain et al. 1995).

    A cluster has as many links as mentions after its first; one that the others split into n parts lacks n - 1 of them.
    """
    other, right, links = cluster_numbers(others), 0, 0
    for cluster in clusters:
        parts = {other.get(mention, mention_alone) for mention_alone, mention in enumerate(cluster, start=len(others))}
        right += len(cluster) - len(parts)
        links += len(cluster) - 1
    return right, links


def b_cubed_counts(clusters: Clusters, others: Clusters) -> tuple[float, int]:
    """Return the sum over mentions of the share of their cluster that is with them in the others, and the number of
    mentions (Bagga and Baldwin 1998)."""
    other = cluster_numbers(others)
    total = 0.0
    for cluster in clusters:
        together = Counter(other[mention] for mention in cluster if mention in other)
        total += sum(count**2 for count in together.values()) / len(cluster)
    return total, sum(map(len, clusters))


def ceaf_counts(gold: Clusters, predicted: Clusters) -> list[float]:
    """Return the similarity of the best one-to-one alignment of clusters, and the number of clusters, for both sides
    (Luo 2005, with the similarity phi4)."""
    rows, columns = cluster_numbers(gold), cluster_numbers(predicted)
    common = Counter((rows[mention], columns[mention]) for mention in rows.keys() & columns.keys())
    similarity = {pair: 2 * count / (len(gold[pair[0]]) + len(predicted[pair[1]])) for pair, count in common.items()}
    total = sum(best_alignment(block) for block in connected_blocks(similarity))
    return [total, len(predicted), total, len(gold)]


def mention_counts(gold: Clusters, predicted: Clusters) -> list[int]:
    sides = [cluster_numbers(clusters).keys() for clusters in (gold, predicted)]
    right = len(sides[0] & sides[1])
    return [right, len(sides[1]), right, len(sides[0])]


def connected_blocks(similarity: Mapping[tuple[int, int], float]) -> Iterable[np.ndarray]:
    """Yield the matrices of rows and columns that are connected by entries, so that each can be aligned by itself."""
    columns_of: dict[int, list[int]] = {}
    rows_of: dict[int, list[int]] = {}
    for row, column in similarity:
        columns_of.setdefault(row, []).append(column)
        rows_of.setdefault(column, []).append(row)
    seen: set[int] = set()
    for first in columns_of:
        rows, columns, waiting = {}, {}, [first] if first not in seen else []
        while waiting:
            row = waiting.pop()
            if row not in seen:
                seen.add(row)
                rows[row] = len(rows)
                for column in columns_of[row]:
                    columns.setdefault(column, len(columns))
                    waiting += rows_of[column]
        if rows:
            block = np.zeros((len(rows), len(columns)))
            for row, place in rows.items():
                for column in columns_of[row]:
                    block[place, columns[column]] = similarity[row, column]
            yield block


def best_alignment(similarity: np.ndarray) -> float:
    """Return the largest sum of entries of which no two share a row or a column.

    Each row in turn gets a column along the cheapest path of exchanges, under prices of rows and columns that make all
    costs non-negative (Kuhn 1955, Munkres 1957).

    Args:
        similarity (`(N, M)`): Numbers of at least 0.
    """
    costs = -similarity if similarity.shape[0] <= similarity.shape[1] else -similarity.T
    rows, columns = costs.shape
    row_prices, column_prices = np.zeros(rows), np.zeros(columns + 1)
    owner = np.full(columns + 1, -1)  # row of each column; the last column is where a path begins
    for row in range(rows):
        column, owner[-1] = columns, row
        slack, previous = np.full(columns, np.inf), np.full(columns + 1, columns)
        reached = np.zeros(columns + 1, dtype=bool)
        while owner[column] >= 0:
            reached[column] = True
            at = owner[column]
            reduced = costs[at] - row_prices[at] - column_prices[:-1]
            closer = (reduced < slack) & ~reached[:-1]
            slack[closer], previous[:-1][closer] = reduced[closer], column
            open_slack = np.where(reached[:-1], np.inf, slack)
            column = int(open_slack.argmin())
            step = open_slack[column]
            row_prices[owner[reached]] += step
            column_prices[reached] -= step
            slack[~reached[:-1]] -= step
        while column != columns:
            owner[column], column = owner[previous[column]], int(previous[column])
    return -sum(float(costs[owner[column], column]) for column in range(columns) if owner[column] >= 0)


def gap_scores(gold: Sequence[tuple[str, bool, bool]], predicted: Sequence[tuple[bool, bool]]) -> dict[str, float]:
    """Return the metrics of GAP (Webster et al. 2018, section 4.1): F1 of all pairs of a pronoun and a name, of those
    of masculine and of feminine pronouns, and `gap_bias`, the latter divided by the former (if both are above 0).

    Args:
        gold: Pronoun of each example, and whether it means the first and the second name.
        predicted: The same two decisions, as predicted.

    Raises:
        `ValueError`: for a pronoun that GAP does not have.
    """
    right, claimed, true = Counter(), Counter(), Counter()
    for (pronoun, *answers), guesses in zip(gold, predicted, strict=True):
        if pronoun.lower() not in PRONOUNS:
            raise ValueError(f"the pronoun {pronoun!r} is none of GAP's: {', '.join(PRONOUNS)}")
        for group in ("all", PRONOUNS[pronoun.lower()]):
            right[group] += sum(answer and guess for answer, guess in zip(answers, guesses))
            claimed[group] += sum(guesses)
            true[group] += sum(answers)
    f1 = {group: rates(right[group], claimed[group], true[group]) for group in ("all", "masculine", "feminine")}
    scores = dict(zip(("gap_precision", "gap_recall", "gap_f1"), f1["all"]))
    scores |= {f"gap_{gender}_f1": f1[gender][2] for gender in ("masculine", "feminine")}
    if all(scores[f"gap_{gender}_f1"] for gender in ("masculine", "feminine")):
        scores["gap_bias"] = scores["gap_feminine_f1"] / scores["gap_masculine_f1"]
    return scores
