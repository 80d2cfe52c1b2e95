"""Train a model that finds the answer to a question in a text.

    python -m hf_elmo.training.qa --model_name_or_path elmo --train_file train-v1.1.json \\
        --validation_file dev-v1.1.json --output_dir qa

Files are those of SQuAD 1.1 and 2.0, or `.json.gz`; datasets of the Hub have the columns of `squad` or `squad_v2`.
Texts of more than `--max_context_words` words are read in windows; for windows without the answer, the model learns
that it is not there. If questions without an answer are in the training data (SQuAD 2.0), the empty text is an answer.
Predictions are what the official evaluation reads, `{id: text}`, and lists of the best answers with their places.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..loading import load_tokenizer
from ..model.question_answering_elmo import ElmoForQuestionAnswering
from .arguments import FineTuningArguments, ModelArguments, QuestionArguments
from .batches import EncodedDataset
from .checks import check_settings
from .data.question_windows import (
    ScoredAnswer,
    answer_texts,
    best_answers,
    make_windows,
    no_answer_scores,
    write_answers,
)
from .data.questions import read_questions
from .data.splits import Splits, values
from .errors import outcomes
from .metrics import exact_match, f1_score, squad_scores
from .runs import Runs
from .script import run_script
from .starting_model import StartingModel, task_config
from .tasks import Task


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    return run_script("qa", train, (QuestionArguments, ModelArguments, FineTuningArguments), arguments, __doc__)


def train(data: QuestionArguments, model_args: ModelArguments, args: FineTuningArguments, command: list[str]) -> None:
    """Train with each seed, answer the test questions, and save the best model."""
    head = ElmoForQuestionAnswering
    check_settings(model_args.model_name_or_path, args)
    splits = read_questions(data)
    tokenizer = load_tokenizer(model_args.model_name_or_path)
    may_lack_answer = any(any(values(examples, "is_impossible")) for _, examples in splits.items())
    config = task_config(head, model_args, splits, defaults={"qa_no_answer": may_lack_answer})
    task = Answers(tokenizer, data, may_lack_answer or config.qa_no_answer)
    start = StartingModel(head, config, model_args, tokenizer, task.encode_splits(splits))
    Runs(command, data, model_args, args, splits, start, task).train()


class Answers(Task):
    """Answers to questions, out of the logits of windows.

    Args:
        may_lack_answer: Whether a text may have no answer, as in SQuAD 2.0.
    """

    default_metric = "f1"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, data: QuestionArguments, may_lack_answer: bool):
        super().__init__(tokenizer)
        self.data, self.may_lack_answer = data, may_lack_answer

    def encode(self, examples: Dataset) -> EncodedDataset:
        """Encode questions, with positions of answers only if all are known: rows of a batch need the same fields."""
        windows, features = make_windows(
            examples, self.tokenizer, self.data.max_context_words, self.data.context_stride
        )
        positions = ("start_positions", "end_positions")
        if not all(positions[0] in feature for feature in features):
            features = [{name: feature[name] for name in feature if name not in positions} for feature in features]
        return EncodedDataset(examples, features, windows)

    def gold(self, examples: Dataset) -> list[list[str] | None]:
        """Return the reference answers of each question, none of them where the text has no answer."""
        rows = zip(values(examples, "answers"), values(examples, "is_impossible"))
        return [answers["text"] if answers["text"] or is_impossible else None for answers, is_impossible in rows]

    def find(
        self, dataset: EncodedDataset, logits: tuple[np.ndarray, np.ndarray]
    ) -> tuple[list[list[ScoredAnswer]], list[float] | None]:
        """Return the best answers to each question, and the scores that there is none."""
        limits = self.data.max_answer_length, self.data.n_best
        answers = best_answers(dataset.examples, dataset.places, *logits, *limits)
        return answers, no_answer_scores(answers, dataset.places, *logits) if self.may_lack_answer else None

    def predicted(self, dataset: EncodedDataset, predictions: tuple[np.ndarray, np.ndarray]) -> list[str]:
        found = self.find(dataset, predictions)
        return list(answer_texts(dataset.examples, *found, self.data.no_answer_threshold).values())

    def metrics(self, gold: Sequence, predicted: Sequence) -> dict[str, float]:
        return squad_scores(dict(enumerate(predicted)), dict(enumerate(gold)))

    def metric_names(self, splits: Splits) -> list[str]:
        return ["exact_match", "f1"]

    def errors(self, gold: Sequence, predicted: Sequence) -> dict:
        outcomes_of = []
        for answers, text in zip(gold, predicted):
            if answers:
                scores = exact_match(text, answers), f1_score(text, answers)
                outcome = "right" if scores[0] else "in part" if scores[1] else "wrong" if text else "no answer"
                outcomes_of.append(("with an answer", outcome))
            else:
                outcomes_of.append(("without an answer", "wrong" if text else "right"))
        return outcomes(outcomes_of, ("right", "in part", "wrong", "no answer"), "questions")

    def write(self, path: Path, dataset: EncodedDataset, predictions: tuple[np.ndarray, np.ndarray]) -> dict | None:
        """Write what the official evaluation reads, and lists of the best answers; return the errors."""
        examples, found, threshold = dataset.examples, self.find(dataset, predictions), self.data.no_answer_threshold
        write_answers(path, examples, *found, threshold)
        texts = answer_texts(examples, *found, threshold).values()
        return self.of_known(self.errors, self.gold(examples), texts)


if __name__ == "__main__":
    sys.exit(main())
