"""Metrics of coreference against cases worked by hand, the test cases of the official scorer, and brute force."""

import itertools
import random

import numpy as np
import pytest

from hf_elmo.training.coreference_metrics import best_alignment, coreference_scores, gap_scores

KEY = "a bc def".split()  # a letter is a mention, a word a cluster
# Responses of the scorer's own test cases 1 to 4 and 7 to 9, with recall and precision of CEAF as its README works out
OFFICIAL_CEAF = {
    "a bc def": (1, 1),
    "a de": (1.8 / 3, 1.8 / 2),
    "a bcx defy z": ((1 + 4 / 5 + 6 / 7) / 3, (1 + 4 / 5 + 6 / 7) / 4),
    "a bcx dy z": (2.2 / 3, 2.2 / 4),
    "a bcxb dy z": (2.2 / 3, 2.2 / 4),  # a mention twice in a cluster
    "a bcx dy bz": (2.2 / 3, 2.2 / 4),  # and in two
    "a bcx dy bbbbbbbbbbz": (2.2 / 3, 2.2 / 4),
}


@pytest.mark.parametrize("response", OFFICIAL_CEAF)
def test_ceaf_of_the_official_test_cases(response):
    scores = coreference_scores([KEY], [response.split()])
    assert (scores["ceaf_recall"], scores["ceaf_precision"]) == pytest.approx(OFFICIAL_CEAF[response])


def test_every_rule_by_hand():
    """Key {a} {bc} {def}, response {a} {bcx} {dy} {z}: missing mentions e and f, mentions x, y and z of no key."""
    scores = coreference_scores([KEY], ["a bcx dy z".split()])
    # MUC: {bc} keeps its link, {def} falls into d, e, f: 1 of 3. In the response bc is kept, x and y are alone: 1 of 3.
    assert (scores["muc_recall"], scores["muc_precision"]) == pytest.approx((1 / 3, 1 / 3))
    # B-cubed recall: a 1, b and c 1 each, d 1/3, of 6; precision: a 1, b and c 2/3 each, d 1/2, of 7.
    assert scores["b_cubed_recall"] == pytest.approx((1 + 2 + 1 / 3) / 6)
    assert scores["b_cubed_precision"] == pytest.approx((1 + 4 / 3 + 1 / 2) / 7)
    assert (scores["mention_recall"], scores["mention_precision"]) == pytest.approx((4 / 6, 4 / 7))
    assert scores["ceaf_f1"] == pytest.approx(4.4 / 7)
    mean = (scores["muc_f1"] + scores["b_cubed_f1"] + scores["ceaf_f1"]) / 3
    assert scores["conll_f1"] == pytest.approx(mean)


def test_the_published_example_of_vilain_and_luo():
    """Key {12345} {67} {89ABC}: one response merges the second and third cluster, the other the first and third."""
    key = "12345 67 89ABC".split()
    second = coreference_scores([key], ["12345 6789ABC".split()])
    first = coreference_scores([key], ["1234589ABC 67".split()])
    assert second["muc_f1"] == first["muc_f1"] == pytest.approx(2 * 0.9 / 1.9)
    assert (second["b_cubed_precision"], first["b_cubed_precision"]) == pytest.approx((16 / 21, 7 / 12))
    assert second["b_cubed_recall"] == first["b_cubed_recall"] == 1
    assert second["ceaf_f1"] == pytest.approx(2 * (1 + 10 / 12) / 5)


def test_singletons_count_as_clusters_but_have_no_links():
    with_them = coreference_scores([["ab", "c", "d"]], [["ab", "c"]])
    assert (with_them["muc_f1"], with_them["b_cubed_recall"], with_them["ceaf_recall"]) == pytest.approx(
        (1, 0.75, 2 / 3)
    )
    only = coreference_scores([["a", "b"]], [["a", "b"]])
    assert (only["muc_f1"], only["b_cubed_f1"], only["ceaf_f1"]) == (0, 1, 1)


