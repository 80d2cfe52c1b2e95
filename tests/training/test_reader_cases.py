"""Small inputs of kinds that were once misread in silence: each is read rightly, or refused with what to type."""

import re

import pytest
from reading import CASES, arguments, rows, tagged, write

from hf_elmo.training.data.questions import read_questions
from hf_elmo.training.data.text_pairs import read_text_pairs
from hf_elmo.training.data.texts import read_texts
from hf_elmo.training.data.word_labels import read_word_labels

EU = "Acme/B-ORG rejects/O Dutch/B-MISC plan/O", "Mara/B-PER Stone/I-PER lives/O in/O Oslo/B-LOC"
NAMES = "O B-LOC I-LOC B-MISC I-MISC B-ORG I-ORG B-PER I-PER".split()


@pytest.mark.parametrize(
    ("name", "expected", "scheme", "note"),
    [
        ("tags.conll", EU, "BIO", None),
        ("under_score.conll", EU, "BIO", "'B_ORG' as B-ORG"),
        ("zero_for_o.conll", EU, "BIO", "'0' as O ({path}, line 4)"),
        (
            "bmes.conll",
            ("小/B-NAME 红/I-NAME \uff0c/O 女/O", "中/B-ORG 国/I-ORG 铁/I-ORG 路/I-ORG 沪/B-LOC"),
            "BMES",
            None,
        ),
        ("bare_bio.conll", ("Acme/B rejects/O Dutch/B plan/O", "Mara/B Stone/I lives/O in/O Oslo/B"), "BIO", None),
        ("dash_for_o.tsv", ("doc/1/7/O Dr./O Mara/B-PERSON Stone/I-PERSON",), "BIOUL", "'-' as O ({path}, line 1)"),
        ("no_prefix.tsv", ("Mara/B-PERS lives/O in/O Oslo/B-LOC",), "IOB1", "LOC, PERS have no B- or I-"),
        ("suffix.conll", ("Acme/B-ORG rejects/O", "Mara/B-PER Stone/I-PER lives/O"), "BIO", "'PER-I' as I-PER"),
        ("header.tsv", ("Acme/B-ORG rejects/O", "Mara/B-PER"), "BIO", "{path}, line 1: the names of columns"),
        ("name_in_misc.conllu", ("Mara/B-PER Stone/I-PER går/O",), "BIO", None),
        ("misc_column.conllu", ("Cats/NOUN purr/VERB ./PUNCT",), None, None),
        ("label_first.bio", ("2/B-Rating stars/I-Rating cafes/O", "any/O thai/B-Cuisine food/O"), "BIO", None),
        ("conll2012.conll", ("In/O North/B-GPE Haven/I-GPE it/O",), "BIO", None),
        ("germeval.tsv", ("Hochschule/B-ORG Kiel/I-ORG ./O", "Seine/O Kielforschung/B-LOCpart"), "BIO", "column 3"),
        ("words_in_csv.csv", ("Many/O of/O Oslo/B-geo", "Norway/B-gpe said/O"), "BIO", None),
        ("array.json", ("Hvem/PRON får/VERB stemme/VERB ?/PUNCT", "er/VERB"), None, None),
        ("nbsp.conll", ("10\u00a0000/B-MONEY kroner/I-MONEY paid/O",), "BIO", None),
        ("hash_first.conll", ("#win=all/O Mara/B-PER wins/O",), "BIO", None),
        ("empty_token.tsv", ("Ada/B-PER /O sits/O", "\u00a0/O Rome/B-LOC"), "BIO", "2 empty words are words"),
    ],
)
def test_labels_of_words(name, expected, scheme, note):
    path = CASES / name
    splits = read_word_labels(arguments(train_file=path))
    assert tagged(splits) == list(expected)
    assert (splits.understood.scheme or "None").split(",")[0] == str(scheme)
    assert splits.understood.label_counts.total() == sum(map(len, splits.train["tokens"]))
    notes = " ".join(splits.understood.notes)
    assert (note is None and not notes) or note.format(path=path) in notes


