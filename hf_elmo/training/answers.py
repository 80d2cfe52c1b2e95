"""Questions as windows over their texts, and how the logits of windows become answers, which are scored and written."""

from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from .arguments import QuestionArguments
from .batches import EncodedDataset
from .data.question_windows import (
    ScoredAnswer,
    Window,
    answer_texts,
    best_answers,
    make_windows,
    no_answer_scores,
    write_answers,
)
from .data.splits import values
from .metrics import squad_scores


class QuestionDataset(EncodedDataset):
    """Questions, and windows over their texts as features."""

    def __init__(self, examples: Dataset, windows: list[Window], features: list[dict]):
        super().__init__(examples, features)
        self.windows = windows


def encode_questions(examples: Dataset, tokenizer: PreTrainedTokenizerBase, data: QuestionArguments) -> QuestionDataset:
    """Encode questions, with positions of answers only if all are known: rows of a batch need the same fields."""
    windows, features = make_windows(examples, tokenizer, data.max_context_words, data.context_stride)
    positions = ("start_positions", "end_positions")
    if not all(positions[0] in feature for feature in features):
        features = [{name: feature[name] for name in feature if name not in positions} for feature in features]
    return QuestionDataset(examples, windows, features)


class Answers:
    """How the logits of windows become answers, which are scored and written.

    Args:
        may_lack_answer: Whether a text may have no answer, as in SQuAD 2.0.
    """

    def __init__(self, data: QuestionArguments, may_lack_answer: bool):
        self.data, self.may_lack_answer = data, may_lack_answer

    def find(self, dataset: QuestionDataset, logits: tuple) -> tuple[list[list[ScoredAnswer]], list[float] | None]:
        """Return the best answers to each question, and the scores that there is none."""
        limits = self.data.max_answer_length, self.data.n_best
        answers = best_answers(dataset.examples, dataset.windows, *logits, *limits)
        return answers, no_answer_scores(answers, dataset.windows, *logits) if self.may_lack_answer else None

    def score(self, dataset: QuestionDataset, logits: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
        """Return the official metrics over all questions of which it is known what is right."""
        examples, (answers, no_answer) = dataset.examples, self.find(dataset, logits)
        rows = zip(*(values(examples, column) for column in ("id", "answers", "is_impossible")))
        gold = {id: reference["text"] for id, reference, impossible in rows if reference["text"] or impossible}
        if not gold:
            return {}
        return squad_scores(answer_texts(examples, answers, no_answer, self.data.no_answer_threshold), gold)

    def write(self, path: Path, dataset: QuestionDataset, logits: tuple[np.ndarray, np.ndarray]) -> None:
        """Write the predictions, and lists of the best answers."""
        write_answers(path, dataset.examples, *self.find(dataset, logits), self.data.no_answer_threshold)
