# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""How well each layer tells senses of words apart: word sense disambiguation and words in context.

Disambiguation (Peters et al. 2018, section 5.3): the vector of a sense is the mean of the vectors of its annotated
words in the training text, and a word has that sense of its lemma whose vector is nearest. With `--neighbors K`, the K
nearest annotated words of the lemma vote instead, each with its cosine similarity (as with context2vec, Melamud et al.
2016), so that frequent senses have more votes. A lemma without training examples has no answer. Beside it, the baseline
of each lemma's most frequent sense in the training text.

    training   a line per sentence: id, words, annotations `start:end:lemma%key` separated by blanks, as SemCor's
    test       XML of Raganato et al. 2017 with `instance` elements, and a key file: id and one or more sense keys

Words in context (WiC; Pilehvar and Camacho-Collados 2019): whether a word has one meaning in two sentences, by a
threshold on the cosine similarity of its vectors, the best one on the training pairs.

    pairs      word, part of speech, `i-j`, sentence 1, sentence 2, separated by tabs; beside `x.data.txt`, the file
               `x.gold.txt` with T or F a line
"""

import gzip
import xml.etree.ElementTree as ElementTree
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..plots import bars, panels
from ..tables import Table
from ..text_files import Place, numbered_lines
from .corpora import Encoder, encoder_of, normalized
from .report import Findings

# Parts of speech of test data, by the number that follows `%` in a WordNet sense key; 5 is an adjective satellite
PARTS_OF_SPEECH = {"NOUN": "1", "VERB": "2", "ADJ": "3", "ADV": "4"}
SAME_PART = {"5": "3"}
ROUNDING = 1e-5  # difference of cosine similarities that is nothing but rounding


class Instance(NamedTuple):
    """A word or several, `start` to `end`, of a sentence, with its lemma and part of speech, and the right senses."""

    sentence: int
    start: int
    end: int
    lemma: str
    senses: list[str]
    source: str = ""  # name of the test set


# ---- Word sense disambiguation


def inspect_wsd(options: Namespace) -> Findings:
    """Return precision, recall and F1 of the nearest sense in each layer, or of the vote of the nearest words."""
    if options.train is None or options.test is None:
        raise ValueError(
            "wsd needs annotated texts: --train semcor.tsv --test ALL.data.xml.gz [--gold ALL.gold.key.txt]"
        )
    encoder = encoder_of(options, "wsd")
    sentences, instances = read_semcor(options.train, options.max_sentences)
    test_sentences, tests = read_instances(options.test, options.gold or gold_file(options.test))
    # Other lemmas are not asked for, but their vectors would take memory.
    examples = {instance.lemma: Examples() for instance in tests}
    wanted = [instance for instance in instances if instance.lemma in examples]
    for instance, vectors in zip(wanted, vectors_of_instances(encoder, sentences, wanted)):
        examples[instance.lemma].add(vectors, instance.senses, keep=options.neighbors is not None)
    right = np.zeros((len(tests), 1 + len(encoder.layers)), dtype=bool)
    answered = np.array([len(examples[instance.lemma].counts) > 0 for instance in tests])
    for number, (instance, vectors) in enumerate(zip(tests, vectors_of_instances(encoder, test_sentences, tests))):
        if answered[number]:
            known = examples[instance.lemma]
            best = known.scores(vectors, options.neighbors).argmax(axis=1)
            choices = [known.counts.most_common(1)[0][0], *(known.senses[place] for place in best)]
            right[number] = [choice in instance.senses for choice in choices]
    names = ["most frequent sense", *encoder.layers]
    rows: list[list[Any]] = [[name, *values] for name, values in zip(names, measures(right, answered))]
    sets = list(dict.fromkeys(instance.source for instance in tests))
    sources = np.array([instance.source for instance in tests])
    by_set = {one: measures(right[sources == one], answered[sources == one]) for one in sets} if len(sets) > 1 else {}
    method = "the nearest sense vector"
    if options.neighbors is not None:
        method = f"a vote of the nearest {options.neighbors} annotated words"
    share = f"{answered.mean():.1%} of them with a lemma of the training text"
    title = f"word senses by {method}, in %, {len(tests):,} instances, {share}"
    tables = [Table(title, ["", "precision", "recall", "F1"], rows, digits=1)]
    if by_set:
        scores_of_sets = [[name, *(by_set[one][place][2] for one in sets)] for place, name in enumerate(names)]
        tables.append(Table("F1 in % by test set", ["", *sets], scores_of_sets, digits=1))
    facts: dict[str, Any] = {"instances": len(tests), "answered": int(answered.sum())}
    facts |= {"training_instances": len(instances), "neighbors": options.neighbors}
    facts["scores"] = [
        dict(zip(["layer", "precision", "recall", "f1"], [row[0], *(round(value, 4) for value in row[1:])]))
        | ({"f1_by_set": {one: round(by_set[one][place][2], 4) for one in sets}} if by_set else {})
        for place, row in enumerate(rows)
    ]
    return Findings(
        "wsd",
        tables,
        facts,
        lambda: draw_scores(names, [row[3] for row in rows], "F1 in %", f"Word senses ({len(tests):,} instances)"),
        [f"{len(instances):,} annotated words in {len(sentences):,} sentences of training text."],
    )


def measures(right: np.ndarray, answered: np.ndarray) -> list[tuple[float, float, float]]:
    """Return precision, recall and F1 in % of each way to answer, by the answers that are right, `(N, ways)`."""
    found = []
    for count in right.sum(axis=0).tolist():
        precision, recall = count / max(1, int(answered.sum())), count / len(answered)
        f1 = 2 * precision * recall / (precision + recall) if count else 0.0
        found.append((100 * precision, 100 * recall, 100 * f1))
    return found


class Examples:
    """The annotated words of a lemma: the sum of the vectors of each sense, and the single ones where they are kept."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.sums: dict[str, np.ndarray] = {}
        self.units: list[np.ndarray] = []
        self.senses_of_units: list[list[str]] = []

    def add(self, vectors: np.ndarray, senses: list[str], keep: bool) -> None:
        """Add a word with its vectors, `(layers, 2P)`."""
        for sense in senses:
            self.sums[sense] = self.sums[sense] + vectors if sense in self.sums else vectors
            self.counts[sense] += 1
        if keep:
            self.units.append(normalized(vectors))
            self.senses_of_units.append(senses)

    @cached_property
    def senses(self) -> list[str]:
        return sorted(self.counts)

    @cached_property
    def centers(self) -> np.ndarray:
        """The mean vector of each sense, of length 1, `(senses, layers, 2P)`."""
        return normalized(np.stack([self.sums[sense] / self.counts[sense] for sense in self.senses]))

    @cached_property
    def kept(self) -> np.ndarray:
        """The vectors that were kept, of length 1, `(layers, n, 2P)`."""
        stacked = np.stack(self.units, axis=1)
        self.units.clear()  # a corpus has hundreds of thousands: one copy is enough
        return stacked

    @cached_property
    def has(self) -> np.ndarray:
        """1 where a word that was kept has a sense, `(n, senses)`."""
        rows = [[sense in senses for sense in self.senses] for senses in self.senses_of_units]
        return np.array(rows, dtype=np.float32)

    def scores(self, vectors: np.ndarray, neighbors: int | None) -> np.ndarray:
        """Return the scores of the senses, `(layers, senses)`, for a word with `vectors`, `(layers, 2P)`."""
        unit = normalized(vectors)
        if neighbors is None:
            return np.einsum("sld,ld->ls", self.centers, unit)
        return votes((self.kept @ unit[:, :, None])[:, :, 0], self.has, neighbors)


