# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Senses of a word in context: its nearest occurrences in a corpus (Peters et al. 2018, table 4), and a map of them."""

from argparse import Namespace
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..plots import legend_below, panels, points, signed_bars
from ..tables import Table
from .corpora import Encoder, Occurrence, encoder_of, layer_number, normalized, read_occurrences, vectors_of
from .report import Findings

SHOWN_GROUPS = 7  # beyond them, occurrences are one group, "others"
OTHERS = "others"
ONE_VECTOR = 1e-5  # differences of vectors that are nothing but rounding
METHODS = ("pca", "tsne", "umap")


# ---- Nearest occurrences


def inspect_senses(options: Namespace) -> Findings:
    """Return the occurrences of a word that are nearest to it in `--text`, or to its first occurrence."""
    encoder = encoder_of(options, "senses")
    layer = layer_number(options, encoder)
    occurrences = read_occurrences(options, encoder.tokenizer, "senses")
    if options.text is not None:
        occurrences.insert(0, find_word(options.text, options.word, encoder))
    query, others = occurrences[0], occurrences[1:]
    vectors = normalized(vectors_of(encoder, occurrences))  # (layers, N, 2P)
    similarities = np.einsum("lnd,ld->ln", vectors[:, 1:], vectors[:, 0])
    order = np.argsort(-similarities[layer], kind="stable")
    chosen = order[: options.top_k]
    name = encoder.layers[layer]
    rows = [
        [rank, *(float(similarities[number, place]) for number in range(len(encoder.layers)))]
        + [others[place].sense or "", others[place].shown()]
        for rank, place in enumerate(chosen, start=1)
    ]
    header = ["", *encoder.layers, "sense", "context"]
    if not any(row[-2] for row in rows):
        header, rows = [*header[:-2], header[-1]], [[*row[:-2], row[-1]] for row in rows]
    title = (
        f"cosine similarity to {query.shown()}, in each layer; nearest in {name} first, of {len(others)} occurrences"
    )
    nearest = [
        {"similarities": dict(zip(encoder.layers, map(float, similarities[:, place].round(6))))}
        | {"sense": others[place].sense, "source": others[place].source}
        | {"words": others[place].words, "index": others[place].place}
        for place in chosen
    ]
    facts = {"query": query.shown(), "layer": name, "occurrences": len(others), "nearest": nearest}
    return Findings(
        "senses",
        [Table(title, header, rows)],
        facts,
        lambda: draw_nearest(
            query, [others[place] for place in chosen], similarities[:, chosen], layer, encoder.layers
        ),
    )


def find_word(text: str, word: str, encoder: Encoder) -> Occurrence:
    words = encoder.tokenizer.tokenize(text)
    found = next((index for index, one in enumerate(words) if one.lower() == word.lower()), None)
    if found is None:
        raise ValueError(f"--text has no word {word!r}; its words are {' '.join(words)}")
    return Occurrence(words, found, None, "--text")


def draw_nearest(
    query: Occurrence, nearest: Sequence[Occurrence], similarities: np.ndarray, layer: int, layers: list[str]
):
    with panels(1, width=9, height=1.3 + 0.3 * len(nearest)) as (figure, (axes,)):
        signed_bars(axes, [one.shown() for one in nearest], similarities[layer].tolist())
        for number in range(len(similarities)):
            if number != layer:
                axes.plot(
                    similarities[number],
                    range(len(nearest)),
                    "osD^v"[number % 5],
                    color="black",
                    markerfacecolor="white",
                    markersize=5,
                    label=layers[number],
                )
        axes.set_xlim(min(0.0, float(similarities.min())), 1.02)
        axes.set_xlabel(f"cosine similarity (bars: {layers[layer]})")
        axes.set_title(f"Nearest to {query.shown()}", loc="left")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
    return figure


# ---- Map


def inspect_map(options: Namespace) -> Findings:
    """Return a map of the occurrences of a word in two dimensions for each layer, and how far its groups are apart."""
    encoder = encoder_of(options, "map")
    occurrences = read_occurrences(options, encoder.tokenizer, "map")
    vectors = normalized(vectors_of(encoder, occurrences))
    names, order, what = groups_of(options, occurrences, vectors[layer_number(options, encoder)])
    places, parts = zip(*(project(layer, options.method) for layer in vectors))
    rows = []
    for name, layer in zip(encoder.layers, vectors):
        within, between = similarities_of_groups(layer, names)
        rows.append([name, within, between, None if within is None or between is None else within - between])
    header = ["", "same group", "other group", "difference"]
    counts = Counter(names)
    tables = [
        Table(f"mean cosine similarity of two occurrences of {options.word!r} by {what}", header, rows),
        Table(f"occurrences by {what}", ["group", "occurrences"], [[name, counts[name]] for name in order]),
    ]
    facts = {
        "word": options.word,
        "groups": {name: counts[name] for name in order},
        "layers": [dict(zip(["layer", "same_group", "other_group", "difference"], row)) for row in rows],
        "occurrences": [
            {"words": one.words, "index": one.place, "sense": one.sense, "source": one.source, "group": name}
            | {"places": {layer: place[number].round(5).tolist() for layer, place in zip(encoder.layers, places)}}
            for number, (one, name) in enumerate(zip(occurrences, names))
        ],
    }
    return Findings("map", tables, facts, lambda: draw_map(options, encoder.layers, places, parts, names, order, what))


