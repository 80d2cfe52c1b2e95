"""Questions as a model reads them, and answers out of its logits.

    examples         -> windows: the question and a part of the text, as ids     `make_windows`
    windows' logits  -> the best answers of each question, as parts of its text  `best_answers`, `no_answer_scores`
    best answers     -> the official predictions, `{id: text}`, and n-best lists `write_answers`

An answer is a part of the text from the beginning of a word to the end of a word. A reference answer that begins or
ends inside a word stands for the whole word in training; metrics compare with its own text, as the official evaluation.
A window without the answer, as all windows of a question without one, has its answer at the first special token.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..batches import id_type
from .splits import values

# Positions for an answer that is not in a window, and for one whose position is not known
NOT_HERE, UNKNOWN = 0, -100


class Window(NamedTuple):
    """A question, by its number, and a part of its text.

    `offsets` has for each word of the row its first character in the text and the one after its last, and `None` for
    words of the question and special tokens.
    """

    question: int
    offsets: list[tuple[int, int] | None]


class ScoredAnswer(NamedTuple):
    """A part of a text, `context[start:end]`.

    Its `score` is the sum of the log-probabilities of its first and its last word in its window. As the model can also
    say that the answer is elsewhere, the windows of a text are comparable.
    """

    text: str
    start: int
    end: int
    score: float


BestAnswers = Sequence[Sequence[ScoredAnswer]]  # to each question


def make_windows(
    examples: Dataset, tokenizer: PreTrainedTokenizerBase, max_context_words: int = 400, stride: int = 128
) -> tuple[list[Window], list[dict]]:
    """Return the windows over the texts of questions, and the features of each.

    A text of more words than `max_context_words` makes several windows, each repeating `stride` words of the previous
    one. Questions are never cut.

    Returns:
        The windows, and for each a dictionary of `input_ids` (T, W) as int16 or int32, `attention_mask`, and, if it is
        known what is right, `start_positions` and `end_positions`: the first and the last word of the first answer that
        has a place, or `NOT_HERE`, or `UNKNOWN`.

    Raises:
        `ValueError`: if `stride` is not smaller than `max_context_words`.
    """
    if not 0 <= stride < max_context_words:
        raise ValueError(f"windows of {max_context_words} words cannot repeat {stride}")
    windows, features = [], []
    specials = tokenizer.num_special_tokens_to_add(pair=True) - tokenizer.num_special_tokens_to_add(pair=False)
    options = {"truncation": "only_second", "stride": stride}
    options |= {"return_overflowing_tokens": True, "return_offsets_mapping": True}
    for number, example in enumerate(examples):
        longest = len(tokenizer(example["question"])["attention_mask"]) + specials + max_context_words
        rows = tokenizer(example["question"], example["context"], max_length=longest, **options)
        for row, (ids, mask) in enumerate(zip(rows["input_ids"], rows["attention_mask"])):
            offsets = zip(rows["offset_mapping"][row], rows.sequence_ids(row))
            window = Window(number, [span if sequence == 1 else None for span, sequence in offsets])
            feature = {"input_ids": np.array(ids, id_type(tokenizer)), "attention_mask": np.array(mask, np.int8)}
            if example["answers"]["text"] or example["is_impossible"]:
                feature["start_positions"], feature["end_positions"] = answer_positions(window, example)
            windows.append(window)
            features.append(feature)
    return windows, features


def answer_positions(window: Window, example: Mapping) -> tuple[int, int]:
    """Return the positions in the window of the first and the last word of the first answer that has a place."""
    if example["is_impossible"]:
        return NOT_HERE, NOT_HERE
    placed = zip(example["answers"]["text"], example["answers"]["answer_start"])
    text, start = next((answer for answer in placed if answer[1] is not None), (None, None))
    if text is None:
        return UNKNOWN, UNKNOWN
    start += text.index(text.strip())
    end = start + len(text.strip())
    spans = [(position, *span) for position, span in enumerate(window.offsets) if span is not None]
    first = next((position for position, low, high in spans if low <= start < high), None)
    last = next((position for position, low, high in spans if low < end <= high), None)
    return (NOT_HERE, NOT_HERE) if first is None or last is None else (first, last)


# ---- Logits to answers


def best_answers(
    examples: Dataset,
    windows: Sequence[Window],
    start_logits: np.ndarray,
    end_logits: np.ndarray,
    max_answer_length: int = 17,
    n_best: int = 20,
) -> list[list[ScoredAnswer]]:
    """Return the `n_best` spans with the best scores of each question's text, over all of its windows, best first.

    Of equal scores the earlier and then the shorter span is first; a span in several windows counts by its best score.

    Args:
        start_logits, end_logits (`(number of windows, T)`): A row may be longer than its window; the rest is not read.
        max_answer_length: Words of an answer, at most.

    Raises:
        `ValueError`: if logits and windows differ in number.
    """
    if not len(windows) == len(start_logits) == len(end_logits):
        raise ValueError(f"{len(windows)} windows, but logits of {len(start_logits)} and {len(end_logits)}")
    found: list[dict[tuple[int, int], float]] = [{} for _ in range(len(examples))]
    for window, starts, ends in zip(windows, start_logits, end_logits):
        scores = found[window.question]
        for span, score in best_spans(window, np.asarray(starts), np.asarray(ends), max_answer_length, n_best):
            scores[span] = max(score, scores.get(span, -np.inf))
    best = [sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:n_best] for scores in found]
    return [
        [ScoredAnswer(context[start:end], start, end, score) for (start, end), score in spans]
        for context, spans in zip(values(examples, "context"), best)
    ]


def best_spans(
    window: Window, starts: np.ndarray, ends: np.ndarray, max_answer_length: int, n_best: int
) -> list[tuple[tuple[int, int], float]]:
    """Return the best spans of one window, characters and score. All spans are compared, not only of the best ends."""
    spans = [(position, span) for position, span in enumerate(window.offsets) if span is not None]
    positions = [position for position, _ in spans]
    starts, ends = (log_softmax(logits[: len(window.offsets)])[positions] for logits in (starts, ends))
    # Row: the first word of a span; column: how many more words it has.
    sums = np.full((len(spans), min(max_answer_length, len(spans))), -np.inf)
    for more in range(sums.shape[1]):
        sums[: len(spans) - more, more] = starts[: len(spans) - more] + ends[more:]
    order = np.argsort(-sums, axis=None, kind="stable")[:n_best]
    return [
        ((spans[first][1][0], spans[first + more][1][1]), float(sums[first, more]))
        for first, more in zip(*np.unravel_index(order, sums.shape))
        if np.isfinite(sums[first, more])
    ]


def no_answer_scores(
    answers: BestAnswers, windows: Sequence[Window], start_logits: np.ndarray, end_logits: np.ndarray
) -> list[float]:
    """Return, for each question, the score that its text has no answer minus that of its best answer.

    The former is the least over all windows, as a window with an answer is enough; above 0, no answer is more probable.
    """
    elsewhere = [np.inf] * len(answers)
    for window, *logits in zip(windows, start_logits, end_logits):
        score = sum(log_softmax(np.asarray(side[: len(window.offsets)]))[NOT_HERE] for side in logits)
        elsewhere[window.question] = min(elsewhere[window.question], float(score))
    return [score - found[0].score if found else np.inf for score, found in zip(elsewhere, answers)]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64) - logits.max()
    return logits - np.log(np.exp(logits).sum())


def answer_texts(
    examples: Dataset, answers: BestAnswers, no_answer: Sequence[float] | None = None, threshold: float = 0.0
) -> dict[str, str]:
    """Return the best answer to each question, by the question's id; `""` where `no_answer` is above the threshold."""
    found = zip(values(examples, "id"), answers, no_answer or [-np.inf] * len(answers))
    return {id: best[0].text if best and margin <= threshold else "" for id, best, margin in found}


