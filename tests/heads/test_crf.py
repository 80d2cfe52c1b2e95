"""The conditional random field against the enumeration of all sequences, which defines it."""

import itertools
import math
import re

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from hf_elmo.model.crf_elmo import LOWEST, LinearChainCrf, max_marginals
from hf_elmo.model.label_schemes_elmo import forbidden_transitions

# Labels of a scheme, and what its sequences look like. One type has no label to begin with.
SCHEMES = {
    "none": (["DET", "NOUN", "B", "VERB"], r"(\w+ )*"),
    "BIO": (["O", "B-X", "I-X", "I-Y"], r"(O |B-(\w) (I-\2 )*)*"),
    "BIOUL": (["U-X", "B-X", "O", "L-X", "I-X"], r"(O |U-\w |B-(\w) (I-\2 )*L-\2 )*"),
}
MASKS = {
    "whole": [[1, 1, 1, 1], [1, 1, 1, 1]],
    "padded on the right": [[1, 1, 1, 1], [1, 1, 0, 0]],
    "padded on the left": [[0, 0, 1, 1], [1, 1, 1, 1]],
    "with gaps": [[0, 1, 0, 1], [1, 0, 0, 1]],
    "of one word": [[0, 0, 1, 0], [1, 0, 0, 0]],
    "empty": [[0, 0, 0, 0], [0, 1, 1, 1]],
}
all_masks = pytest.mark.parametrize("mask", [torch.tensor(mask).bool() for mask in MASKS.values()], ids=list(MASKS))
all_schemes = pytest.mark.parametrize("scheme", SCHEMES)


def marginals(crf, scores, mask, names):
    return max_marginals(scores, mask, forbidden_transitions(names), crf.weights())


def make_case(num_labels, mask, seed=0, dtype=torch.float64, whole_numbers=False):
    """A chain with weights that matter, and scores that are not even numbers outside the mask."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape):
        if whole_numbers:
            return torch.randint(0, 2, shape, generator=generator).to(dtype)
        return 2 * torch.randn(shape, generator=generator, dtype=dtype)

    crf = LinearChainCrf(num_labels).to(dtype)
    with torch.no_grad():
        for weight in crf.parameters():
            weight.copy_(numbers(*weight.shape))
    return crf, numbers(*mask.shape, num_labels).masked_fill(~mask[..., None], torch.nan)


def sequences(crf, scores, mask, scheme=None):
    """All sequences of labels that a row's words may have, each with its score."""
    names, pattern = SCHEMES[scheme] if scheme else (None, None)
    transitions, start, end = crf.transitions.tolist(), crf.start.tolist(), crf.end.tolist()
    scores = scores[mask].tolist()
    for labels in itertools.product(range(len(start)), repeat=len(scores)):
        if not scheme or re.fullmatch(pattern, "".join(f"{names[label]} " for label in labels)):
            total = sum(row[label] for row, label in zip(scores, labels))
            total += sum(transitions[a][b] for a, b in itertools.pairwise(labels))
            yield labels, total + (start[labels[0]] + end[labels[-1]] if labels else 0)


def log_sum(totals):
    return math.log(sum(map(math.exp, totals)))