def test_what_was_understood_is_shown():
    splits = read_word_labels(arguments(train_file=CASES / "zero_for_o.conll", test_file=CASES / "tags.conll"))
    assert splits.label_names == NAMES
    assert splits.describe().splitlines() == [
        "train:       2 sentences",
        "test:        2 sentences",
        "format:      a word per line, columns separated by blanks",
        "words:       column 0",
        "labels:      column 1",
        "scheme:      BIO, learned as BIO",
        "counts:      O (4), B-ORG (1), B-MISC (1), B-PER (1), I-PER (1), B-LOC (1)",
        f"note:        labels are read in the usual form: '0' as O ({CASES / 'zero_for_o.conll'}, line 4)",
        "example:     Acme/B-ORG rejects/O Dutch/B-MISC plan/O",
    ]


CONLL2009 = """1	Cats	cat	cat	NNS	NNS	_	_	2	2	SBJ	SBJ	_	_	A0
2	purr	purr	purr	VBP	VBP	_	_	0	0	ROOT	ROOT	Y	purr.01	_

1	No	no	no	UH	UH	_	_	0	0	ROOT	ROOT	_	_
"""


@pytest.mark.parametrize(
    ("name", "text", "expected", "scheme"),
    [
        ("x.conll", CONLL2009, ["Cats/NNS purr/VBP", "No/UH"], None),
        ("x.tsv", "A\tB-X\nB\tM-X\nC\tE-X\nd\tO\nF\tW-Y\n", ["A/B-X B/I-X C/I-X d/O F/B-Y"], "BMES"),
        ("x.tsv", "A\tBEGIN-X\nB\tInside-X\nc\tOutside\nD\tBegin_X\n", ["A/B-X B/I-X c/O D/B-X"], "BIO"),
        ("x.tsv", "A\tW-X\nB\tB-X\nC\tE-X\nd\tO\nF\tW-Y\n", ["A/B-X B/B-X C/I-X d/O F/B-Y"], "BIOES"),
        ("x.jsonl", '{"tokens": ["EU", "is"], "ner_tags": [1.0, 0.0]}', ["EU/B-ORG is/O"], "BIO"),
    ],
)
def test_other_formats_of_labels(tmp_path, name, text, expected, scheme):
    names = ["O", "B-ORG"] if name == "x.jsonl" else []
    splits = read_word_labels(arguments(train_file=write(tmp_path, name, text), label_list=names))
    assert tagged(splits) == expected
    assert (splits.understood.scheme or "None").split(",")[0] == str(scheme)


WORDS = "Ada Bo Cy Di Ed Flo Gus Hal Ida Jo Kim Lou".split()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "x.tsv",
            "".join(f"NN\t{word}\t{label}\n" for word, label in zip(WORDS, ["B-PER", "O"] * 6)),
            "column 0 has 1 different values, and column 1 12: name the column of words with --word_column",
        ),
        ("x.tsv", "A\tQ-X\nB\tR-X\nC\tB-X\nd\tO\n", "line 1: some labels mark entities (B-X, ...), but not 'Q-X'"),
        (
            "x.jsonl",
            '{"tokens": ["EU"], "ner_tags": [{"a": 1}]}',
            "must be a text or a number, but is {'a': 1}",
        ),
        (
            "x.jsonl",
            '{"tokens": ["E\\ud800"], "ner_tags": ["O"]}',
            "line 1: the text has half of a character",
        ),
        ("x.txt", "A,O\nB,B-X\n", "line 1: there is no label to learn in 'A,O'; a line must have a word, a tab or a"),
        ("x.tsv", "A\tO\nB O\nC\tB-X\nd\tO\n", "line 2: 1 columns where the file has 2, separated by tabs: 'B O'"),
    ],
)
def test_columns_and_labels_that_are_refused(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=f"{name}.*{re.escape(message)}"):
        read_word_labels(arguments(train_file=write(tmp_path, name, text)))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("x.txt", "good film __label__pos\nbad film __label__neg\nok __label__pos\n", ["pos", "neg", "pos"]),
        (
            "x.jsonl",
            '{"text": "a", "label": 1.0}\n{"text": "b", "label": 0}\n{"text": "c", "label": 1}\n'
            '{"text": null, "label": 1}\n{"text": "d", "label": NaN}',
            ["1", "0", "1"],
        ),
    ],
)
def test_labels_of_texts(tmp_path, name, text, expected):
    splits = read_texts(arguments(train_file=write(tmp_path, name, text)))
    assert splits.train["label"][:] == expected


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("text,label\na,x|y\nb,y\n", {}, "'x|y' joins labels that also stand alone: give --label_separator '|'"),
        ("text,label\na,1\nb,0\n", {}, "the labels are 1, 0, where the names of labels are expected"),
        ("text,label\na,\nb,[]\n", {}, "the labels are all empty, where the names"),
        ("text,label\na,2\nb,2.0\n", {"problem_type": "regression"}, "line 2: all 2 values are 2: name the column"),
        ("text,label\na,1_0\n", {"problem_type": "regression"}, "line 2: a label to regress on must be a number"),
        ("text,label\na,x\nb,y\n", {"label_column": "text"}, "train: texts and labels are both read from column text"),
    ],
)
def test_labels_of_texts_that_are_refused(tmp_path, text, options, message):
    path = write(tmp_path, "x.csv", text)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_texts(arguments(train_file=path, **{"problem_type": "multi_label", **options}))


