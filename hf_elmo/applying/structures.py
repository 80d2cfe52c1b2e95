# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Heads whose predictions are structures over the words of a text: semantic roles and coreference."""

from collections.abc import Sequence

from ..semantic_roles import label_roles
from ..training.data.documents import group_sentences
from .heads import Head
from .inputs import Example


class RoleLabeler(Head):
    """All predicates of a sentence, which the model finds, with their arguments."""

    task, formats = "words", ("jsonl",)

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
    """Clusters of the words of a text that mean the same. The text's sentences are found by their periods."""

    task, formats = "texts", ("jsonl",)

    def predict_batch(self, examples: Sequence[Example]) -> list[dict]:
        return [self.prediction(example) for example in examples]

    def prediction(self, example: Example) -> dict:
        (text,) = example.texts
        sentences = group_sentences(text.words, text.offsets)
        starts = [sum(map(len, sentences[:number])) for number in range(len(sentences))]
        clusters = []
        for cluster in self.model.find_clusters(self.tokenizer, sentences) if text.words else ():
            places = [[starts[one["sentence"]] + one[end] for end in ("start", "end")] for one in cluster]
            spans = [(text.offsets[first][0], text.offsets[end - 1][1]) for first, end in places]
            clusters.append([{"text": text.text[start:end], "start": start, "end": end} for start, end in spans])
        return {"text": text.text, "clusters": clusters}

    def counted(self, prediction: dict) -> list[str]:
        return ["mentions"] * sum(map(len, prediction["clusters"]))
