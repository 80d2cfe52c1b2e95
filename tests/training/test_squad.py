"""Reading SQuAD files, cutting texts into windows, and finding the answers again from scores."""

import gzip
import json
import random
from itertools import chain, pairwise

import numpy as np
import pytest
import torch

from hf_elmo import ElmoTokenizer
from hf_elmo.training.squad import (
    NOT_HERE,
    UNKNOWN,
    Answer,
    Question,
    answer_texts,
    best_answers,
    make_windows,
    questions_of_rows,
    read_squad,
    write_answers,
)
from hf_elmo.training.squad_metrics import squad_scores
from hf_elmo.training.text_files import Place

CONTEXT = "Ada met Max (in Oslo) at 10 a.m., and Eve's sister left Lima. Zo\u00eb stayed in S\u00e3o Paulo."


def entry(number: str = "q1", answer: str = "Oslo", start: int | None = None, **more) -> dict:
    start = CONTEXT.index(answer) if start is None else start
    return {"id": number, "question": "Where?", "answers": [{"text": answer, "answer_start": start}], **more}


def document(*entries: dict, context: object = CONTEXT) -> dict:
    return {"version": "1.1", "data": [{"title": "T", "paragraphs": [{"context": context, "qas": list(entries)}]}]}


def write(folder, content, name="squad.json"):
    text = content if isinstance(content, str) else json.dumps(content)
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return str(path)


@pytest.mark.parametrize("name", ["squad.json", "squad.json.gz"])
def test_reading(tmp_path, name):
    two = {"text": "Lima", "answer_start": CONTEXT.index("Lima")}
    several = entry("q2")
    several["answers"].append(two)
    unanswered = {"id": "q3", "question": "Who?"}
    assert read_squad(write(tmp_path, document(entry(), several, unanswered), name)) == [
        Question("q1", "Where?", CONTEXT, (Answer("Oslo", 16),)),
        Question("q2", "Where?", CONTEXT, (Answer("Oslo", 16), Answer("Lima", 56))),
        Question("q3", "Who?", CONTEXT, ()),
    ]


