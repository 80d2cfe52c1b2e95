"""Metrics of semantic roles, counted as `srl-eval.pl` of CoNLL-2005 does (Carreras and Màrquez 2005).

An argument is right if the reference has one of the same predicate with the same role and the same words. Its pieces
count together: `C-ARG1` continues the last `ARG1` before it, and without one is itself an `ARG1`. References such as
`R-ARG1` are roles of their own. The predicate, `V`, and what continues it, `C-V`, do not count.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..model.label_schemes_elmo import spans
from .metrics import rates

PREDICATE, CONTINUED = "V", "C-"


class Argument(NamedTuple):
    """An argument of a predicate: its role and its pieces, each the first word and the word after the last."""

    role: str
    pieces: tuple[tuple[int, int], ...]


def arguments_of(labels: Sequence[str]) -> list[Argument]:
    """Return the arguments that labels mark, in any label scheme, the predicate itself as one with the role `V`."""
    roles: list[str] = []
    pieces: list[list[tuple[int, int]]] = []
    latest: dict[str, int] = {}
    for span in spans(labels):
        role = span.type.removeprefix(CONTINUED)
        if role == span.type or role not in latest:
            latest[role] = len(roles)
            roles.append(role)
            pieces.append([])
        pieces[latest[role]].append((span.start, span.end))
    return [Argument(role, tuple(parts)) for role, parts in zip(roles, pieces)]


def role_scores(gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> dict[str, float]:
    """Return `precision`, `recall` and `f1` over all arguments, and `f1_<role>`.

    `perfect_predicates` is the fraction of predicates of which all arguments are right and none is too many. `piece_f1`
    counts each piece by itself, `C-ARG1` as a role of its own, as scorers of labeled spans do; it gives credit for one
    piece of a discontinuous argument, and counts each piece that is wrong.

    Args:
        gold, predicted: Labels of the words, for each predicate.
    """
    right, in_gold, in_predicted, pieces = Counter(), Counter(), Counter(), Counter()
    perfect = predicates = 0
    for labels, guesses in zip(gold, predicted, strict=True):
        expected, found = ({one for one in arguments_of(side) if one.role != PREDICATE} for side in (labels, guesses))
        for counter, arguments in ((right, expected & found), (in_gold, expected), (in_predicted, found)):
            counter.update(argument.role for argument in arguments)
        perfect += expected == found
        predicates += 1
        sides = [
            {span for span in spans(side) if span.type.removeprefix(CONTINUED) != PREDICATE}
            for side in (labels, guesses)
        ]
        pieces.update(right=len(sides[0] & sides[1]), gold=len(sides[0]), predicted=len(sides[1]))
    precision, recall, f1 = rates(right.total(), in_predicted.total(), in_gold.total())
    scores = {"precision": precision, "recall": recall, "f1": f1}
    scores["perfect_predicates"] = perfect / predicates if predicates else 0.0
    scores["piece_f1"] = rates(pieces["right"], pieces["predicted"], pieces["gold"])[2]
    for role in sorted(in_gold | in_predicted):
        scores[f"f1_{role}"] = rates(right[role], in_predicted[role], in_gold[role])[2]
    return scores