def test_lists_of_labels_in_cells_and_values_are_shown(tmp_path):
    path = write(tmp_path, "x.csv", """text,label\na,"['x', 'y', 'x']"\nb,[]\nc,"[""y""]"\n""")
    splits = read_texts(arguments(train_file=path, problem_type="multi_label"))
    assert splits.train["label"][:] == [["x", "y"], [], ["y"]]
    path = write(tmp_path, "y.tsv", "text\tlabel\na\t1\nb\t2.5\n")
    splits = read_texts(arguments(train_file=path, problem_type="regression"))
    assert "train: values from 1 to 2.5, 1.75 on average" in splits.understood.notes


def test_labels_that_look_alike_are_noted(tmp_path):
    labels = ["Good", "good", "good\u200b", "1", "+1.0", "other"]
    path = write(tmp_path, "x.tsv", "text\tlabel\n" + "".join(f"a\t{label}\nb\t{label}\n" for label in labels))
    notes = read_texts(arguments(train_file=path)).understood.notes
    assert notes == [r"labels that look alike are kept apart: 'Good', 'good', 'good\u200b', '+1.0', '1'"]


def test_quotes_in_a_file_that_has_none(tmp_path):
    path = write(tmp_path, "x.tsv", 'label\ttext\n"pos"\t"good"\n"neg"\t"bad"\n')
    with pytest.raises(ValueError, match=r"all labels are in quotes .*, which only files named .csv may have"):
        read_texts(arguments(train_file=path))


def test_numbers_for_labels_need_their_names():
    with pytest.raises(ValueError, match=r"numbered_tags.jsonl, line 1: the labels are numbers .*--label_list O B-PER"):
        read_word_labels(arguments(train_file=CASES / "numbered_tags.jsonl"))
    names = "O B-PER I-PER B-ORG I-ORG B-LOC I-LOC B-MISC I-MISC".split()
    splits = read_word_labels(arguments(train_file=CASES / "numbered_tags.jsonl", label_list=names))
    assert tagged(splits) == ["Acme/B-ORG rejects/O Dutch/B-MISC", "Mara/B-PER Stone/I-PER"]
    splits = read_word_labels(arguments(train_file=CASES / "numbered_tags.jsonl", label_scheme="plain"))
    assert tagged(splits) == ["Acme/3 rejects/0 Dutch/7", "Mara/1 Stone/2"]
    with pytest.raises(ValueError, match="line 1: the label 7, but --label_list has only 2 names"):
        read_word_labels(arguments(train_file=CASES / "numbered_tags.jsonl", label_list=names[:2]))


