"""Files of labeled words: what is read of them, in whichever form they come, what is refused where, what is written."""

import gzip

import pytest
from reading import arguments, rows, tagged, write

from hf_elmo.label_schemes import find_used_scheme
from hf_elmo.model.label_schemes_elmo import spans
from hf_elmo.text_files import numbered_lines, write_lines
from hf_elmo.training.data.word_labels import read_word_labels
from hf_elmo.training.data.word_lines import conll_blocks


def read(path, **options):
    return read_word_labels(arguments(train_file=path, **options))


# ---- A word per line

EU = ["EU/B-ORG rejects/O German/B-MISC call/O", "Peter/B-PER"]
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
def test_forms_of_a_word_per_line(tmp_path, form, suffix):
    path = write(tmp_path, f"x.conll{suffix}", FORMS[form])
    splits = read(path)
    assert tagged(splits) == EU
    lines = [line for _, line in numbered_lines(path)]
    for words, numbers, source in rows(splits, "train", "tokens", "lines", "source"):
        assert source == f"{path}, line {numbers[0]}"
        for word, number in zip(words, numbers):
            assert word in lines[number - 1].replace("\ufeff", "").split()


def test_columns_in_any_order(tmp_path):
    path = write(tmp_path, "x.txt", "B-ORG NNP EU\nO VBZ rejects\n")
    assert tagged(read(path, word_column="2", label_column="0")) == ["EU/B-ORG rejects/O"]
    assert tagged(read(path, word_column="-1", label_column="-3")) == ["EU/B-ORG rejects/O"]
    assert tagged(read(path, word_column="-1", label_column="1")) == ["EU/NNP rejects/VBZ"]
    with pytest.raises(ValueError, match="column 0 looks like labels; name the column of words with --word_column"):
        read(path)


def test_words_alone_have_no_labels(tmp_path):
    for text in ("EU\nrejects\n", "1\tEU\n2\trejects\n"):
        path = write(tmp_path, "x.txt", text)
        splits = read_word_labels(arguments(test_file=path))
        assert rows(splits, "test", "tokens", "labels") == [(["EU", "rejects"], None)]
        with pytest.raises(ValueError, match=r"x\.txt, line 1: there is no label to learn"):
            read(path)
    path = write(tmp_path, "x.txt", "EU\n")
    assert read_word_labels(arguments(test_file=path, label_column="1")).test["labels"] == [None]


def test_words_that_look_like_comments_or_numbers(tmp_path):
    """With tabs a word may hold blanks; a `#` is a word if its line has all columns; numbers may be words."""
    path = write(tmp_path, "x.txt", "#\tO\n#go\tO\nNew York\tB-LOC\n\n5\tO\n6\tO\n")
    assert read(path).train["tokens"] == [["#", "#go", "New York"], ["5", "6"]]


def test_conllu_ranges_and_empty_nodes_are_no_words(tmp_path):
    path = write(tmp_path, "x.conllu", "# a\n1-2\tdon't\t_\n1\tdo\tAUX\n2\tn't\tPART\n2.1\tgo\tVERB\n3\t.\tPUNCT\n")
    assert tagged(read(path)) == ["do/AUX n't/PART ./PUNCT"]


def test_an_empty_word_is_a_word(tmp_path):
    """A line may begin with the separator where it has one column too few."""
    for separator in ("\t", " "):
        path = write(tmp_path, "x.txt", f"a{separator}O\n{separator}B-X\nc{separator}O\n")
        assert rows(read(path), "train", "tokens", "labels") == [(["a", "", "c"], ["O", "B-X", "O"])]


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("a O\nb O\nc\n", {}, "{path}, line 3: 1 columns where the file has 2: 'c'"),
        ("a O\n\nb X O\nc O\n", {}, "{path}, line 3: 3 columns where the file has 2: 'b X O'"),
        ("a O\n# x y\nc O\n", {}, "{path}, line 2: 3 columns where the file has 2"),
        ("a\tO\nb\t\n", {}, "{path}, line 2: there is no label in column 1"),
        ("a O\n", {"word_column": "2"}, "{path}: --word_column 2, but its lines have 2 columns, 0 to 1"),
        ("a O\n", {"label_column": "-3"}, "{path}: --label_column -3, but its lines have 2 columns, 0 to 1"),
        ("a O\n", {"word_column": "tokens"}, "--word_column must be a number in a file with a word per line, from 0"),
    ],
)
def test_files_that_are_refused(tmp_path, text, columns, message):
    path = write(tmp_path, "x.conll", text)
    with pytest.raises(ValueError, match=r"column|label") as refused:
        read(path, **columns)
    assert message.format(path=path) in str(refused.value)


