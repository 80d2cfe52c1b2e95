# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""How well each layer tells senses of words apart: word sense disambiguation and words in context.

Disambiguation (Peters et al. 2018, section 5.3): the vector of a sense is the mean of the vectors of its annotated
words in the training text, and a word has that sense of its lemma whose vector is nearest. A lemma without training
examples has no answer. Beside it, the baseline of each lemma's most frequent sense in the training text.

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
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..plots import bars, panels
from ..tables import Table
from ..training.data.files import Place, numbered_lines
from .corpora import Encoder, encoder_of, normalized
from .report import Findings

# Parts of speech of test data, by the number that follows `%` in a WordNet sense key; 5 is an adjective satellite
PARTS_OF_SPEECH = {"NOUN": "1", "VERB": "2", "ADJ": "3", "ADV": "4"}
SAME_PART = {"5": "3"}


class Instance(NamedTuple):
    """A word or several, `start` to `end`, of a sentence, with its lemma and part of speech, and the right senses."""

    sentence: int
    start: int
    end: int
    lemma: str
    senses: list[str]


# ---- Word sense disambiguation


def inspect_wsd(options: Namespace) -> Findings:
    """Return precision, recall and F1 of the nearest sense in each layer."""
    if options.train is None or options.test is None:
        raise ValueError(
            "wsd needs annotated texts: --train semcor.tsv --test ALL.data.xml.gz [--gold ALL.gold.key.txt]"
        )
    encoder = encoder_of(options, "wsd")
    sentences, instances = read_semcor(options.train, options.max_sentences)
    centers = sense_vectors(encoder, sentences, instances)
    frequent: dict[str, Counter] = {}
    for instance in instances:
        frequent.setdefault(instance.lemma, Counter()).update(instance.senses)
    test_sentences, tests = read_instances(options.test, options.gold or gold_file(options.test))
    right = np.zeros(len(encoder.layers), dtype=int)
    by_frequency = answered = 0
    for instance, vectors in zip(tests, vectors_of_instances(encoder, test_sentences, tests)):
        senses = sorted(frequent.get(instance.lemma, ()))
        if not senses:
            continue
        answered += 1
        by_frequency += frequent[instance.lemma].most_common(1)[0][0] in instance.senses
        similarities = np.stack([(normalized(centers[sense]) * normalized(vectors)).sum(axis=-1) for sense in senses])
        for layer, choice in enumerate(similarities.argmax(axis=0)):
            right[layer] += senses[choice] in instance.senses
    names = ["most frequent sense", *encoder.layers]
    rows = []
    for name, count in zip(names, [by_frequency, *right.tolist()]):
        precision, recall = count / max(1, answered), count / len(tests)
        f1 = 2 * precision * recall / (precision + recall) if count else 0.0
        rows.append([name, 100 * precision, 100 * recall, 100 * f1])
    header = ["", "precision", "recall", "F1"]
    known = f"{answered / len(tests):.1%} of them with a lemma of the training text"
    title = f"word senses in %, {len(tests):,} instances, {known}"
    facts: dict[str, Any] = {"instances": len(tests), "answered": answered, "training_instances": len(instances)}
    facts["scores"] = [
        dict(zip(["layer", "precision", "recall", "f1"], [row[0], *(round(value, 4) for value in row[1:])]))
        for row in rows
    ]
    return Findings(
        "wsd",
        [Table(title, header, rows, digits=1)],
        facts,
        lambda: draw_scores(names, [row[3] for row in rows], "F1 in %", f"Word senses ({len(tests):,} instances)"),
        [f"{len(instances):,} annotated words in {len(sentences):,} sentences of training text."],
    )


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
    sentences, instances = [], []
    for sentence in root.iter("sentence"):
        words: list[str] = []
        for element in sentence:
            start = len(words)
            words += (element.text or "").split()
            if element.tag == "instance":
                id, part = element.get("id"), PARTS_OF_SPEECH.get(element.get("pos"), "")
                if id not in gold:
                    raise ValueError(f"{gold_path}: there is no key for {id}, which {path} has")
                lemma = f"{(element.get('lemma') or '').lower()}%{part}"
                instances.append(Instance(len(sentences), start, len(words), lemma, gold[id]))
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


def sense_vectors(encoder: Encoder, sentences: list[list[str]], instances: list[Instance]) -> dict[str, np.ndarray]:
    """Return the mean vector of each sense, `(layers, 2P)`."""
    sums: dict[str, np.ndarray] = {}
    counts: Counter[str] = Counter()
    for instance, vectors in zip(instances, vectors_of_instances(encoder, sentences, instances)):
        for sense in instance.senses:
            sums[sense] = sums[sense] + vectors if sense in sums else vectors
            counts[sense] += 1
    return {sense: total / counts[sense] for sense, total in sums.items()}


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