def test_raw_sentences_are_labeled_but_not_learned_from():
    raw = CASES / "raw_sentences.txt"
    splits = read_word_labels(arguments(train_file=CASES / "tags.conll", test_file=raw))
    assert tagged(splits, "test") == ["Mara met Ben in Oslo .", "North Haven City greets Ben ."]
    assert splits.test["labels"] == [None, None]
    assert "test is read as a sentence per line, words separated by blanks, without labels" in splits.understood.notes
    splits = read_word_labels(arguments(test_file=raw), NAMES)
    assert tagged(splits, "test")[0] == "Mara met Ben in Oslo ."
    with pytest.raises(ValueError, match=r"raw_sentences.txt: .*--word_column"):
        read_word_labels(arguments(train_file=raw))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "label_last.txt",
            [
                ("A slow and dull evening.  ", "0"),
                ("Nobody knew who was lost.", "0"),
                ("The first scene was great.  ", "1"),
                ("Loved every minute of it", "1"),
            ],
        ),
        ("blank_labels.csv", [("good film", "pos"), ("bad film", "neg"), ("dull film", "neg"), ("fine film", "pos")]),
        ("semicolons.csv", [("good; really", "pos"), ("bad", "neg")]),
    ],
)
def test_texts(name, expected):
    splits = read_texts(arguments(train_file=CASES / name))
    assert rows(splits, "train", "text", "label") == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("several_labels.fasttext", "line 1: 2 labels (soup, salt), where a text must have one: --first_label True"),
        ("label_list.jsonl", "line 1: 2 labels (a, b), where a text must have one: --first_label True"),
        (
            "one_class.tsv",
            "all 2 labels are 'pos', read from column label: name the column of labels with --label_column",
        ),
    ],
)
def test_texts_that_are_refused(name, message):
    with pytest.raises(ValueError, match="label") as refused:
        read_texts(arguments(train_file=CASES / name))
    assert str(CASES / name) in str(refused.value)
    assert message in str(refused.value)


def test_options_that_the_refusals_give():
    splits = read_texts(arguments(train_file=CASES / "several_labels.fasttext", first_label=True))
    assert rows(splits, "train", "words", "label")[1] == (["Cans", "that", "bulge"], "safety")
    splits = read_texts(arguments(train_file=CASES / "label_list.jsonl", first_label=True))
    assert rows(splits, "train", "text", "label") == [("good soup", "a"), ("bad soup", "b")]
    assert read_texts(arguments(train_file=CASES / "one_class.tsv", label_column="label")).label_names == ["pos"]


def test_an_empty_hypothesis_is_predicted_but_not_learned_from():
    path = CASES / "empty_hypothesis.csv"
    splits = read_text_pairs(arguments(train_file=path, test_file=path))
    assert rows(splits, "train", "text_pair", "label") == [
        ("A dog moves.", "entailment"),
        ("No dog moves.", "contradiction"),
    ]
    assert rows(splits, "test", "text_pair", "id") == [("", "2"), ("A dog moves.", "3"), ("No dog moves.", "4")]
    assert f"1 of train: pairs with an empty text; the first: {path}, line 2" in splits.describe()


def test_questions():
    splits = read_questions(arguments(train_file=CASES / "number_ids.json"))
    assert rows(splits, "train", "id", "answers") == [("7", {"text": ["Oslo"], "answer_start": [17]})]
    path = CASES / "some_without_answer.json"
    splits = read_questions(arguments(train_file=path, test_file=path))
    assert rows(splits, "train", "id") == [("2",)]
    assert rows(splits, "test", "id", "is_impossible") == [("1", False), ("2", False)]
    splits = read_questions(arguments(train_file=CASES / "squad2.json"))
    assert rows(splits, "train", "id", "is_impossible") == [("1", True), ("2", False)]
    assert splits.train["answers"][0] == {"text": [], "answer_start": []}
    assert "train: 1 questions have no answer in their text (SQuAD 2.0)" in splits.understood.notes


# ---- Inputs of the same kinds


