"""Train a model that finds the answer to a question in a text.

    python -m hf_elmo.training.qa --model_name_or_path elmo --train_file train-v1.1.json \\
        --validation_file dev-v1.1.json --output_dir qa

Files are those of SQuAD 1.1, or `.json.gz`; data sets of the Hub have the columns of `squad`. Texts of more than
`--max_context_words` words are read in windows, and what is learnt of those without the answer is that it is elsewhere.
Predictions are what the official evaluation of SQuAD reads, `{id: text}`, and lists of the best answers with their
places in the text.
"""

import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..model.question_answering_elmo import ElmoForQuestionAnswering
from .arguments import DataArguments
from .common import main
from .encoded import Split
from .squad import (
    Question,
    ScoredAnswer,
    Window,
    answer_texts,
    best_answers,
    make_windows,
    questions_of_rows,
    read_squad,
    require_answers,
    write_answers,
)
from .squad_metrics import squad_scores
from .task import Task
from .text_files import Place

logger = logging.getLogger("hf_elmo.training")


@dataclass
class QuestionArguments(DataArguments):
    """Questions, texts with their answers, and how the texts are read."""

    max_context_words: int = field(default=400, metadata={"help": "Words of a text that are read at once."})
    context_stride: int = field(default=128, metadata={"help": "Words that a window repeats of the one before."})
    max_answer_length: int = field(default=17, metadata={"help": "Words of an answer, at most."})
    n_best: int = field(default=20, metadata={"help": "Answers to a question that are written down."})
    keep_unplaced_answers: bool = field(
        default=False,
        metadata={"help": "Score by answers that are not in the text where they are said to, but do not learn them."},
    )

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.context_stride < self.max_context_words:
            raise ValueError(
                f"--context_stride must be from 0 to below --max_context_words ({self.max_context_words}), but is "
                f"{self.context_stride}"
            )
        for name in ("max_answer_length", "n_best"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be at least 1, but is {getattr(self, name)}")


class QuestionTask(Task):
    """Train a model that finds the answer to a question in a text."""

    name = "qa"
    head = ElmoForQuestionAnswering
    metric = "f1"
    data_arguments = QuestionArguments

    def read_file(self, path: str, split: str) -> list[Question]:
        return read_squad(path, self.data.keep_unplaced_answers)

    def read_rows(self, rows: Iterable[tuple[Place, dict]]) -> list[Question]:
        return questions_of_rows(rows, self.data.dataset_name, self.data.keep_unplaced_answers)

    def label_names(self, questions: Sequence[Question]) -> None:
        return None

    def check(self, questions: Sequence[Question], split: str):
        if split != "test":
            require_answers(questions, getattr(self.data, f"{split}_file") or self.data.dataset_name)

    def encode(self, questions: Sequence[Question], tokenizer: PreTrainedTokenizerBase, split: str) -> "WindowSplit":
        if split == "train":
            questions = placed(questions)
        windows, features = make_windows(questions, tokenizer, self.data.max_context_words, self.data.context_stride)
        logger.info("%s: %d windows", split, len(windows))
        return WindowSplit(questions, windows, features)

    def answers(self, split: "WindowSplit", logits: tuple[np.ndarray, np.ndarray]) -> list[list[ScoredAnswer]]:
        """The best answers to each question. `logits` are of first and of last words."""
        limits = self.data.max_answer_length, self.data.n_best
        return best_answers(split.examples, split.windows, *logits, *limits)

    def score(self, split: "WindowSplit", logits: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
        gold = {question.id: [answer.text for answer in question.answers] for question in split.examples}
        gold = {question: texts for question, texts in gold.items() if texts}
        return squad_scores(answer_texts(split.examples, self.answers(split, logits)), gold) if gold else {}

    def write(self, split: "WindowSplit", logits: tuple[np.ndarray, np.ndarray], folder: Path, name: str):
        write_answers(str(folder), f"{name}_predictions", split.examples, self.answers(split, logits))


class WindowSplit(Split):
    """Questions, and as features the windows over their texts."""

    def __init__(self, questions: Sequence[Question], windows: Sequence[Window], features: Sequence[dict]):
        super().__init__(questions, features)
        self.windows = windows


def placed(questions: Sequence[Question]) -> list[Question]:
    """Questions of which an answer has a place in the text, to be learnt.

    Raises:
        `ValueError`: if there is none.
    """
    found = [question for question in questions if any(answer.start is not None for answer in question.answers)]
    if not found:
        raise ValueError("no question to learn from has an answer with a place in its text")
    if len(found) < len(questions):
        logger.warning(
            "%d of %d questions have no answer with a place in the text, and are not learnt",
            *(len(questions) - len(found), len(questions)),
        )
    return found


if __name__ == "__main__":
    sys.exit(main(QuestionTask))
