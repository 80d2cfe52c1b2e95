"""Train a model that finds the answer to a question in a text.

    python -m hf_elmo.training.qa --model_name_or_path elmo --train_file train-v1.1.json \\
        --validation_file dev-v1.1.json --output_dir qa

Files are those of SQuAD 1.1 and 2.0, or `.json.gz`; datasets of the Hub have the columns of `squad` or `squad_v2`.
Texts of more than `--max_context_words` words are read in windows; for windows without the answer, the model learns
that it is not there. If questions without an answer are in the training data (SQuAD 2.0), the empty text is an answer.
Predictions are what the official evaluation reads, `{id: text}`, and lists of the best answers with their places.
"""

import sys
from functools import partial

from ..loading import load_tokenizer
from ..model.question_answering_elmo import ElmoForQuestionAnswering
from .answers import Answers, encode_questions
from .arguments import FineTuningArguments, ModelArguments, QuestionArguments
from .checks import check_settings, select_metric
from .data.questions import read_questions
from .data.splits import sample, values
from .runs import Runs
from .script import run_script
from .starting_model import StartingModel, task_config
from .trainer import TaskTrainer


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
    encode_split = partial(encode_questions, tokenizer=tokenizer, data=data)
    datasets = {name: encode_split(examples) for name, examples in splits.items()}
    start = StartingModel(head, config, model_args, tokenizer, datasets)
    select_metric(args, ("exact_match", "f1"), default="f1")
    answers = Answers(data, may_lack_answer or config.qa_no_answer)

    with Runs(command, data, model_args, args, splits, start) as runs:
        for run in runs:
            if data.train_fraction < 1:
                datasets["train"] = encode_split(sample(splits.train, data.train_fraction, run.seed))
            trainer = TaskTrainer(start.create(run.seed), run.args, datasets, tokenizer, answers.score)
            run.train(trainer)
            run.evaluate(trainer, answers.write)
        runs.finish()


if __name__ == "__main__":
    sys.exit(main())
