"""Texts with a class label: trees, lines and tables, and labels that are most likely no labels."""

import pytest
from reading import arguments, rows, write

from hf_elmo.training.data.texts import read_texts, read_trees

TREE = "(3 (2 It) (4 (4 (2 's) (4 (3 a) (4 gem))) (2 .)))"


def read(path, **options):
    return read_texts(arguments(train_file=path, **options))


def words(path, **options):
    return rows(read(path, **options), "train", "words", "label")


# ---- Trees


def test_trees(tmp_path):
    path = write(tmp_path, "x.txt", f"{TREE}\n\n(1 (2 -LRB-) (0 (2 bad\\/sad) (2 -RRB-)))\n")
    (place, phrases), (_, others) = read_trees(path)
    assert (place.number, phrases[-1]) == (1, (["It", "'s", "a", "gem", "."], "3"))
    assert sorted((" ".join(words), label) for words, label in phrases) == [
        ("'s", "2"),
        ("'s a gem", "4"),
        ("'s a gem .", "4"),
        (".", "2"),
        ("It", "2"),
        ("It 's a gem .", "3"),
        ("a", "3"),
        ("a gem", "4"),
        ("gem", "4"),
    ]
    assert others[-1] == (["(", "bad/sad", ")"], "1")


@pytest.mark.parametrize(("problem", "label"), [("regression", 3.0), ("multi_label", ["3"])])
def test_labels_of_trees_and_lines_are_those_of_the_problem(tmp_path, problem, label):
    lines = {"trees.txt": TREE, "last.txt": "It 's a gem . __label__3", "first.txt": "3 It 's a gem ."}
    others = {"trees.txt": "(1 bad)", "last.txt": "bad __label__1", "first.txt": "1 bad"}
    for name, line in lines.items():
        path = write(tmp_path, name, f"{line}\n{others[name]}\n")
        assert words(path, problem_type=problem)[0] == (["It", "'s", "a", "gem", "."], label)


def test_a_line_begins_with_a_number_that_is_its_value(tmp_path):
    path = write(tmp_path, "values.txt", "3.5 a gem\n-.25 so so\n")
    assert words(path, problem_type="regression") == [(["a", "gem"], 3.5), (["so", "so"], -0.25)]
    path = write(tmp_path, "names.txt", "good a gem\nbad so so\n")
    with pytest.raises(ValueError, match=r"names\.txt, line 1: a label to regress on must be a number, but is 'good'"):
        words(path, problem_type="regression")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3 (2 a)", "a tree must begin with"),
        ("(3 (2 a)", "1 brackets are not closed"),
        ("(3 (2 a)) (2 b)", "something follows the tree: '(2 b)'"),
        ("(3 (2 a) (2))", "there is no word in '(2)'"),
        ("(x a)", "a tree must begin with"),
    ],
)
def test_trees_that_are_refused(tmp_path, line, message):
    path = write(tmp_path, "x.txt", f"{TREE}\n{line}\n")
    with pytest.raises(ValueError, match="line 2: ") as refused:
        list(read_trees(path))
    assert message in str(refused.value)


def test_phrases_are_for_training_and_neutral_ones_in_no_class_of_two(tmp_path):
    path = write(tmp_path, "x.txt", f"{TREE}\n(2 (2 so) (2 so))\n")
    sentence = (["It", "'s", "a", "gem", "."], "3")
    assert words(path) == [sentence, (["so", "so"], "2")]
    assert len(words(path, phrases=True)) == 12
    two = write(tmp_path, "y.txt", f"{TREE}\n(2 (2 so) (2 so))\n(0 (2 so) (1 bad))\n")
    assert words(two, binary=True) == [(sentence[0], "1"), (["so", "bad"], "0")]
    assert len(words(two, phrases=True, binary=True)) == 8
    splits = read_texts(arguments(train_file=path, validation_file=path, phrases=True))
    assert len(splits.validation) == 2


# ---- Lines


