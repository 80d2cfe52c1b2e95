# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Inputs of a trained head: lines of text, files with a word per line, rows of tables, questions.

Input is read in chunks. Of a stream, a chunk is what has arrived, so that each line is answered before the next one is
there, and many lines at once are computed together. An error is raised after everything that was read before it.
"""

import codecs
import contextlib
import os
import shutil
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ..model.tokenization_elmo import ElmoTokenizer
from ..text_files import Place, numbered_lines, read_text
from ..training.arguments import QuestionArguments
from ..training.data.documents import BEGIN, IDENTIFIERS, DocumentReader, is_list_of_lists
from ..training.data.predicates import PredicateReader, has_columns_of_predicates
from ..training.data.questions import QuestionReader, is_array
from ..training.data.tables import SUFFIXES, Row, find_column, json_row, peek, read_table
from ..training.data.text_pairs import FIRST, IDENTIFIER, SECOND
from ..training.data.texts import FASTTEXT, LINES_TO_JUDGE, TEXT_COLUMNS
from ..training.data.word_labels import WORD_COLUMNS, as_list, grouped
from ..training.data.word_lines import find_layout, read_word_lines

STANDARD_INPUT = "standard input"
INPUT_FORMATS = ("text", "conll", *(suffix[1:] for suffix in SUFFIXES))
CONLL_SUFFIXES = (".conll", ".conllu", ".conllup", ".conll03", ".conll09", ".conll12", ".iob", ".iob2", ".bio")
QUESTION_COLUMNS, CONTEXT_COLUMNS = ("question",), ("context", "passage", "paragraph", "document", "text")
CHUNK = 512  # examples of a file that are computed together
BUFFER = 1 << 16  # bytes of a stream that are read at most at a time


class Text(NamedTuple):
    """A text, its words, and the place of each in it: the first character and the one after the last."""

    text: str
    words: list[str]
    offsets: list[tuple[int, int]]


class Example(NamedTuple):
    """An input of one prediction: a text, a pair of texts, or a question and its context.

    Args:
        place: Where it was read.
        texts: One or two texts.
        id: Its identifier in the data, if it has one.
        lines: The line of each word, in files with a word per line.
        lengths: Words of each sentence, of documents whose sentences are given.
        part: Part of the document, in files of CoNLL-2012.
    """

    place: Place
    texts: tuple[Text, ...]
    id: str | None = None
    lines: list[int] | None = None
    lengths: list[int] | None = None
    part: str | None = None


class Input:
    """The input of a command, as chunks of [`Example`]s.

    Args:
        options: Arguments of the command.
        tokenizer: Splits raw text.
        task: `words` to label, words and their `roles`, `texts` to classify, `documents` of sentences, or `questions`
            to answer.
        labels: Labels of the model, by which the columns of a file are recognized.
        is_of_pairs: Whether the model accepts pairs of texts only.

    Raises:
        `ValueError`: in one line, for options that do not fit the input.
    """

    def __init__(
        self, options: Namespace, tokenizer: ElmoTokenizer, task: str, labels: Sequence[str], is_of_pairs: bool
    ):
        self.options, self.tokenizer, self.task, self.labels = options, tokenizer, task, labels
        self.source, self.is_stream = options.input, options.input == "-"
        self.format = options.input_format or self.format_of_name()
        self.has_pairs = options.pairs or is_of_pairs
        self.context = None
        if options.context is not None:
            self.context = self.split(read_text(options.context))
        if self.format == "conll" and not self.is_of_words and task != "documents":
            raise ValueError(f"{self.name}: a file with a word per line is for taggers; give a table or lines of text")
        if task == "questions" and self.format == "text" and self.context is None:
            raise ValueError(
                f"{self.name}: a question needs a text to find its answer in: give a table with columns for both (.csv,"
                " .jsonl, SQuAD's .json), or lines of questions and --context FILE, the text for all of them"
            )

    @property
    def name(self) -> str:
        return STANDARD_INPUT if self.is_stream else self.source

    def format_of_name(self) -> str:
        """Return the format that the name of the input says, or `text`."""
        if self.is_stream:
            return "text"
        suffix = Path(self.source.removesuffix(".gz")).suffix.lower()
        if suffix in SUFFIXES:
            return suffix[1:]
        if suffix in CONLL_SUFFIXES or (self.task == "documents" and self.begins_document()):
            return "conll"
        return "conll" if self.is_of_words and (self.is_of_predicates() or self.has_known_labels()) else "text"

    @property
    def is_of_words(self) -> bool:
        return self.task in ("words", "roles")

    def begins_document(self) -> bool:
        """Return whether a file of any name is one of CoNLL-2012."""
        return any(BEGIN.match(line) for _, line in islice(numbered_lines(self.source), LINES_TO_JUDGE))

    def is_of_predicates(self) -> bool:
        """Return whether a file has a column of labels for each predicate of a sentence."""
        return self.task == "roles" and has_columns_of_predicates(self.source)

    def has_known_labels(self) -> bool:
        """Return whether a file of any name has columns, one of them with labels of the model."""
        layout = find_layout(self.source, self.options.word_column, self.options.label_column, True, self.labels)
        return layout.label is not None or layout.kind.startswith("CoNLL")

    def describe(self) -> str:
        """Say how the input is read."""
        if self.format in ("text", "conll"):
            unit = {"words": "sentence", "texts": "pair, separated by a tab," if self.has_pairs else "text"}
            unit |= {"roles": "sentence", "documents": "text", "questions": "question"}
            return f"a {unit[self.task]} per line" if self.format == "text" else "a word per line"
        return f"a table ({self.format})"

    def chunks(self) -> Iterator[list[Example]]:
        if self.is_stream and self.format in ("text", "jsonl"):
            for lines in arriving_lines():
                yield from chunked(self.of_lines(lines))
        elif self.is_stream:
            with spooled(f".{self.format}") as path:
                yield from chunked(self.of_file(path))
        else:
            yield from chunked(self.of_file(self.source))

    # ---- Lines and files

    def of_lines(self, lines: Iterable[tuple[int, str]]) -> Iterator[Example]:
        """Yield the examples of numbered lines of text, or of lines of JSON; empty lines are skipped."""
        places = ((Place(self.name, number), line) for number, line in lines if line.strip())
        if self.format == "jsonl":
            rows = ((place, json_row(line, place)) for place, line in places)
            yield from self.of_rows(rows)
            return
        for place, line in places:
            texts = [line.strip()]
            if self.has_pairs and self.task == "texts":
                texts = line.strip("\r\n").split("\t")
                if len(texts) != 2:
                    raise ValueError(
                        f"{place}: a line must be two texts separated by a tab, but has {len(texts) - 1} tabs; or give "
                        "a table with --first-column and --second-column"
                    )
            yield self.example(place, *texts, *([self.context] if self.context else []))

    def of_file(self, path: str) -> Iterator[Example]:
        if self.format == "text":
            self.refuse_labels(path)
            yield from self.of_lines(numbered_lines(path))
        elif self.format == "conll" and self.task == "documents":
            for row in DocumentReader().read_conll(path, "test"):
                place = row["source"].rpartition(" ")[2]
                yield self.document(Place(path, int(place)), row["sentences"], row["id"], row["part"])
        elif self.format == "conll" and self.is_of_predicates():
            for row in PredicateReader().read_file(path, "test"):
                yield self.example(Place(path, int(row["source"].rpartition(" ")[2])), row["tokens"])
        elif self.format == "conll":
            layout = find_layout(path, self.options.word_column, self.options.label_column, True, self.labels)
            for words, _, lines in read_word_lines(path, layout._replace(label=None)):
                yield Example(
                    Place(path, lines[0]), (join(words),), None, None if layout.kind == "sentences" else lines
                )
        elif self.task == "questions" and self.format == "json" and not is_array(path):
            for question in QuestionReader(QuestionArguments()).read_squad(path, "test"):
                place, texts = question["source"].rpartition(": ")[2], (question["question"], question["context"])
                yield self.example(Place(path, place, "field"), *texts, id=question["id"])
        else:
            columns = [self.options.text_column, self.options.first_column, self.options.second_column]
            yield from self.of_rows(read_table(path, columns), path)

    def refuse_labels(self, path: str) -> None:
        """Refuse lines for training, which all begin with a label of the model: the model would read the labels."""
        first = [line.split()[0] for _, line in islice(numbered_lines(path), LINES_TO_JUDGE) if line.strip()]
        labels = {label.removeprefix(FASTTEXT) for label in first}
        if self.task == "texts" and len(first) > 2 and labels <= set(self.labels):
            raise ValueError(
                f"{path}: all lines begin with a label of the model ({', '.join(sorted(labels)[:5])}), which is no "
                f"part of the text: cut -d' ' -f2- {path} | hf-elmo apply {self.options.model}"
            )

    # ---- Tables

    def of_rows(self, rows: Iterable[Row], source: str = STANDARD_INPUT) -> Iterator[Example]:
        head, names, rows = peek(rows)
        if not head:
            return
        place, options = head[0][0], self.options
        usual = IDENTIFIERS if self.task == "documents" else IDENTIFIER
        identifier = find_column(names, None, usual, place, needed=False)
        if self.is_of_words and options.sentence_column is not None:
            column = find_column(names, options.text_column, WORD_COLUMNS, place, "--text-column")
            number = find_column(names, options.sentence_column, (), place)
            for place, words, _, _ in grouped(rows, column, None, number):
                yield self.example(place, [str(word) for word in words])
            return
        columns = self.text_columns(names, place)
        for place, row in rows:
            if self.task == "documents" and is_list_of_lists(row.get(columns[0]), str):
                id = row.get(identifier)
                yield self.document(place, row[columns[0]], None if id is None else str(id))
                continue
            texts = [self.cell(row.get(column), column, place) for column in columns]
            context = [] if self.context is None else [self.context]
            id = row.get(identifier)
            yield self.example(place, *texts, *context, id=None if id is None else str(id))

    def text_columns(self, names: Sequence[str], place: Place) -> list[str]:
        """Return the columns of the texts of an example."""
        options = self.options
        if self.task == "questions":
            question = find_column(names, options.question_column, QUESTION_COLUMNS, place, "--question-column")
            if self.context is not None:
                return [question]
            return [question, find_column(names, options.context_column, CONTEXT_COLUMNS, place, "--context-column")]
        if self.is_of_words:
            usual = dict.fromkeys((*WORD_COLUMNS, *TEXT_COLUMNS))
            return [find_column(names, options.text_column, usual, place, "--text-column")]
        first = find_column(names, options.first_column, FIRST, place, needed=False)
        second = find_column(names, options.second_column, SECOND, place, needed=False)
        if self.task == "documents":
            return [find_column(names, options.text_column, ("sentences", *TEXT_COLUMNS), place, "--text-column")]
        if self.has_pairs or (options.text_column is None and first and second):
            first = first or find_column(names, options.first_column, FIRST, place, "--first-column")
            return [first, second or find_column(names, options.second_column, SECOND, place, "--second-column")]
        return [find_column(names, options.text_column, TEXT_COLUMNS, place, "--text-column")]

    def cell(self, value: Any, column: str, place: Place) -> str | list[str]:
        """Return the text, or the list of words, in a cell of a table; an empty cell is an empty text."""
        value = "" if value is None else value
        if isinstance(value, str) and value.startswith("[") and self.is_of_words:
            value = as_list(value)
        if isinstance(value, str) or (isinstance(value, list) and all(isinstance(word, str) for word in value)):
            return value
        raise ValueError(f"{place}: {column} must be a text, or a list of words, but is {value!r:.60}")

    # ---- Texts

    def example(self, place: Place, *texts: str | list[str] | Text, id: str | None = None) -> Example:
        return Example(place, tuple(map(self.split, texts)), id)

    def document(
        self, place: Place, sentences: list[list[str]], id: str | None = None, part: str | None = None
    ) -> Example:
        words = [word for sentence in sentences for word in sentence]
        return Example(place, (join(words),), id, lengths=[*map(len, sentences)], part=part)

    def split(self, text: str | list[str] | Text) -> Text:
        """Return a text with its words; one that is given as words is joined by blanks."""
        if isinstance(text, Text):
            return text
        if isinstance(text, list):
            return join(text)
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return Text(text, encoded.tokens(), encoded["offset_mapping"])


def join(words: list[str]) -> Text:
    """Return words as a text, separated by blanks."""
    offsets, place = [], 0
    for word in words:
        offsets.append((place, place + len(word)))
        place += len(word) + 1
    return Text(" ".join(words), words, offsets)


# ---- Streams


def chunked(examples: Iterable[Example], size: int = CHUNK) -> Iterator[list[Example]]:
    """Group examples; what was read before an error comes before the error."""
    chunk: list[Example] = []
    try:
        for example in examples:
            chunk.append(example)
            if len(chunk) == size:
                complete, chunk = chunk, []
                yield complete
    except (ValueError, OSError):
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def arriving_lines() -> Iterator[list[tuple[int, str]]]:
    """Yield the lines of the standard input as they arrive, numbered from 1, as many at a time as there are."""
    stream: Any = sys.stdin.buffer
    decode: Callable = codecs.getincrementaldecoder("utf-8-sig")().decode
    number, rest = 0, ""
    while True:
        arrived = stream.read1(BUFFER)
        try:
            *lines, rest = (rest + decode(arrived, final=not arrived)).split("\n")
        except UnicodeDecodeError as error:
            line = number + 1 + error.object[: error.start].count(b"\n")
            raise ValueError(f"{STANDARD_INPUT}, line {line}: not UTF-8; convert the text with iconv") from None
        if not arrived and rest:
            lines.append(rest)
        if lines:
            yield [(number + count, line) for count, line in enumerate(lines, start=1)]
        number += len(lines)
        if not arrived:
            return


@contextlib.contextmanager
def spooled(suffix: str) -> Iterator[str]:
    """Copy the standard input to a temporary file, for formats that are recognized by what follows."""
    descriptor, path = tempfile.mkstemp(suffix=suffix)
    try:
        with open(descriptor, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield path
    except ValueError as error:
        raise ValueError(str(error).replace(path, STANDARD_INPUT)) from None
    finally:
        os.unlink(path)
