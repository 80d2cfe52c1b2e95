"""Files of labelled words and texts: what is read of them, in whichever form they come, and what is refused where."""

import gzip

import pytest

from hf_elmo.training.conll import entity_labels, in_scheme, labels_of_scheme, read_conll, scheme_of, write_conll
from hf_elmo.training.metrics import Entity, entities
from hf_elmo.training.sentiment import TextLabelArguments, TextLabelling
from hf_elmo.training.sentiment_trees import read_trees
from hf_elmo.training.tables import read_table
from hf_elmo.training.text_files import numbered_lines


def write(folder, name: str, text: str):
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8", newline="")
    return str(path)


# ---- A word a line

EU = ["EU", "rejects", "German", "call"], ["B-ORG", "O", "B-MISC", "O"]
FORMS = {
    "tabs": "EU\tB-ORG\nrejects\tO\nGerman\tB-MISC\ncall\tO\n\nPeter\tB-PER\n",
    "blanks, CoNLL-2003": "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\nGerman JJ B-NP B-MISC\n"
    "call NN I-NP O\n\nPeter NNP B-NP B-PER\n\n",
    "numbered from 0": "0\tEU\tB-ORG\n1\trejects\tO\n2\tGerman\tB-MISC\n3\tcall\tO\n\n0\tPeter\tB-PER\n",
    "numbered from 1, comments": "# text = EU\n# x\n1\tEU\tB-ORG\n2\trejects\tO\n3\tGerman\tB-MISC\n4\tcall\tO\n"
    "\n# y\n1\tPeter\tB-PER\n",
    "blanks and comments": "# id 12\tdomain=en\nEU _ _ B-ORG\nrejects _ _ O\nGerman _ _ B-MISC\ncall _ _ O\n\n"
    "# id 13 domain=en x\nPeter _ _ B-PER\n",
    "separators of white space": "EU\tB-ORG\nrejects\tO\nGerman\tB-MISC\ncall\tO\n\t\n \n\t\t\nPeter\tB-PER\n \t",
    "carriage returns": "EU\tB-ORG\r\nrejects\tO\r\nGerman\tB-MISC\r\ncall\tO\r\n\r\nPeter\tB-PER\r\n",
    "byte order mark": "\ufeffEU\tB-ORG\nrejects\tO\nGerman\tB-MISC\ncall\tO\n\nPeter\tB-PER",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_forms_of_a_word_a_line(tmp_path, form, suffix):
    sentences = read_conll(write(tmp_path, f"x.conll{suffix}", FORMS[form]))
    assert [(sentence.words, sentence.labels) for sentence in sentences] == [EU, (["Peter"], ["B-PER"])]
    lines = [line for _, line in numbered_lines(tmp_path / f"x.conll{suffix}")]
    for sentence in sentences:
        for word, place in zip(sentence.words, sentence.places):
            assert word in lines[place.number - 1].replace("\ufeff", "").split()


def test_columns_in_any_order(tmp_path):
    path = write(tmp_path, "x.txt", "B-ORG NNP EU\nO VBZ rejects\n")
    assert read_conll(path, 2, 0)[0].words == ["EU", "rejects"]
    assert read_conll(path, -1, -3)[0].labels == ["B-ORG", "O"]
    assert read_conll(path, -1, 1)[0].labels == ["NNP", "VBZ"]


def test_words_alone_have_no_labels(tmp_path):
    for text in ("EU\nrejects\n", "1\tEU\n2\trejects\n"):
        (sentence,) = read_conll(write(tmp_path, "x.txt", text))
        assert (sentence.words, sentence.labels) == (["EU", "rejects"], None)
    assert read_conll(write(tmp_path, "x.txt", "EU\n"), label_column=1)[0].labels is None


def test_words_that_look_like_comments_or_numbers(tmp_path):
    """With tabs a word may hold blanks; a `#` is a word if its line has all columns; numbers may be words."""
    path = write(tmp_path, "x.txt", "#\tO\n#go\tO\nNew York\tB-LOC\n\n5\tO\n6\tO\n")
    sentences = read_conll(path)
    assert [sentence.words for sentence in sentences] == [["#", "#go", "New York"], ["5", "6"]]


def test_conllu_ranges_and_empty_words_are_no_words(tmp_path):
    path = write(tmp_path, "x.conllu", "# a\n1-2\tdon't\t_\n1\tdo\tAUX\n2\tn't\tPART\n2.1\tgo\tVERB\n3\t.\tPUNCT\n")
    (sentence,) = read_conll(path)
    assert (sentence.words, sentence.labels) == (["do", "n't", "."], ["AUX", "PART", "PUNCT"])


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("a O\nb O\nc\n", (None, None), "{path}, line 3: 1 columns where the file has 2: 'c'"),
        ("a O\n\nb X O\nc O\n", (None, None), "{path}, line 3: 3 columns where the file has 2: 'b X O'"),
        ("a O\n# x y\nc O\n", (None, None), "{path}, line 2: 3 columns where the file has 2"),
        ("a\tO\n\tO\n", (None, None), "{path}, line 2: there is no word in column 0"),
        ("a\tO\nb\t\n", (None, None), "{path}, line 2: there is no label in column 1"),
        ("a O\n", (2, None), "{path}: --word_column 2, but its lines have 2 columns, 0 to 1"),
        ("a O\n", (0, -3), "{path}: --label_column -3, but its lines have 2 columns, 0 to 1"),
    ],
)
def test_files_that_are_refused(tmp_path, text, columns, message):
    path = write(tmp_path, "x.conll", text)
    with pytest.raises(ValueError, match=r"x\.conll") as refused:
        read_conll(path, *columns)
    assert message.format(path=path) in str(refused.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.conll: no such file"):
        read_conll(str(tmp_path / "nowhere.conll"))
    (tmp_path / "latin.conll").write_bytes(b"a O\nb\xe9 O\n")
    with pytest.raises(ValueError, match=r"latin\.conll, line 2: not UTF-8"):
        read_conll(str(tmp_path / "latin.conll"))
    (tmp_path / "cut.conll.gz").write_bytes(gzip.compress(b"a O\n" * 1000)[:-9])
    with pytest.raises(ValueError, match=r"cut\.conll\.gz: not a complete gzip file"):
        read_conll(str(tmp_path / "cut.conll.gz"))


def test_predictions_are_written_as_conlleval_reads_them(tmp_path):
    rows = [(["New York", "is"], ["B-LOC", "O"], ["O", "O"]), (["Oh"], None, ["O"])]
    write_conll(tmp_path / "x", rows)
    assert (tmp_path / "x").read_text() == "New_York B-LOC O\nis O O\n\nOh O\n\n"


# ---- Schemes of labels

IOB1 = "I-PER I-PER B-PER O I-LOC I-ORG O".split()
BIO = "B-PER I-PER B-PER O B-LOC B-ORG O".split()
BIOUL = "B-PER L-PER U-PER O U-LOC U-ORG O".split()
BIOES = "B-PER E-PER S-PER O S-LOC S-ORG O".split()


@pytest.mark.parametrize("labels", [IOB1, BIO, BIOUL, BIOES], ids=["IOB1", "BIO", "BIOUL", "BIOES"])
def test_schemes_are_told_apart_and_turned_into_each_other(labels, request):
    assert entities(labels) == [
        Entity("PER", 0, 2),
        Entity("PER", 2, 3),
        Entity("LOC", 4, 5),
        Entity("ORG", 5, 6),
    ]
    assert in_scheme(labels, "bio") == BIO
    assert in_scheme(labels, "bioul") == BIOUL
    assert in_scheme(labels, "keep") == labels
    assert scheme_of([labels]) == request.node.callspec.id


def test_long_entities_have_inner_labels():
    assert entity_labels(Entity("X", 1, 5), "bioul") == ["B-X", "I-X", "I-X", "L-X"]
    assert in_scheme(["B-a-b", "L-a-b"], "bio") == ["B-a-b", "I-a-b"]
    assert labels_of_scheme(["b", "a"], "bioul") == "O B-a I-a L-a U-a B-b I-b L-b U-b".split()


def test_stray_inner_labels_are_of_bio_if_others_begin_entities():
    assert scheme_of([["O", "B-PER", "I-PER"], ["O", "I-LOC"]]) == "BIO"
    assert scheme_of([["O", "O"]]) == "BIO"


# ---- Tables


def test_tables(tmp_path):
    expected = [{"text": 'a "b"', "label": "1"}, {"text": "c", "label": "x y"}]
    for name, text in (
        ("x.tsv", 'text\tlabel\na "b"\t1\n\nc\tx y\n'),
        ("x.csv.gz", 'text,label\n"a ""b""",1\nc,x y\n'),
        ("x.jsonl", '{"text": "a \\"b\\"", "label": "1"}\n\n{"text": "c", "label": "x y"}\n'),
    ):
        rows = list(read_table(write(tmp_path, name, text)))
        assert [row for _, row in rows] == expected
    assert [str(place) for place, _ in rows] == [f"{tmp_path / name}, line {number}" for number in (1, 3)]


def test_rows_of_one_split(tmp_path):
    path = write(tmp_path, "x.tsv", "s\ttext\nTRAIN\ta\nTEST\tb\nTRAIN\tc\n")
    assert [row["text"] for _, row in read_table(path, "s", "TRAIN")] == ["a", "c"]
    with pytest.raises(ValueError, match="no row has 'train' in its column s, only TEST, TRAIN"):
        list(read_table(path, "s", "train"))
    with pytest.raises(ValueError, match="line 2: there is no column 'split', only s, text"):
        list(read_table(path, "split", "train"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.tsv", "a\tb\n1\t2\n3\n", "line 3: 1 columns where the header has 2 (a, b)"),
        ("x.csv", 'a,b\n1,2\n"3,4\n', "line 3: not CSV"),
        ("x.csv", 'a,b\n"1\n1",2\n3\n', "line 4: 1 columns where the header has 2"),
        ("x.jsonl", '{"a": 1}\n{"a": \n', "line 2: not JSON"),
        ("x.jsonl", "[1, 2]\n", "line 1: a line must be an object"),
    ],
)
def test_tables_that_are_refused(tmp_path, name, text, message):
    path = write(tmp_path, name, text)
    with pytest.raises(ValueError, match="line") as refused:
        list(read_table(path))
    assert f"{path}, {message}" in str(refused.value)


# ---- Texts with a label

TREE = "(3 (2 It) (4 (4 (2 's) (4 (3 a) (4 gem))) (2 .)))"


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


def task(**arguments) -> TextLabelling:
    return TextLabelling(TextLabelArguments(**arguments))


def texts(examples) -> list[tuple]:
    return [(example.text, example.label) for example in examples]


def test_phrases_are_for_training_and_neutral_ones_in_no_class_of_two(tmp_path):
    path = write(tmp_path, "x.txt", f"{TREE}\n(2 (2 so) (2 so))\n")
    sentence = (["It", "'s", "a", "gem", "."], "3")
    assert texts(task().read_file(path, "train")) == [sentence, (["so", "so"], "2")]
    assert texts(task(binary=True).read_file(path, "train")) == [(sentence[0], "1")]
    assert len(task(phrases=True, train_file=path).read_file(path, "train")) == 12
    assert len(task(phrases=True, train_file=path, binary=True).read_file(path, "train")) == 6
    assert len(task(phrases=True, train_file="other").read_file(path, "validation")) == 2


def test_lines_of_label_and_sentence(tmp_path):
    path = write(tmp_path, "x.fine", "4 a gripping movie \n\n__label__0 bad\n1\n")
    assert texts(task().read_file(path, "train")) == [(["a", "gripping", "movie"], "4"), (["bad"], "0"), ([], "1")]
    for line in (" 4 a", "'s a gem"):
        path = write(tmp_path, "x.fine", f"4 a\n{line}\n")
        with pytest.raises(ValueError, match="line 2: a label and a blank must go before the sentence"):
            task().read_file(path, "train")


def test_texts_of_tables(tmp_path):
    path = write(tmp_path, "x.jsonl", '{"sentence": "Oh no!", "label": 0}\n{"sentence": ["a", "b"], "label": null}\n')
    assert texts(task().read_file(path, "train")) == [("Oh no!", "0"), (["a", "b"], None)]
    path = write(tmp_path, "x.tsv", "review\tstars\tid\nOh no!\t\t7\n")
    assert texts(task().read_file(path, "test")) == [("Oh no!", None)]
    assert texts(task(text_column="id", label_column="stars").read_file(path, "test")) == [("7", None)]
    with pytest.raises(ValueError, match="line 2: there is no column 'words', only review, stars, id"):
        task(text_column="words").read_file(path, "test")
    path = write(tmp_path, "y.jsonl", '{"text": 3}\n')
    with pytest.raises(ValueError, match="line 1: the text must be a string, or a list of words, but is 3"):
        task().read_file(path, "test")


def test_labels_go_in_the_order_of_numbers(tmp_path):
    path = write(tmp_path, "x", "10 a\n9 b\n-1 c\n")
    assert task().label_names(task().read_file(path, "train")) == ["9", "-1", "10"]


# ---- Real corpora, as their descriptions count them


@pytest.mark.parametrize(
    ("name", "sentences", "words", "longest", "types"),
    [
        ("wnut17/wnut17train.conll", 3394, 62730, 41, (660, 548, 264, 221, 142, 140)),
        ("wnut17/emerging.dev.conll", 1009, 15733, 82, (470, 74, 39, 34, 114, 105)),
        ("wnut17/emerging.test.annotated", 1287, 23394, 105, (429, 150, 165, 66, 127, 142)),
    ],
)
def test_wnut17(data_dir, name, sentences, words, longest, types):
    read = read_conll(str(data_dir / "ner" / name))
    assert len(read) == sentences
    assert sum(len(sentence.words) for sentence in read) == words
    assert max(len(sentence.words) for sentence in read) == longest
    found = [entity.type for sentence in read for entity in entities(sentence.labels)]
    names = ("person", "location", "group", "corporation", "product", "creative-work")
    assert tuple(found.count(type) for type in names) == types
    assert scheme_of(sentence.labels for sentence in read) == "BIO"


def test_wikineural_has_an_index_and_stray_labels(data_dir):
    read = read_conll(str(data_dir / "ner" / "wikineural-en" / "val.conllu.gz"))
    assert (len(read), sum(len(sentence.words) for sentence in read)) == (11590, 267839)
    labels = [label for sentence in read for label in sentence.labels]
    assert sum(label.startswith("B-") for label in labels) == 19182
    assert sum(len(entities(sentence.labels)) for sentence in read) == 19182 + 439
    assert scheme_of(sentence.labels for sentence in read) == "BIO"


@pytest.mark.parametrize(
    ("split", "counts", "nodes"),
    [
        ("train.txt.gz", (1092, 2218, 1624, 2322, 1288), 318582),
        ("dev.txt", (139, 289, 229, 279, 165), 41447),
        ("test.txt", (279, 633, 389, 510, 399), 82600),
    ],
)
def test_sentiment_treebank(data_dir, split, counts, nodes):
    path = str(data_dir / "sentiment" / "sst" / "trees" / split)
    labels = [example.label for example in task().read_file(path, "train")]
    assert tuple(labels.count(str(label)) for label in range(5)) == counts
    assert len(task(phrases=True, train_file=path).read_file(path, "train")) == nodes
    for kind, options in (("fine", {}), ("binary", {"binary": True})):  # the same sentences in another order
        lines = task().read_file(str(data_dir / "sentiment" / "sst" / f"stsa.{kind}.{split.split('.')[0]}"), "train")
        of_trees = [example.label for example in task(**options).read_file(path, "train")]
        assert sorted(example.label for example in lines) == sorted(of_trees)
