"""Questions on texts in the format of SQuAD 1.1: from files to windows, and from scores of windows to answers.

    file or data set -> questions with their answers' places in the text         `read_squad`, `questions_of_rows`
    question         -> windows: the question and a part of the text, as ids     `make_windows`
    windows' logits  -> the best answers of each question, as pieces of its text `best_answers`
    best answers     -> the official predictions, `{id: text}`, and n-best lists `write_answers`

An answer is a piece of the text from the beginning of a word to the end of a word. A reference answer that begins or
ends inside a word stands for the whole word in training; scores compare with its own text, as the official evaluation.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from .text_files import Place, numbered_lines

# Places that the model takes for those of an answer: that it is not in this window, and that this is not known.
NOT_HERE, UNKNOWN = 0, -100


@dataclass(frozen=True)
class Answer:
    """A reference answer. `start` is its first character's place in the context, `None` if it is not known."""

    text: str
    start: int | None


@dataclass(frozen=True)
class Question:
    """A question on a text, and its reference answers: none, if they are what is asked for."""

    id: str
    text: str
    context: str
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True)
class Window:
    """A row of a batch: a question and the part of its text that it is looked up in.

    Args:
        question (`int`): Place of its question in the list of questions.
        offsets (`list[tuple[int, int] | None]`):
            For each word of the row its first character's place in the context, and that behind its last; `None` for
            words of the question and boundary words.
    """

    question: int
    offsets: list[tuple[int, int] | None]


@dataclass(frozen=True)
class ScoredAnswer:
    """A piece of a text, `context[start:end]`.

    Its `score` is the sum of the log-probabilities of its first and its last word in its window, where the model can
    also say that the answer is elsewhere: so are the windows of a text comparable.
    """

    text: str
    start: int
    end: int
    score: float


# ---- Files to questions


def read_squad(path: str, keep_unplaced: bool = False) -> list[Question]:
    """The questions of a file in the format of SQuAD 1.1, `.json` or `.json.gz`.

    Args:
        path (`str`): The file.
        keep_unplaced (`bool`): As in [`check_answers`].

    Raises:
        `ValueError`: if the file is not of that format; the message names the file and the path to the field.
    """
    questions: list[Question] = []
    document = Field(load_json(path), path)
    for article in document["data"].items():
        for paragraph in article["paragraphs"].items():
            context = paragraph["context"].text()
            for entry in paragraph["qas"].items():
                answers = [
                    (answer["text"].text(), answer["answer_start"].whole_number(), answer.place)
                    for answer in (entry["answers"].items() if entry.has("answers") else [])
                ]
                questions.append(
                    Question(
                        entry["id"].text(),
                        entry["question"].text(),
                        context,
                        check_answers(context, answers, keep_unplaced),
                    )
                )
    return check_questions(questions, path)


def questions_of_rows(rows: Iterable[tuple[Place, Mapping]], name: str, keep_unplaced: bool = False) -> list[Question]:
    """The questions of a data set with the columns of `squad` on the Hub: `id`, `question`, `context`, `answers`.

    `answers` has the lists `text` and `answer_start`; a data set without that column has questions to be answered.

    Raises:
        `ValueError`: if a row lacks a column; the message names the data set and the row.
    """
    questions = []
    for place, row in rows:
        entry = Field(row, str(place))
        context, answers = entry["context"].text(), []
        if entry.has("answers"):
            texts, starts = entry["answers"]["text"].items(), entry["answers"]["answer_start"].items()
            if len(texts) != len(starts):
                raise ValueError(f"{entry['answers'].place}: {len(texts)} texts, but {len(starts)} places of them")
            answers = [(text.text(), start.whole_number(), text.place) for text, start in zip(texts, starts)]
        checked = check_answers(context, answers, keep_unplaced)
        questions.append(Question(entry["id"].text(), entry["question"].text(), context, checked))
    return check_questions(questions, name)


@dataclass(frozen=True)
class Field:
    """A value in a file or a row that knows its place there."""

    value: object
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

    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value.strip():
            raise ValueError(f"{self.place}: expected a text, but found {self.value!r:.60}")
        return self.value

    def whole_number(self) -> int:
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise ValueError(f"{self.place}: expected a whole number, but found {self.value!r:.60}")
        return self.value


def load_json(path: str) -> object:
    try:
        return json.loads("\n".join(line for _, line in numbered_lines(path)))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from None


