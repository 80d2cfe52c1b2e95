"""Cutting the texts of questions into windows, and finding the answers again from scores."""

import json
import random
from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from datasets import Dataset
from lanes import first_fast
from reading import arguments

from hf_elmo import ElmoTokenizer
from hf_elmo.training.data.question_windows import (
    NOT_HERE,
    UNKNOWN,
    answer_texts,
    best_answers,
    make_windows,
    no_answer_scores,
    write_answers,
)
from hf_elmo.training.data.questions import SCHEMA, read_questions
from hf_elmo.training.data.splits import to_dataset
from hf_elmo.training.metrics import squad_scores

CONTEXT = "Ada met Max (in Oslo) at 10 a.m., and Eve's sister left Lima. Zo\u00eb stayed in S\u00e3o Paulo."


def examples(*questions: tuple) -> Dataset:
    """Return questions out of tuples: question, context, and of an answer its text and where it begins."""
    return to_dataset(
        iter(
            {
                "id": str(number),
                "question": question,
                "context": context,
                "answers": {"text": answer[:1], "answer_start": answer[1:]},
                "is_impossible": answer == [""],
                "source": "",
            }
            for number, (question, context, *answer) in enumerate(questions)
        ),
        SCHEMA,
    )


def answer_at(context: str, window, feature) -> str:
    """Return the text between the two positions that the model learns."""
    first, last = (window.offsets[feature[name]] for name in ("start_positions", "end_positions"))
    return context[first[0] : last[1]]


@pytest.mark.parametrize(
    ("answer", "learned"),
    [
        ("Oslo", "Oslo"),
        ("(in Oslo) at 10", "(in Oslo) at 10"),
        (" Max ", "Max"),  # white space around it is no part of a word
        ("Eve", "Eve"),  # a clitic is a word of its own
        ("Paulo.", "Paulo."),
        ("Ada", "Ada"),
        ("slo", "Oslo"),  # inside a word: the word
        ("d in S\u00e3", "stayed in S\u00e3o"),
    ],
)
def test_positions_of_answers(answer, learned):
    question = examples(("Where?", CONTEXT, answer, CONTEXT.index(answer)))
    (window,), (feature,) = make_windows(question, ElmoTokenizer())
    assert answer_at(CONTEXT, window, feature) == learned
    assert feature["input_ids"].dtype == np.int16
    words = ElmoTokenizer()("Where?", CONTEXT)
    assert feature["input_ids"].tolist() == words["input_ids"]
    assert [span is not None for span in window.offsets] == [number == 1 for number in words.sequence_ids()]


@pytest.mark.parametrize(("size", "stride"), first_fast([(5, 4), (1, 0), (5, 0), (7, 3), (100, 10)]))
def test_windows_cover_the_text_and_know_which_has_the_answer(size, stride):
    tokenizer = ElmoTokenizer()
    spans = [span for span, number in zip(*pair_offsets(tokenizer, "Where?", CONTEXT)) if number == 1]
    for first in range(len(spans)):
        for last in range(first, min(first + 3, len(spans))):
            start, end = spans[first][0], spans[last][1]
            question = examples(("Where?", CONTEXT, CONTEXT[start:end], start))
            windows, features = make_windows(question, tokenizer, size, stride)
            covered = [[span for span in window.offsets if span] for window in windows]
            assert [*dict.fromkeys(chain.from_iterable(covered))] == spans
            assert all(len(words) <= size for words in covered)
            for before, after in pairwise(covered):
                assert after[:stride] == (before[-stride:] if stride else [])
            for window, feature, words in zip(windows, features, covered):
                inside = spans[first] in words and spans[last] in words
                assert (feature["start_positions"], feature["end_positions"]) != (NOT_HERE, NOT_HERE) or not inside
                assert not inside or answer_at(CONTEXT, window, feature) == CONTEXT[start:end]
                assert inside or feature["start_positions"] == feature["end_positions"] == NOT_HERE


def pair_offsets(tokenizer, first, second):
    encoded = tokenizer(first, second, return_offsets_mapping=True)
    return encoded["offset_mapping"], encoded.sequence_ids()


