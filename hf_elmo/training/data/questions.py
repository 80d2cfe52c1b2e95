"""Questions on texts: files in the format of SQuAD 1.1 and 2.0, tables and datasets with the columns of `squad`.

A question has reference answers, or is known to have none (SQuAD 2.0), or it is not known what is right, as in data to
be predicted. The second kind is marked by `is_impossible`. Where the data have no such field, an empty list of answers
means that there is none if the file says that its version is 2, and in the training and validation rows of tables and
datasets (as in `squad_v2` on the Hub).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from datasets import Dataset

from ...text_files import name_of_kind, numbered_lines
from .splits import Reader, Splits, values
from .tables import Row, load_json

ANSWERS = pa.struct({"text": pa.list_(pa.string()), "answer_start": pa.list_(pa.int32())})
TEXTS = dict.fromkeys(("id", "question", "context", "source"), pa.string())
SCHEMA = pa.schema({**TEXTS, "answers": ANSWERS, "is_impossible": pa.bool_()})


def read_questions(arguments: Any) -> Splits:
    """Read questions on texts. Errors as of `Reader.read`, with the path to the field.

    Examples have the columns `id`, `question`, `context`, `answers` (lists `text` and `answer_start`, the latter `None`
    for an answer that is not where the data say), `is_impossible` and `source`. With `is_impossible`, no answer is
    right; without it and without answers, it is not known what is right: such questions are left out of training.
    """
    return QuestionReader(arguments).read()


class QuestionReader(Reader):
    unit, schema = "question", SCHEMA

    def read_file(self, path: str, split: str) -> Iterable[dict]:
        if name_of_kind(path).endswith(".json") and not is_array(path):
            return self.distinct(self.read_squad(path, split), path)
        return super().read_file(path, split)

    def read_rows(self, rows: Iterable[Row], split: str) -> Iterator[dict]:
        self.understood.record(split, "a table with the columns of squad")
        entries = (Field(row, str(place)) for place, row in rows)
        return self.distinct(self.question(entry, entry["context"], split != "test") for entry in entries)

    def read_squad(self, path: str, split: str) -> Iterator[dict]:
        document = Field(load_json(path), path)
        is_version_2 = document.has("version") and str(document["version"].value).lower().lstrip("v").startswith("2")
        self.understood.record(split, f"SQuAD {'2.0' if is_version_2 else '1.1'}")
        for article in document["data"].items():
            if article.has("context") and not article.has("paragraphs"):  # rows of a table in a list `data`
                yield self.question(article, article["context"], is_version_2)
                continue
            for paragraph in article["paragraphs"].items():
                for entry in paragraph["qas"].items():
                    yield self.question(entry, paragraph["context"], is_version_2)

    def question(self, entry: "Field", context: "Field", is_listed: bool) -> dict:
        """Return an example. With `is_listed`, an empty list of answers says that there is none."""
        answers = read_answers(entry, context.text(), self.arguments.keep_unplaced_answers)
        if entry.has("is_impossible") and entry["is_impossible"].value is not None:
            is_impossible = entry["is_impossible"].truth()
        else:
            is_impossible = is_listed and entry.has("answers") and not answers["text"]
        return {
            "id": entry["id"].identifier(),
            "question": entry["question"].text(may_be_blank=True),
            "context": context.value,
            "answers": {"text": [], "answer_start": []} if is_impossible else answers,
            "is_impossible": is_impossible,
            "source": entry.place,
        }

    def distinct(self, questions: Iterable[dict], path: str | None = None) -> Iterator[dict]:
        """Yield the questions; `ValueError` for a second one with the same id."""
        seen = set()
        for question in questions:
            if question["id"] in seen:
                where = path or question["source"]
                raise ValueError(f"{where}: two questions have the id {question['id']!r}, and predictions go by id")
            seen.add(question["id"])
            yield question

    def problem(self, example: dict, split: str) -> str | None:
        if not example["question"].strip():
            if split != "train":
                raise ValueError(f"{example['source']}: the question with the id {example['id']!r} is empty")
            return "empty questions"
        if split != "train" or example["is_impossible"]:
            return None
        starts = example["answers"]["answer_start"]
        if not starts:
            return "questions without an answer"
        return "questions whose answers are not in the text" if set(starts) == {None} else None

    def finish(self, examples: dict[str, Dataset]) -> None:
        for split, dataset in examples.items():
            impossible = sum(values(dataset, "is_impossible"))
            if impossible:
                self.understood.notes.append(
                    f"{split}: {impossible:,} questions have no answer in their text (SQuAD 2.0)"
                )
            if split == "validation" and not impossible and not any(row["text"] for row in values(dataset, "answers")):
                raise ValueError(f"{dataset[0]['source']}: no question of the validation examples has an answer")

    def shown(self, example: dict) -> str:
        answer = example["answers"]["text"][:1] or ["no answer"]
        return f"{example['question']} {answer[0]} | {example['context'][:100]}"


def is_array(path: str) -> bool:
    return next((line for _, line in numbered_lines(path) if line.strip()), "").lstrip().startswith("[")


def read_answers(entry: "Field", context: str, keep_unplaced: bool) -> dict[str, list]:
    """Return the reference answers of a question, given as a list of objects or as an object of lists.

    Args:
        keep_unplaced: Whether an answer that is not in the context where the data say keeps its text without a place.

    Raises:
        `ValueError`: for such an answer, without `keep_unplaced`.
    """
    found = {"text": [], "answer_start": []}
    others = [] if entry.has("answers") else [name for name in entry.value if str(name).startswith("answer")]
    if others:
        raise ValueError(
            f"{entry.place}: answers are expected in `answers`, with lists `text` and `answer_start`, but there is "
            f"{', '.join(others)}"
        )
    if not entry.has("answers") or entry["answers"].value is None:
        return found
    answers = entry["answers"]
    if isinstance(answers.value, Mapping):
        texts, starts = answers["text"].items(), answers["answer_start"].items()
        if len(texts) != len(starts):
            raise ValueError(f"{answers.place}: {len(texts)} texts, but {len(starts)} places of them")
        pairs = [(text, start, text.place) for text, start in zip(texts, starts)]
    else:
        pairs = [(answer["text"], answer["answer_start"], answer.place) for answer in answers.items()]
    for text, start, place in pairs:
        text, start = text.text(), start.whole_number()
        is_placed = start >= 0 and context.startswith(text, start)
        if not is_placed and not keep_unplaced:
            there = f"which reads {context[start : start + len(text)]!r}" if start >= 0 else "which is no place"
            found_at = context.find(text)
            raise ValueError(
                f"{place}: the answer {text!r:.60} is not in its context at answer_start {start}, {there}; it is "
                f"{'nowhere there' if found_at < 0 else f'at {found_at}'}. Correct it, or leave such answers out of "
                "training with --keep_unplaced_answers True"
            )
        found["text"].append(text)
        found["answer_start"].append(start if is_placed else None)
    return found


@dataclass(frozen=True)
class Field:
    """Value in a file or a row, with its place there for messages."""

    value: Any  # as JSON has it
    origin: str
    path: str = ""

    @property
    def place(self) -> str:
        return f"{self.origin}: {self.path}" if self.path else self.origin

    def __getitem__(self, name: str) -> "Field":
        if not self.has(name):
            have = ", ".join(self.value) if isinstance(self.value, Mapping) else f"a {type(self.value).__name__}"
            raise ValueError(f"{self.place}: expected an object with the field {name!r}, but found {have or 'none'}")
        return Field(self.value[name], self.origin, f"{self.path}.{name}" if self.path else name)

    def has(self, name: str) -> bool:
        return isinstance(self.value, Mapping) and name in self.value

    def items(self) -> list["Field"]:
        if not isinstance(self.value, Sequence) or isinstance(self.value, str):
            raise ValueError(f"{self.place}: expected a list, but found {self.value!r:.60}")
        return [Field(item, self.origin, f"{self.path}[{number}]") for number, item in enumerate(self.value)]

    def text(self, may_be_blank: bool = False) -> str:
        if not isinstance(self.value, str) or not (self.value.strip() or may_be_blank):
            raise ValueError(f"{self.place}: expected a text, but found {self.value!r:.60}")
        return self.value

    def identifier(self) -> str:
        is_number = isinstance(self.value, int) and not isinstance(self.value, bool)
        return str(self.value) if is_number else self.text()

    def truth(self) -> bool:
        text = str(self.value).lower()
        if text not in ("true", "false", "1", "0"):
            raise ValueError(f"{self.place}: expected true or false, but found {self.value!r:.60}")
        return text in ("true", "1")

    def whole_number(self) -> int:
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise ValueError(f"{self.place}: expected a whole number, but found {self.value!r:.60}")
        return self.value
