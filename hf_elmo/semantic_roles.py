"""Semantic roles of plain sentences: which words are predicates, and what their arguments are."""

from collections.abc import Sequence
from typing import TypedDict

import torch

from .model.label_schemes_elmo import spans
from .model.token_classification_elmo import ElmoForTokenClassification
from .model.tokenization_elmo import ElmoTokenizer
from .training.metrics import PREDICATE, arguments_of


class Predicate(TypedDict):
    """A predicate of a sentence: the places of its `words`, its `text`, the label of each word of the sentence, and its
    arguments: `role`, `spans` of words (more than one if it is discontinuous), each the place of its first word and of
    the word after its last, and `text`."""

    words: list[int]
    text: str
    labels: list[str]
    arguments: list[dict]


@torch.no_grad()
def label_roles(
    model: ElmoForTokenClassification,
    tokenizer: ElmoTokenizer,
    sentences: Sequence[str] | Sequence[Sequence[str]],
    predicates: Sequence[Sequence[Sequence[int]]] | None = None,
    batch_size: int = 32,
) -> list[list[Predicate]]:
    """Label the arguments of all predicates of sentences.

    Args:
        model: A model trained by `hf_elmo.training.srl`.
        tokenizer: Its tokenizer.
        sentences: Texts, or lists of words.
        predicates: For each sentence, the words of each predicate, by their places. By default the model finds them.
        batch_size: Rows, of a sentence and a predicate, that are computed together.

    Returns:
        for each sentence its predicates, in the order given or found.

    Raises:
        `ValueError`: if the model does not see which word is the predicate, or a predicate has no word of its sentence.
    """
    if not model.config.predicate_feature_size:
        raise ValueError("the model does not see which word is the predicate: train one with hf_elmo.training.srl")
    words = [tokenizer.tokenize(text) if isinstance(text, str) else list(text) for text in sentences]
    if predicates is None:
        unmarked: list[tuple[int, Sequence[int]]] = [(number, ()) for number in range(len(words))]
        found = label_rows(model, tokenizer, words, unmarked, batch_size)
        predicates = [
            [list(range(span.start, span.end)) for span in spans(labels) if span.type == PREDICATE] for labels in found
        ]
    for row, marked in zip(words, predicates, strict=True):
        for predicate in marked:
            if not predicate or not all(0 <= place < len(row) for place in predicate):
                raise ValueError(f"a predicate must be places of words from 0 to {len(row) - 1}, but is {predicate}")
    rows = [(number, predicate) for number, marked in enumerate(predicates) for predicate in marked]
    results: list[list[Predicate]] = [[] for _ in words]
    for (number, predicate), labels in zip(rows, label_rows(model, tokenizer, words, rows, batch_size)):
        results[number].append(describe(words[number], predicate, labels))
    return results


def describe(words: Sequence[str], predicate: Sequence[int], labels: list[str]) -> Predicate:
    arguments = [
        {
            "role": argument.role,
            "spans": [list(piece) for piece in argument.pieces],
            "text": " ".join(word for start, end in argument.pieces for word in words[start:end]),
        }
        for argument in arguments_of(labels)
        if argument.role != PREDICATE
    ]
    text = " ".join(words[place] for place in predicate)
    return {"words": list(predicate), "text": text, "labels": labels, "arguments": arguments}


def label_rows(
    model: ElmoForTokenClassification,
    tokenizer: ElmoTokenizer,
    sentences: Sequence[list[str]],
    rows: Sequence[tuple[int, Sequence[int]]],
    batch_size: int,
) -> list[list[str]]:
    """Return the labels of the words for each row, a sentence's number and the places of its marked words."""
    results: dict[int, list[str]] = {}
    waiting = sorted(range(len(rows)), key=lambda row: len(sentences[rows[row][0]]))
    first = int(tokenizer.add_bos_token)
    while waiting:
        batch, waiting = waiting[-batch_size:], waiting[:-batch_size]
        texts = [sentences[rows[row][0]] for row in batch]
        encoded = tokenizer(texts, is_split_into_words=True, padding=True, padding_side="right", return_tensors="pt")
        marks = torch.zeros_like(encoded["attention_mask"])
        for mark, row in zip(marks, batch):
            mark[[place + first for place in rows[row][1]]] = 1
        inputs = {name: encoded[name].to(model.device) for name in ("input_ids", "attention_mask")}
        best = model(**inputs, token_type_ids=marks.to(model.device)).logits.argmax(-1).tolist()
        for row, text, ids in zip(batch, texts, best):
            results[row] = [model.config.id2label[id] for id in ids[first : first + len(text)]]
    return [results[row] for row in range(len(rows))]
