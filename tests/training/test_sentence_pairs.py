"""Pairs of sentences out of the files of SNLI, MultiNLI and SICK, of tables of any kind, and of parallel lines."""

import gzip
import json

import pytest

from hf_elmo.training.sentence_pairs import Columns, pairs_of_rows, read_pairs
from hf_elmo.training.text_files import Place

USUAL = Columns()


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return str(path)


def short(pairs):
    return [(pair.first, pair.second, pair.label, pair.id) for pair in pairs]


def test_snli_lines_of_json(tmp_path):
    rows = [
        {
            "annotator_labels": ["neutral"],
            "gold_label": label,
            "pairID": f"p{n}",
            "sentence1": "A man .",
            "sentence2": two,
        }
        for n, (label, two) in enumerate([("neutral", "Men ."), ("-", "He ."), ("entailment", "One ."), ("", "I .")])
    ]
    path = write(tmp_path, "snli_1.0_dev.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert short(read_pairs(path, USUAL)) == [
        ("A man .", "Men .", "neutral", "p0"),
        ("A man .", "He .", None, "p1"),
        ("A man .", "One .", "entailment", "p2"),
        ("A man .", "I .", None, "p3"),
    ]


def test_snli_table_of_tabs(tmp_path):
    text = 'gold_label\tsentence1_parse\tsentence1\tsentence2\tpairID\n-\t(A)\t"A\tB "\tx\nneutral\t(A)\tA .\tB .\ty\n'
    assert short(read_pairs(write(tmp_path, "snli_1.0_dev.txt", text), USUAL)) == [
        ('"A', 'B "', None, "x"),
        ("A .", "B .", "neutral", "y"),
    ]


SICK = (
    "pair_ID\tsentence_A\tsentence_B\tentailment_label\trelatedness_score\tSemEval_set\r\n"
    "1\tA dog runs\tA cat runs\tNEUTRAL\t3.5\tTRAIN\r\n"
    "2\tA dog runs\tA dog moves\tENTAILMENT\t4.5\tTEST\r\n"
)


@pytest.mark.parametrize("name", ["SICK.txt", "SICK.txt.gz", "SICK.tsv"])
def test_sick(tmp_path, name):
    path = write(tmp_path, name, SICK)
    assert short(read_pairs(path, USUAL, "SemEval_set", "TEST")) == [("A dog runs", "A dog moves", "ENTAILMENT", "2")]
    assert [pair.label for pair in read_pairs(path, Columns(label="relatedness_score"))] == ["3.5", "4.5"]
    with pytest.raises(ValueError, match=r"no row has 'dev' in its column SemEval_set, only TEST, TRAIN"):
        read_pairs(path, USUAL, "SemEval_set", "dev")


def test_columns_of_any_names(tmp_path):
    path = write(tmp_path, "pairs.csv", 'text,other,"the label"\n"A, and B",B,yes\nC,"D ""d""\n",no\n')
    assert short(read_pairs(path, Columns("text", "other", "the label"))) == [
        ("A, and B", "B", "yes", "2"),
        ("C", 'D "d"\n', "no", "4"),
    ]
    assert [pair.label for pair in read_pairs(path, Columns("text", "other"))] == [None, None]
    with pytest.raises(ValueError, match=r"pairs.csv, line 2: there is no column 'sentence1' or 'premise' or"):
        read_pairs(path, USUAL)
    with pytest.raises(ValueError, match=r"there is no column 'texts', only text, other, the label"):
        read_pairs(path, Columns("texts", "other"))


def test_rows_of_a_data_set():
    rows = [
        (Place("snli/train", n, "row"), {"premise": "A man .", "hypothesis": "Men .", "label": label})
        for n, label in enumerate(["neutral", None])
    ]
    assert short(pairs_of_rows(rows, USUAL)) == [("A man .", "Men .", "neutral", "0"), ("A man .", "Men .", None, "1")]


@pytest.mark.parametrize("value", ["", " ", None, 3])
def test_sentences_must_be_there(tmp_path, value):
    rows = [{"premise": "A", "hypothesis": "B"}, {"premise": "A", "hypothesis": value}]
    path = write(tmp_path, "pairs.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError, match=r"pairs\.jsonl, line 2: hypothesis must be a sentence, but is"):
        read_pairs(path, USUAL)


def test_rows_without_a_column(tmp_path):
    rows = [{"premise": "A", "hypothesis": "B", "label": "x"}, {"premise": "A", "label": "x"}]
    path = write(tmp_path, "pairs.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError, match=r"pairs\.jsonl, line 2: hypothesis must be a sentence, but is None"):
        read_pairs(path, USUAL)


def parallel(folder, **files):
    for name, lines in files.items():
        write(folder, f"{name}.dev", lines)
    return folder


@pytest.mark.parametrize("name", ["labels.dev", "s1.dev", "s2.dev"])
def test_parallel_lines(tmp_path, name):
    parallel(tmp_path, s1="A man .\nA dog .\n", s2="Men .\nDogs .", labels="neutral\n-\n")
    expected = [("A man .", "Men .", "neutral", "1"), ("A dog .", "Dogs .", None, "2")]
    assert short(read_pairs(str(tmp_path / name), USUAL)) == expected


def test_parallel_lines_without_labels(tmp_path):
    parallel(tmp_path, s1="A man .\n", s2="Men .\n")
    assert short(read_pairs(str(tmp_path / "s1.dev"), USUAL)) == [("A man .", "Men .", None, "1")]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"s1": "A\nB\n", "s2": "A\n"}, r"s1\.dev, line 2: s2\.dev has no such line"),
        ({"s1": "A\n", "s2": "A\nB\nC\n", "labels": "x\n"}, r"s2\.dev, line 2: s1\.dev has no such line"),
        ({"s1": "A\nB\n", "s2": "A\nB\n", "labels": "x\n"}, r"s1\.dev, line 2: labels\.dev has no such line"),
        ({"s1": "A\nB\n", "s2": "A\n \n"}, r"s2\.dev, line 2: the line is empty"),
        ({"s1": "A\n\n", "s2": "A\nB\n", "labels": "x\n\n"}, r"s1\.dev, line 2: the line is empty"),
        ({"s1": "A\n"}, r"s2\.dev: no such file"),
    ],
)
def test_parallel_lines_that_do_not_match(tmp_path, files, message):
    parallel(tmp_path, **files)
    with pytest.raises(ValueError, match=message):
        read_pairs(str(tmp_path / "s1.dev"), USUAL)


def test_real_corpora(data_dir):
    counts = {"TRAIN": 4439, "TRIAL": 495, "TEST": 4906}
    for split, count in counts.items():
        pairs = read_pairs(str(data_dir / "nli" / "sick" / "SICK.txt.gz"), USUAL, "SemEval_set", split)
        assert len(pairs) == count
        assert {pair.label for pair in pairs} == {"NEUTRAL", "ENTAILMENT", "CONTRADICTION"}
    pairs = read_pairs(str(data_dir / "nli" / "snli" / "labels.test"), USUAL)
    assert len(pairs) == 9824
    assert sum(pair.label == "entailment" for pair in pairs) == 3368