def test_counts_are_summed_up_over_documents():
    """The same mentions of two documents are different ones, and long documents weigh more."""
    scores = coreference_scores([["ab"], ["abcd", "ef"]], [["ab"], ["abc"]])
    assert (scores["muc_recall"], scores["muc_precision"]) == (3 / 5, 1)
    assert scores["b_cubed_recall"] == pytest.approx((2 + 3 * 3 / 4) / 8)
    assert scores["ceaf_recall"] == pytest.approx((1 + 6 / 7) / 3)


@pytest.mark.parametrize(("gold", "predicted"), [([], []), (["ab"], []), ([], ["ab"])])
def test_a_rate_of_nothing_is_zero(gold, predicted):
    assert set(coreference_scores([gold], [predicted]).values()) == {0.0}


def partition(draw, mentions):
    clusters = {}
    for mention in mentions:
        if draw.random() < 0.8:
            clusters.setdefault(draw.randrange(4), []).append(mention)
    return list(clusters.values())


def by_definition(gold, predicted):
    """MUC by components of links, B-cubed by pairs of mentions, CEAF by all permutations."""

    def of(mention, side):
        return next((set(cluster) for cluster in side if mention in cluster), set())

    def muc(side, other):
        parts = [len({min(of(m, other) & set(cluster), default=m) for m in cluster}) for cluster in side]
        return sum(len(c) - p for c, p in zip(side, parts)), sum(len(c) - 1 for c in side)

    def b_cubed(side, other):
        return sum(len(set(c) & of(m, other)) / len(c) for c in side for m in c), sum(map(len, side))

    short, long = sorted((gold, predicted), key=len)
    phi = [[2 * len({*a} & {*b}) / (len(a) + len(b)) for b in long] for a in short]
    best = max(sum(phi[n][m] for n, m in enumerate(p)) for p in itertools.permutations(range(len(long)), len(short)))
    ceaf = (best, len(predicted), best, len(gold))
    return [
        (*muc(predicted, gold), *muc(gold, predicted)),
        (*b_cubed(predicted, gold), *b_cubed(gold, predicted)),
        ceaf,
    ]


def test_random_partitions_against_the_definitions():
    draw = random.Random(0)
    for _ in range(150):
        gold, predicted = partition(draw, range(9)), partition(draw, range(2, 11))
        if gold and predicted:
            found = coreference_scores([gold], [predicted])
            for name, counts in zip(("muc", "b_cubed", "ceaf"), by_definition(gold, predicted)):
                precision, recall = (a / b if b else 0 for a, b in (counts[:2], counts[2:]))
                assert (found[f"{name}_precision"], found[f"{name}_recall"]) == pytest.approx((precision, recall))


def test_the_best_alignment_is_scipys():
    optimize = pytest.importorskip("scipy.optimize")
    draw = np.random.default_rng(0)
    for rows, columns in ((1, 1), (3, 5), (5, 3), (7, 7), (40, 60)):
        for density in (0.2, 1):
            similarity = draw.random((rows, columns)) * (draw.random((rows, columns)) < density)
            assignment = optimize.linear_sum_assignment(similarity, maximize=True)
            assert best_alignment(similarity) == pytest.approx(similarity[assignment].sum())


def test_gap_by_hand():
    gold = [("She", True, False), ("her", False, True), ("his", True, False), ("He", False, False)]
    scores = gap_scores(gold, [(True, False), (False, False), (True, True), (False, True)])
    assert (scores["gap_precision"], scores["gap_recall"]) == (2 / 4, 2 / 3)
    assert scores["gap_feminine_f1"] == pytest.approx(2 / 3)  # one right, one missed
    assert scores["gap_masculine_f1"] == pytest.approx(1 / 2)  # one right, two too many
    assert scores["gap_bias"] == pytest.approx(4 / 3)
    assert "gap_bias" not in gap_scores(gold, [(False, False)] * 4)
    with pytest.raises(ValueError, match="the pronoun 'they' is none of GAP's: she, her"):
        gap_scores([("they", True, False)], [(True, False)])
