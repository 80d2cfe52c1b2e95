"""`python -m hf_elmo.training.qa`, from SQuAD files to answers in the official format."""

import json
import random
import shutil

import pytest
import torch
import toy_tasks
from shaken import shake
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

import hf_elmo
from hf_elmo.training import qa
from hf_elmo.training.data.question_windows import best_answers, make_windows
from hf_elmo.training.data.questions import read_questions
from hf_elmo.training.metrics import squad_scores

pytestmark = pytest.mark.slow  # each test trains

QUIET = ["--plots", "False", "--use_cpu", "True", "--report_to", "none", "--disable_tqdm", "True"]
SMALL = {"qa_size": 8, "classifier_dropout": 0.0, "head_dropout": 0.0}
WINDOWS = ["--max_context_words", "8", "--context_stride", "4", "--max_answer_length", "2"]


def document(count: int, seed: int) -> dict:
    """Texts with one name and one place among other words, and questions for the name."""
    chance, paragraphs = random.Random(seed), []
    for number in range(count):
        name, place = chance.choice(toy_tasks.NAMES), chance.choice(toy_tasks.PLACES)
        words = [name, place, *chance.choices(toy_tasks.OTHERS, k=10)]
        chance.shuffle(words)
        context = " ".join(words)
        answers = [{"text": name, "answer_start": context.index(name)}]
        question = {"id": f"{seed}-{number}", "question": "Who was it?", "answers": answers}
        paragraphs.append({"context": context, "qas": [question]})
    return {"version": "1.1", "data": [{"title": "Toy", "paragraphs": paragraphs}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qa")
    torch.manual_seed(0)
    shake(hf_elmo.ElmoModel(toy_tasks.config(word_vocab_size=0))).save_pretrained(folder / "elmo")
    toy_tasks.tokenizer().save_pretrained(folder / "elmo")
    for seed, (split, count) in enumerate({"train": 120, "dev": 20, "test": 20}.items()):
        (folder / f"{split}.json").write_text(json.dumps(document(count, seed)))
    return folder


def command(folder, output, *more: str, **files) -> list[str]:
    files = {"train": "train.json", "validation": "dev.json", "test": "test.json", **files}
    return [
        *("--model_name_or_path", str(folder / "elmo"), "--output_dir", str(output), *QUIET, *WINDOWS),
        *(part for split, name in files.items() if name for part in (f"--{split}_file", str(folder / name))),
        *("--config_overrides", json.dumps(SMALL), "--num_train_epochs", "10", "--learning_rate", "2e-2"),
        *("--per_device_train_batch_size", "16", "--load_best_model_at_end", "False", *more),
    ]


def trained(*arguments: str) -> int:
    return qa.main(list(arguments))


def read_squad(path):
    return read_questions(qa.QuestionArguments(test_file=str(path))).test


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model(folder):
    assert trained(*command(folder, folder / "model")) == 0
    return folder / "model"


def test_it_learns_and_says_what_it_measured(model):
    found = read(model / "all_results.json")
    assert found["mean"]["eval_f1"] == found["mean"]["test_exact_match"] == 100.0
    assert read(model / "trainer_state.json")["best_metric"] == found["mean"]["eval_f1"]
    card = (model / "README.md").read_text()
    assert "exact_match" in card
    assert "hf_elmo.training.qa" in card


def test_predictions_are_what_the_official_evaluation_reads(model, folder):
    questions = read_squad(folder / "test.json")
    predictions = read(model / "test_predictions.json")
    assert predictions == {question["id"]: question["answers"]["text"][0] for question in questions}
    n_best = read(model / "test_predictions_n_best.json")
    for question in questions:
        first, *others = n_best[question["id"]]
        assert first["text"] == predictions[question["id"]] == question["context"][first["start"] : first["end"]]
        assert len(others) == 19
        assert sum(answer["probability"] for answer in [first, *others]) == pytest.approx(1)


def test_the_model_answers_outside_the_script(model, folder):
    questions = read_squad(folder / "test.json")
    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = AutoModelForQuestionAnswering.from_pretrained(model).eval()
    windows, features = make_windows(questions, tokenizer, 8, 4)
    with torch.no_grad():
        output = loaded(
            **tokenizer.pad([{"input_ids": f["input_ids"].tolist()} for f in features], return_tensors="pt")
        )
    logits = output.start_logits.numpy(), output.end_logits.numpy()
    found = best_answers(questions, windows, *logits, max_answer_length=2)
    assert {question["id"]: answers[0].text for question, answers in zip(questions, found)} == read(
        model / "test_predictions.json"
    )


def test_a_trained_model_answers_questions_without_answers(model, folder, tmp_path):
    content = document(5, 7)
    for paragraph in content["data"][0]["paragraphs"]:
        del paragraph["qas"][0]["answers"]
    (tmp_path / "new.json").write_text(json.dumps(content))
    arguments = ["--model_name_or_path", str(model), "--test_file", str(tmp_path / "new.json"), *QUIET, *WINDOWS]
    assert trained(*arguments, "--output_dir", str(tmp_path / "out")) == 0
    gold = {
        paragraph["qas"][0]["id"]: [paragraph["qas"][0]["answers"][0]["text"]]
        for paragraph in document(5, 7)["data"][0]["paragraphs"]
    }
    assert squad_scores(read(tmp_path / "out" / "test_predictions.json"), gold)["exact_match"] == 100
    assert read(tmp_path / "out" / "all_results.json")["mean"] == {}


@pytest.mark.parametrize("options", [["--freeze_encoder", "False"], ["--cache_encoder_outputs", "False"]])
def test_smoke(folder, tmp_path, options):
    limits = [part for split in ("train", "eval", "predict") for part in (f"--max_{split}_samples", "6")]
    assert trained(*command(folder, tmp_path, *limits, *options, "--num_train_epochs", "1")) == 0
    assert read(tmp_path / "all_results.json")["runs"][0]["train_examples"] == 6


def changed(**answer) -> dict:
    content = document(3, 0)
    content["data"][0]["paragraphs"][1]["qas"][0].update(answer)
    return content


NOWHERE = {"answers": [{"text": "Nobody", "answer_start": 0}]}


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ({"data": []}, [], "bad.json: there is no example for train in it"),
        (changed(id=""), [], "bad.json: data[0].paragraphs[1].qas[0].id: expected a text, but found ''"),
        (changed(**NOWHERE), [], "qas[0].answers[0]: the answer 'Nobody' is not in its context at answer_start 0"),
        (
            document(3, 0),
            ["--context_stride", "8"],
            "--context_stride must be from 0 to below --max_context_words (8), but is 8",
        ),
        (document(3, 0), ["--max_answer_length", "0"], "--max_answer_length must be at least 1, but is 0"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder, capsys, content, options, message):
    (folder / "bad.json").write_text(json.dumps(content))
    assert trained(*command(folder, folder / "refused", *options, train="bad.json")) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("qa: error: ")
    assert message in error
    assert not (folder / "refused").exists()


def test_answers_without_a_place_are_scored_but_not_learnt(folder, tmp_path, caplog):
    (tmp_path / "train.json").write_text(json.dumps(changed(**NOWHERE)))
    options = ["--keep_unplaced_answers", "True", "--num_train_epochs", "1"]
    with caplog.at_level("INFO"):
        train = str(tmp_path / "train.json")
        assert trained(*command(folder, tmp_path / "out", *options, train=train, validation=train)) == 0
    assert "1 of train: questions whose answers are not in the text; the first: " in caplog.text
    assert read(tmp_path / "out" / "all_results.json")["runs"][0]["validation_examples"] == 3


def with_impossible(count: int, seed: int) -> dict:
    """Texts as in `document`, every third without a name, so that nobody is the answer: SQuAD 2.0."""
    content = document(count, seed)
    for paragraph in content["data"][0]["paragraphs"][::3]:
        (question,) = paragraph["qas"]
        paragraph["context"] = paragraph["context"].replace(question["answers"][0]["text"], "again")
        question |= {"is_impossible": True, "answers": []}
    return content | {"version": "v2.0"}


def test_questions_without_an_answer(folder, tmp_path):
    """The empty text is predicted for them, and the official metrics of SQuAD 2.0 are reported."""
    for seed, (split, count) in enumerate({"train": 120, "dev": 21, "test": 21}.items()):
        (tmp_path / f"{split}.json").write_text(json.dumps(with_impossible(count, seed)))
    shutil.copytree(folder / "elmo", tmp_path / "elmo")
    more = ["--num_train_epochs", "12"]
    assert trained(*command(tmp_path, tmp_path / "model", *more)) == 0
    found = read(tmp_path / "model" / "all_results.json")["mean"]
    assert found["test_no_answer_exact_match"] > 90
    assert found["test_has_answer_exact_match"] > 90
    assert read(tmp_path / "model" / "config.json")["qa_no_answer"]
    predictions = read(tmp_path / "model" / "test_predictions.json")
    probabilities = read(tmp_path / "model" / "test_predictions_no_answer.json")
    assert {id for id, text in predictions.items() if not text} == {id for id, p in probabilities.items() if p > 0.5}


def test_a_test_file_with_some_answers(model, folder, tmp_path):
    """All questions are answered, and those with an answer are scored."""
    content = document(6, 7)
    for paragraph in content["data"][0]["paragraphs"][:2]:
        del paragraph["qas"][0]["answers"]
    (tmp_path / "some.json").write_text(json.dumps(content))
    arguments = ["--model_name_or_path", str(model), "--test_file", str(tmp_path / "some.json"), *QUIET, *WINDOWS]
    assert trained(*arguments, "--output_dir", str(tmp_path / "out")) == 0
    assert len(read(tmp_path / "out" / "test_predictions.json")) == 6
    assert read(tmp_path / "out" / "all_results.json")["mean"]["test_exact_match"] == 100.0
