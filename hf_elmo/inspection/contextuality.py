# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""How much the vectors of each layer depend on the context (Ethayarajh 2019, "How Contextual are Contextualized Word
Representations?", sections 3.2 to 3.4).

    self-similarity   mean cosine similarity of two occurrences of a word; 1 without context
    intra-sentence    mean cosine similarity of a word to the mean vector of its sentence
    MEV               maximum explainable variance: part of a word's variance that one vector for it could explain,
                      s1^2 / sum of s_i^2, with s the singular values of the matrix of its occurrences

Each is corrected for anisotropy: where all vectors point into a narrow cone, any two are similar. The baseline is the
mean cosine similarity of random words of different sentences, for MEV that of a matrix of random words.
"""

from argparse import Namespace

import numpy as np

from ..plots import curves, legend_below, panels
from ..tables import Table
from .corpora import encoder_of, normalized, read_sentences
from .report import Findings

LEAST_OCCURRENCES = 5  # of a word whose occurrences are compared (the paper: in at least 5 unique contexts)
SAMPLE = 100  # occurrences of a word at most, and random words of the baseline of MEV
PAIRS = 2000  # random words of the baseline of similarities
SEED = 0


def inspect_contextuality(options: Namespace) -> Findings:
    """Return the three measures in each layer, raw, their baselines, and the differences."""
    encoder = encoder_of(options, "contextuality")
    sentences = read_sentences(options, encoder.tokenizer, "contextuality")
    random = np.random.default_rng(SEED)
    places = occurrences_to_keep(sentences, random, options)
    count = sum(map(len, sentences))
    drawn = set(random.choice(count, size=min(PAIRS, count), replace=False).tolist())
    kept: dict[str, list[np.ndarray]] = {}  # occurrences of each word, each (layers, 2P)
    baseline: list[np.ndarray] = []
    of_sentences, intra = [], np.zeros(len(encoder.layers))
    number = compared = 0
    for row, vectors in enumerate(encoder.embed(sentences)):
        units = normalized(vectors)
        if len(sentences[row]) > 1:
            intra += (units * normalized(vectors.mean(axis=1))[:, None]).sum(axis=-1).mean(axis=1)
            compared += 1
        for index, word in enumerate(sentences[row]):
            if (row, index) in places:
                kept.setdefault(word, []).append(vectors[:, index].copy())
            if number in drawn:
                baseline.append(vectors[:, index].copy())
                of_sentences.append(row)
            number += 1
    if not kept:
        raise ValueError(
            f"{options.corpus}: no word occurs {LEAST_OCCURRENCES} times in different sentences of the "
            f"{len(sentences)} that were read: give a longer text"
        )
    values = measures(kept, np.stack(baseline, axis=1), np.asarray(of_sentences), intra / max(1, compared))
    return findings(values, encoder.layers, len(kept), len(sentences), count)


def occurrences_to_keep(sentences: list[list[str]], random: np.random.Generator, options: Namespace) -> set:
    """Return the places, sentence and word, of a sample of occurrences of a sample of the frequent words."""
    contexts: dict[str, list[tuple[int, int]]] = {}
    for row, words in enumerate(sentences):
        for word, index in {word: index for index, word in enumerate(words)}.items():  # one a sentence
            if word.isalpha():
                contexts.setdefault(word, []).append((row, index))
    unique = {word: places for word, places in contexts.items() if len(places) >= LEAST_OCCURRENCES}
    words = sorted(unique)
    chosen = random.choice(len(words), size=min(options.max_words, len(words)), replace=False) if words else []
    places = set()
    for number in sorted(chosen):
        found = unique[words[number]]
        sample = random.choice(len(found), size=min(SAMPLE, len(found)), replace=False)
        places.update(found[place] for place in sample)
    return places


def measures(
    kept: dict[str, list[np.ndarray]], baseline: np.ndarray, of_sentences: np.ndarray, intra: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return each measure and its baseline, both `(layers,)`.

    Args:
        kept: Occurrences of each word, each `(layers, 2P)`.
        baseline (`(layers, N, 2P)`), of_sentences (`(N,)`): Vectors of random words, and their sentences.
        intra (`(layers,)`): Intra-sentence similarity.
    """
    words = [np.stack(occurrences, axis=1) for occurrences in kept.values()]  # each (layers, n, 2P)
    self_similarity = np.mean([mean_of_pairs(normalized(vectors)) for vectors in words], axis=0)
    explained = np.mean([explainable(vectors) for vectors in words], axis=0)
    units = normalized(baseline)
    others = of_sentences[:, None] != of_sentences
    cone = np.array([(layer @ layer.T)[others].mean() if others.any() else 0.0 for layer in units])
    size = min(SAMPLE, baseline.shape[1])
    # The matrices of words are as large as their numbers of occurrences; so is that of the baseline on average.
    size = max(LEAST_OCCURRENCES, min(size, round(np.mean([vectors.shape[1] for vectors in words]))))
    draws = np.random.default_rng(SEED)
    samples = [draws.choice(baseline.shape[1], size=min(size, baseline.shape[1]), replace=False) for _ in range(20)]
    random_explained = np.mean([explainable(baseline[:, sample]) for sample in samples], axis=0)
    return {
        "self-similarity": (self_similarity, cone),
        "intra-sentence similarity": (intra, cone),
        "maximum explainable variance": (explained, random_explained),
    }