@pytest.mark.parametrize(
    ("lines", "first", "scheme"),
    [
        ("Ada b-per\nLee i-per\nsits o\n", "Ada/B-per Lee/I-per sits/O", "BIO"),
        ("Ada B_PER\nLee E_PER\nsits -\nEve S_PER\n", "Ada/B-PER Lee/I-PER sits/O Eve/B-PER", "BIOES"),
        ("Ada PER_B\nLee PER_I\nsits _\n", "Ada/B-PER Lee/I-PER sits/O", "BIO"),
        ("Ada U\nsits O\nAda B\nLee L\n", "Ada/B sits/O Ada/B Lee/I", "BIOUL"),
        ("Ada B:PER\nLee I:PER\nsits O\n", "Ada/B-PER Lee/I-PER sits/O", "BIO"),
        ("Ada PER/B\nLee PER/I\nsits O\n", "Ada/B-PER Lee/I-PER sits/O", "BIO"),
        ("Ada B-PER\nLee I-PER\nsits OTHER\nin OTHER\n", "Ada/B-PER Lee/I-PER sits/O in/O", "BIO"),
        ("Ada I-PER\nLee I-PER\nEve B-PER\nsits O\n", "Ada/B-PER Lee/I-PER Eve/B-PER sits/O", "IOB1"),
        ("Ada PER\nLee PER\nof O\nin O\nRome LOC\n", "Ada/B-PER Lee/I-PER of/O in/O Rome/B-LOC", "IOB1"),
    ],
)
def test_other_forms_of_labels(tmp_path, lines, first, scheme):
    splits = read_word_labels(arguments(train_file=write(tmp_path, "x.conll", lines)))
    assert tagged(splits) == [first]
    assert splits.understood.scheme == f"{scheme}, learned as BIO"


@pytest.mark.parametrize("odd", ["PER", "X-PER", "B PER?", "B"])
def test_odd_labels_are_named_with_their_line(tmp_path, odd):
    lines = "\n".join([*["Ada\tB-PER", "sits\tO", "in\tO", "Rome\tB-LOC", ""] * 5, f"Lee\t{odd}", ""])
    path = write(tmp_path, "x.conll", lines)
    with pytest.raises(
        ValueError, match=r"line 26: most labels mark entities \(B-LOC, B-PER, ...\), but not"
    ) as refused:
        read_word_labels(arguments(train_file=path))
    assert f"{odd!r} (1x, first in {path}, line 26)" in str(refused.value)
    splits = read_word_labels(arguments(train_file=path, label_scheme="plain"))
    assert splits.understood.scheme is None
    assert odd in splits.label_names


@pytest.mark.parametrize("labels", ["N V O N", "U O O O", "NOUN VERB X NOUN", "e-mail web s-mail x", "0 1 1 0"])
def test_labels_that_mark_no_entities(tmp_path, labels):
    lines = "".join(f"w{number} {label}\n" for number, label in enumerate(labels.split()))
    scheme = "plain" if labels[0] == "0" else "bio"
    splits = read_word_labels(arguments(train_file=write(tmp_path, "x.conll", lines), label_scheme=scheme))
    assert (splits.understood.scheme, splits.train["labels"]) == (None, [labels.split()])


def test_types_that_differ_in_case_are_noted(tmp_path):
    path = write(tmp_path, "x.conll", "Ada B-PER\nsits O\nEve b-per\n")
    notes = read_word_labels(arguments(train_file=path)).understood.notes
    assert "types of entities that look alike are kept apart: 'PER', 'per'" in notes


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a O\nb O\nc O\n", "1 different labels for 3 words ('O'): name the column of labels with --label_column"),
        ("".join(f"w l{number}\n" for number in range(60)), "column 1, the last, has 60 different values in 60 lines"),
        ("".join(f"w{number} l{number}\n" for number in range(60)), "column 1, the last, has 60 different values"),
        ("Ada/PER left/O\nBo/PER sat/O\n", "each word seems to be joined with its label by '/' ('Ada/PER')"),
        ("The|DT bank|NN is|VBZ shut|JJ\nGo|VB !|.\n", "joined with its label by '|'"),
        ("a O\nb X\nc B-X\nd I-X\n", "most labels mark entities (B-X, I-X, ...), but not 'X' (1x, first in "),
    ],
)
def test_implausible_labels_are_refused(tmp_path, lines, message):
    path = write(tmp_path, "x.conll", lines)
    with pytest.raises(ValueError, match="label") as refused:
        read_word_labels(arguments(train_file=path))
    assert message in str(refused.value)


