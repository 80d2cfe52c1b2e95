# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Heads whose predictions are structures over the words of a text: semantic roles and coreference."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from ..semantic_roles import label_roles
from ..training.data.documents import document_lines, group_sentences
from ..training.data.predicates import props_of
from .formats import Pairs
from .heads import Head
from .inputs import Example


def role_columns(pairs: Pairs) -> Iterator[str]:
    """Yield a line per word as CoNLL-2005 has them: the word, the predicate that it is or `-`, and for each predicate a
    column with the brackets of its arguments; an empty line ends a sentence."""
    for _, found in pairs:
        predicates = [(predicate["words"], predicate["text"]) for predicate in found["predicates"]]
        labels = [predicate["labels"] for predicate in found["predicates"]]
        for word, row in zip(found["words"], props_of(len(found["words"]), predicates, labels)):
            yield "\t".join(["_".join(word.split()) or "_", *row]) + "\n"
        yield "\n"


def cluster_columns(pairs: Pairs) -> Iterator[str]:
    """Yield documents as CoNLL-2012 has them. One without a name is called by its place in the input."""
    for example, found in pairs:
        name = example.id or f"{example.place.unit}-{example.place.number}"
        clusters = [[[one["first_word"], one["last_word"]] for one in cluster] for cluster in found["clusters"]]
        yield from document_lines("_".join(name.split()), example.part, found["sentences"], clusters)


class RoleLabeler(Head):
    """All predicates of a sentence, which the model finds, with their arguments."""

    task, formats = "roles", ("jsonl", "conll", "html")
    conll = staticmethod(role_columns)

    def predict_batch(self, examples: Sequence[Example]) -> list[dict]:
        texts = [example.texts[0] for example in examples]
        found = label_roles(
            self.model, self.tokenizer, [text.words for text in texts], batch_size=self.options.batch_size
        )
        return [
            {"text": text.text, "words": text.words, "predicates": predicates} for text, predicates in zip(texts, found)
        ]

    def counted(self, prediction: dict) -> list[str]:
        return [argument["role"] for predicate in prediction["predicates"] for argument in predicate["arguments"]]


class Resolver(Head):
    """Clusters of the words of a text that mean the same. The sentences of a raw text are found by their periods."""

    task, formats = "documents", ("jsonl", "conll", "html")
    conll = staticmethod(cluster_columns)

    def predict_batch(self, examples: Sequence[Example]) -> list[dict]:
        return [self.prediction(example) for example in examples]

    def prediction(self, example: Example) -> dict:
        (text,) = example.texts
        if example.lengths is None:
            sentences = group_sentences(text.words, text.offsets)
        else:
            ends = accumulate(example.lengths)
            sentences = [text.words[end - length : end] for end, length in zip(ends, example.lengths)]
        starts = [0, *accumulate(map(len, sentences))]
        clusters = []
        for cluster in self.model.find_clusters(self.tokenizer, sentences) if text.words else ():
            mentions = []
            for one in cluster:
                first, last = starts[one["sentence"]] + one["start"], starts[one["sentence"]] + one["end"] - 1
                start, end = text.offsets[first][0], text.offsets[last][1]
                place = {"text": text.text[start:end], "start": start, "end": end}
                mentions.append(place | {"first_word": first, "last_word": last})
            clusters.append(mentions)
        return {"text": text.text, "sentences": sentences, "clusters": clusters}

    def counted(self, prediction: dict) -> list[str]:
        return ["mentions"] * sum(map(len, prediction["clusters"]))