def test_a_last_column_of_words_is_refused(tmp_path):
    lines = "".join(f"{'ABC'[number % 3]} word{number}\n" for number in range(9))
    path = write(tmp_path, "x.txt", lines)
    with pytest.raises(
        ValueError,
        match=r"column 1, the last, has 9 different values in 9 lines, and column 0 has 3: .*"
        "as in --word_column 1 --label_column 0 where labels go first",
    ):
        read(path)
    assert tagged(read(path, word_column="1", label_column="0"))[0].startswith("word0/A word1/B word2/C ")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.conll: no such file"):
        read(str(tmp_path / "nowhere.conll"))
    with pytest.raises(ValueError, match=r"latin\.conll, line 2: not UTF-8; .*Latin-1.*'bé O'.*iconv"):
        read(write(tmp_path, "latin.conll", b"a O\nb\xe9 O\n"))
    (tmp_path / "cut.conll.gz").write_bytes(gzip.compress(b"a O\n" * 1000)[:-9])
    with pytest.raises(ValueError, match=r"cut\.conll\.gz: not a complete gzip file"):
        read(str(tmp_path / "cut.conll.gz"))


# ---- Predictions


def test_predictions_are_written_as_conlleval_reads_them(tmp_path):
    sentences = [(["New York", "is"], ["B-LOC", "O"], ["O", "O"], None), (["Oh"], None, ["O"], None)]
    write_lines(tmp_path / "x", conll_blocks(sentences))
    assert (tmp_path / "x").read_text() == "New_York B-LOC O\nis O O\n\nOh O\n\n"


@pytest.mark.parametrize(
    "text",
    [
        "a\tO\n\tB-X\n\n \tO\nd\tO\n\n",
        "\n\n# id = 1\na\tO\n\n\n\nb\tO\n\n",
        "-DOCSTART-\tO\n\na\tO\n-DOCSTART-\tO\nb\tO\n\n",
        "token\tlabel\na\tO\nb\tB-X\n\n",
    ],
)
def test_predictions_have_a_line_for_each_line_of_the_file(tmp_path, text):
    splits = read_word_labels(arguments(test_file=write(tmp_path, "x.tsv", text)))
    examples = splits.test
    sentences = zip(examples["tokens"], examples["labels"], examples["labels"], examples["lines"])
    write_lines(tmp_path / "y", conll_blocks(sentences))
    written = (tmp_path / "y").read_text().splitlines()
    assert len(written) == len(text.splitlines())
    for numbers, words in rows(splits, "test", "lines", "tokens"):
        assert [written[number - 1].split()[0] for number in numbers] == [word.strip() or "_" for word in words]
    assert sum(map(bool, written)) == sum(map(len, examples["tokens"]))


# ---- Schemes to learn


@pytest.mark.parametrize(
    ("scheme", "labels", "names"),
    [
        ("bio", "B-X I-X I-X O B-Y", "O B-X I-X B-Y I-Y"),
        ("bioul", "B-X I-X L-X O U-Y", "O B-X I-X L-X U-X B-Y I-Y L-Y U-Y"),
        ("keep", "I-X I-X I-X O I-Y", "O I-X I-Y"),
        ("plain", "I-X I-X I-X O I-Y", "O I-X I-Y"),
    ],
)
def test_the_model_learns_the_scheme_of_the_option(tmp_path, scheme, labels, names):
    path = write(tmp_path, "x.conll", "a I-X\nb I-X\nc I-X\nd O\ne I-Y\n")
    splits = read(path, label_scheme=scheme)
    assert (splits.train["labels"], splits.label_names) == ([labels.split()], names.split())


