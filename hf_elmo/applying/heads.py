# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Trained heads as functions from examples to predictions, one dictionary for each example.

token classification     words, their labels and scores, and the entities that the labels mark
sequence classification  a label with the probabilities of all, labels, or a value, as the model was trained
question answering       the answer and its place in the context, or the best n

Structures over the words of a text are in `structures`.
"""

from argparse import Namespace
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import BatchEncoding

from ..model.configuration_elmo import PAIR_ENCODERS
from ..model.label_schemes_elmo import find_scheme, spans
from ..model.pipelines_elmo import ElmoQuestionAnsweringPipeline
from ..model.task_model_elmo import ElmoTaskModel
from ..model.tokenization_elmo import ElmoTokenizer
from .formats import conll
from .inputs import Example

DIGITS = 6  # of probabilities
WORDS_PER_BATCH = 8192  # padding included; a longer text is a batch of its own


class Head:
    """A trained head.

    Args:
        model: The model, in evaluation mode on its device.
        tokenizer: Its tokenizer.
        options: Arguments of the command.
    """

    task = ""  # what it is applied to, as `Input` calls it
    formats: tuple[str, ...] = ("jsonl", "html")  # the first is the default
    conll = staticmethod(conll)  # writes predictions in that format, if it is one of them
    is_of_pairs = False

    def __init__(self, model: ElmoTaskModel, tokenizer: ElmoTokenizer, options: Namespace):
        self.model, self.tokenizer, self.options = model, tokenizer, options
        self.labels = [model.config.id2label[number] for number in range(model.config.num_labels)]

    def predict(self, examples: Sequence[Example]) -> list[dict]:
        """Return the prediction of each example."""
        predictions: dict[int, dict] = {}
        for batch in self.batches(examples):
            predictions |= zip(batch, self.predict_batch([examples[number] for number in batch]))
        return [predictions[number] for number in range(len(examples))]

    def predict_batch(self, examples: Sequence[Example]) -> list[dict]:
        raise NotImplementedError

    def counted(self, prediction: dict) -> list[str]:
        """Return what a prediction adds to the counts of the report."""
        raise NotImplementedError

    def batches(self, examples: Sequence[Example]) -> Iterator[list[int]]:
        """Yield the numbers of examples of similar length, the longest first."""
        lengths = [sum(len(text.words) + 2 for text in example.texts) for example in examples]
        waiting = sorted(range(len(examples)), key=lengths.__getitem__)
        while waiting:
            rows = min(self.options.batch_size, max(1, WORDS_PER_BATCH // lengths[waiting[-1]]))
            yield waiting[-rows:]
            del waiting[-rows:]

    def encode(self, examples: Sequence[Example]) -> BatchEncoding:
        texts = zip(*([text.words for text in example.texts] for example in examples))
        return self.tokenizer(*map(list, texts), is_split_into_words=True, padding=True, return_tensors="pt")

    @torch.no_grad()
    def logits(self, encoded: BatchEncoding) -> Tensor:
        batch = {name: encoded[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
        return self.model(**batch).logits.float().cpu()


class Tagger(Head):
    task, formats = "words", ("conll", "jsonl", "html")

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.marks_entities = find_scheme(self.labels) is not None

    def predict_batch(self, examples: Sequence[Example]) -> list[dict]:
        encoded = self.encode(examples)
        probabilities, ids = self.logits(encoded).softmax(dim=-1).max(dim=-1)
        return [
            self.prediction(
                example, *(values[row, positions(encoded, row)].tolist() for values in (ids, probabilities))
            )
            for row, example in enumerate(examples)
        ]

    def prediction(self, example: Example, ids: list[int], scores: list[float]) -> dict:
        (text,) = example.texts
        labels = [self.labels[id] for id in ids]
        found = {"text": text.text, "words": text.words, "labels": labels}
        found["scores"] = [round(score, DIGITS) for score in scores]
        if self.marks_entities:
            entities = []
            for span in spans(labels):
                start, end = text.offsets[span.start][0], text.offsets[span.end - 1][1]
                score = sum(scores[span.start : span.end]) / (span.end - span.start)
                entities.append(
                    {"type": span.type, "text": text.text[start:end], "start": start, "end": end}
                    | {"first_word": span.start, "last_word": span.end - 1, "score": round(score, DIGITS)}
                )
            found["entities"] = entities
        return found

    def counted(self, prediction: dict) -> list[str]:
        if self.marks_entities:
            return [entity["type"] or "entity" for entity in prediction["entities"]]
        return prediction["labels"]


def positions(encoded: BatchEncoding, row: int) -> list[int]:
    """Return the positions of words, without special tokens and padding."""
    return [position for position, word in enumerate(encoded.word_ids(row)) if word is not None]


class Classifier(Head):
    task = "texts"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        config = self.model.config
        self.is_of_pairs = config.sequence_encoder in PAIR_ENCODERS
        self.problem = config.problem_type or (
            "regression" if config.num_labels == 1 else "single_label_classification"
        )

    def predict_batch(self, examples: Sequence[Example]) -> list[dict]:
        rows = self.logits(self.encode(examples)).double()
        if self.problem == "single_label_classification":
            rows = rows.softmax(dim=-1)
        elif self.problem == "multi_label_classification":
            rows = rows.sigmoid()
        return [self.prediction(example, row) for example, row in zip(examples, rows.tolist())]

    def prediction(self, example: Example, row: list[float]) -> dict:
        """Return a label or value; none for a text without words, which the model knows nothing of."""
        found: dict = dict(zip(("text", "text_pair"), (text.text for text in example.texts)))
        is_empty = not all(text.words for text in example.texts)
        if self.problem == "regression":
            values = [None if is_empty else round(value, DIGITS) for value in row]
            return found | ({"value": values[0]} if len(values) == 1 else {"values": dict(zip(self.labels, values))})
        ranked = sorted(zip(row, self.labels), key=lambda pair: -pair[0])
        shown = {label: round(score, DIGITS) for score, label in ranked[: self.options.top_k]}
        if self.problem == "multi_label_classification":
            labels = [label for score, label in zip(row, self.labels) if score > self.options.threshold]
            return found | {"labels": None if is_empty else labels, "scores": {} if is_empty else shown}
        if is_empty:
            return found | {"label": None, "score": None, "scores": {}}
        score, label = ranked[0]
        return found | {"label": label, "score": round(score, DIGITS), "scores": shown}

    def counted(self, prediction: dict) -> list[str]:
        if self.problem == "regression":
            return []
        labels = prediction["labels"] if "labels" in prediction else [prediction["label"]]
        return ["without words"] if labels in (None, [None]) else labels


class Answerer(Head):
    task = "questions"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.pipeline = ElmoQuestionAnsweringPipeline(
            model=self.model, tokenizer=self.tokenizer, device=self.model.device
        )

    def predict_batch(self, examples: Sequence[Example]) -> list[dict]:
        asked = [dict(zip(("question", "context"), (text.text for text in example.texts))) for example in examples]
        has_words = [all(text.words for text in example.texts) for example in examples]
        count = self.options.top_k or 1
        options = {"max_answer_len": self.options.max_answer_length, "batch_size": self.options.batch_size}
        chosen = [question for question, is_asked in zip(asked, has_words) if is_asked]
        # With more than one, answers are always a list; the pipeline refuses to be asked nothing.
        answers = iter(self.pipeline(chosen, top_k=max(2, count), **options) if chosen else ())
        return [
            self.prediction(question, next(answers)[:count] if is_asked else [])
            for question, is_asked in zip(asked, has_words)
        ]

    def prediction(self, example: dict, answers: list[dict]) -> dict:
        """Return the best answer; it is empty if the model finds none in the context, or a text has no words."""
        answers = [{**answer, "score": round(answer["score"], DIGITS)} for answer in answers]
        best = answers[0] if answers else {"answer": "", "score": None, "start": 0, "end": 0}
        found = {"question": example["question"], **{name: best[name] for name in ("answer", "score", "start", "end")}}
        return found | ({"answers": answers} if self.options.top_k else {}) | {"context": example["context"]}

    def counted(self, prediction: dict) -> list[str]:
        return ["answered" if prediction["answer"] else "without an answer"]
