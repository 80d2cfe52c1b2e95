"""Pairs of texts out of the files of SNLI, MultiNLI and SICK, of tables of any kind, and of parallel lines."""

import json

import pytest
from reading import arguments, rows, write

from hf_elmo.training.data.text_pairs import read_text_pairs

COLUMNS = "text", "text_pair", "label", "id"


def read(path, split="test", **options):
    """Return the pairs of a file; a test file keeps all."""
    options = {f"{split}_file": path, **options}
    return rows(read_text_pairs(arguments(**options)), split, *COLUMNS)


def test_snli_lines_of_json(tmp_path):
    examples = [
        {
            "annotator_labels": ["neutral"],
            "gold_label": label,
            "pairID": f"p{n}",
            "sentence1": "A man .",
            "sentence2": two,
        }
        for n, (label, two) in enumerate([("neutral", "Men ."), ("-", "He ."), ("entailment", "One ."), ("", "I .")])
    ]
    path = write(tmp_path, "snli_1.0_dev.jsonl", "".join(json.dumps(row) + "\n" for row in examples))
    pairs = [
        ("A man .", "Men .", "neutral", "p0"),
        ("A man .", "He .", None, "p1"),
        ("A man .", "One .", "entailment", "p2"),
        ("A man .", "I .", None, "p3"),
    ]
    assert read(path) == pairs
    assert read(path, "train") == read(path, "validation") == pairs[::2]
    understood = read_text_pairs(arguments(train_file=path)).understood
    assert understood.left_out == {("train", "pairs without a label"): (2, f"{path}, line 2")}


def labeled(folder, labels):
    lines = (json.dumps({"premise": "A man .", "hypothesis": "Men .", "label": label}) for label in labels)
    return write(folder, "snli.jsonl", "\n".join(lines))


@pytest.mark.parametrize("none", [-1, "-1", -1.0])
def test_minus_one_is_no_label(tmp_path, none):
    path = labeled(tmp_path, [0, none, 1, 2, none, 0])
    splits = read_text_pairs(arguments(train_file=path, test_file=path))
    assert splits.label_names == ["0", "1", "2"]
    assert splits.understood.left_out == {("train", "pairs without a label"): (2, f"{path}, line 2")}
    assert splits.understood.notes == [f"{name}: 2 pairs with the label -1 have no label" for name in ("train", "test")]
    assert [pair[2] for pair in read(path)] == ["0", None, "1", "2", None, "0"]
    assert read_text_pairs(arguments(train_file=path), ["-1", "0", "1", "2"]).understood.label_counts["-1"] == 2
    assert rows(read_text_pairs(arguments(train_file=path, regression=True)), "train", "label")[1] == (-1.0,)


def test_minus_one_as_frequent_as_a_class_is_refused(tmp_path):
    path = labeled(tmp_path, [0, 1, -1] * 11)
    with pytest.raises(ValueError, match=r"snli\.jsonl, line 3: 11 pairs of train have the label -1, which stands for"):
        read(path, "train")