def write_answers(
    path: Path,
    examples: Dataset,
    answers: BestAnswers,
    no_answer: Sequence[float] | None = None,
    threshold: float = 0.0,
) -> None:
    """Write `{path}.json`, which the official evaluation reads, and `{path}_n_best.json`.

    The latter has for each question its best answers with their places in the context, scores and probabilities: the
    softmax of the scores among those listed. With `no_answer`, `{path}_no_answer.json` has the probability that there
    is no answer rather than the best one, in the format of the official evaluation of SQuAD 2.0.
    """
    ids, n_best = values(examples, "id"), {}
    for id, found in zip(ids, answers):
        probabilities = softmax([answer.score for answer in found])
        n_best[id] = [{**answer._asdict(), "probability": one} for answer, one in zip(found, probabilities)]
    contents = {".json": answer_texts(examples, answers, no_answer, threshold), "_n_best.json": n_best}
    if no_answer is not None:
        contents["_no_answer.json"] = {id: softmax([0.0, min(margin, 999)])[1] for id, margin in zip(ids, no_answer)}
    for ending, content in contents.items():
        text = json.dumps(content, ensure_ascii=False, indent=1)
        path.with_name(path.name + ending).write_text(text + "\n", encoding="utf-8")


def softmax(scores: Sequence[float]) -> list[float]:
    weights = np.exp(np.asarray(scores) - max(scores, default=0))
    return (weights / weights.sum()).tolist()