@pytest.mark.parametrize(("size", "stride"), [(5, 5), (5, 7), (5, -1), (0, 0)])
def test_strides_that_do_not_advance_are_refused(size, stride):
    with pytest.raises(ValueError, match=rf"windows of {size} words cannot repeat {stride}"):
        make_windows(examples(("Where?", CONTEXT)), ElmoTokenizer(), size, stride)


# ---- Answers


def brute_force(questions, windows, starts, ends, max_answer_length, n_best):
    """All spans of all windows, one by one."""
    found = [{} for _ in questions]
    for window, start, end in zip(windows, starts, ends):
        start, end = (torch.tensor(side[: len(window.offsets)]).double().log_softmax(0) for side in (start, end))
        places = [place for place, span in enumerate(window.offsets) if span]
        for first in places:
            for last in places:
                if 0 <= last - first < max_answer_length:
                    span = (window.offsets[first][0], window.offsets[last][1])
                    score = float(start[first]) + float(end[last])
                    found[window.question][span] = max(score, found[window.question].get(span, -np.inf))
    return [sorted(((-round(score, 9), span) for span, score in spans.items()))[:n_best] for spans in found]


@pytest.mark.parametrize(("max_answer_length", "n_best"), [(1, 1), (3, 4), (50, 1000)])
def test_the_best_answers_are_those_of_all_spans(max_answer_length, n_best):
    chance = np.random.default_rng(0)
    questions = examples(*(("Where is it?"[: 6 + number], CONTEXT[number:]) for number in range(3)))
    windows, features = make_windows(questions, ElmoTokenizer(), 9, 4)
    width = max(len(feature["input_ids"]) for feature in features) + 2  # as the Trainer pads
    starts, ends = chance.normal(size=(2, len(windows), width)).astype(np.float32)
    for window, start, end in zip(windows, starts, ends):
        for place in range(width):
            if place >= len(window.offsets) or window.offsets[place] is None:
                start[place] = end[place] = 3 + place  # what is no word of the context must never win
    found = best_answers(questions, windows, starts, ends, max_answer_length, n_best)
    expected = brute_force(questions, windows, starts, ends, max_answer_length, n_best)
    assert [[(-round(a.score, 9), (a.start, a.end)) for a in answers] for answers in found] == expected
    for question, answers in zip(questions, found):
        assert all(answer.text == question["context"][answer.start : answer.end] for answer in answers)


def test_of_equal_answers_the_first_and_shortest_wins():
    question = examples(("Who?", "Ada Max Eve"))
    windows, features = make_windows(question, ElmoTokenizer())
    zeros = np.zeros((1, len(features[0]["input_ids"])))
    (found,) = best_answers(question, windows, zeros, zeros)
    assert [answer.text for answer in found] == ["Ada", "Ada Max", "Ada Max Eve", "Max", "Max Eve", "Eve"]


def test_the_best_window_wins_and_one_that_says_elsewhere_loses():
    question = examples(("Who?", "Ada Max Eve Tom"))
    windows, _ = make_windows(question, ElmoTokenizer(), 2, 1)
    starts, ends = np.zeros((2, 3, 8))
    starts[2, windows[2].offsets.index((12, 15))] = 1.0
    assert answer_texts(question, best_answers(question, windows, starts, ends)) == {"0": "Tom"}
    starts[0, windows[0].offsets.index((0, 3))] = 4.0
    assert answer_texts(question, best_answers(question, windows, starts, ends)) == {"0": "Ada"}
    starts[0, NOT_HERE] = 9.0
    assert answer_texts(question, best_answers(question, windows, starts, ends)) == {"0": "Tom"}


def test_logits_of_other_windows_are_refused():
    with pytest.raises(ValueError, match="0 windows, but logits of 1 and 1"):
        best_answers(examples(), [], np.zeros((1, 1)), np.zeros((1, 1)))


def test_predictions_are_written_as_the_official_evaluation_reads_them(tmp_path):
    questions = examples(("Who?", "Zo\u00eb left"), ("Who?", "Max stayed"))
    windows, _ = make_windows(questions, ElmoTokenizer())
    starts = ends = np.array([[0.0] * place + [5.0] + [0.0] * (9 - place) for place in (5, 5)])
    answers = best_answers(questions, windows, starts, ends, n_best=2)
    write_answers(tmp_path / "predictions", questions, answers)
    assert json.loads((tmp_path / "predictions.json").read_text(encoding="utf-8")) == {"0": "Zo\u00eb", "1": "Max"}
    n_best = json.loads((tmp_path / "predictions_n_best.json").read_text(encoding="utf-8"))
    assert {key: n_best["0"][0][key] for key in ("text", "start", "end")} == {"text": "Zo\u00eb", "start": 0, "end": 3}
    assert n_best["0"][0]["score"] == pytest.approx(2 * np.log(np.exp(5) / (np.exp(5) + 7)))
    assert n_best["1"][1]["text"] == "Max stayed"
    assert [line["probability"] for line in n_best["1"]] == pytest.approx([1 / (1 + np.exp(-5)), 1 / (1 + np.exp(5))])