def groups_of(
    options: Namespace, occurrences: Sequence[Occurrence], vectors: np.ndarray
) -> tuple[list[str], list[str], str]:
    """Return the group of each occurrence, the groups in their order, and what they are: senses, or clusters."""
    color = options.color or ("sense" if all(one.sense for one in occurrences) else "cluster")
    if color == "sense":
        names = [one.sense or "unknown" for one in occurrences]
        what = "sense"
    elif color == "word":
        names, what = [one.words[one.place] for one in occurrences], "form"
    elif color in ("previous", "next"):
        step = -1 if color == "previous" else 1
        neighbors = [one.place + step for one in occurrences]
        names = [
            one.words[place].lower() if 0 <= place < len(one.words) else ("<S>" if step < 0 else "</S>")
            for one, place in zip(occurrences, neighbors)
        ]
        what = f"{color} word"
    else:
        numbers = clusters(vectors, options.clusters)
        names = [f"cluster {number + 1}" for number in numbers]
        what = "cluster (k-means)"
    order = [name for name, _ in Counter(names).most_common()]
    if len(order) > SHOWN_GROUPS + 1:
        kept = set(order[:SHOWN_GROUPS])
        names = [name if name in kept else OTHERS for name in names]
        order = [*order[:SHOWN_GROUPS], OTHERS]
    return names, order, what


def clusters(vectors: np.ndarray, count: int, rounds: int = 50) -> list[int]:
    """Group vectors of length 1 by k-means with cosine similarity; the first centers are the vectors farthest apart."""
    centers = vectors[[int(np.argmin(vectors @ vectors.mean(axis=0)))]]
    while len(centers) < min(count, len(vectors)):
        centers = np.concatenate([centers, vectors[[int(np.argmin((vectors @ centers.T).max(axis=1)))]]])
    for _ in range(rounds):
        numbers = np.argmax(vectors @ centers.T, axis=1)
        means = [vectors[numbers == n].mean(axis=0) if (numbers == n).any() else c for n, c in enumerate(centers)]
        centers = normalized(np.stack(means))
    ranked = [number for number, _ in Counter(numbers.tolist()).most_common()]
    return [ranked.index(number) for number in numbers.tolist()]


def project(vectors: np.ndarray, method: str) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Return places `(N, 2)`, and with PCA the parts of the variance that both axes have."""
    if np.ptp(vectors, axis=0).max() < ONE_VECTOR:  # other methods than PCA would spread them at random
        return np.zeros((len(vectors), 2)), None
    if method == "pca":
        centered = vectors - vectors.mean(axis=0)
        left, values, _ = np.linalg.svd(centered, full_matrices=False)
        places = np.zeros((len(vectors), 2))
        kept = min(2, len(values))
        signs = np.sign(left[np.abs(left[:, :kept]).argmax(axis=0), range(kept)])  # a sign is arbitrary: fix it
        places[:, :kept] = left[:, :kept] * values[:kept] * np.where(signs == 0, 1, signs)
        variance = np.square(values) / max(np.square(values).sum(), 1e-12)
        return places, (float(variance[0]), float(variance[1]) if len(variance) > 1 else 0.0)
    if method == "tsne":
        try:
            from sklearn.manifold import TSNE
        except ImportError:
            raise ValueError("--method tsne needs scikit-learn: pip install scikit-learn") from None
        perplexity = max(1.0, min(30.0, (len(vectors) - 1) / 3))
        return TSNE(perplexity=perplexity, metric="cosine", init="random", random_state=0).fit_transform(vectors), None
    try:
        import umap
    except ImportError:
        raise ValueError("--method umap needs umap-learn: pip install umap-learn") from None
    return umap.UMAP(metric="cosine", random_state=0).fit_transform(vectors), None


def similarities_of_groups(vectors: np.ndarray, names: Sequence[str]) -> tuple[float | None, float | None]:
    """Return the mean cosine similarity of two occurrences of the same group and of different groups, if there are
    any."""
    similarity, labels = vectors @ vectors.T, np.asarray(names)
    same = labels[:, None] == labels
    pairs = ~np.eye(len(labels), dtype=bool)
    parts = similarity[same & pairs], similarity[~same]
    within, between = (float(part.mean()) if part.size else None for part in parts)
    return within, between


def draw_map(
    options: Namespace,
    layers: list[str],
    places: Sequence[np.ndarray],
    parts: Sequence[tuple[float, float] | None],
    names: list[str],
    order: list[str],
    what: str,
):
    method = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}[options.method]
    with panels(len(layers), width=3.8, height=3.6) as (figure, axes):
        for one, name, place, part in zip(axes, layers, places, parts):
            points(one, place, names, order)
            one.set_title(f"{options.word!r} in {'the mix' if name == 'mix' else name}", loc="left")
            if not place.any():
                one.set(xlim=(-1, 1), ylim=(-1, 1))
                one.text(0, -0.25, "all occurrences\nare one vector", ha="center", va="top", fontsize=9)
            first, second = ("", "") if part is None else (f" ({share:.0%} of variance)" for share in part)
            one.set_xlabel(f"{method} 1{first}", fontsize=9)
            one.set_ylabel(f"{method} 2{second}", fontsize=9)
            one.tick_params(labelsize=8)
        legend_below(figure, axes[0], what)
    return figure


__all__ = ["METHODS", "inspect_map", "inspect_senses"]
