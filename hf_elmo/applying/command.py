# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The command `hf-elmo apply`: a trained head labels, classifies or answers whatever it is given."""

import contextlib
import json
import os
import sys
import time
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from tqdm.auto import tqdm

from .formats import Page, Pairs, jsonl
from .heads import Head
from .inputs import INPUT_FORMATS, Example, Input
from .models import load_head

SUFFIXES = {".conll": "conll", ".jsonl": "jsonl", ".html": "html", ".htm": "html"}
UNITS = {"words": "sentence", "roles": "sentence", "texts": "text", "documents": "document", "questions": "question"}
SHOWN = 8  # labels whose counts the report shows
EPILOG = """\
input:
  The model's architecture says what it is applied to. Taggers take lines of text, files with a word per line, and
  tables; so do labelers of semantic roles, which find the predicates. Classifiers take lines of text and tables.
  Models of coreference take both, a line or cell being a text of any number of sentences, and CoNLL-2012's files.
  Models of pairs take lines with a tab between both texts and tables; models that answer questions take tables and
  SQuAD's .json, or lines of questions with --context FILE. Standard input is answered line by line. Raw text is split
  into words by the model's tokenizer.

output:
  conll  a word and its label per line (taggers; their default); of semantic roles the columns of CoNLL-2005, of
         coreference those of CoNLL-2012
  jsonl  an object per line with labels or classes and their probabilities, places of entities, answers (the default)
  html   a self-contained page: entities, arguments, clusters and answers in color, probabilities as bars

exit codes: 0 success, 2 something to correct, 130 interrupted."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("model", metavar="MODEL", help="folder or Hub name of a model with a trained head")
    parser.add_argument(
        "input", metavar="INPUT", nargs="?", default="-", help="a file, or - for standard input (default)"
    )
    parser.add_argument(
        "--output", metavar="FILE", help="file of the results, complete or absent; by default they are printed"
    )
    parser.add_argument(
        "--format", choices=("conll", "jsonl", "html"), help="format of the results; by default that of FILE's name"
    )
    parser.add_argument(
        "--input-format", choices=INPUT_FORMATS, help="by default that of INPUT's name; text for standard input"
    )
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="texts that are computed together (32)")
    parser.add_argument("--json", action="store_true", help="with --output: print counts and speed as one JSON object")
    parser.add_argument(
        "--top-k", type=int, metavar="N", help="most probable classes, or answers to each question, to list"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.5,
        metavar="P",
        help="models of several labels a text: probability above which a label is given (0.5)",
    )
    parser.add_argument("--pairs", action="store_true", help="classifiers: each line or row is a pair of texts")
    parser.add_argument("--context", metavar="FILE", help="the text in which all questions are answered")
    parser.add_argument(
        "--max-answer-length", type=int, metavar="N", help="words of an answer, at most (of most models 17)"
    )
    columns = parser.add_argument_group(
        "columns of tables", "by their names, or by their numbers from 0 if there is no header"
    )
    for name, content in (
        ("text", "texts, or lists of words"),
        ("first", "first texts of pairs"),
        ("second", "second texts of pairs"),
        ("question", "questions"),
        ("context", "texts with their answers"),
        ("sentence", "numbers of sentences, where a row has one word"),
        ("word", "words, in a file with a word per line"),
        ("label", "labels, in such a file; they are not read"),
    ):
        columns.add_argument(f"--{name}-column", metavar="COLUMN", help=content)
        columns.add_argument(
            f"--{name}_column", dest=f"{name}_column", help=SUPPRESS
        )  # as the training scripts have it


def run(arguments: Namespace) -> None:
    """Apply a model to the input and write its predictions."""
    check(arguments)
    head = load_head(arguments.model, arguments)
    write = formatter(head, arguments)
    source = Input(arguments, head.tokenizer, head.task, head.labels, head.is_of_pairs)
    if source.is_stream and sys.stdin.isatty():
        print(f"reading {source.describe()} from the terminal; Ctrl-D ends", file=sys.stderr)
    report = Report(arguments.model, head, source)
    is_shown = None if arguments.output or not sys.stdout.isatty() else True  # None: unless stderr is no terminal
    with output(arguments.output) as file, tqdm(unit="word", disable=is_shown, leave=False, unit_scale=True) as bar:
        for piece in write(predictions(head, source, report, bar)):
            file.write(piece)
            if source.is_stream:
                file.flush()
    if not report.examples:
        raise ValueError(f"{source.name}: there is nothing to apply the model to in it")
    report.show(arguments.json)


def check(arguments: Namespace) -> None:
    for name, least in (("batch_size", 1), ("top_k", 1), ("max_answer_length", 1)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, but is {value}")
    if not 0 <= arguments.threshold < 1:
        raise ValueError(f"--threshold must be from 0 to below 1, but is {arguments.threshold:g}")
    if arguments.input != "-" and not Path(arguments.input).is_file():
        problem = "this is a folder" if Path(arguments.input).is_dir() else "no such file"
        advice = f"echo 'A text .' | hf-elmo apply {arguments.model}"
        raise ValueError(f"{arguments.input}: {problem}; a text itself is given by standard input: {advice}")
    if arguments.output is None:
        if arguments.json:
            raise ValueError("--json reports on the whole input: write the results to a file with --output FILE")
        return
    for given in (arguments.input, arguments.context):
        if given not in (None, "-") and Path(arguments.output).resolve() == Path(given).resolve():
            raise ValueError(f"--output {arguments.output} is the input: give another file")
    if Path(arguments.output).is_dir():
        raise ValueError(f"--output {arguments.output}: this is a folder; give the name of a file")
    if not Path(arguments.output).resolve().parent.is_dir():
        raise ValueError(f"--output {arguments.output}: there is no folder {Path(arguments.output).parent}")


def formatter(head: Head, arguments: Namespace) -> Callable[[Pairs], Iterator[str]]:
    """Return the function that writes predictions in the chosen format.

    Raises:
        `ValueError`: if the model's predictions have no such format.
    """
    of_name = SUFFIXES.get(Path(arguments.output).suffix.lower()) if arguments.output else None
    chosen = arguments.format or of_name or head.formats[0]
    if chosen not in head.formats:
        raise ValueError(
            f"--format {chosen} is for models that label words; {arguments.model} gives {' or '.join(head.formats)}"
        )
    page = Page(f"{arguments.model}: {'standard input' if arguments.input == '-' else arguments.input}", head.labels)
    lines = partial(jsonl, left_out=("context",) if arguments.context else ())  # it is the same for all questions
    formatters: dict[str, Callable[[Pairs], Iterator[str]]] = {"conll": head.conll, "jsonl": lines, "html": page}
    return formatters[chosen]


def predictions(head: Head, source: Input, report: "Report", bar: tqdm) -> Iterator[tuple[Example, dict]]:
    """Yield examples with their predictions, and count them."""
    for chunk in source.chunks():
        for example, found in zip(chunk, head.predict(chunk)):
            bar.update(report.count(example, found))
            yield example, found


class Report:
    """Counts of what a command has read and predicted."""

    def __init__(self, model: str, head: Head, source: Input):
        self.model, self.head, self.source, self.started = model, head, source, time.time()
        self.examples, self.words, self.labels = 0, 0, Counter()

    def count(self, example: Example, found: dict) -> int:
        """Add an example. Return the number of its words."""
        words = sum(len(text.words) for text in example.texts)
        self.examples += 1
        self.words += words
        self.labels.update(self.head.counted(found))
        return words

    def show(self, as_json: bool) -> None:
        seconds = time.time() - self.started
        facts: dict[str, Any] = {
            "model": self.model,
            "architecture": type(self.head.model).__name__,
            "input": self.source.name,
        }
        facts |= {"read_as": self.source.describe(), "examples": self.examples, "words": self.words}
        facts |= {"labels": dict(self.labels.most_common()), "seconds": round(seconds, 3)}
        if as_json:
            print(json.dumps(facts, ensure_ascii=False))
            return
        counts = ", ".join(f"{label} {count:,}" for label, count in self.labels.most_common(SHOWN))
        more = f" and {len(self.labels) - SHOWN} others" if len(self.labels) > SHOWN else ""
        print(
            f"{self.source.name}, read as {self.source.describe()}: {counted(self.examples, UNITS[self.head.task])}, "
            f"{counted(self.words, 'word')} in {seconds:.1f} s{f'; {counts}{more}' if counts else ''}",
            file=sys.stderr,
        )


def counted(number: int, unit: str) -> str:
    return f"{number:,} {unit}{'' if number == 1 else 's'}"


@contextlib.contextmanager
def output(path: str | None) -> Iterator[TextIO]:
    """Open a file that has its name when it is complete, or the standard output."""
    if path is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    unfinished = f"{path}.unfinished"
    try:
        with open(unfinished, "w", encoding="utf-8", newline="\n") as file:
            yield file
        os.replace(unfinished, path)
    finally:
        Path(unfinished).unlink(missing_ok=True)