def votes(similarities: np.ndarray, has: np.ndarray, neighbors: int) -> np.ndarray:
    """Return the votes for each sense, `(layers, senses)`: the sum of the similarities of its words among the nearest.

    Words as near as the last of the nearest vote, too: without context, all words of one spelling are equally near.

    Args:
        similarities (`(layers, n)`): Of the n annotated words.
        has (`(n, senses)`): 1 where a word has a sense.
        neighbors: How many words vote.
    """
    last = max(0, similarities.shape[1] - neighbors)
    least = np.partition(similarities, last, axis=1)[:, last, None]
    weights = np.where(similarities >= least - ROUNDING, np.maximum(similarities, ROUNDING), 0)
    return weights @ has


def read_semcor(path: str, limit: int) -> tuple[list[list[str]], list[Instance]]:
    sentences, instances = [], []
    for number, line in numbered_lines(path):
        columns = line.split("\t")
        if len(columns) != 3:
            raise ValueError(
                f"{path}, line {number}: an id, the words and their senses are expected, separated by tabs, but "
                f"there are {len(columns)} columns"
            )
        words = columns[1].split(" ")
        for annotation in columns[2].split():
            start, end, keys = (annotation.split(":", 2) + ["", ""])[:3]
            if not (start.isdecimal() and end.isdecimal() and int(start) < int(end) <= len(words) and "%" in keys):
                raise ValueError(f"{path}, line {number}: {annotation!r} is no annotation, start:end:lemma%key")
            senses = keys.split("|")
            instances.append(Instance(len(sentences), int(start), int(end), lemma_of(senses[0]), senses))
        sentences.append(words)
        if len(sentences) == limit:
            break
    if not instances:
        raise ValueError(f"{path}: no word is annotated in it")
    return sentences, instances


