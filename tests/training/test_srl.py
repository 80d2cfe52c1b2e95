"""`python -m hf_elmo.training.srl`: arguments of predicates, as srl-eval.pl counts them, and roles of plain text."""

import json
import random

import pytest
import torch
import toy_tasks
from lanes import first_fast
from shaken import shake
from toy_finetuning import QUIET
from toy_scripts import short, write_predicates
from transformers import AutoModelForTokenClassification, AutoTokenizer

import hf_elmo
from hf_elmo.cli import main
from hf_elmo.semantic_roles import label_roles
from hf_elmo.text_files import Place
from hf_elmo.training import encoder_cache, srl
from hf_elmo.training.arguments import PredicateArguments
from hf_elmo.training.data.predicates import brackets, labels_of_brackets, read_predicate, read_predicates
from hf_elmo.training.encoder_cache import EncoderCache
from hf_elmo.training.metrics import arguments_of, role_scores
from hf_elmo.training.srl import RoleLabels

MODEL = {
    "tagger_layers": 1,
    "tagger_size": 32,
    "predicate_feature_size": 16,
    "classifier_dropout": 0.0,
    "head_dropout": 0.0,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "srl").mkdir()
    write_predicates(folder / "srl")
    return folder


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("srl") / "model"
    assert (
        trained(data, output, "--num_train_epochs", "12", "--learning_rate", "0.01", "--early_stopping_patience", "0")
        == 0
    )
    return output


def trained(data, output, *more: str) -> int:
    return srl.main([*short(data, output, "srl", "srl", **MODEL), *more])


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def sentences(path, split="test"):
    return getattr(read_predicates(PredicateArguments(**{f"{split}_file": str(path)})), split)


# ---- The script


@pytest.mark.slow
def test_it_learns_roles_and_predicates(data, model):
    results = read(model / "all_results.json")["mean"]
    assert results["test_f1"] > 0.9
    assert results["test_predicate_f1"] > 0.9
    assert results["test_perfect_predicates"] > 0.8
    predicted, gold = (sentences(path) for path in (model / "test_predictions.jsonl", data / "srl" / "test.srl"))
    assert predicted["tokens"] == gold["tokens"]
    pairs = zip(predicted["predicates"], gold["predicates"])
    scores = role_scores(*zip(*((g["labels"], p["labels"]) for found, right in pairs for p, g in zip(found, right))))
    assert {name: results[f"test_{name}"] for name in scores} == pytest.approx(scores)


@pytest.mark.slow
def test_predictions_are_columns_for_srl_eval(data, model):
    for name, rows in (
        ("_gold", sentences(data / "srl" / "test.srl")),
        ("", sentences(model / "test_predictions.jsonl")),
    ):
        blocks = (model / f"test_predictions{name}.props").read_text().strip().split("\n\n")
        assert len(blocks) == len(rows)
        for block, row in zip(blocks, rows):
            target, *columns = zip(*(line.split("\t") for line in block.split("\n")))
            assert [place for place, cell in enumerate(target) if cell != "-"] == [
                p["words"][0] for p in row["predicates"]
            ]
            assert [labels_of_brackets(column, [None] * 99, "arguments") for column in columns] == [
                p["labels"] for p in row["predicates"]
            ]