@all_masks
def test_log_partition_is_that_of_all_sequences(mask):
    crf, scores = make_case(4, mask)
    expected = [log_sum(total for _, total in sequences(crf, row, words)) for row, words in zip(scores, mask)]
    assert_close(crf.log_partition(scores, mask), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


@all_masks
@pytest.mark.parametrize("unknown", [0.0, 0.4, 1.0])
def test_likelihood_is_summed_over_labels_that_are_not_known(mask, unknown):
    crf, scores = make_case(4, mask)
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 4, mask.shape, generator=generator)
    labels[torch.rand(mask.shape, generator=generator) < unknown] = -100
    expected = []
    for row, words, given in zip(scores, mask, labels):
        given = given[words].tolist()
        every = [*sequences(crf, row, words)]
        fitting = [total for path, total in every if all(a in (b, -100) for a, b in zip(given, path))]
        expected.append(log_sum(total for _, total in every) - log_sum(fitting))
    # What is labelled outside of the chain says nothing of it.
    assert_close(crf(scores, labels, mask), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


@all_masks
@all_schemes
def test_logits_are_max_marginals_and_their_largest_the_best_sequence(mask, scheme):
    names = SCHEMES[scheme][0]
    for seed in range(5):
        crf, scores = make_case(len(names), mask, seed)
        logits = marginals(crf, scores, mask, names)
        expected = torch.zeros_like(logits)
        for row, words, wanted in zip(scores, mask, expected):
            allowed = [*sequences(crf, row, words, scheme)]
            best, best_total = max(allowed, key=lambda pair: pair[1])
            for word, place in enumerate(words.nonzero()[:, 0]):
                for label in range(len(names)):
                    through = max((total for path, total in allowed if path[word] == label), default=-math.inf)
                    wanted[place, label] = max(through - best_total, LOWEST)
        assert_close(logits, expected, rtol=0, atol=1e-11)
        for row, words, given in zip(scores, mask, logits):
            best, _ = max(sequences(crf, row, words, scheme), key=lambda pair: pair[1])
            assert given[words].argmax(-1).tolist() == list(best)


@all_schemes
def test_among_equally_good_sequences_one_is_chosen(scheme):
    """Label by label, the best could be mixed of several sequences that are no sequence together."""
    names = SCHEMES[scheme][0]
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 1, 0, 1]]).bool()
    tied = 0
    for seed in range(20):
        crf, scores = make_case(len(names), mask, seed, torch.float32, whole_numbers=True)
        logits = marginals(crf, scores, mask, names).detach()
        probabilities = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(-1, keepdims=True)
        for row, words, given, chances in zip(scores, mask, logits, probabilities):
            totals = dict(sequences(crf, row, words, scheme))
            path = tuple(given[words].argmax(-1).tolist())
            assert totals[path] == max(totals.values())
            assert tuple(chances[words.numpy()].argmax(-1)) == path  # as pipelines see it
            tied += list(totals.values()).count(totals[path]) > 1
    assert tied > 10


@pytest.mark.slow
@all_masks
def test_gradients_are_finite_differences(mask):
    labels = torch.tensor([[0, 3, -100, 1], [2, 2, 1, -100]])

    def check(function):
        crf, scores = make_case(4, mask)
        inputs = scores.nan_to_num().requires_grad_(), *crf.parameters()
        assert torch.autograd.gradcheck(lambda scores, *_: function(crf, scores), inputs)

    check(lambda crf, scores: crf.log_partition(scores, mask))
    check(lambda crf, scores: crf(scores, labels, mask))
    check(lambda crf, scores: marginals(crf, scores, mask, SCHEMES["BIO"][0]))


