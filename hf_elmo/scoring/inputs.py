# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The sentences that the commands on language models read: files with one a line, or the standard input."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from itertools import islice

from ..applying.inputs import arriving_lines
from ..model.word_splitting_elmo import SPLITTING_RULES, splitting_rule
from ..training.language_model.corpus import TextFiles, choose_split

STANDARD_INPUT = "-"
CHUNK = 512  # sentences of a file that are computed together


def add_sentence_arguments(parser: ArgumentParser) -> None:
    """Add what the commands have in common: where sentences are, the model, and the form of the output."""
    parser.add_argument(
        "input",
        metavar="INPUT",
        nargs="?",
        default=STANDARD_INPUT,
        help="file with one sentence a line; .gz, or a glob in quotes; by default, or with -, the standard input",
    )
    parser.add_argument("--model", required=True, help="folder or Hub name of a model with its softmax and vocabulary")
    parser.add_argument(
        "--split",
        choices=tuple(SPLITTING_RULES),
        help="rule that splits a line into words. By default, a file that is split already is left as it is, and "
        "everything else is split as the model's tokenizer does",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, a sentence a line as they come")


class SentenceInput:
    """Sentences as lists of words, in chunks; of the standard input, a chunk is what has arrived.

    Args:
        source: A file, a glob, or `-`.
        split: Rule that splits lines, if the user named one.
        default: Rule of the tokenizer.

    Raises:
        `ValueError`: if there is no such file, or only a part of it is raw text.
    """

    def __init__(self, source: str, split: str | None, default: str):
        self.is_stream, self.corpus = source == STANDARD_INPUT, None
        self.name = "standard input" if self.is_stream else source
        self.split = split or default
        if not self.is_stream:
            self.corpus = TextFiles([source])
            choose_split(self.corpus, split, default)
            self.split = self.corpus.split
        elif sys.stdin.isatty():
            print("reading a sentence per line from the terminal; Ctrl-D ends", file=sys.stderr)

    def chunks(self) -> Iterator[list[list[str]]]:
        """Yield sentences; `ValueError` at the end if there were none."""
        found = False
        for chunk in self.arriving() if self.corpus is None else self.of_files():
            found = True
            yield chunk
        if not found:
            raise ValueError(f"{self.name}: there is no sentence in it")

    def arriving(self) -> Iterator[list[list[str]]]:
        for lines in arriving_lines():
            sentences = [splitting_rule(self.split).findall(line) for _, line in lines if line.strip()]
            for start in range(0, len(sentences), CHUNK):
                yield sentences[start : start + CHUNK]

    def of_files(self) -> Iterator[list[list[str]]]:
        sentences = iter(self.corpus)
        while chunk := list(islice(sentences, CHUNK)):
            yield chunk
