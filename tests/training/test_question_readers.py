"""Questions on texts out of files of SQuAD 1.1 and 2.0, of tables and of datasets."""

import gzip
import json

import pytest
from datasets import Dataset
from reading import arguments, rows, write

from hf_elmo.training.data.questions import read_questions

CONTEXT = "Ada met Max (in Oslo) at 10 a.m., and Eve's sister left Lima. Zo\u00eb stayed in S\u00e3o Paulo."
OSLO = {"text": ["Oslo"], "answer_start": [16]}
NONE = {"text": [], "answer_start": []}


def entry(number: object = "q1", answer: str = "Oslo", start: int | None = None, **more) -> dict:
    start = CONTEXT.index(answer) if start is None else start
    return {"id": number, "question": "Where?", "answers": [{"text": answer, "answer_start": start}], **more}


def document(*entries: dict, context: object = CONTEXT, version: str = "1.1") -> dict:
    return {"version": version, "data": [{"title": "T", "paragraphs": [{"context": context, "qas": list(entries)}]}]}


def read(folder, content, name="squad.json", split="test", **options):
    path = write(folder, name, content if isinstance(content, str) else json.dumps(content))
    return read_questions(arguments(**{f"{split}_file": path}, **options))


def without(mapping: dict, key: str) -> dict:
    return {name: value for name, value in mapping.items() if name != key}


@pytest.mark.parametrize("name", ["squad.json", "squad.json.gz"])
def test_reading(tmp_path, name):
    two = {"text": "Lima", "answer_start": CONTEXT.index("Lima")}
    several = entry("q2")
    several["answers"].append(two)
    splits = read(tmp_path, document(entry(), several, {"id": 3, "question": "Who?"}), name)
    assert rows(splits, "test", "id", "question", "context", "answers", "is_impossible") == [
        ("q1", "Where?", CONTEXT, OSLO, False),
        ("q2", "Where?", CONTEXT, {"text": ["Oslo", "Lima"], "answer_start": [16, 56]}, False),
        ("3", "Who?", CONTEXT, NONE, False),
    ]
    assert splits.test["source"][1] == f"{tmp_path / name}: data[0].paragraphs[0].qas[1]"


def test_questions_without_an_answer(tmp_path):
    """They have none in files of version 2 or by `is_impossible`; otherwise it is not known what is right."""
    unanswered = {"id": "q2", "question": "Who?", "answers": []}
    impossible = {**unanswered, "is_impossible": True, "plausible_answers": [{"text": "Max", "answer_start": 8}]}
    cases = [
        (document(entry(), unanswered), ["q1"], ["q1", "q2"], [False, False]),
        (document(entry(), unanswered, version="v2.0"), ["q1", "q2"], ["q1", "q2"], [False, True]),
        (document(entry(is_impossible=False), impossible), ["q1", "q2"], ["q1", "q2"], [False, True]),
        (
            document(entry(), {**impossible, "answers": [{"text": "Max", "answer_start": 8}]}),
            *[["q1", "q2"]] * 2,
            [0, 1],
        ),
    ]
    for content, trained, tested, expected in cases:
        assert read(tmp_path, content, split="train").train["id"] == trained
        splits = read(tmp_path, content)
        assert rows(splits, "test", "id", "is_impossible") == [*zip(tested, expected)]
    with pytest.raises(ValueError, match="there is no example for train in it; 1 left out: questions without"):
        read(tmp_path, document(unanswered), split="train")
    with pytest.raises(ValueError, match="no question of the validation examples has an answer"):
        read(tmp_path, document(unanswered), split="validation")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "squad.json, line 1: not JSON"),
        ("1", "squad.json: expected an object with the field 'data', but found a int"),
        ('{"data": [\n}', "squad.json, line 2: not JSON"),
        ([], "squad.json: there is no example for test in it"),
        ({"version": "1.1"}, "squad.json: expected an object with the field 'data', but found version"),
        ({"data": {}}, r"squad.json: data: expected a list, but found {}"),
        ({"data": []}, "squad.json: there is no example for test in it"),
        ({"data": [{"title": "T"}]}, r"squad.json: data\[0\]: expected an object with the field 'paragraphs'"),
        (
            document(entry(), context=None),
            r"squad.json: data\[0\].paragraphs\[0\].context: expected a text, but found None",
        ),
        (
            document(entry(), context=" \n"),
            r"squad.json: data\[0\].paragraphs\[0\].context: expected a text, but found ' ",
        ),
        (
            document(entry(), without(entry(), "id")),
            r"squad.json: data\[0\].paragraphs\[0\].qas\[1\]: expected an object with the field 'id'",
        ),
        (
            document(entry(question=" ")),
            r"squad.json: data\[0\]..*qas\[0\]: the question with the id 'q1' is empty",
        ),
        (document(entry(question=3)), r"paragraphs\[0\].qas\[0\].question: expected a text, but found 3"),
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
        read(tmp_path, content)
    assert "\n" not in str(error.value)