def without(mapping: dict, key: str) -> dict:
    return {name: value for name, value in mapping.items() if name != key}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "squad.json, line 1: not JSON"),
        ('{"data": [\n}', "squad.json, line 2: not JSON"),
        ([], "squad.json: expected an object with the field 'data', but found a list"),
        ({"version": "1.1"}, "squad.json: expected an object with the field 'data', but found version"),
        ({"data": {}}, r"squad.json: data: expected a list, but found {}"),
        ({"data": []}, "squad.json: there is no question"),
        ({"data": [{"title": "T"}]}, r"squad.json: data\[0\]: expected an object with the field 'paragraphs'"),
        (document(context=None), r"squad.json: data\[0\].paragraphs\[0\].context: expected a text, but found None"),
        (document(context=" \n"), r"squad.json: data\[0\].paragraphs\[0\].context: expected a text, but found ' "),
        (
            document(entry(), without(entry(), "id")),
            r"squad.json: data\[0\].paragraphs\[0\].qas\[1\]: expected an object with the field 'id'",
        ),
        (document(entry(question="")), r"paragraphs\[0\].qas\[0\].question: expected a text, but found ''"),
        (document(entry(answers="Oslo")), r"qas\[0\].answers: expected a list, but found 'Oslo'"),
        (document(entry(answers=["Oslo"])), r"qas\[0\].answers\[0\]: expected an object with the field 'text'"),
        (document(entry(start="16")), r"answers\[0\].answer_start: expected a whole number, but found '16'"),
        (document(entry(start=16.0)), r"answers\[0\].answer_start: expected a whole number, but found 16.0"),
        (document(entry(), entry()), "squad.json: two questions have the id 'q1'"),
        (
            document(entry(start=15)),
            r"answers\[0\]: the answer 'Oslo' is not in its context at answer_start 15, which reads ' Osl'; it is at",
        ),
        (document(entry(answer="Oslo", start=-1)), "at answer_start -1, which is no place; it is at 16"),
        (document(entry(answer="Bergen", start=16)), r"which reads 'Oslo\) '; it is nowhere there. Correct it"),
        (document(entry(answer="oslo", start=16)), "which reads 'Oslo'; it is nowhere there"),
        (document(entry(answer="Oslo", start=10_000)), "which reads ''; it is at 16"),
    ],
)
def test_malformed_files_are_named_with_the_place(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as error:
        read_squad(write(tmp_path, content))
    assert "\n" not in str(error.value)


def test_other_broken_files(tmp_path):
    (tmp_path / "latin.json").write_bytes('{"data": "\u00e9"}'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.json, line 1: not UTF-8"):
        read_squad(str(tmp_path / "latin.json"))
    whole = gzip.compress(json.dumps(document(entry())).encode())
    for content in (whole[:-10], b"plain"):
        (tmp_path / "cut.json.gz").write_bytes(content)
        with pytest.raises(ValueError, match=r"cut\.json\.gz: not a complete gzip file"):
            read_squad(str(tmp_path / "cut.json.gz"))


def test_answers_that_are_not_in_the_context_can_be_kept_for_scores_alone(tmp_path):
    wrong = entry("q2", "Oslo", 3)
    wrong["answers"].append({"text": "Lima", "answer_start": CONTEXT.index("Lima")})
    questions = read_squad(write(tmp_path, document(entry("q1", "Bergen", 0), wrong)), keep_unplaced=True)
    assert [question.answers for question in questions] == [
        (Answer("Bergen", None),),
        (Answer("Oslo", None), Answer("Lima", 56)),
    ]
    tokenizer = ElmoTokenizer()
    windows, features = make_windows(questions, tokenizer)
    assert features[0]["start_positions"] == features[0]["end_positions"] == UNKNOWN
    assert answer_at(questions[1], windows[1], features[1]) == "Lima"


def numbered(*rows):
    return [(Place("squad", number, "row"), row) for number, row in enumerate(rows)]


def test_rows_of_a_data_set():
    row = {"id": "1", "question": "Where?", "context": CONTEXT, "answers": {"text": ["Oslo"], "answer_start": [16]}}
    assert questions_of_rows(numbered(row), "squad") == [Question("1", "Where?", CONTEXT, (Answer("Oslo", 16),))]
    assert questions_of_rows(numbered(without(row, "answers")), "squad")[0].answers == ()
    for broken, message in (
        (without(row, "context"), "squad, row 1: expected an object with the field 'context', but found id, question"),
        (
            {**row, "id": "2", "answers": {"text": ["Oslo"], "answer_start": []}},
            "row 1: answers: 1 texts, but 0 places",
        ),
        (
            {**row, "id": "2", "answers": {"text": ["Oslo"], "answer_start": [4]}},
            r"row 1: answers.text\[0\]: the answer 'Oslo' is not in its context at answer_start 4",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            questions_of_rows(numbered(row, broken), "squad")


# ---- Windows


def answer_at(question, window, feature) -> str:
    """The text between the two places that the model learns."""
    first, last = (window.offsets[feature[name]] for name in ("start_positions", "end_positions"))
    return question.context[first[0] : last[1]]


@pytest.mark.parametrize(
    ("answer", "learnt"),
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
def test_places_of_answers(answer, learnt):
    question = Question("1", "Where?", CONTEXT, (Answer(answer, CONTEXT.index(answer)),))
    (window,), (feature,) = make_windows([question], ElmoTokenizer())
    assert answer_at(question, window, feature) == learnt
    assert feature["input_ids"].dtype == np.int16
    words = ElmoTokenizer()("Where?", CONTEXT)
    assert feature["input_ids"].tolist() == words["input_ids"]
    assert [span is not None for span in window.offsets] == [number == 1 for number in words.sequence_ids()]


@pytest.mark.parametrize(("size", "stride"), [(1, 0), (5, 0), (5, 4), (7, 3), (100, 10)])
def test_windows_cover_the_text_and_know_which_has_the_answer(size, stride):
    tokenizer = ElmoTokenizer()
    spans = [span for span, number in zip(*pair_offsets(tokenizer, "Where?", CONTEXT)) if number == 1]
    for first in range(len(spans)):
        for last in range(first, min(first + 3, len(spans))):
            start, end = spans[first][0], spans[last][1]
            question = Question("1", "Where?", CONTEXT, (Answer(CONTEXT[start:end], start),))
            windows, features = make_windows([question], tokenizer, size, stride)
            covered = [[span for span in window.offsets if span] for window in windows]
            assert [*dict.fromkeys(chain.from_iterable(covered))] == spans
            assert all(len(words) <= size for words in covered)
            for before, after in pairwise(covered):
                assert after[:stride] == (before[-stride:] if stride else [])
            for window, feature, words in zip(windows, features, covered):
                inside = spans[first] in words and spans[last] in words
                assert (feature["start_positions"], feature["end_positions"]) != (NOT_HERE, NOT_HERE) or not inside
                assert not inside or answer_at(question, window, feature) == CONTEXT[start:end]
                assert inside or feature["start_positions"] == feature["end_positions"] == NOT_HERE


def pair_offsets(tokenizer, first, second):
    encoded = tokenizer(first, second, return_offsets_mapping=True)
    return encoded["offset_mapping"], encoded.sequence_ids()


@pytest.mark.parametrize(("size", "stride"), [(5, 5), (5, 7), (5, -1), (0, 0)])
def test_strides_that_do_not_advance_are_refused(size, stride):
    with pytest.raises(ValueError, match=rf"windows of {size} words cannot repeat {stride}"):
        make_windows([Question("1", "Where?", CONTEXT)], ElmoTokenizer(), size, stride)


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
    questions = [Question(str(number), "Where is it?"[: 6 + number], CONTEXT[number:]) for number in range(3)]
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
        assert all(answer.text == question.context[answer.start : answer.end] for answer in answers)


def test_of_equal_answers_the_first_and_shortest_wins():
    question = Question("1", "Who?", "Ada Max Eve")
    windows, features = make_windows([question], ElmoTokenizer())
    zeros = np.zeros((1, len(features[0]["input_ids"])))
    (found,) = best_answers([question], windows, zeros, zeros)
    assert [answer.text for answer in found] == ["Ada", "Ada Max", "Ada Max Eve", "Max", "Max Eve", "Eve"]


def test_the_best_window_wins_and_one_that_says_elsewhere_loses():
    question = Question("1", "Who?", "Ada Max Eve Tom")
    windows, _ = make_windows([question], ElmoTokenizer(), 2, 1)
    starts, ends = np.zeros((2, 3, 8))
    starts[2, windows[2].offsets.index((12, 15))] = 1.0
    assert answer_texts([question], best_answers([question], windows, starts, ends)) == {"1": "Tom"}
    starts[0, windows[0].offsets.index((0, 3))] = 4.0
    assert answer_texts([question], best_answers([question], windows, starts, ends)) == {"1": "Ada"}
    starts[0, NOT_HERE] = 9.0
    assert answer_texts([question], best_answers([question], windows, starts, ends)) == {"1": "Tom"}


def test_logits_of_other_windows_are_refused():
    with pytest.raises(ValueError, match="0 windows, but logits of 1 and 1"):
        best_answers([], [], np.zeros((1, 1)), np.zeros((1, 1)))


def test_predictions_are_written_as_the_official_evaluation_reads_them(tmp_path):
    questions = [Question("b", "Who?", "Zo\u00eb left"), Question("a", "Who?", "Max stayed")]
    windows, _ = make_windows(questions, ElmoTokenizer())
    starts = ends = np.array([[0.0] * place + [5.0] + [0.0] * (9 - place) for place in (5, 5)])
    answers = best_answers(questions, windows, starts, ends, n_best=2)
    write_answers(str(tmp_path), "predictions", questions, answers)
    assert json.loads((tmp_path / "predictions.json").read_text(encoding="utf-8")) == {"b": "Zo\u00eb", "a": "Max"}
    n_best = json.loads((tmp_path / "predictions_n_best.json").read_text(encoding="utf-8"))
    assert {key: n_best["b"][0][key] for key in ("text", "start", "end")} == {"text": "Zo\u00eb", "start": 0, "end": 3}
    assert n_best["b"][0]["score"] == pytest.approx(2 * np.log(np.exp(5) / (np.exp(5) + 7)))
    assert n_best["a"][1]["text"] == "Max stayed"
    assert [line["probability"] for line in n_best["a"]] == pytest.approx([1 / (1 + np.exp(-5)), 1 / (1 + np.exp(5))])


def test_the_right_logits_give_full_scores_on_the_real_questions(data_dir):
    """Answers of SQuAD that are whole words come back letter by letter, through windows that cut the text."""
    questions = read_squad(str(data_dir / "qa" / "squad-v1.1" / "dev-v1.1.json.gz"))
    assert (len(questions), sum(len(question.answers) for question in questions)) == (10570, 34726)
    sample = random.Random(0).sample(questions, 200)
    windows, features = make_windows(sample, ElmoTokenizer(), 60, 30)
    whole = {
        window.question
        for window, feature in zip(windows, features)
        if feature["start_positions"] != NOT_HERE
        and answer_at(sample[window.question], window, feature) == sample[window.question].answers[0].text
    }
    assert len(whole) > 190  # others begin or end inside a word: 1.1 % of all
    questions = [sample[number] for number in sorted(whole)]
    windows, features = make_windows(questions, ElmoTokenizer(), 60, 30)
    assert len(windows) > 3 * len(questions)
    width = max(len(feature["input_ids"]) for feature in features)
    starts, ends = np.zeros((2, len(windows), width))
    for row, feature in enumerate(features):
        starts[row, feature["start_positions"]] = ends[row, feature["end_positions"]] = 1
    found = answer_texts(questions, best_answers(questions, windows, starts, ends, 40))
    assert found == {question.id: question.answers[0].text for question in questions}
    references = {question.id: [answer.text for answer in question.answers] for question in questions}
    assert squad_scores(found, references) == {"exact_match": 100, "f1": 100}