def check_answers(
    context: str, answers: Iterable[tuple[str, int, str]], keep_unplaced: bool = False
) -> tuple[Answer, ...]:
    """Answers that stand in the context where they are said to.

    Args:
        answers: Text, place of its first character, and where in the data this is said.
        keep_unplaced (`bool`):
            Whether an answer that stands elsewhere, or nowhere, keeps its text without a place: its question is then
            scored, but not trained on if no other answer of it has a place.

    Raises:
        `ValueError`: for such an answer, without `keep_unplaced`.
    """
    checked = []
    for text, start, place in answers:
        if start >= 0 and context.startswith(text, start):
            checked.append(Answer(text, start))
        elif keep_unplaced:
            checked.append(Answer(text, None))
        else:
            found = context.find(text)
            there = f"which reads {context[start : start + len(text)]!r:.60}" if start >= 0 else "which is no place"
            raise ValueError(
                f"{place}: the answer {text!r:.60} is not in its context at answer_start {start}, {there}; it is "
                + ("nowhere there" if found < 0 else f"at {found}")
                + ". Correct it, or leave such answers out of training with --keep_unplaced_answers True"
            )
    return tuple(checked)


def check_questions(questions: list[Question], name: str) -> list[Question]:
    """Questions with an id of their own, at least one.

    Raises:
        `ValueError`: if there is none, or two have one id.
    """
    if not questions:
        raise ValueError(f"{name}: there is no question")
    seen = set()
    for question in questions:
        if question.id in seen:
            raise ValueError(f"{name}: two questions have the id {question.id!r}, and predictions go by id")
        seen.add(question.id)
    return questions


def require_answers(questions: list[Question], name: str) -> list[Question]:
    """Questions that each have a reference answer, as training and scores need them.

    Raises:
        `ValueError`: for a question without: those of SQuAD 2.0 that have no answer are not supported.
    """
    without = [question for question in questions if not question.answers]
    if without:
        raise ValueError(
            f"{name}: {len(without)} of {len(questions)} questions have no answer, the first with id "
            f"{without[0].id!r}. The format is that of SQuAD 1.1, where each has one: leave the others out"
        )
    return questions


# ---- Questions to windows


def make_windows(
    questions: Sequence[Question],
    tokenizer: PreTrainedTokenizerBase,
    max_context_words: int = 400,
    stride: int = 128,
) -> tuple[list[Window], list[dict]]:
    """Windows over the questions' texts, and what the model gets of each.

    A text of more words than `max_context_words` makes several windows, each repeating `stride` words of the one
    before. Questions are never cut.

    Returns:
        The windows, and for each a dictionary of `input_ids` (T, W) as int16 or int32, `attention_mask`, and, if
        questions have answers, `start_positions` and `end_positions`: the places of the first and the last word of the
        first answer that has a place, or `NOT_HERE`, or `UNKNOWN`.

    Raises:
        `ValueError`: if `stride` is not smaller than `max_context_words`.
    """
    if not 0 <= stride < max_context_words:
        raise ValueError(f"windows of {max_context_words} words cannot repeat {stride}")
    windows, features = [], []
    boundaries = tokenizer.num_special_tokens_to_add(pair=True) - tokenizer.num_special_tokens_to_add(pair=False)
    for number, question in enumerate(questions):
        question_words = len(tokenizer(question.text)["attention_mask"])
        rows = tokenizer(
            question.text,
            question.context,
            truncation="only_second",
            max_length=question_words + boundaries + max_context_words,
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        for row, (ids, mask, offsets) in enumerate(
            zip(rows["input_ids"], rows["attention_mask"], rows["offset_mapping"])
        ):
            sequences = rows.sequence_ids(row)
            window = Window(number, [span if which == 1 else None for span, which in zip(offsets, sequences)])
            feature = {"input_ids": compact(ids), "attention_mask": np.asarray(mask, dtype=np.int8)}
            if question.answers:
                feature["start_positions"], feature["end_positions"] = place_of_answer(window, question)
            windows.append(window)
            features.append(feature)
    return windows, features


def compact(rows: list[list[int]]) -> np.ndarray:
    """Rows of ids in the smallest type that holds them: a list of lists takes many times that."""
    ids = np.asarray(rows)
    return ids.astype(np.int16 if ids.max(initial=0) < 1 << 15 else np.int32)


def place_of_answer(window: Window, question: Question) -> tuple[int, int]:
    """Places in the window of the first and the last word of the first answer that has a place in the text."""
    answer = next((answer for answer in question.answers if answer.start is not None), None)
    if answer is None:
        return UNKNOWN, UNKNOWN
    text = answer.text.strip()
    start = answer.start + answer.text.index(text)
    end = start + len(text)
    first = last = None
    for place, span in enumerate(window.offsets):
        if span is None:
            continue
        if span[0] <= start < span[1]:
            first = place
        if span[0] < end <= span[1]:
            last = place
    return (NOT_HERE, NOT_HERE) if first is None or last is None else (first, last)


# ---- Logits to answers


def best_answers(
    questions: Sequence[Question],
    windows: Sequence[Window],
    start_logits: np.ndarray,
    end_logits: np.ndarray,
    max_answer_length: int = 17,
    n_best: int = 20,
) -> list[list[ScoredAnswer]]:
    """The `n_best` spans of each question's text that score best, over all of its windows.

    Args:
        start_logits, end_logits (`(number of windows, T)`): A row may be longer than its window; the rest is not read.
        max_answer_length (`int`): Words of an answer, at most.

    Returns:
        For each question its answers, best first. Of equal scores the earlier and then the shorter span is first, and a
        span that several windows have counts by its best score.

    Raises:
        `ValueError`: if logits and windows differ in number.
    """
    if not len(windows) == len(start_logits) == len(end_logits):
        raise ValueError(f"{len(windows)} windows, but logits of {len(start_logits)} and {len(end_logits)}")
    found: list[dict[tuple[int, int], float]] = [{} for _ in questions]
    for window, starts, ends in zip(windows, start_logits, end_logits):
        scores = found[window.question]
        for span, score in best_spans(window, np.asarray(starts), np.asarray(ends), max_answer_length, n_best):
            scores[span] = max(score, scores.get(span, -np.inf))
    return [
        [
            ScoredAnswer(question.context[start:end], start, end, score)
            for (start, end), score in sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:n_best]
        ]
        for question, scores in zip(questions, found)
    ]


