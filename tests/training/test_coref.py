"""`python -m hf_elmo.training.coref`, from files of documents to clusters in the formats that scorers read."""

import json

import pytest
from toy_finetuning import QUIET
from toy_scripts import SPANS, short, write_documents
from transformers import AutoTokenizer

from hf_elmo import ElmoForCoreferenceResolution
from hf_elmo.cli import main
from hf_elmo.training import coref
from hf_elmo.training.arguments import DocumentArguments
from hf_elmo.training.coreference_metrics import coreference_scores
from hf_elmo.training.data.documents import parts_of, read_documents

TEXT = 'Mary met Ann. "She smiled," said Mr. Hill\'s aunt (Ann), and he left.'
GAP = "ID\tText\tPronoun\tPronoun-offset\tA\tA-offset\tA-coref\tB\tB-offset\tB-coref\tURL\n"


def gap_row(pronoun="She", a="Mary", b="Ann", answers=("FALSE", "TRUE"), **changed) -> str:
    cells = [pronoun, TEXT.rindex(pronoun), a, TEXT.index(a), answers[0], b, TEXT.index(b), answers[1]]
    return "\t".join(map(str, [f"test-{pronoun}", TEXT, *cells, "url"])) + "\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "coref").mkdir()
    write_documents(folder / "coref")
    return folder


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("coref") / "model"
    options = ["--num_train_epochs", "16", "--per_device_train_batch_size", "4"]
    arguments = short(data, output, "coref", "conll", **SPANS, classifier_dropout=0.0, head_dropout=0.0)
    assert coref.main([*arguments, *options]) == 0
    return output


def trained(data, output, *more: str) -> int:
    return coref.main([*short(data, output, "coref", "conll", **SPANS), *more])


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def documents(path, split="test", **options):
    return getattr(read_documents(DocumentArguments(**{f"{split}_file": str(path)}, **options)), split)


def clusters_of(document) -> set:
    return {frozenset(map(tuple, cluster)) for cluster in document["clusters"]}


# ---- The script


@pytest.mark.slow
def test_it_learns_and_says_what_it_measured(data, model):
    results = read(model / "all_results.json")["mean"]
    # One link more or less in these few documents is 0.03: three seeds gave 0.84 to 0.88.
    assert results["test_conll_f1"] > 0.8
    assert results["test_conll_f1_without_singletons"] > 0.8
    assert read(model / "config.json")["coref_singletons"]
    predicted, gold = documents(model / "test_predictions.conll"), documents(data / "coref" / "test.conll")
    assert predicted["sentences"] == gold["sentences"]
    assert predicted["id"] == gold["id"]
    sides = ([clusters_of(document) for document in side] for side in (gold, predicted))
    scores = coreference_scores(*sides)
    assert {name: results[f"test_{name}"] for name in scores} == pytest.approx(scores)
    rows = [json.loads(line) for line in (model / "test_predictions.jsonl").read_text().splitlines()]
    assert [row["doc_key"] for row in rows] == gold["id"]
    for row, document in zip(rows, predicted):
        assert {frozenset(map(tuple, cluster)) for cluster in row["predicted_clusters"]} == clusters_of(document)
    errors = read(model / "all_results.json")["runs"][0]["errors"]["test"]
    assert errors["outcomes"]["right"][0] > 0.7 * sum(len(mentions) for doc in gold["clusters"] for mentions in doc)
    card = (model / "README.md").read_text()
    assert "coreference_elmo.ElmoForCoreferenceResolution" in card
    assert "conll_f1" in card


@pytest.mark.slow
def test_the_model_resolves_outside_the_script(model):
    loaded, tokenizer = ElmoForCoreferenceResolution.from_pretrained(model).eval(), AutoTokenizer.from_pretrained(model)
    for row in map(json.loads, (model / "test_predictions.jsonl").read_text().splitlines()):
        starts = [sum(map(len, row["sentences"][:number])) for number in range(len(row["sentences"]))]
        found = [
            [[starts[one["sentence"]] + one["start"], starts[one["sentence"]] + one["end"] - 1] for one in cluster]
            for cluster in loaded.find_clusters(tokenizer, row["sentences"])
        ]
        assert found == row["predicted_clusters"]


@pytest.mark.slow
def test_the_command_writes_what_the_script_wrote(data, model, capsys):
    assert main(["apply", str(model), str(data / "coref" / "test.conll"), "--format", "conll"]) == 0
    assert capsys.readouterr().out == (model / "test_predictions.conll").read_text()