def lemma_of(sense: str) -> str:
    """Return lemma and part of speech of a sense key, `bank%1:14:00::` to `bank%1`."""
    lemma, _, key = sense.partition("%")
    part = key.partition(":")[0]
    return f"{lemma}%{SAME_PART.get(part, part)}"


def gold_file(path: str) -> str:
    """Return the usual name of the file of keys beside the data."""
    return path.removesuffix(".gz").removesuffix(".data.xml") + ".gold.key.txt"


def read_instances(path: str, gold_path: str) -> tuple[list[list[str]], list[Instance]]:
    gold = {line.split()[0]: line.split()[1:] for _, line in numbered_lines(gold_path) if line.strip()}
    try:
        with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
            root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, OSError) as error:
        raise ValueError(f"{path}: not XML that can be read ({error})") from None
    sets = (root.get("source") or "").split("-")  # several sets in one file are named there, and begin their ids
    sentences, instances = [], []
    for sentence in root.iter("sentence"):
        words: list[str] = []
        for element in sentence:
            start = len(words)
            words += (element.text or "").split()
            if element.tag == "instance":
                id, part = element.get("id"), PARTS_OF_SPEECH.get(element.get("pos"), "")
                if id is None or id not in gold:
                    raise ValueError(f"{gold_path}: there is no key for {id}, which {path} has")
                lemma = f"{(element.get('lemma') or '').lower()}%{part}"
                source = next((name for name in sets if id.startswith(f"{name}.")), "")
                instances.append(Instance(len(sentences), start, len(words), lemma, gold[id], source))
        sentences.append(words)
    if not instances:
        raise ValueError(f"{path}: there is no `instance` of a word in it")
    return sentences, instances


def vectors_of_instances(encoder: Encoder, sentences: Sequence[list[str]], instances: Sequence[Instance]):
    """Yield the vectors of instances in their order, `(layers, 2P)`: the mean over their words."""
    waiting = iter(instances)
    instance = next(waiting, None)
    for number, vectors in enumerate(encoder.embed(sentences)):
        while instance is not None and instance.sentence == number:
            yield vectors[:, instance.start : instance.end].mean(axis=1)
            instance = next(waiting, None)


# ---- Words in context


def inspect_wic(options: Namespace) -> Findings:
    """Return the accuracy of a threshold on the similarity of a word's two vectors in each layer."""
    if options.train is None or options.test is None:
        raise ValueError("wic needs pairs of sentences: --train train.data.txt --test dev.data.txt")
    encoder = encoder_of(options, "wic")
    similarities, golds = zip(
        *(similarities_of_pairs(encoder, path, options) for path in (options.train, options.test))
    )
    rows: list[list[Any]] = []
    for layer, name in enumerate(encoder.layers):
        threshold, accuracy = best_threshold(similarities[0][:, layer], golds[0])
        rows.append(
            [
                name,
                threshold,
                100 * accuracy,
                100 * float(((similarities[1][:, layer] >= threshold) == golds[1]).mean()),
            ]
        )
    majority = 100 * max(golds[1].mean(), 1 - golds[1].mean())
    header = ["", "threshold", "accuracy in training", "accuracy in test"]
    title = f"words in context, accuracy in %, {len(golds[0]):,} pairs in training and {len(golds[1]):,} in test"
    facts: dict[str, Any] = {
        "train_pairs": len(golds[0]),
        "test_pairs": len(golds[1]),
        "majority": round(float(majority), 4),
    }
    facts["scores"] = [
        dict(zip(["layer", "threshold", "train_accuracy", "test_accuracy"], [row[0], *(round(v, 4) for v in row[1:])]))
        for row in rows
    ]
    scores = [row[3] for row in rows]
    return Findings(
        "wic",
        [Table(title, header, rows, digits=2)],
        facts,
        lambda: draw_scores(
            encoder.layers, scores, "accuracy in %", f"Words in context ({len(golds[1]):,} pairs)", float(majority)
        ),
        [f"The more frequent answer alone has {majority:.1f} %."],
    )