@pytest.mark.slow
def test_all_predicates_of_a_sentence_in_one_call(model, tmp_path, capsys):
    loaded, tokenizer = (
        AutoModelForTokenClassification.from_pretrained(model).eval(),
        AutoTokenizer.from_pretrained(model),
    )
    text = "Ada met Max and Eve saw Tom"
    (found,) = label_roles(loaded, tokenizer, [text])
    assert [predicate["text"] for predicate in found] == ["met", "saw"]
    assert [(one["role"], one["text"], one["spans"]) for one in found[1]["arguments"]] == [
        ("ARG0", "Eve", [[4, 5]]),
        ("ARG1", "Tom", [[6, 7]]),
    ]
    both = label_roles(loaded, tokenizer, ["Eve met Ann", text.split()], [[[1]], [[1], [5]]], batch_size=2)
    assert both[1] == found
    with pytest.raises(ValueError, match=r"a predicate must be places of words from 0 to 6, but is \[7\]"):
        label_roles(loaded, tokenizer, [text], [[[7]]])
    (tmp_path / "in.txt").write_text(f"{text}\n")
    assert main(["apply", str(model), str(tmp_path / "in.txt")]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["predicates"] == found


@pytest.mark.slow
def test_a_trained_model_labels_predicates_without_labels(data, model, tmp_path):
    unlabeled = "\n".join(
        "\t".join(line.split("\t")[:6]) for line in (data / "srl" / "test.srl").read_text().split("\n")
    )
    (tmp_path / "new.srl").write_text(unlabeled)
    files = ["--model_name_or_path", str(model), "--test_file", str(tmp_path / "new.srl")]
    assert srl.main([*files, *QUIET, "--output_dir", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "test_predictions.props").read_text() == (model / "test_predictions.props").read_text()
    assert not (tmp_path / "out" / "test_predictions_gold.props").exists()
    assert read(tmp_path / "out" / "all_results.json")["mean"] == {}


# ---- The counting rules of srl-eval.pl


@pytest.mark.parametrize("separate_texts", first_fast([False, True]), ids=["one after the other", "padded"])
def test_all_predicates_of_a_sentence_share_its_layers(data, tmp_path, separate_texts, monkeypatch):
    monkeypatch.setattr(encoder_cache, "BATCH_WORDS", 40)
    examples, tokenizer = sentences(data / "srl" / "train.srl", "train"), toy_tasks.tokenizer()
    dataset = RoleLabels(tokenizer, toy_tasks.config(), find_predicates=True).encode(examples)
    model = shake(hf_elmo.ElmoForTokenClassification(toy_tasks.config()))
    model.separate_texts = separate_texts
    with EncoderCache(str(tmp_path)) as cache:
        cache.fill(model, dataset)
    (file,) = tmp_path.iterdir()
    texts = {" ".join(tokens) for tokens in examples["tokens"]}
    assert len(texts) < len(examples) < len(dataset) / 2
    words = sum(len(text.split()) + 2 for text in texts)
    assert file.stat().st_size == words * 3 * 2 * 12 * 4  # layers, directions, width, bytes
    for index, number in enumerate(dataset.order[:40]):
        feature = dataset[index]
        expected = model.compute_layers(torch.from_numpy(feature["input_ids"]).long()[None])[0]
        torch.testing.assert_close(torch.from_numpy(feature["layers"].copy()), expected, rtol=1e-5, atol=1e-6)
        assert feature["token_type_ids"] is dataset.features[number]["token_type_ids"]


def bio(text: str) -> list[str]:
    """Labels out of `A0 A0 V . A1`, where equal neighbors are one argument and a `+` begins another."""
    names = text.split()
    return [
        "O" if name == "." else f"{'I' if number and names[number - 1].lstrip('+') == name else 'B'}-{name.lstrip('+')}"
        for number, name in enumerate(names)
    ]


def test_arguments_and_their_pieces():
    found = arguments_of(bio("A1 A1 V C-A1 C-A1 . R-A0 +A1 C-A1 C-A2 C-V"))
    assert found == [
        ("A1", ((0, 2), (3, 5))),
        ("V", ((2, 3), (10, 11))),  # what continues the predicate is part of it
        ("R-A0", ((6, 7),)),
        ("A1", ((7, 8), (8, 9))),  # a piece continues the last argument of its role
        ("A2", ((9, 10),)),  # without one, it is an argument itself
    ]


@pytest.mark.parametrize(
    ("gold", "predicted", "right", "excess", "missed"),
    [
        ("A0 V A1 A1", "A0 V A1 A1", 2, 0, 0),
        ("A0 V A1 A1", "V A0 A1 .", 0, 2, 2),  # other words
        ("A0 V A1 A1", "A1 V A0 A0", 0, 2, 2),  # other roles
        ("A0 V A1 A1", "A0 . A1 A1", 2, 0, 0),  # the predicate does not count
        ("A0 V C-V A1", "A0 V . A1", 2, 0, 0),  # nor does what continues it
        ("A1 V C-A1 .", "A1 V C-A1 .", 1, 0, 0),  # two pieces are one argument
        ("A1 V C-A1 .", "A1 V . .", 0, 1, 1),  # of which one alone is wrong,
        ("A1 V C-A1 .", "A1 V C-A1 C-A1", 0, 1, 1),  # and so are others
        ("A1 V C-A1 .", "A1 V A1 .", 0, 2, 1),
        (". V C-A1 .", ". V A1 .", 1, 0, 0),  # a piece that continues nothing is an argument
        ("A0 R-A0 V A1", "A0 A0 V A1", 1, 1, 2),  # references are roles of their own
    ],
)
def test_counts_by_hand(gold, predicted, right, excess, missed):
    scores = role_scores([bio(gold)], [bio(predicted)])
    precision = right / (right + excess) if right + excess else 0
    recall = right / (right + missed) if right + missed else 0
    assert (scores["precision"], scores["recall"]) == pytest.approx((precision, recall))
    assert scores["perfect_predicates"] == (not excess and not missed)


def test_pieces_count_by_themselves_in_piece_f1():
    scores = role_scores([bio("A1 V C-A1 .")], [bio("A1 V . .")])
    assert (scores["f1"], scores["piece_f1"]) == pytest.approx((0, 2 / 3))


def test_scores_of_nothing_are_zero_and_of_roles_are_each_ones():
    assert set(role_scores([], []).values()) == {0.0}
    scores = role_scores([bio("A0 V A1")], [bio("A0 V A2")])
    assert [scores[f"f1_A{number}"] for number in range(3)] == [1, 0, 0]


# ---- Reading

NUMBERED = """\
# sent_id = 1
1	Ada	Ada	P	N	_	B-ARG0	O
2	saw	see	V	V	see.01	B-V	O
3	Max	Max	P	N	_	B-ARG1	B-ARG0
4	leave	leave	V	V	leave.01	I-ARG1	B-V

"""
CONLL2005 = """\
Ada   NNP  (S*   -      (A0*)  *
saw   VBD  *     see    (V*)   *
Max   NNP  *     -      (A1*   (A0*)
leave VB   *)    leave  *)     (V*)

"""
CONLL2012 = """\
#begin document (bn/a); part 000
bn/a 0 0 Ada NNP * - - - - (PERSON) (ARG0*) * -
bn/a 0 1 saw VBD * see 01 - - * (V*) * -
bn/a 0 2 Max NNP * - - - - (PERSON) (ARG1* (ARG0*) -
bn/a 0 3 leave VB * leave 01 - - * *) (V*) -

#end document
"""


@pytest.mark.parametrize("content", [NUMBERED, CONLL2005, CONLL2012], ids=["numbered", "2005", "2012"])
def test_formats(tmp_path, content):
    (tmp_path / "a.txt").write_text(content)
    (sentence,) = sentences(tmp_path / "a.txt", "test")
    assert sentence["tokens"] == ["Ada", "saw", "Max", "leave"]
    assert [predicate["words"] for predicate in sentence["predicates"]] == [[1], [3]]
    labels = [[label.replace("ARG", "A") for label in one["labels"]] for one in sentence["predicates"]]
    assert labels == [["B-A0", "B-V", "B-A1", "I-A1"], ["O", "O", "B-A0", "B-V"]]


def test_json_lines_are_what_is_written(tmp_path):
    (tmp_path / "a.srl").write_text(NUMBERED)
    (sentence,) = sentences(tmp_path / "a.srl")
    row = {name: sentence[name] for name in ("tokens", "predicates")}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | {"predicates": [1]}) + "\n")
    same, unlabeled = sentences(tmp_path / "a.jsonl")
    assert {name: same[name] for name in row} == row
    assert unlabeled["predicates"] == [{"name": "saw", "words": [1], "labels": None}]