def test_columns_of_conll_2003_in_english_and_german(tmp_path):
    english = write(tmp_path, "x.conll", "EU NNP I-NP I-ORG\nrejects VBZ I-VP O\n\nAda NNP I-NP I-PER\n")
    assert tagged(read_word_labels(arguments(train_file=english))) == ["EU/B-ORG rejects/O", "Ada/B-PER"]
    splits = read_word_labels(arguments(train_file=english, label_column="1"))
    assert tagged(splits) == ["EU/NNP rejects/VBZ", "Ada/NNP"]
    german = write(tmp_path, "y.conll", "Das die ART B-NC O\nWar sein V B-VC O\nKiel Kiel NE B-NC B-LOC\n")
    assert tagged(read_word_labels(arguments(train_file=german))) == ["Das/O War/O Kiel/B-LOC"]


def test_other_files_in_the_layout_of_conll_2012(tmp_path):
    """Each predicate of a sentence adds a column; the lines around documents may be missing."""
    rows = [
        "d/0 0 0 Ada NNP (S* - - - A * (A0*) -",
        "d/0 0 1 left VBD *) leave 01 1 A * (V*) -",
        "",
        "d/0 0 0 In IN (S* - - - A (DATE* -",
        "d/0 0 1 1981 CD *) - - - A *) -",
    ]
    path = write(tmp_path, "x.conll", "\n".join(rows) + "\n")
    assert tagged(read_word_labels(arguments(train_file=path))) == ["Ada/O left/O", "In/B-DATE 1981/I-DATE"]
    assert tagged(read_word_labels(arguments(train_file=path, label_column="pos")))[1] == "In/IN 1981/CD"
    broken = write(tmp_path, "y.conll", "\n".join(rows).replace("(DATE*", "(DATE*(GPE*") + "\n")
    with pytest.raises(
        ValueError, match=r"line 4: entities must be bracketed one by one, \(TYPE\*, \* and \*\), but are"
    ):
        read_word_labels(arguments(train_file=broken))


def test_several_columns_of_labels_are_refused(tmp_path):
    path = write(tmp_path, "x.conll", "EU B-ORG B-LOC\nof O O\nRome B-LOC O\n")
    with pytest.raises(ValueError, match="columns 1, 2 all look like labels: choose with --label_column"):
        read_word_labels(arguments(train_file=path))
    assert tagged(read_word_labels(arguments(train_file=path, label_column="1"))) == ["EU/B-ORG of/O Rome/B-LOC"]


def test_conllu_plus_and_attributes_by_name(tmp_path):
    text = "# global.columns = ID FORM UPOS NER\n# text = x\n1\tAda\tPROPN\tB-PER\n2\tsat\tVERB\tO\n"
    path = write(tmp_path, "x.conllup", text)
    assert tagged(read_word_labels(arguments(train_file=path))) == ["Ada/B-PER sat/O"]
    assert tagged(read_word_labels(arguments(train_file=path, label_column="upos"))) == ["Ada/PROPN sat/VERB"]
    path = CASES / "name_in_misc.conllu"
    assert tagged(read_word_labels(arguments(train_file=path, label_column="UPOS"))) == [
        "Mara/PROPN Stone/PROPN går/VERB"
    ]
    bare = write(tmp_path, "y.conllu", path.read_text().replace("name=", "").replace("\t", " "))
    assert tagged(read_word_labels(arguments(train_file=bare))) == ["Mara/B-PER Stone/I-PER går/O"]
    with pytest.raises(ValueError, match=r"--label_column must be one of ID, FORM, .* but is 'entity'"):
        read_word_labels(arguments(train_file=path, label_column="entity"))