def test_labels_of_a_trained_model_are_kept(tmp_path):
    """Its scheme applies if it has all labels of training; without training it is the only one."""
    path = write(tmp_path, "x.conll", "a B-X\nb I-X\nc O\n")
    known = "O B-X I-X L-X U-X B-Y I-Y L-Y U-Y".split()
    splits = read_word_labels(arguments(train_file=path), known)
    assert (splits.label_names, splits.train["labels"]) == (known, [["B-X", "L-X", "O"]])
    assert read_word_labels(arguments(test_file=path), known).test["labels"] == [["B-X", "L-X", "O"]]
    assert read_word_labels(arguments(train_file=path), ["O", "B-Z"]).label_names == ["O", "B-X", "I-X"]


def test_labels_of_held_out_examples_alone_are_noted(tmp_path):
    train = write(tmp_path, "x.conll", "a B-X\nb O\n")
    test = write(tmp_path, "y.conll", "a B-X\nb O\n\nc B-Z\nd I-Z\ne O\n")
    splits = read_word_labels(arguments(train_file=train, test_file=test))
    assert splits.understood.notes == [
        f"test: 2 words have labels that the model does not know, which count as not found: B-Z, I-Z; first in {test}, "
        "line 4"
    ]


def test_labels_of_another_kind_are_refused(tmp_path):
    train = write(tmp_path, "x.conll", "a B-X\nb O\n\nc B-X\nd I-X\ne O\n")
    other = write(tmp_path, "y.conll", "a NOUN\nb VERB\nc ADJ\nd NOUN\n")
    with pytest.raises(ValueError, match=r"y\.conll, line 1: 'NOUN' is no label of entities, as those of the model"):
        read_word_labels(arguments(train_file=train, validation_file=other))


def test_a_test_file_with_other_columns_has_no_labels(tmp_path):
    train = write(tmp_path, "x.conll", "EU NNP B-ORG\nrejects VBZ O\n\nRome NNP B-LOC\n")
    test = write(tmp_path, "y.conll", "EU NNP\nrejects VBZ\n\nRome NNP\n")
    assert tagged(read_word_labels(arguments(train_file=train, test_file=test)), "test") == ["EU rejects", "Rome"]


# ---- Real corpora, as their descriptions count them


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sentences", "words", "longest", "types"),
    [
        ("wnut17/wnut17train.conll", 3394, 62730, 41, (660, 548, 264, 221, 142, 140)),
        ("wnut17/emerging.dev.conll", 1009, 15733, 82, (470, 74, 39, 34, 114, 105)),
        ("wnut17/emerging.test.annotated", 1287, 23394, 105, (429, 150, 165, 66, 127, 142)),
    ],
)
def test_wnut17(data_dir, name, sentences, words, longest, types):
    splits = read(data_dir / "ner" / name)
    lengths = [len(tokens) for tokens in splits.train["tokens"]]
    assert (len(lengths), sum(lengths), max(lengths)) == (sentences, words, longest)
    found = [span.type for labels in splits.train["labels"] for span in spans(labels)]
    names = ("person", "location", "group", "corporation", "product", "creative-work")
    assert tuple(found.count(type) for type in names) == types
    assert splits.understood.scheme == "BIO, learned as BIO"


@pytest.mark.slow
def test_wikineural_has_an_index_and_stray_labels(data_dir):
    examples = read(data_dir / "ner" / "wikineural-en" / "val.conllu.gz", label_scheme="keep").train[:]
    assert (len(examples["tokens"]), sum(map(len, examples["tokens"]))) == (11590, 267839)
    assert sum(label.startswith("B-") for labels in examples["labels"] for label in labels) == 19182
    assert sum(len(spans(labels)) for labels in examples["labels"]) == 19182 + 439
    assert find_used_scheme(examples["labels"]) == "BIO"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("split", "sentences", "words"), [("train", 12544, 204577), ("dev", 2001, 25147), ("test", 2077, 25094)]
)
def test_universal_dependencies(data_dir, split, sentences, words):
    splits = read(data_dir / "pos" / "ud-english-ewt" / f"en_ewt-ud-{split}.conllu.gz")
    assert (len(splits.train), sum(map(len, splits.train["tokens"]))) == (sentences, words)
    assert (len(splits.label_names), splits.understood.scheme) == (17, None)
