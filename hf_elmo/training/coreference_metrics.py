"""Metrics of coreference: MUC, B-cubed and CEAF with their mean, and the F1 of GAP.

Clusters are compared as the official scorer of the CoNLL shared tasks does, version 8.01 (Pradhan et al. 2014): a
mention is right only if both of its ends are, mentions of one side only are kept, and numerators and denominators are
summed up over documents. Singletons count as the data have them: in B-cubed and CEAF as clusters, in MUC, which counts
links, not at all. A mention that a prediction has in several clusters counts in the first.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np

from .metrics import rates_of_sets

Clusters = Sequence[Sequence[Hashable]]

METRICS = ("muc", "b_cubed", "ceaf", "mention")
PRONOUNS = {"she": "feminine", "her": "feminine", "hers": "feminine"}
PRONOUNS |= {"he": "masculine", "his": "masculine", "him": "masculine"}


def coreference_scores(gold: Sequence[Clusters], predicted: Sequence[Clusters]) -> dict[str, float]:
    """Return the official metrics over all documents, as fractions.

    `conll_f1` is the mean of `muc_f1`, `b_cubed_f1` and `ceaf_f1` (with the similarity phi4). Each has a `_precision`
    and a `_recall`; so has `mention_f1`, that of the mentions themselves. A rate of nothing is 0.

    Args:
        gold, predicted: The clusters of each document. Any values may stand for mentions, equal ones for the same.
    """
    counts = np.zeros((4, 4))  # of each metric: numerator and denominator of precision, then those of recall
    for clusters in zip(gold, predicted, strict=True):
        right, guess = map(distinct, clusters)
        mentions = [set().union(*side) for side in (right, guess)]
        similarity, common = ceaf_similarity(right, guess), len(mentions[0] & mentions[1])
        counts += [
            [*muc_counts(guess, right), *muc_counts(right, guess)],
            [*b_cubed_counts(guess, right), *b_cubed_counts(right, guess)],
            [similarity, len(guess), similarity, len(right)],
            [common, len(mentions[1]), common, len(mentions[0])],
        ]
    scores = {}
    for name, (right_predicted, all_predicted, right_gold, all_gold) in zip(METRICS, counts.tolist()):
        precision = right_predicted / all_predicted if all_predicted else 0.0
        recall = right_gold / all_gold if all_gold else 0.0
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        scores |= {f"{name}_f1": f1, f"{name}_precision": precision, f"{name}_recall": recall}
    return {"conll_f1": sum(scores[f"{name}_f1"] for name in METRICS[:3]) / 3, **scores}


def distinct(clusters: Clusters) -> list[list[Hashable]]:
    """Return clusters without the mentions that an earlier place has, and without empty clusters."""
    seen: set[Hashable] = set()
    kept = []
    for cluster in clusters:
        kept.append([mention for mention in dict.fromkeys(cluster) if mention not in seen])
        seen.update(cluster)
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


def ceaf_similarity(gold: Clusters, predicted: Clusters) -> float:
    """Return the similarity of the best one-to-one alignment of clusters (Luo 2005, with the similarity phi4)."""
    rows, columns = cluster_numbers(gold), cluster_numbers(predicted)
    common = Counter((rows[mention], columns[mention]) for mention in rows.keys() & columns.keys())
    similarity = {pair: 2 * count / (len(gold[pair[0]]) + len(predicted[pair[1]])) for pair, count in common.items()}
    return sum(best_alignment(block) for block in connected_blocks(similarity))


def connected_blocks(similarity: Mapping[tuple[int, int], float]) -> Iterable[np.ndarray]:
    """Yield the matrices of rows and columns that are connected by entries, so that each can be aligned by itself."""
    block_of: dict[tuple[int, int], list] = {}  # the entries that are connected with a row (0, n) or a column (1, n)
    for entry in similarity:
        parts = {id(part): part for end in enumerate(entry) if (part := block_of.get(end))}
        block = [entry, *(other for part in parts.values() for other in part)]
        block_of |= {end: block for other in block for end in enumerate(other)}
    for block in {id(block): block for block in block_of.values()}.values():
        rows, columns = ({number: place for place, number in enumerate(dict.fromkeys(side))} for side in zip(*block))
        matrix = np.zeros((len(rows), len(columns)))
        for row, column in block:
            matrix[rows[row], columns[column]] = similarity[row, column]
        yield matrix


def best_alignment(similarity: np.ndarray) -> float:
    """Return the largest sum of entries of which no two share a row or a column.

    Each row in turn gets a column along the cheapest path of exchanges, under prices of rows and columns that make all
    costs non-negative (Kuhn 1955, Munkres 1957). Entries are at least 0.
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
    sides: dict[str, tuple[list[set], list[set]]] = {group: ([], []) for group in ("all", "masculine", "feminine")}
    for (pronoun, *answers), guesses in zip(gold, predicted, strict=True):
        if pronoun.lower() not in PRONOUNS:
            raise ValueError(f"the pronoun {pronoun!r} is none of GAP's: {', '.join(PRONOUNS)}")
        for group in ("all", PRONOUNS[pronoun.lower()]):
            for side, decisions in zip(sides[group], (answers, guesses)):
                side.append({name for name, is_meant in enumerate(decisions) if is_meant})
    found = {group: rates_of_sets(pair)[0] for group, pair in sides.items()}
    scores = {f"gap_{name}": value for name, value in found["all"]._asdict().items()}
    scores |= {f"gap_{gender}_f1": found[gender].f1 for gender in ("masculine", "feminine")}
    if all(scores[f"gap_{gender}_f1"] for gender in ("masculine", "feminine")):
        scores["gap_bias"] = scores["gap_feminine_f1"] / scores["gap_masculine_f1"]
    return scores
