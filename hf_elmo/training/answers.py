"""Questions as windows over their texts, and how the logits of windows become answers, which are scored and written."""

from collections import Counter
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
from .errors import outcomes
from .metrics import exact_match, f1_score, squad_scores


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

    def find(
        self, dataset: QuestionDataset, logits: tuple[np.ndarray, np.ndarray]
    ) -> tuple[list[list[ScoredAnswer]], list[float] | None]:
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

    def write(self, path: Path, dataset: QuestionDataset, logits: tuple[np.ndarray, np.ndarray]) -> dict | None:
        """Write the predictions, and lists of the best answers.

        Returns:
            The errors where it is known what is right, as `errors` counts them.
        """
        answers, no_answer = self.find(dataset, logits)
        write_answers(path, dataset.examples, answers, no_answer, self.data.no_answer_threshold)
        texts = answer_texts(dataset.examples, answers, no_answer, self.data.no_answer_threshold)
        counts: dict[str, Counter[str]] = {}
        rows = zip(*(values(dataset.examples, column) for column in ("id", "answers", "is_impossible")))
        for id, reference, is_impossible in rows:
            if reference["text"]:
                scores = exact_match(texts[id], reference["text"]), f1_score(texts[id], reference["text"])
                outcome = "right" if scores[0] else "in part" if scores[1] else "wrong" if texts[id] else "no answer"
                counts.setdefault("with an answer", Counter())[outcome] += 1
            elif is_impossible:
                counts.setdefault("without an answer", Counter())["wrong" if texts[id] else "right"] += 1
        return outcomes(counts, ("right", "in part", "wrong", "no answer"), "questions") if counts else None
