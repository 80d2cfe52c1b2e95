"""The command `hf-elmo apply`: predictions are the model's own, whatever the input and the output."""

import io
import json
import subprocess
import sys

import pytest
import torch
import toy_tasks
from fresh_process import forking_python
from shaken import shake

from hf_elmo.cli import main
from hf_elmo.model.pipelines_elmo import ElmoQuestionAnsweringPipeline

SENTENCES = ["Ada met Max in Rome.", "Eve saw Oslo & <Lima>", "again"]
LABELS = ["O", "B-LOC", "B-PER", "I-PER"]
OPTIONS = {
    "tagger": ("token-classification", {"num_labels": 4, "id2label": dict(enumerate(LABELS))}),
    "plain": ("tagging-word-by-word", {"num_labels": 3, "id2label": {0: "DET", 1: "NOUN", 2: "VERB"}}),
    "classifier": ("text-classification", {"num_labels": 3, "id2label": {0: "bad", 1: "fair", 2: "good"}}),
    "multi": ("several-labels", {"id2label": {0: "a", 1: "b", 2: "c"}}),
    "value": ("regression", {}),
    "pairs": ("text-classification", {"num_labels": 2, "sequence_encoder": "esim"}),
    "answerer": ("question-answering", {}),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Untrained models of every kind, with weights large enough that predictions differ."""
    folder, models = tmp_path_factory.mktemp("models"), {}
    for name, (task, options) in OPTIONS.items():
        models[name] = shake(toy_tasks.TASKS[task].model(**options), scale=0.6).eval()
        models[name].save_pretrained(folder / name)
        toy_tasks.tokenizer().save_pretrained(folder / name)
    return folder, models


@pytest.fixture
def apply(models, capsys):
    """Return a function that runs the command on a model and returns what it printed."""

    def apply(name, *arguments, code=0):
        assert main(["apply", str(models[0] / name), *map(str, arguments)]) == code
        printed = capsys.readouterr()
        return printed.out if code == 0 else printed.err

    return apply


def objects(text):
    return [json.loads(line) for line in text.splitlines()]


def given(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def own_labels(model, words):
    encoded = toy_tasks.tokenizer()(words, is_split_into_words=True, return_tensors="pt")
    with torch.no_grad():
        return [model.config.id2label[number] for number in model(**encoded).logits[0].argmax(-1).tolist()][1:-1]


# ---- Words


def test_lines_of_text_get_the_labels_of_the_model_as_conll(models, apply, tmp_path):
    printed = apply("tagger", write(tmp_path / "in.txt", "\n".join(SENTENCES) + "\n\n"))
    blocks = [[line.split(" ") for line in block.split("\n")] for block in printed.strip().split("\n\n")]
    assert [[row[0] for row in block] for block in blocks] == [
        toy_tasks.tokenizer().tokenize(text) for text in SENTENCES
    ]
    for block in blocks:
        words, labels = map(list, zip(*block))
        assert labels == own_labels(models[1]["tagger"], words)
    assert len({row[1] for block in blocks for row in block}) > 1


def test_conll_keeps_the_lines_of_a_conll_file(apply, tmp_path):
    lines = ["-DOCSTART- O", "", "Ada B-PER", "met O", "Max B-PER", "", "", "Rome B-LOC", "again O", ""]
    printed = apply("tagger", write(tmp_path / "in.txt", "\n".join(lines) + "\n"))  # known by its labels
    assert [line.split(" ")[0] for line in printed.split("\n")[: len(lines) - 1]] == [
        "" if line.startswith("-DOC") else line.split(" ")[0] for line in lines[:-1]
    ]


def test_json_has_the_places_of_entities_and_html_shows_them(apply, tmp_path):
    source = write(tmp_path / "in.txt", "\n".join(SENTENCES))
    found = objects(apply("tagger", source, "--format", "jsonl"))
    assert [row["line"] for row in found] == [1, 2, 3]
    entities = [(row, entity) for row in found for entity in row["entities"]]
    assert entities, "nothing is found, and nothing tested"
    for row, entity in entities:
        assert row["text"][entity["start"] : entity["end"]] == entity["text"]
        assert row["labels"][entity["first_word"]][2:] == entity["type"]
        assert 0 < entity["score"] <= 1
    page = tmp_path / "out.html"
    assert apply("tagger", source, "--output", page) == ""
    content = page.read_text(encoding="utf-8")
    assert content.count("<mark") == len(entities)
    assert "&amp;" in content
    assert "<Lima" not in content
    assert content.startswith("<!DOCTYPE html>")
    assert content.endswith("</html>\n")
    assert "http" not in content
    assert "<ruby>Ada<rt>" in apply("plain", source, "--format", "html")


@pytest.mark.slow
def test_batches_change_nothing(apply, tmp_path):
    source = write(tmp_path / "in.txt", "\n".join(" ".join(words) for words in toy_tasks.sentences(40)))
    for name in ("tagger", "classifier"):
        few, many = (objects(apply(name, source, "--format", "jsonl", "--batch-size", n)) for n in (1, 16))
        for one, other in zip(few, many, strict=True):
            assert {**one, "scores": 0, "score": 0, "entities": 0} == {**other, "scores": 0, "score": 0, "entities": 0}
            scores = [row["scores"].values() if name == "classifier" else row["scores"] for row in (one, other)]
            assert list(scores[0]) == pytest.approx(list(scores[1]), abs=2e-6)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_tables_of_texts_of_words_and_of_a_word_per_row(apply, tmp_path, suffix):
    plain = apply("tagger", write(tmp_path / "in.txt", "Ada met Max\n"))
    if suffix == "csv":
        tables = {"text\nAda met Max\n": [], "n,token\n1,Ada\n1,met\n1,Max\n": ["--sentence-column", "n"]}
    else:
        tables = {'{"tokens": ["Ada", "met", "Max"]}\n': [], '{"x": "Ada met Max"}\n': ["--text_column", "x"]}
    for content, options in tables.items():
        assert apply("tagger", write(tmp_path / f"in.{suffix}", content), *options) == plain


# ---- Texts


def test_classes_have_the_probabilities_of_the_model(models, apply, monkeypatch):
    given(monkeypatch, "\n".join(SENTENCES) + "\n\n")
    found = objects(apply("classifier", "-"))
    model = models[1]["classifier"]
    for row, text in zip(found, SENTENCES, strict=True):
        with torch.no_grad():
            logits = model(**toy_tasks.tokenizer()(text, return_tensors="pt")).logits[0]
        expected = dict(zip(["bad", "fair", "good"], logits.softmax(-1).tolist()))
        assert row["scores"] == pytest.approx(expected, abs=2e-6)
        assert row["label"] == max(expected, key=expected.get)
        assert list(row["scores"]) == sorted(expected, key=expected.get, reverse=True)


def test_several_labels_values_and_pairs(models, apply, tmp_path):
    source = write(tmp_path / "in.csv", "id,sentence\nx1,Ada met Max\nx2,\n")
    one, empty = objects(apply("multi", source, "--threshold", "0.2"))
    assert (one["id"], one["row" if "row" in one else "line"]) == ("x1", 2)
    assert sorted(one["labels"]) == sorted(label for label, score in one["scores"].items() if score > 0.2)
    assert empty["labels"] is None
    one, empty = objects(apply("value", source))
    with torch.no_grad():
        value = models[1]["value"](**toy_tasks.tokenizer()("Ada met Max", return_tensors="pt")).logits.item()
    assert one["value"] == pytest.approx(value, abs=1e-5)
    assert empty["value"] is None
    table = write(tmp_path / "pairs.tsv", "premise\thypothesis\nAda met Max\tMax left\n")
    lines = write(tmp_path / "pairs.txt", "Ada met Max\tMax left\n")
    (of_table,), (of_lines,) = (objects(apply("pairs", source)) for source in (table, lines))
    assert of_table["scores"] == of_lines["scores"]
    assert (of_table["text"], of_table["text_pair"]) == ("Ada met Max", "Max left")
    assert '<span class="bar">' in apply("pairs", table, "--format", "html", "--top-k", "1")


# ---- Questions


@pytest.mark.slow
def test_answers_are_those_of_the_pipeline(models, apply, tmp_path, monkeypatch):
    context, question = "Ada met Max in Rome. They left again.", "Who met Max?"
    pipeline = ElmoQuestionAnsweringPipeline(model=models[1]["answerer"], tokenizer=toy_tasks.tokenizer())
    expected = pipeline(question=question, context=context, top_k=3)
    table = write(tmp_path / "in.jsonl", json.dumps({"id": 7, "question": question, "context": context}) + "\n")
    (row,) = objects(apply("answerer", table, "--top-k", "3"))
    assert row["id"] == "7"
    assert [answer["answer"] for answer in row["answers"]] == [answer["answer"] for answer in expected]
    assert row["score"] == pytest.approx(expected[0]["score"], abs=1e-6)
    assert context[row["start"] : row["end"]] == row["answer"] == expected[0]["answer"]
    article = {"context": context, "qas": [{"id": "q", "question": question}]}
    squad = write(tmp_path / "squad.json", json.dumps({"data": [{"paragraphs": [article]}]}))
    given(monkeypatch, question + "\n")
    text = write(tmp_path / "context.txt", context)
    for printed in (apply("answerer", squad), apply("answerer", "-", "--context", text)):
        assert objects(printed)[0]["answer"] == row["answer"]
    assert f'<mark style="background: #9bd3f5">{row["answer"]}' in apply("answerer", table, "--format", "html")


# ---- Streams, reports, errors


def test_a_report_as_json_counts_what_was_written(apply, tmp_path):
    source, target = write(tmp_path / "in.txt", "\n".join(SENTENCES)), tmp_path / "out.conll"
    report = json.loads(apply("tagger", source, "--output", target, "--json"))
    words = [line for line in target.read_text().splitlines() if line]
    assert (report["examples"], report["words"]) == (3, len(words))
    assert report["architecture"] == "ElmoForTokenClassification"
    assert sum(report["labels"].values()) == sum(" B-" in line for line in words)
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt", "out.conll"] or not list(tmp_path.glob("*.unf*"))


def test_lines_before_a_bad_one_are_answered(models, monkeypatch, capsys):
    given(monkeypatch, '{"text": "Ada"}\n{"text": 3}\n')
    assert main(["apply", str(models[0] / "classifier"), "--input-format", "jsonl"]) == 2
    printed = capsys.readouterr()
    assert [row["line"] for row in objects(printed.out)] == [1]
    assert printed.err.startswith("hf-elmo apply: error: standard input, line 2: text must be a text")


@pytest.mark.slow
def test_each_line_of_a_stream_is_answered_before_the_next_is_there(models):
    command = [forking_python("everything"), "-m", "hf_elmo.cli", "apply", str(models[0] / "classifier")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for number, text in enumerate(SENTENCES, start=1):
            process.stdin.write(text + "\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["line"] == number
        process.stdin.close()
        assert process.stdout.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("tagger", None, [], "no such file; a text itself is given by standard input: echo"),
        ("tagger", "Ada", ["--output", "IN"], "in.txt is the input: give another file"),
        ("tagger", "Ada", ["--output", "."], "--output .: this is a folder; give the name of a file"),
        ("tagger", "", [], "in.txt: there is nothing to apply the model to in it"),
        ("tagger", "Ada", ["--json"], "--json reports on the whole input: write the results to a file with --output"),
        ("tagger", "Ada", ["--batch-size", "0"], "--batch-size must be at least 1, but is 0"),
        ("classifier", "Ada", ["--format", "conll"], "--format conll is for models that label words; "),
        ("classifier", "Ada", ["--input-format", "conll"], "a file with a word per line is for taggers"),
        ("classifier", "Ada", ["--input-format", "csv", "--text-column", "x"], "there is no column 'x', only Ada"),
        ("pairs", "Ada met Max", [], "in.txt, line 1: a line must be two texts separated by a tab, but has 0 tabs"),
        ("answerer", "Who?", [], "a question needs a text to find its answer in"),
    ],
)
def test_errors_are_one_line_that_says_what_to_type(apply, tmp_path, name, content, options, message):
    if content is not None:
        write(tmp_path / "in.txt", content + ("\n" if "csv" not in options else "\nMax\n"))
    options = [str(tmp_path / "in.txt") if option == "IN" else option for option in options]
    error = apply(name, tmp_path / "in.txt", *options, code=2)
    assert message in error
    assert error.count("\n") == 1


def test_an_encoder_without_a_head_is_refused(tmp_path, capsys):
    toy_tasks.save_checkpoint(tmp_path)
    assert main(["apply", str(tmp_path)]) == 2
    assert "a model with a trained head is needed" in capsys.readouterr().err


def test_a_file_is_complete_or_absent(models, tmp_path, capsys):
    source = write(tmp_path / "in.jsonl", '{"text": "Ada"}\n{"text": 3}\n')
    assert main(["apply", str(models[0] / "classifier"), str(source), "--output", str(tmp_path / "out.jsonl")]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_lines_for_training_are_refused(apply, tmp_path):
    source = write(tmp_path / "in.txt", "good Ada\nbad Max\ngood Eve\n")
    assert "all lines begin with a label of the model (bad, good)" in apply("classifier", source, code=2)


def test_questions_without_words_have_no_answer(apply, tmp_path):
    source = write(tmp_path / "in.csv", "question,context\n,Ada met Max\nWho?,\n")
    assert [(row["answer"], row["score"]) for row in objects(apply("answerer", source))] == [("", None)] * 2