@pytest.mark.slow
def test_a_trained_model_is_applied_to_documents_without_clusters_and_to_gap(model, tmp_path):
    (tmp_path / "new.jsonl").write_text(json.dumps({"sentences": [["Ada", "met", "Ada"], ["Eve", "left"]]}) + "\n")
    (tmp_path / "gap.tsv").write_text(GAP + gap_row() + gap_row("he", "Hill", answers=("TRUE", "FALSE")))
    for name in ("new.jsonl", "gap.tsv"):
        files = ["--model_name_or_path", str(model), "--test_file", str(tmp_path / name)]
        assert coref.main([*files, *QUIET, "--output_dir", str(tmp_path / name[:3])]) == 0
    (line,) = (tmp_path / "new" / "test_predictions.jsonl").read_text().splitlines()
    assert json.loads(line)["predicted_clusters"]
    assert read(tmp_path / "new" / "all_results.json")["mean"] == {}
    rows = [line.split("\t") for line in (tmp_path / "gap" / "test_predictions.tsv").read_text().splitlines()]
    assert [row[0] for row in rows] == ["test-She", "test-he"]
    assert {cell for row in rows for cell in row[1:]} <= {"TRUE", "FALSE"}
    assert "test_gap_f1" in read(tmp_path / "gap" / "all_results.json")["mean"]


@pytest.mark.slow
def test_smoke_of_other_ways_to_train(data, tmp_path):
    few = [part for split in ("train", "eval", "predict") for part in (f"--max_{split}_samples", "4")]
    few += ["--num_train_epochs", "1", "--max_train_words", "9"]
    for number, options in enumerate([["--freeze_encoder", "False"], ["--per_device_train_batch_size", "3"]]):
        assert trained(data, tmp_path / str(number), *few, *options) == 0
        assert read(tmp_path / str(number) / "all_results.json")["runs"][0]["validation_examples"] == 4
    assert read(tmp_path / "0" / "all_results.json")["runs"][0]["train_examples"] > 4  # parts of documents


# ---- Reading

CONLL = """\
#begin document (one/a); part 001
a 1 0 The DT (0|(1
a 1 1 aunt NN 1)
a 1 2 of IN -
a 1 3 Ann NNP (2)|0)

a 1 0 She PRP (0)

#end document
"""


def test_brackets_of_conll_2012(tmp_path):
    (tmp_path / "a.conll").write_text(CONLL)
    (document,) = documents(tmp_path / "a.conll")
    assert (document["id"], document["part"]) == ("one/a", "001")
    assert document["sentences"] == [["The", "aunt", "of", "Ann"], ["She"]]
    assert sorted(document["clusters"]) == [[[0, 1]], [[0, 3], [4, 4]], [[3, 3]]]


def test_litbank_has_tabs_and_empty_cells(tmp_path):
    rows = [
        "\t".join(["x", "0", str(n), word, *"________", cell])
        for n, (word, cell) in enumerate(zip("abc", ("(7", "", "7)")))
    ]
    (tmp_path / "a.conll").write_text("\n".join(["#begin document (x); part 0", *rows, "", "#end document"]))
    (document,) = documents(tmp_path / "a.conll")
    assert document["clusters"] == [[[0, 2]]]