def test_nan_outside_of_the_chain_reaches_no_gradient():
    mask = torch.tensor(MASKS["with gaps"]).bool()
    crf, scores = make_case(4, mask)
    scores.requires_grad_()
    loss = crf(scores, torch.ones(2, 4, dtype=torch.long), mask).sum()
    (loss + marginals(crf, scores, mask, SCHEMES["BIO"][0]).sum()).backward()
    assert not scores.grad[~mask].any()
    assert all(weight.grad.isfinite().all() for weight in (scores, *crf.parameters()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_only_that_of_the_scores(dtype):
    names, mask = SCHEMES["BIOUL"][0], torch.ones(3, 40, dtype=torch.bool)
    crf, scores = make_case(5, mask, dtype=dtype)
    labels = torch.zeros(3, 40, dtype=torch.long)
    actual = crf(scores, labels, mask), marginals(crf, scores, mask, names)
    crf = crf.float()
    expected = crf(scores.float(), labels, mask), marginals(crf, scores.float(), mask, names)
    assert_close(actual, expected, rtol=0, atol=0)
    with torch.autocast("cpu", dtype):
        assert_close((crf(scores, labels, mask), marginals(crf, scores, mask, names)), expected, rtol=0, atol=0)


@pytest.mark.slow
def test_long_sentences_are_exact_in_single_precision():
    names, mask = SCHEMES["BIO"][0], torch.ones(2, 2000, dtype=torch.bool)
    crf, scores = make_case(4, mask)
    best = marginals(crf, scores, mask, names).argmax(-1)
    scores = scores + 30 * torch.nn.functional.one_hot(best, 4)  # a model that is sure of itself
    exact = crf(scores, best, mask)
    assert_close(crf.float()(scores.float(), best, mask).double(), exact, rtol=0, atol=1e-4)
    assert torch.equal(marginals(crf, scores.float(), mask, names).argmax(-1), best)


def test_empty_batches_and_sentences():
    crf = LinearChainCrf(3)
    crf.reset_parameters()
    for shape in ((0, 5), (2, 0), (0, 0)):
        scores, mask = torch.zeros(*shape, 3), torch.ones(shape, dtype=torch.bool)
        assert marginals(crf, scores, mask, ["O", "B-X", "I-X"]).shape == (*shape, 3)
        assert not crf(scores, torch.zeros(shape, dtype=torch.long), mask).any()


@pytest.mark.parametrize("scheme", ["BIO", "BIOUL"])
def test_labels_that_break_the_scheme_have_an_ordinary_loss(scheme):
    """Real data have them. What the scheme forbids is a matter of prediction."""
    names, mask = SCHEMES[scheme][0], torch.ones(1, 3, dtype=torch.bool)
    crf, scores = make_case(len(names), mask)
    broken = torch.full((1, 3), names.index("I-X"))
    loss = crf(scores, broken, mask)
    loss.sum().backward()
    totals = dict(sequences(crf, scores[0], mask[0]))
    assert loss.item() == pytest.approx(log_sum(totals.values()) - totals[tuple(broken[0].tolist())])
    assert all(weight.grad.isfinite().all() for weight in crf.parameters())


def allowed_pairs(names):
    forbidden, at_start, at_end = (part.tolist() for part in forbidden_transitions(names))
    pairs = {(a, b) for i, a in enumerate(names) for j, b in enumerate(names) if not forbidden[i][j]}
    starts = {name for name, is_forbidden in zip(names, at_start) if not is_forbidden}
    return pairs, starts, {name for name, is_forbidden in zip(names, at_end) if not is_forbidden}


@pytest.mark.parametrize("letters", ["BILU", "BIES", "BMES"])
def test_other_letters_of_the_same_scheme(letters):
    def renamed(name):
        return name.translate(str.maketrans("BILU", letters))

    names = ["O", *(f"{position}-{kind}" for kind in ("PER", "LOC-2") for position in "BILU")]
    pairs, starts, ends = allowed_pairs(names)
    assert allowed_pairs([*map(renamed, names)]) == (
        {(renamed(a), renamed(b)) for a, b in pairs},
        {*map(renamed, starts)},
        {*map(renamed, ends)},
    )
    assert starts == {"O", "B-PER", "U-PER", "B-LOC-2", "U-LOC-2"}
    assert ends == {"O", "L-PER", "U-PER", "L-LOC-2", "U-LOC-2"}
    assert {b for a, b in pairs if a == "B-PER"} == {b for a, b in pairs if a == "I-PER"} == {"I-PER", "L-PER"}
    assert {b for a, b in pairs if a == "L-PER"} == {b for a, b in pairs if a == "O"} == starts


def test_entities_without_types():
    pairs, starts, ends = allowed_pairs(["B", "I", "O"])
    assert (len(pairs), starts, ends) == (8, {"B", "O"}, {"B", "I", "O"})
    pairs, starts, ends = allowed_pairs([*"BMES"])  # as words are cut in Chinese
    assert {b for a, b in pairs if a == "S"} == {"B", "S"} == starts
    assert ends == {"E", "S"}


@pytest.mark.parametrize(
    "names",
    [["O", "I-PER", "I-LOC"], ["B-PER", "I-PER", "NOUN"], ["LABEL_0", "LABEL_1"], ["O"], ["b-per", "i-per", "x"], []],
)
def test_names_of_no_scheme_forbid_nothing(names):
    pairs, starts, ends = allowed_pairs(names)
    assert (len(pairs), starts, ends) == (len(names) ** 2, {*names}, {*names})


def test_sequences_that_differ_little_are_those_of_srl_in_allennlp():
    """Recorded from AllenNLP 2.10.1 (`viterbi_decode` with `allowed_start_transitions`), whose sums round. Neither
    exact sums nor the first of equal labels give these."""
    recorded = [1, 2, 4, 1, 2, 1, 1, 2, 1, 0, 4, 3, 4, 1, 2, 4], [1, 2, 4, 1, 2, 1, 1, 2]
    word, label = torch.arange(16)[:, None], torch.arange(5)
    weights = 400 + (7 * word * word + 3 * label * label * word + 5 * word * label + label) % 13
    probabilities = weights / weights.sum(dim=1, keepdim=True)
    shorter = torch.cat([torch.full((8, 5), torch.nan), probabilities[:8]])
    mask = torch.ones(2, 16, dtype=torch.bool)
    mask[1, :8] = False
    forbidden = forbidden_transitions(["O", "B-A", "I-A", "I-B", "B-B"])
    best = max_marginals(torch.stack([probabilities, shorter]), mask, forbidden, as_srl=True).argmax(-1)
    assert [row[places].tolist() for row, places in zip(best, mask)] == [*recorded]