@pytest.mark.slow
def test_the_right_logits_give_full_scores_on_the_real_questions(data_dir):
    """Answers of SQuAD that are whole words come back letter by letter, through windows that cut the text."""
    questions = read_questions(arguments(train_file=data_dir / "qa" / "squad-v1.1" / "dev-v1.1.json.gz")).train
    sample = questions.select(random.Random(0).sample(range(len(questions)), 200))
    windows, features = make_windows(sample, ElmoTokenizer(), 60, 30)
    whole = {
        window.question
        for window, feature in zip(windows, features)
        if feature["start_positions"] != NOT_HERE
        and answer_at(sample[window.question]["context"], window, feature)
        == sample[window.question]["answers"]["text"][0]
    }
    assert len(whole) > 190  # others begin or end inside a word: 1.1 % of all
    questions = sample.select(sorted(whole))
    windows, features = make_windows(questions, ElmoTokenizer(), 60, 30)
    assert len(windows) > 3 * len(questions)
    width = max(len(feature["input_ids"]) for feature in features)
    starts, ends = np.zeros((2, len(windows), width))
    for row, feature in enumerate(features):
        starts[row, feature["start_positions"]] = ends[row, feature["end_positions"]] = 1
    found = answer_texts(questions, best_answers(questions, windows, starts, ends, 40))
    assert found == {question["id"]: question["answers"]["text"][0] for question in questions}
    references = {question["id"]: question["answers"]["text"] for question in questions}
    assert squad_scores(found, references) == {"exact_match": 100, "f1": 100}


# ---- Questions without an answer


def test_every_window_of_a_question_without_an_answer_says_so():
    (_, _), features = make_windows(examples(("Who?", "Ada Max Eve", "")), ElmoTokenizer(), 2, 1)
    assert [(row["start_positions"], row["end_positions"]) for row in features] == [(NOT_HERE, NOT_HERE)] * 2


def test_of_what_is_not_known_nothing_is_learned():
    """A question to be predicted has no positions; one whose answers have no place in the text has no loss."""
    rows = examples(("Who?", "Ada"), ("Who?", "Ada", "Max", None))
    _, features = make_windows(rows, ElmoTokenizer())
    assert "start_positions" not in features[0]
    assert features[1]["start_positions"] == features[1]["end_positions"] == UNKNOWN


def test_no_answer_scores_compare_with_the_best_answer(tmp_path):
    """No answer is as probable as in the window that is least sure of it."""
    questions = examples(("Who?", "Ada Max Eve"), ("Who?", "Tom"))
    windows, _ = make_windows(questions, ElmoTokenizer(), 2, 1)
    starts, ends = np.random.default_rng(0).normal(size=(2, 3, 9))
    answers = best_answers(questions, windows, starts, ends)
    scores = no_answer_scores(answers, windows, starts, ends)
    expected = []
    for number, rows in enumerate(([0, 1], [2])):
        elsewhere = min(
            sum(
                float(torch.tensor(side[row][: len(windows[row].offsets)]).log_softmax(0)[0]) for side in (starts, ends)
            )
            for row in rows
        )
        expected.append(elsewhere - answers[number][0].score)
    assert scores == pytest.approx(expected, abs=1e-12)
    for threshold, empty in ((min(scores) - 1, 2), (sum(scores) / 2, 1), (max(scores) + 1, 0)):
        assert [*answer_texts(questions, answers, scores, threshold).values()].count("") == empty
    write_answers(tmp_path / "x", questions, answers, scores)
    probabilities = json.loads((tmp_path / "x_no_answer.json").read_text())
    assert [*probabilities.values()] == pytest.approx([1 / (1 + np.exp(-score)) for score in scores])