def test_other_broken_files(tmp_path):
    (tmp_path / "latin.json").write_bytes('{"data": "\u00e9"}'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.json, line 1: not UTF-8"):
        read_questions(arguments(test_file=tmp_path / "latin.json"))
    whole = gzip.compress(json.dumps(document(entry())).encode())
    for content in (whole[:-10], b"plain"):
        (tmp_path / "cut.json.gz").write_bytes(content)
        with pytest.raises(ValueError, match=r"cut\.json\.gz: not a complete gzip file"):
            read_questions(arguments(test_file=tmp_path / "cut.json.gz"))


def test_answers_that_are_not_in_the_context_can_be_kept_for_scores_alone(tmp_path):
    wrong = entry("q2", "Oslo", 3)
    wrong["answers"].append({"text": "Lima", "answer_start": CONTEXT.index("Lima")})
    content = document(entry("q1", "Bergen", 0), wrong)
    expected = [
        ("q1", {"text": ["Bergen"], "answer_start": [None]}),
        ("q2", {"text": ["Oslo", "Lima"], "answer_start": [None, 56]}),
    ]
    assert rows(read(tmp_path, content, keep_unplaced_answers=True), "test", "id", "answers") == expected
    splits = read(tmp_path, content, split="train", keep_unplaced_answers=True)
    assert rows(splits, "train", "id", "answers") == expected[1:]
    assert "1 of train: questions whose answers are not in the text" in splits.describe()


def test_empty_questions_are_left_out_of_training_visibly(tmp_path):
    splits = read(tmp_path, document(entry(), entry("q2", question=" ")), split="train")
    assert splits.train["id"] == ["q1"]
    described = splits.describe()
    assert "1 of train: empty questions" in described
    assert "qas[1]" in described


# ---- Tables and datasets

ROW = {"id": "1", "question": "Where?", "context": CONTEXT, "answers": OSLO}


def test_rows(tmp_path):
    """Tables and datasets have the columns of `squad`; an empty list of answers in training says that there is none."""
    examples = [ROW, {**ROW, "id": "2", "answers": NONE}]
    Dataset.from_list(examples).save_to_disk(tmp_path / "data")
    contents = {
        "x.jsonl": "\n".join(map(json.dumps, examples)),
        "x.json": json.dumps(examples),
        "y.json": json.dumps({"version": "v2.0", "data": examples}),
    }
    read_from = [{"train_file": write(tmp_path, name, text)} for name, text in contents.items()]
    for options in (*read_from, {"dataset_name": str(tmp_path / "data")}):
        splits = read_questions(arguments(**options))
        assert rows(splits, "train", "id", "answers", "is_impossible") == [("1", OSLO, False), ("2", NONE, True)]
    bare = write(tmp_path, "z.jsonl", json.dumps(without(ROW, "answers")))
    assert rows(read_questions(arguments(test_file=bare)), "test", "answers", "is_impossible") == [(NONE, False)]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (without(ROW, "context"), "line 2: expected an object with the field 'context', but found id, question"),
        (
            {**ROW, "id": "2", "answers": {"text": ["Oslo"], "answer_start": []}},
            "line 2: answers: 1 texts, but 0 places",
        ),
        (
            {**ROW, "id": "2", "answers": {"text": ["Oslo"], "answer_start": [4]}},
            r"line 2: answers.text\[0\]: the answer 'Oslo' is not in its context at answer_start 4",
        ),
        (ROW, "line 2: two questions have the id '1'"),
        ({**ROW, "id": "2", "is_impossible": "no"}, "line 2: is_impossible: expected true or false, but found 'no'"),
        (
            {**without(ROW, "answers"), "id": "2", "answer": "Oslo"},
            "line 2: answers are expected in `answers`",
        ),
    ],
)
def test_rows_that_are_refused(tmp_path, broken, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, "\n".join(map(json.dumps, (ROW, broken))), "x.jsonl")


@pytest.mark.slow
def test_real_questions(data_dir):
    splits = read_questions(arguments(train_file=data_dir / "qa" / "squad-v1.1" / "dev-v1.1.json.gz"))
    answers = splits.train["answers"]
    assert (len(splits.train), sum(len(row["text"]) for row in answers)) == (10570, 34726)
    assert splits.understood.format == "SQuAD 1.1"