def test_snli_table_of_tabs(tmp_path):
    text = 'gold_label\tsentence1_parse\tsentence1\tsentence2\tpairID\n-\t(A)\t"A\tB "\tx\nneutral\t(A)\tA .\tB .\ty\n'
    assert read(write(tmp_path, "snli_1.0_dev.txt", text)) == [
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
    pair = ("A dog runs", "A dog moves", "ENTAILMENT", "2")
    assert read(path, split_column="SemEval_set", test_split="TEST") == [pair]
    options = {"regression": True, "label_column": "relatedness_score"}
    assert [pair[2] for pair in read(path, "train", **options)] == [3.5, 4.5]
    assert read_text_pairs(arguments(train_file=path, **options)).label_names is None
    with pytest.raises(ValueError, match=r"no row has 'dev' in its column SemEval_set, only TEST, TRAIN"):
        read(path, split_column="SemEval_set", test_split="dev")
    with pytest.raises(ValueError, match=r"line 2: a label to regress on must be a number, but is 'NEUTRAL'"):
        read(path, regression=True)


def test_columns_of_any_names(tmp_path):
    path = write(tmp_path, "pairs.csv", 'text,other,"the label"\n"A, and B",B,yes\nC,"D ""d""\n",no\n')
    columns = {"first_column": "text", "second_column": "other"}
    assert read(path, **columns, label_column="the label") == [
        ("A, and B", "B", "yes", "2"),
        ("C", 'D "d"\n', "no", "4"),
    ]
    assert [pair[2] for pair in read(path, **columns)] == [None, None]
    with pytest.raises(ValueError, match=r"there is no column 'gold_label' or .*; name one with --label_column"):
        read(path, "train", **columns)
    with pytest.raises(ValueError, match=r"pairs.csv, line 2: there is no column 'sentence1' or 'premise' or"):
        read(path)
    with pytest.raises(ValueError, match=r"there is no column 'texts', only text, other, the label"):
        read(path, first_column="texts", second_column="other")


@pytest.mark.parametrize("value", ["", " ", None])
def test_empty_texts_are_predicted_and_scored_but_not_learned_from(tmp_path, value):
    examples = [{"premise": "A", "hypothesis": "B", "label": "x"}, {"premise": "A", "hypothesis": value, "label": "y"}]
    examples += [{"premise": "A", "label": "x"}, {"premise": "A", "hypothesis": "C", "label": "y"}]
    path = write(tmp_path, "pairs.jsonl", "".join(json.dumps(row) + "\n" for row in examples))
    assert read(path, "train") == [("A", "B", "x", "1"), ("A", "C", "y", "4")]
    kept = [("A", "B", "x", "1"), ("A", value or "", "y", "2"), ("A", "", "x", "3"), ("A", "C", "y", "4")]
    assert read(path, "validation") == read(path, "test") == kept


def test_texts_must_be_text(tmp_path):
    path = write(tmp_path, "pairs.jsonl", '{"premise": "A", "hypothesis": "B"}\n{"premise": "A", "hypothesis": 3}\n')
    with pytest.raises(ValueError, match=r"pairs\.jsonl, line 2: hypothesis must be a sentence, but is 3"):
        read(path)


# ---- Parallel lines


def parallel(folder, **files):
    for name, lines in files.items():
        write(folder, f"{name}.dev", lines)
    return folder


@pytest.mark.parametrize("name", ["labels.dev", "s1.dev", "s2.dev"])
def test_parallel_lines(tmp_path, name):
    parallel(tmp_path, s1="A man .\nA dog .\nI .\n", s2="Men .\nDogs .\n \n", labels="neutral\n-\nneutral\n")
    expected = [("A man .", "Men .", "neutral", "1"), ("A dog .", "Dogs .", None, "2"), ("I .", "", "neutral", "3")]
    assert read(str(tmp_path / name)) == expected
    assert read(str(tmp_path / name), "train", label_column="labels") == expected[:1]


def test_parallel_lines_without_labels(tmp_path):
    parallel(tmp_path, s1="A man .\n", s2="Men .\n")
    assert read(str(tmp_path / "s1.dev")) == [("A man .", "Men .", None, "1")]
    with pytest.raises(ValueError, match=r"labels\.dev: no such file"):
        read(str(tmp_path / "s1.dev"), "train")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"s1": "A\nB\n", "s2": "A\n"}, r"s1\.dev, line 2: s2\.dev has no such line"),
        ({"s1": "A\n", "s2": "A\nB\nC\n", "labels": "x\n"}, r"s2\.dev, line 2: s1\.dev has no such line"),
        ({"s1": "A\nB\n", "s2": "A\nB\n", "labels": "x\n"}, r"s1\.dev, line 2: labels\.dev has no such line"),
        ({"s1": "A\n"}, r"s2\.dev: no such file"),
    ],
)
def test_parallel_lines_that_do_not_match(tmp_path, files, message):
    parallel(tmp_path, **files)
    with pytest.raises(ValueError, match=message):
        read(str(tmp_path / "s1.dev"))


@pytest.mark.slow
def test_real_corpora(data_dir):
    counts = {"TRAIN": 4439, "TRIAL": 495, "TEST": 4906}
    for split, count in counts.items():
        pairs = read(data_dir / "nli" / "sick" / "SICK.txt.gz", split_column="SemEval_set", test_split=split)
        assert len(pairs) == count
        assert {pair[2] for pair in pairs} == {"NEUTRAL", "ENTAILMENT", "CONTRADICTION"}
    pairs = read(data_dir / "nli" / "snli" / "labels.test")
    assert len(pairs) == 9824
    assert sum(pair[2] == "entailment" for pair in pairs) == 3368
