"""Train a model that finds the answer to a question in a text.

    python -m hf_elmo.training.qa --model_name_or_path elmo --train_file train-v1.1.json \\
        --validation_file dev-v1.1.json --output_dir qa

Files are those of SQuAD 1.1 and 2.0, or `.json.gz`; datasets of the Hub have the columns of `squad` or `squad_v2`.
Texts of more than `--max_context_words` words are read in windows; for windows without the answer, the model learns
that it is not there. If questions without an answer are in the training data (SQuAD 2.0), the empty text is an answer.
Predictions are what the official evaluation reads, `{id: text}`, and lists of the best answers with their places.
"""

import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..model.question_answering_elmo import ElmoForQuestionAnswering
from .arguments import DataArguments, FineTuningArguments, ModelArguments
from .batches import EncodedDataset
from .checks import check_settings, select_metric
from .data.question_windows import (
    ScoredAnswer,
    Window,
    answer_texts,
    best_answers,
    make_windows,
    no_answer_scores,
    write_answers,
)
from .data.questions import read_questions
from .data.splits import sample
from .metrics import squad_scores
from .runs import Runs
from .script import run_script
from .starting_model import StartingModel, load_tokenizer, task_config
from .trainer import TaskTrainer


@dataclass
class QuestionArguments(DataArguments):
    """Questions, texts with their answers, and how the texts are read."""

    max_context_words: int = field(default=400, metadata={"help": "Maximum number of words of a window."})
    context_stride: int = field(default=128, metadata={"help": "Words that a window repeats of the previous one."})
    max_answer_length: int = field(default=17, metadata={"help": "Maximum number of words of an answer."})
    n_best: int = field(default=20, metadata={"help": "Answers to each question that are written down."})
    no_answer_threshold: float = field(
        default=0.0, metadata={"help": "SQuAD 2.0: no answer if its score exceeds the best answer's by more."}
    )
    keep_unplaced_answers: bool = field(
        default=False, metadata={"help": "Score by answers that are not where the data say, but do not learn them."}
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


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    return run_script("qa", train, (QuestionArguments, ModelArguments, FineTuningArguments), arguments, __doc__)


def train(data: QuestionArguments, model_args: ModelArguments, args: FineTuningArguments, command: list[str]) -> None:
    """Train with each seed, answer the test questions, and save the best model."""
    head = ElmoForQuestionAnswering
    check_settings(model_args, args)
    splits = read_questions(data)
    tokenizer = load_tokenizer(model_args)
    is_second = any(any(examples["is_impossible"]) for _, examples in splits.items())
    config = task_config(head, model_args, splits, defaults={"qa_no_answer": is_second})
    encode_split = partial(encode_questions, tokenizer=tokenizer, data=data)
    datasets = {name: encode_split(examples) for name, examples in splits.items()}
    start = StartingModel(head, config, model_args, tokenizer, datasets)
    select_metric(args, ("exact_match", "f1"), default="f1")
    answers = Answers(data, is_second or config.qa_no_answer)

    with Runs(command, data, model_args, args, splits, start) as runs:
        for run in runs:
            if data.train_fraction < 1:
                datasets["train"] = encode_split(sample(splits.train, data.train_fraction, run.seed))
            trainer = TaskTrainer(start.create(run.seed), run.args, datasets, tokenizer, answers.score)
            run.train(trainer)
            run.evaluate(trainer, answers.write)
        runs.finish()


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
        is_second: Whether a text may have no answer, as in SQuAD 2.0.
    """

    def __init__(self, data: QuestionArguments, is_second: bool):
        self.data, self.is_second = data, is_second

    def find(self, dataset: QuestionDataset, logits: tuple) -> tuple[list[list[ScoredAnswer]], list[float] | None]:
        """Return the best answers to each question, and the scores that there is none."""
        limits = self.data.max_answer_length, self.data.n_best
        answers = best_answers(dataset.examples, dataset.windows, *logits, *limits)
        return answers, no_answer_scores(answers, dataset.windows, *logits) if self.is_second else None

    def score(self, dataset: QuestionDataset, logits: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
        """Return the official metrics over all questions of which it is known what is right."""
        examples, (answers, no_answer) = dataset.examples, self.find(dataset, logits)
        rows = zip(examples["id"], examples["answers"], examples["is_impossible"])
        gold = {id: reference["text"] for id, reference, impossible in rows if reference["text"] or impossible}
        if not gold:
            return {}
        return squad_scores(answer_texts(examples, answers, no_answer, self.data.no_answer_threshold), gold)

    def write(self, path: Path, dataset: QuestionDataset, logits: tuple[np.ndarray, np.ndarray]) -> None:
        """Write the predictions, and lists of the best answers."""
        write_answers(path, dataset.examples, *self.find(dataset, logits), self.data.no_answer_threshold)


if __name__ == "__main__":
    sys.exit(main())