def test_lines_of_label_and_sentence(tmp_path):
    expected = [(["a", "gripping", "movie"], "4"), (["bad"], "0")]
    assert words(write(tmp_path, "x.fine", "4 a gripping movie \n\n0 bad\n")) == expected
    fasttext = write(tmp_path, "y", "a gripping __label__4 movie\nno label\n__label__0\tbad\n")
    splits = read_texts(arguments(train_file=fasttext))
    assert rows(splits, "train", "words", "label") == expected
    assert splits.understood.left_out == {("train", "texts without a label"): (1, f"{fasttext}, line 2")}
    for line in (" 4 a", "'s a gem"):
        path = write(tmp_path, "x.fine", f"4 a\n3 b\n{line}\n")
        with pytest.raises(ValueError, match="line 3: a label and a blank must go before the sentence"):
            read(path, label_column="0")


def test_texts_without_words_or_labels(tmp_path):
    """They teach nothing; without words they are labeled all the same, without a label only in test data."""
    lines = write(tmp_path, "x", "1 good\n0 bad\n1\n")
    splits = read_texts(arguments(train_file=lines, validation_file=lines, test_file=lines))
    assert [len(dataset) for _, dataset in splits.items()] == [2, 3, 3]
    assert f"left out:    1 of train: texts without words; the first: {lines}, line 3" in splits.describe()
    table = write(tmp_path, "x.csv", "text,label\na,1\nb, \nc,0\n")
    splits = read_texts(arguments(train_file=table, validation_file=table, test_file=table))
    assert [dataset["label"] for _, dataset in splits.items()] == [["1", "0"], ["1", "0"], ["1", None, "0"]]
    bare = write(tmp_path, "y.csv", "text\na\nb\n")
    assert read_texts(arguments(train_file=table, test_file=bare)).test["label"] == [None, None]
    for option in ("train_file", "validation_file"):
        with pytest.raises(ValueError, match=r"y\.csv, line 2: there is no column 'label' or .*--label_column"):
            read_texts(arguments(**{"train_file": table, option: bare}))


@pytest.mark.parametrize(
    "lines",
    [
        "A dull evening . neg\nNobody knew it neg\nThe first scene pos\nLoved every minute pos\n",
        "A dull evening .\tneg\nNobody knew it\tneg\nThe first scene\tpos\nLoved every minute\tpos\n",
        "neg\tA dull evening .\nneg\tNobody knew it\npos\tThe first scene\npos\tLoved every minute\n",
        "neg A dull evening .\nneg Nobody knew it\npos The first scene\npos Loved every minute\n",
        "__label__neg A dull evening .\n__label__neg Nobody\n__label__pos The first scene\n__label__pos Loved .\n",
        "A dull evening . __label__neg\nNobody __label__neg\nThe first scene __label__pos\nLoved . __label__pos\n",
        "review\tclass\nA dull evening .\tneg\nNobody knew it\tneg\nThe first scene\tpos\nLoved every minute\tpos\n",
    ],
)
def test_the_column_of_labels_is_seen(tmp_path, lines):
    splits = read(write(tmp_path, "x.txt", lines))
    assert splits.train["label"] == ["neg", "neg", "pos", "pos"]
    first = splits.train[0]
    assert (first["text"] or " ".join(first["words"])) == "A dull evening ."
    assert "labels:" in splits.describe()


def test_raw_sentences_are_labeled(tmp_path):
    train = write(tmp_path, "x.txt", "0 a dull film\n1 a fine film\n0 bad\n1 good\n")
    raw = write(tmp_path, "y.txt", "What a film !\nNever again .\n")
    splits = read_texts(arguments(train_file=train, test_file=raw))
    assert rows(splits, "test", "words", "label") == [
        (["What", "a", "film", "!"], None),
        (["Never", "again", "."], None),
    ]
    assert "test is read as a sentence per line, without labels" in splits.understood.notes[0]
    assert read_texts(arguments(test_file=raw), ["0", "1"]).test["label"] == [None, None]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("One two\nThree four\nFive six\nSeven eight\n", "there are 4 different labels in 4 rows ('One', 'Three', "),
        ("a\tb\nc\td\n", "either may be the labels: --text_column 0 --label_column 1 or --text_column 1"),
        ("".join(f"{number} text\n" for number in range(40)), "there are 40 different labels in 40 rows"),
        ("1 a\n1 b\n", "all 2 labels are '1', read from the first word of a line: name the column"),
    ],
)
def test_implausible_labels_are_refused(tmp_path, lines, message):
    path = write(tmp_path, "x.txt", lines)
    with pytest.raises(ValueError, match=r"x\.txt: ") as refused:
        read(path)
    assert message in str(refused.value)