def similarities_of_pairs(encoder: Encoder, path: str, options: Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Return the similarities of the pairs of a file, `(N, layers)`, and whether the meaning is the same, `(N,)`."""
    pairs, gold = read_pairs(path, options.gold if path == options.test else None)
    sentences = [words for pair in pairs for words, _ in pair]
    places = [place for pair in pairs for _, place in pair]
    vectors = [normalized(found[:, place]) for found, place in zip(encoder.embed(sentences), places)]
    return np.stack([(one * other).sum(axis=-1) for one, other in zip(vectors[::2], vectors[1::2])]), gold


def read_pairs(path: str, gold_path: str | None) -> tuple[list[list[tuple[list[str], int]]], np.ndarray]:
    gold_path = gold_path or path.removesuffix(".data.txt") + ".gold.txt"
    if not Path(gold_path).is_file():
        raise ValueError(f"{path}: there are no answers beside it, {gold_path}: name their file with --gold")
    gold = [line.strip() for _, line in numbered_lines(gold_path) if line.strip()]
    pairs = []
    for number, line in numbered_lines(path):
        columns, place = line.split("\t"), Place(path, number)
        indices = columns[2].split("-") if len(columns) == 5 else []
        if len(indices) != 2 or not all(index.isdecimal() for index in indices):
            raise ValueError(f"{place}: word, part of speech, i-j and two sentences are expected, separated by tabs")
        pair = [(sentence.split(), int(index)) for sentence, index in zip(columns[3:], indices)]
        if any(index >= len(words) for words, index in pair):
            raise ValueError(f"{place}: {columns[2]} are no places of words in both sentences")
        pairs.append(pair)
    if len(gold) != len(pairs) or not set(gold) <= {"T", "F"}:
        raise ValueError(f"{gold_path}: {len(pairs)} lines with T or F are expected, but there are {len(gold)}")
    return pairs, np.array([answer == "T" for answer in gold])


def best_threshold(similarities: np.ndarray, gold: np.ndarray) -> tuple[float, float]:
    """Return the threshold from which on "the same" is right most often, and the accuracy."""
    order = np.argsort(similarities, kind="stable")
    ordered, truth = similarities[order], gold[order]
    # With the threshold at place i, the pairs from i on are called the same.
    right = np.concatenate([[0], np.cumsum(~truth)]) + truth.sum() - np.concatenate([[0], np.cumsum(truth)])
    possible = np.concatenate([[True], ordered[1:] > ordered[:-1], [True]])
    best = int(np.argmax(np.where(possible, right, -1)))
    threshold = ordered[best] if best < len(ordered) else ordered[-1] + 1e-6
    return float(threshold), float(right[best] / len(gold))


def draw_scores(names: list[str], scores: list[float], unit: str, title: str, chance: float | None = None):
    with panels(1, width=max(5.0, 1.2 * len(names)), height=3.4) as (figure, (axes,)):
        bars(axes, [name.replace("frequent ", "frequent\n") for name in names], {unit: scores}, digits=1)
        axes.set_ylabel(unit)
        if chance is not None:
            axes.axhline(chance, color="black", linestyle=":", linewidth=1.2)
            title += ", dotted: the more frequent answer"
        axes.set_title(title, loc="left")
    return figure


__all__ = ["inspect_wic", "inspect_wsd"]