def test_json_lines_are_the_same_documents(tmp_path):
    (tmp_path / "a.conll").write_text(CONLL)
    (document,) = documents(tmp_path / "a.conll")
    row = {"doc_key": "one/a", "sentences": document["sentences"], "clusters": document["clusters"]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    (same,) = documents(tmp_path / "a.jsonl", "train", max_train_samples=1)
    assert {key: same[key] for key in ("id", "sentences", "clusters")} == {
        key: document[key] for key in ("id", "sentences", "clusters")
    }


def test_a_test_file_without_any_bracket_has_unknown_clusters(tmp_path):
    (tmp_path / "a.conll").write_text("#begin document (a)\na 0 0 He PRP -\n")
    assert documents(tmp_path / "a.conll")["clusters"] == [None]


def test_words_of_gap(tmp_path):
    (tmp_path / "gap.tsv").write_text(GAP + gap_row("he", "Hill"))
    (row,) = documents(tmp_path / "gap.tsv")
    assert [" ".join(words) for words in row["sentences"]] == [
        "Mary met Ann .",
        '" She smiled , " said Mr. Hill \'s aunt ( Ann ) , and he left .',
    ]
    words = [word for sentence in row["sentences"] for word in sentence]
    pronoun = row["pronoun"]
    assert [words[pronoun[key][0]] for key in "pab"] == ["he", "Hill", "Ann"]
    assert (pronoun["is_a"], pronoun["is_b"]) == (False, True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONLL.replace("1)\n", "-\n"), "a.conll, line 2: a mention of 1 begins here, but does not end in its sentence"),
        (
            CONLL.replace("(0)\n", "0)\n"),
            "a.conll, line 7: a mention of 0 ends here, but has not begun in its sentence",
        ),
        (
            CONLL.replace("(2)|0)", "(2)|0)|(3)"),
            "line 5: two mentions have the same words, of which one is of 3: remove",
        ),
        (CONLL.replace("(2)|", "2|"), "line 5: mentions must be (12), (12 or 12), joined by |, but are '2|0)'"),
        (
            CONLL.replace("a 1 2 of IN -", "of"),
            "a.conll, line 4: 1 columns; a line must have document, part, number, word",
        ),
        (CONLL.split("\n", 1)[1], "a.conll, line 1: expected `#begin document (NAME); part 000`, but found 'a 1 0 The"),
        ("#begin document (a)\na 0 0 He PRP -\n", "a.conll, line 1: no document for train has a mention"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_in_one_line(data, tmp_path, capsys, content, message):
    (tmp_path / "a.conll").write_text(content)
    assert trained(data, tmp_path / "out", "--train_file", str(tmp_path / "a.conll")) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("coref: error: ")
    assert message in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"sentences": ["He left"], "clusters": []}, "line 1: sentences must be a list of lists of words, but is"),
        ({"sentences": [["He"]], "clusters": [[0]]}, "clusters must be lists of mentions [first, last], but are [[0]]"),
        (
            {"sentences": [["He"]], "clusters": [[[0, 1]]]},
            "a mention must be [first, last], words from 0 to 0, but is [0, 1]",
        ),
        ({"sentences": [["He"], ["He"]], "clusters": [[[0, 1]]]}, "the mention [0, 1] goes beyond its sentence"),
        ({"sentences": [["He"]], "clusters": [[[0, 0], [0, 0]]]}, "the mention [0, 0] occurs twice"),
        (
            {"sentences": [["He", "he"]], "clusters": [[[False, True]]]},
            "last], but are [[[False, True]]]",
        ),
        ({"sentences": [["He"]]}, "there is no column 'clusters' or 'coref_clusters', only sentences"),
    ],
)
def test_what_is_wrong_in_json_is_said_in_one_line(tmp_path, row, message):
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match=r"a\.jsonl") as raised:
        documents(tmp_path / "a.jsonl", "train")
    assert message in str(raised.value)


def test_what_is_wrong_in_gap_is_said_in_one_line(tmp_path):
    cases = {
        gap_row().replace(f"Mary\t{TEXT.index('Mary')}", "Mary\t5"): "the text does not have 'Mary' at A-offset 5",
        gap_row(answers=("no", "TRUE")): "must be TRUE or FALSE, but is 'no'",
    }
    for row, message in cases.items():
        (tmp_path / "gap.tsv").write_text(GAP + row)
        with pytest.raises(ValueError, match=message):
            documents(tmp_path / "gap.tsv")
    with pytest.raises(ValueError, match="GAP has pronouns and names, but no clusters: give it as --test_file"):
        documents(tmp_path / "gap.tsv", "train")


def test_parts_of_a_document_keep_their_mentions():
    sentences = [["a", "b"], ["c"], ["d", "e", "f", "g"], ["h"]]
    clusters = [[[0, 0], [2, 2], [7, 7]], [[3, 6]]]
    parts = list(parts_of({"id": "x", "sentences": sentences, "clusters": clusters}, 3))
    assert [part["sentences"] for part in parts] == [sentences[:2], sentences[2:3], sentences[3:]]
    assert [part["clusters"] for part in parts] == [[[[0, 0], [2, 2]]], [[[0, 3]]], [[[0, 0]]]]
    assert next(parts_of({"id": "x", "sentences": sentences, "clusters": clusters}, 100))["clusters"] == clusters


def test_a_tokenizer_that_marks_no_sentences_is_refused(data, tmp_path, capsys):
    encoder = tmp_path / "encoder"
    tokenizer = AutoTokenizer.from_pretrained(data / "coref" / "encoder", add_bos_token=False)
    ElmoForCoreferenceResolution.from_pretrained(data / "coref" / "encoder").base_model.save_pretrained(encoder)
    tokenizer.save_pretrained(encoder)
    assert trained(data, tmp_path / "out", "--model_name_or_path", str(encoder)) == 2
    assert "the tokenizer adds no `<S>`, by which sentences are found" in capsys.readouterr().err