def test_brackets_are_read_as_they_are_written():
    draw = random.Random(0)
    for _ in range(50):
        labels = bio(" ".join(draw.choice([".", "A0", "+A0", "V", "R-A1", "C-A1"]) for _ in range(9)))
        assert labels_of_brackets(brackets(labels), [None] * 9, "arguments") == labels


def test_a_word_may_be_a_number_sign(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("# sent_id = 1\n# - (A0*)\nmet meet (V*)\n\n#win - (A0*)\nhas have (V*)\n")
    assert sentences(path, "train")["tokens"][:] == [["#", "met"], ["#win", "has"]]


@pytest.mark.parametrize(
    ("predicate", "message"),
    [
        (True, "a predicate must be an object whose `words` are numbers from 0 to 1, but is True"),
        ({"words": [0], "labels": ["O", "B-V"]}, "a predicate has the words [0], but the label V is at the words [1]"),
    ],
)
def test_predicates_of_json_that_are_refused(predicate, message):
    with pytest.raises(ValueError, match="x, line 1: ") as refused:
        read_predicate(predicate, ["Ada", "met"], Place("x", 1))
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (NUMBERED.replace("\tO\n2", "\n2"), "a.srl, line 3: 8 columns where the sentence begins with 7"),
        (
            NUMBERED.replace("leave.01", "_"),
            "a.srl, line 2: 1 predicates in column 5, but 2 columns of labels behind it",
        ),
        (NUMBERED.replace("B-ARG1", "ARG1"), "a.srl, line 4: a label must be O, or B- or I- and a role, but is 'ARG1'"),
        (
            CONLL2005.replace("*)     (V*)", "*      (V*)"),
            "a.srl, line 3: A1 begins here, but does not end",
        ),
        (
            CONLL2005.replace("(A1* ", "(A1(A2*"),
            "line 3: arguments must be bracketed one by one, (TYPE*, * and *), but are",
        ),
        (
            "#begin document (a); part 000\na 0 0 Ada NNP *\n",
            "a.srl, line 2: 6 columns where CoNLL-2012 has at least 8",
        ),
        ("", "a.srl: there is no sentence in it"),
        ("1\ta\ta\tX\tX\t_\n", "a.srl, line 1: no sentence for train has a predicate"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_in_one_line(data, tmp_path, capsys, content, message):
    (tmp_path / "a.srl").write_text(content)
    assert trained(data, tmp_path / "out", "--train_file", str(tmp_path / "a.srl")) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("srl: error: ")
    assert message in error
    assert not (tmp_path / "out").exists()


def test_a_tagger_that_sees_no_predicate_is_refused(data, tmp_path, capsys):
    overrides = ["--config_overrides", json.dumps({"predicate_feature_size": 0})]
    assert trained(data, tmp_path / "out", *overrides) == 2
    assert "does not see which word is the predicate: its predicate_feature_size is 0" in capsys.readouterr().err