def mean_of_pairs(units: np.ndarray) -> np.ndarray:
    """Return the mean cosine similarity of two different ones of n vectors of length 1, `(layers, n, D)`."""
    n = units.shape[1]
    return (np.square(units.sum(axis=1)).sum(axis=-1) - np.square(units).sum(axis=(1, 2))) / (n * (n - 1))


def explainable(vectors: np.ndarray) -> np.ndarray:
    """Return the maximum explainable variance of n vectors `(layers, n, D)`."""
    squares = np.square(np.linalg.svd(vectors.astype(np.float64), compute_uv=False))
    return squares[:, 0] / np.maximum(squares.sum(axis=1), 1e-12)


def findings(
    values: dict[str, tuple[np.ndarray, np.ndarray]], layers: list[str], words: int, sentences: int, count: int
) -> Findings:
    tables = []
    for name, (raw, random) in values.items():
        rows = [
            [layer, float(value), float(base), float(value - base)] for layer, value, base in zip(layers, raw, random)
        ]
        tables.append(Table(name, ["", "raw", "baseline", "difference"], rows))
    facts = {"sentences": sentences, "words": count, "compared_words": words} | {
        name: [
            {
                "layer": layer,
                "raw": round(float(a), 6),
                "baseline": round(float(b), 6),
                "difference": round(float(a - b), 6),
            }
            for layer, a, b in zip(layers, raw, random)
        ]
        for name, (raw, random) in values.items()
    }
    notes = [
        f"{sentences:,} sentences, {count:,} words; {words:,} words with {LEAST_OCCURRENCES} contexts or more. "
        "The lower the difference, the more a layer depends on the context (self-similarity, MEV)."
    ]
    return Findings("contextuality", tables, facts, lambda: draw(values, layers), notes)


def draw(values: dict[str, tuple[np.ndarray, np.ndarray]], layers: list[str]):
    x = range(len(layers))
    with panels(len(values), width=4.0, height=3.4) as (figure, axes):
        for one, (name, (raw, random)) in zip(axes, values.items()):
            lines = {"raw": (x, raw), "baseline (random words)": (x, random), "difference": (x, raw - random)}
            curves(one, lines)
            one.set_title(name, loc="left")
            one.set_xticks(list(x), layers)
            one.set_ylim(min(0.0, float(np.min(raw - random)) - 0.05), 1.05)
        axes[0].set_ylabel("cosine similarity")
        axes[1].set_ylabel("cosine similarity")
        axes[2].set_ylabel("part of the variance")
        legend_below(figure, axes[0])
    return figure


__all__ = ["inspect_contextuality"]