# ---- Tables


def test_texts_of_tables(tmp_path):
    path = write(tmp_path, "x.jsonl", '{"sentence": "Oh no!", "label": 0}\n{"sentence": ["a", "b"], "label": null}\n')
    splits = read_texts(arguments(test_file=path))
    assert rows(splits, "test", "text", "words", "label") == [("Oh no!", None, "0"), (None, ["a", "b"], None)]
    path = write(tmp_path, "x.tsv", "review\tstars\tid\nOh no!\t\t7\n")
    assert rows(read_texts(arguments(test_file=path)), "test", "text", "label") == [("Oh no!", None)]
    splits = read_texts(arguments(test_file=path, text_column="id", label_column="stars"))
    assert rows(splits, "test", "text", "label") == [("7", None)]
    with pytest.raises(ValueError, match="line 2: there is no column 'words', only review, stars, id"):
        read_texts(arguments(test_file=path, text_column="words"))
    path = write(tmp_path, "y.jsonl", '{"text": 3}\n')
    with pytest.raises(ValueError, match="line 1: the text must be a string, or a list of words, but is 3"):
        read_texts(arguments(test_file=path))


def test_labels_are_in_the_order_of_numbers(tmp_path):
    assert read(write(tmp_path, "x", "10 a\n9 b\n-1 c\n")).label_names == ["9", "-1", "10"]


def test_only_so_many_examples(tmp_path):
    path = write(tmp_path, "x", "1 a\n0 b\n1 c\n")
    splits = read_texts(arguments(train_file=path, test_file=path, max_train_samples=2, max_predict_samples=1))
    assert [len(dataset) for _, dataset in splits.items()] == [2, 1]


def test_labels_that_the_model_does_not_know(tmp_path):
    train, some = write(tmp_path, "x", "1 a\n0 b\n"), write(tmp_path, "some", "0 Ada met Max\n7 Rome again\n")
    splits = read_texts(arguments(train_file=train, test_file=some))
    assert splits.understood.notes == [
        f"test: 1 texts have labels that the model does not know, which count as wrong: 7; first in {some}, line 2"
    ]
    table = write(tmp_path, "all.csv", "text,label\na,bad\nb,good\n")
    for options, known in (({"train_file": train}, None), ({}, ["0", "1"])):
        with pytest.raises(ValueError, match=r"all\.csv, line 2: labels are bad, good, but the model's are [01], [01]"):
            read_texts(arguments(**options, test_file=table), known)


# ---- Real corpora, as their descriptions count them


@pytest.mark.slow
@pytest.mark.parametrize(
    ("split", "counts", "nodes"),
    [
        ("train.txt.gz", (1092, 2218, 1624, 2322, 1288), 318582),
        ("dev.txt", (139, 289, 229, 279, 165), 41447),
        ("test.txt", (279, 633, 389, 510, 399), 82600),
    ],
)
def test_sentiment_treebank(data_dir, split, counts, nodes):
    folder = data_dir / "sentiment" / "sst"
    labels = read(folder / "trees" / split).train["label"][:]
    assert tuple(labels.count(str(label)) for label in range(5)) == counts
    assert len(read(folder / "trees" / split, phrases=True).train) == nodes
    binary = read(folder / "trees" / split, binary=True).train["label"]
    for kind, expected in (("fine", labels), ("binary", binary)):  # the same sentences in another order
        lines = read(folder / f"stsa.{kind}.{split.split('.')[0]}").train["label"]
        assert sorted(lines) == sorted(expected)


@pytest.mark.slow
def test_movie_reviews(data_dir):
    labels = read(data_dir / "sentiment" / "mr" / "rt-polarity.all").train["label"]
    assert (labels.count("0"), labels.count("1")) == (5331, 5331)