def best_spans(
    window: Window, starts: np.ndarray, ends: np.ndarray, max_answer_length: int, n_best: int
) -> list[tuple[tuple[int, int], float]]:
    """The best spans of one window: characters and score. All spans are looked at, not only those of the best ends."""
    places = [place for place, span in enumerate(window.offsets) if span is not None]
    starts, ends = (log_softmax(logits[: len(window.offsets)])[places] for logits in (starts, ends))
    count = len(places)
    lengths = min(max_answer_length, count)
    sums = np.full((count, lengths), -np.inf)  # of the span that begins at a word and has so many more
    for more in range(lengths):
        sums[: count - more, more] = starts[: count - more] + ends[more:]
    order = np.argsort(-sums, axis=None, kind="stable")[:n_best]
    spans = []
    for first, more in zip(*np.unravel_index(order, sums.shape)):
        if np.isfinite(sums[first, more]):
            begin, end = window.offsets[places[first]][0], window.offsets[places[first + more]][1]
            spans.append(((begin, end), float(sums[first, more])))
    return spans


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64) - logits.max()
    return logits - np.log(np.exp(logits).sum())


def answer_texts(questions: Sequence[Question], answers: Sequence[Sequence[ScoredAnswer]]) -> dict[str, str]:
    """The best answer to each question, by the question's id."""
    return {question.id: found[0].text if found else "" for question, found in zip(questions, answers)}


def write_answers(
    folder: str, name: str, questions: Sequence[Question], answers: Sequence[Sequence[ScoredAnswer]]
) -> None:
    """Write `{name}.json`, what the official evaluation reads, and `{name}_n_best.json`.

    The latter has for each question its best answers with their places in the context, scores and probabilities: the
    softmax of the scores among those listed.
    """
    n_best = {
        question.id: [
            {**vars(answer), "probability": probability}
            for answer, probability in zip(found, softmax([answer.score for answer in found]))
        ]
        for question, found in zip(questions, answers)
    }
    for file, content in ((f"{name}.json", answer_texts(questions, answers)), (f"{name}_n_best.json", n_best)):
        text = json.dumps(content, ensure_ascii=False, indent=1)
        (Path(folder) / file).write_text(text + "\n", encoding="utf-8")


def softmax(scores: Sequence[float]) -> list[float]:
    if not scores:
        return []
    weights = np.exp(np.asarray(scores) - max(scores))
    return (weights / weights.sum()).tolist()
