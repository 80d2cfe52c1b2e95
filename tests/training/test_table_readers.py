"""Text files in their encodings, and tables of every kind: rows, columns, and what is refused."""

import bz2
import gzip
import json
import lzma

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value
from reading import arguments, rows, tagged, write

from hf_elmo.text_files import numbered_lines
from hf_elmo.training.data.splits import sample
from hf_elmo.training.data.tables import find_column, read_table
from hf_elmo.training.data.text_pairs import read_text_pairs
from hf_elmo.training.data.texts import read_texts
from hf_elmo.training.data.word_labels import read_word_labels

# ---- Files

TEXT = "første\nZoë's \u2028 \ufeff\n\nlast"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["x.txt", "x.txt.gz", "compressed.txt"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines(tmp_path, encoding, name, end):
    content = TEXT.replace("\n", end).encode(encoding)
    path = write(tmp_path, name, gzip.compress(content) if name.startswith("compressed") else content)
    assert [*numbered_lines(path)] == [*enumerate(TEXT.split("\n"), start=1)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer .*git lfs pull"),
        ("<!DOCTYPE html>\n<html>", "a web page"),
        (b"PK\x03\x04\x00\x00", "a zip archive or a spreadsheet"),
        (b"PAR1\x00", "a Parquet file: give it the suffix"),
        (bz2.compress(b"a O\n"), "compressed by bzip2"),
        (lzma.compress(b"a O\n"), "compressed by xz"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "a document of an office program: save it as .csv"),
        (b"\x00\x01\x02\x00\x00", "no text, but binary data"),
        (
            b"ok\ncaf\xe9 au lait\n",
            r"line 2: not UTF-8; read as Windows-1252 \(Latin-1\) it has 'café au lait'\..*iconv",
        ),
        (b"ok\n\xff\n", "line 2: not UTF-8"),
        ("\uff0cok\n".encode() + b"\xff\n", "line 2: not UTF-8"),
    ],
)
def test_files_that_are_no_text(tmp_path, content, message):
    path = write(tmp_path, "x.txt", content)
    with pytest.raises(ValueError, match=rf"x\.txt.*{message}"):
        list(numbered_lines(path))


# ---- Tables


def test_tables(tmp_path):
    expected = [{"text": 'a "b"', "label": "1"}, {"text": "c", "label": "x y"}]
    for name, text in (
        ("x.tsv", 'text\tlabel\na "b"\t1\n\nc\tx y\n'),
        ("x.csv.gz", 'text,label\n"a ""b""",1\nc,x y\n'),
        ("y.csv", 'text; label\n"a ""b"""; 1\nc; x y\n'),
        ("z.csv", 'text|label\n"a ""b"""|1\nc|x y\n'),
        ("s.csv", 'sep=;\ntext;label\n"a ""b""";1\nc;x y\n'),
        ("x.json", '[{"text": "a \\"b\\"",\n "label": "1"}, {"text": "c", "label": "x y"}]'),
        ("y.json", '{"data": [\n{"text": "a \\"b\\"", "label": "1"}, {"text": "c", "label": "x y"}]}'),
        ("x.jsonl", '{"text": "a \\"b\\"", "label": "1"}\n\n{"text": "c", "label": "x y"}\n'),
    ):
        read = list(read_table(write(tmp_path, name, text)))
        assert [row for _, row in read] == expected, name
    assert [str(place) for place, _ in read] == [f"{tmp_path / name}, line {number}" for number in (1, 3)]
    Dataset.from_list(expected).to_parquet(tmp_path / "x.parquet")
    assert [row for _, row in read_table(str(tmp_path / "x.parquet"))] == expected


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="this is a folder, not a file"):
        list(numbered_lines(tmp_path))
    with pytest.raises(ValueError, match="/dev/null: this is a pipe or a device, and files are read more than once"):
        list(numbered_lines("/dev/null"))
    with pytest.raises(ValueError, match=r"^'': no such file"):
        list(numbered_lines(""))


def test_long_cells(tmp_path):
    path = write(tmp_path, "x.csv", f"text,label\n{'a ' * 200_000},1\nb,2\n")
    assert len(next(read_table(path))[1]["text"]) == 400_000


def test_columns_by_number_have_no_header(tmp_path):
    path = write(tmp_path, "x.csv", '3,"title, a",text\n4,b,c\n')
    assert next(read_table(path, ("2", "0")))[1] == {"0": "3", "1": "title, a", "2": "text"}
    splits = read_texts(arguments(train_file=path, text_column="1", label_column="0"))
    assert rows(splits, "train", "text", "label") == [("title, a", "3"), ("b", "4")]


def test_names_of_columns(tmp_path):
    path = write(tmp_path, "x.csv", " Label ,TEXT\n a ,b\n\tc,d\n")
    splits = read_texts(arguments(train_file=path))
    assert rows(splits, "train", "text", "label") == [("b", "a"), ("d", "c")]
    place = next(read_table(path))[0]
    with pytest.raises(
        ValueError, match=r"x\.csv, line 2: there is no column 'x' or 'y', only a, b; name one with --z"
    ):
        find_column(["a", "b"], None, ["x", "y"], place, "--z")
    with pytest.raises(ValueError, match="there is no column 'c', only a, b"):
        find_column(["a", "b"], "c", ["a"], place, "--z")


def test_rows_of_json_need_not_have_all_columns(tmp_path):
    path = write(tmp_path, "x.jsonl", '{"text": "a"}\n{"text": "b", "label": 1}\n{"text": "c", "label": 0}\n')
    splits = read_texts(arguments(train_file=path, test_file=path))
    assert rows(splits, "train", "text", "label") == [("b", "1"), ("c", "0")]
    assert rows(splits, "test", "text", "label") == [("a", None), ("b", "1"), ("c", "0")]


def test_rows_of_one_split(tmp_path):
    path = write(tmp_path, "x.tsv", "s\ttext\nTRAIN\ta\nTEST\tb\nTRAIN\tc\n")
    assert [row["text"] for _, row in read_table(path, (), "s", "TRAIN")] == ["a", "c"]
    with pytest.raises(ValueError, match="no row has 'train' in its column s, only TEST, TRAIN"):
        list(read_table(path, (), "s", "train"))
    with pytest.raises(ValueError, match="line 2: there is no column 'split', only s, text"):
        list(read_table(path, (), "split", "train"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.tsv", "a\tb\n1\t2\n3\n", "line 3: 1 columns where the header has 2 (a, b)"),
        ("x.csv", 'a,b\n1,2\n"3,4\n', "line 3: not CSV"),
        ("x.csv", "a,b,a\n1,2,3\n", "line 1: two columns are named 'a'"),
        ("x.csv", 'a,b\n"1\n1",2\n3\n', "line 4: 1 columns where the header has 2"),
        ("x.jsonl", '{"a": 1}\n{"a": \n', "line 2: not JSON"),
        ("x.jsonl", '{"a": \n{"a": 1}\n', "line 1: not JSON"),
        ("x.json", '[{"a": 1},\n{"a": }]\n', "line 2: not JSON"),
        ("x.jsonl", "1\n", "line 1: a line must be an object"),
        ("x.json", "[1, 2]\n", "item 0: must be an object with a value for each column: 1"),
        ("x.json", '{"a":\n {"0": 1}}\n', "expected a list of objects, one a row, but found one with a"),
        ("x.jsonl", f'{{"a": {"[" * 100_000}', "line 1: not JSON"),
        ("x.jsonl", f'{{"a": {"9" * 5000}}}', "line 1: not JSON"),
        ("x.json", "[" * 100_000, "not JSON"),
        ("x.parquet", "a", "not a Parquet file"),
    ],
)
def test_tables_that_are_refused(tmp_path, name, text, message):
    path = write(tmp_path, name, text)
    with pytest.raises(ValueError, match="x") as refused:
        list(read_table(path))
    assert str(refused.value).startswith((f"{path}, {message}", f"{path}: {message}"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.CSV", "a\n1\n2\n"),
        ("x.JSONL", '{"a": "1"}\n{"a": "2"}\n'),
        ("x.json", '{"version": "1", "data": [{"a": "1"}, {"a": "2"}]}'),
        ("x.Json", '{"data":\n [{"a": "1"}, {"a": "2"}]}'),
    ],
)
def test_suffixes_in_any_case_and_rows_in_one_object(tmp_path, name, text):
    assert [row for _, row in read_table(write(tmp_path, name, text))] == [{"a": "1"}, {"a": "2"}]


# ---- Datasets


def test_datasets_of_words_in_a_folder(tmp_path):
    """Numbers of classes are read by their names; -1 says that there is none."""
    classes = ClassLabel(names=["O", "B-PER", "I-PER"])
    features = Features({"tokens": Sequence(Value("string")), "ner_tags": Sequence(classes)})
    train = {"tokens": [["Ada", "Lee", "sat"], ["Eve"]], "ner_tags": [[1, 2, 0], [-1]]}
    found = {"train": Dataset.from_dict(train, features), "validation": Dataset.from_dict(train, features)}
    DatasetDict({**found, "test": found["train"]}).save_to_disk(tmp_path / "x")
    splits = read_word_labels(arguments(dataset_name=str(tmp_path / "x")))
    assert tagged(splits, "train") == tagged(splits, "validation") == ["Ada/B-PER Lee/I-PER sat/O"]
    assert splits.test["labels"] == [["B-PER", "I-PER", "O"], None]
    assert f"1 of train: sentences without labels; the first: {tmp_path / 'x'}/train, row 1" in splits.describe()
    with pytest.raises(ValueError, match=r"--test_split: .* has no split 'other', only train, validation, test"):
        read_word_labels(arguments(dataset_name=str(tmp_path / "x"), test_split="other"))
    found["train"].save_to_disk(tmp_path / "y")
    assert len(read_word_labels(arguments(dataset_name=str(tmp_path / "y"))).train) == 1


def test_datasets_of_texts_and_pairs(tmp_path):
    classes = Features(
        {"premise": Value("string"), "hypothesis": Value("string"), "label": ClassLabel(names=["no", "yes"])}
    )
    pairs = Dataset.from_dict({"premise": ["A", "B", "C"], "hypothesis": ["D", "E", "F"], "label": [1, -1, 0]}, classes)
    DatasetDict({"train": pairs}).save_to_disk(tmp_path / "x")
    splits = read_text_pairs(arguments(dataset_name=str(tmp_path / "x")))
    assert rows(splits, "train", "text", "label", "id") == [("A", "yes", "0"), ("C", "no", "2")]
    splits = read_texts(arguments(dataset_name=str(tmp_path / "x"), text_column="hypothesis"))
    assert (rows(splits, "train", "text", "label"), splits.label_names) == ([("D", "yes"), ("F", "no")], ["no", "yes"])


def test_a_folder_of_files_is_a_dataset(tmp_path):
    write(tmp_path, "train.csv", "text,label\ngood,pos\nbad,neg\n")
    write(tmp_path, "test.csv", "text,label\nso so,pos\n")
    splits = read_texts(arguments(dataset_name=str(tmp_path)))
    assert rows(splits, "train", "text", "label") == [("good", "pos"), ("bad", "neg")]
    assert rows(splits, "test", "text", "label") == [("so so", "pos")]


def test_files_or_a_dataset(tmp_path):
    for options in ({}, {"train_file": "x", "dataset_name": "y"}):
        with pytest.raises(
            ValueError, match=r"give the examples: either files \(--train_file, ...\) or --dataset_name"
        ):
            read_texts(arguments(**options))
    with pytest.raises(ValueError, match="--dataset_name "):
        read_texts(arguments(dataset_name=str(tmp_path / "nowhere")))


# ---- Rows of words


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.csv", "text,labels\nAda Lee sat,B-PER I-PER O\nEve,B-PER\n"),
        ("x.csv", "tokens,ner_tags\n\"['Ada', 'Lee', 'sat']\",\"['B-PER', 'I-PER', 'O']\"\n['Eve'],['B-PER']\n"),
        ("x.tsv", 'words\ttags\n["Ada", "Lee", "sat"]\t["B-PER", "I-PER", "O"]\n["Eve"]\t["B-PER"]\n'),
        ("x.tsv", "Ada Lee sat\tB-PER I-PER O\nEve\tB-PER\n"),
        ("x.tsv", "text\tlabels\nAda Lee sat\tB-PER I-PER O\nEve\tB-PER\n"),
        ("x.csv", "word,tag\nAda,B-PER\nLee,I-PER\nsat,O\n\nEve,B-PER\n"),
        ("x.tsv", "sentence_id\tword\ttag\n1\tAda\tB-PER\n1\tLee\tI-PER\n1\tsat\tO\n2\tEve\tB-PER\n"),
        ("x.csv", "my number;word;tag\n1;Ada;B-PER\n1;Lee;I-PER\n1;sat;O\n2;Eve;B-PER\n"),
        ("x.jsonl", '{"tokens": ["Ada", "Lee", "sat"], "tags": ["B-PER", "I-PER", "O"]}\n{"words": []}\n'),
    ],
)
def test_sentences_in_tables(tmp_path, name, text):
    if name == "x.jsonl":
        text = text.replace('"words": []', '"tokens": [], "tags": []}\n{"tokens": ["Eve"], "tags": ["B-PER"]')
    options = {"sentence_column": "my number"} if "my number" in text else {}
    splits = read_word_labels(arguments(train_file=write(tmp_path, name, text), **options))
    assert tagged(splits) == ["Ada/B-PER Lee/I-PER sat/O", "Eve/B-PER"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["Ada"], "ner_tags": ["O", "O"]}, "1 words need as many labels, in a list, but have ['O', 'O']"),
        ({"tokens": [3], "ner_tags": ["O"]}, "the words must be a list of strings, but are [3]"),
        ({"tokens": ["Ada"], "ner_tags": 3}, "1 words need as many labels, in a list, but have 3"),
    ],
)
def test_rows_that_are_refused(tmp_path, row, message):
    path = write(tmp_path, "x.jsonl", "\n".join(map(json.dumps, [{"tokens": ["a"], "ner_tags": ["O"]}, row])))
    with pytest.raises(ValueError, match="words") as refused:
        read_word_labels(arguments(train_file=path))
    assert str(refused.value) == f"{path}, line 2: {message}"


def test_words_without_sentences_are_refused(tmp_path):
    path = write(tmp_path, "x.csv", "word,tag\nAda,B-PER\nsat,O\n")
    with pytest.raises(ValueError, match=r"line 2: a row has one word, .* name the column .* with --sentence_column"):
        read_word_labels(arguments(train_file=path))


# ---- Splits


def test_the_digest_is_of_the_content(tmp_path):
    """Another name of the file changes nothing; any other text, label or order does."""
    text = "text,label\ngood,pos\nbad,neg\n"
    splits = read_texts(arguments(train_file=write(tmp_path, "x.csv", text)))
    renamed = read_texts(arguments(train_file=write(tmp_path, "y.csv", f"\n{text}")))
    assert splits.digest() == renamed.digest()
    for changed in (text.replace("bad", "sad"), text.replace("neg", "no"), "text,label\nbad,neg\ngood,pos\n"):
        assert read_texts(arguments(train_file=write(tmp_path, "z.csv", changed))).digest() != splits.digest()
    path = str(tmp_path / "x.csv")
    assert read_texts(arguments(train_file=path, test_file=path)).digest() != splits.digest()


def test_samples_are_drawn_by_the_seed(tmp_path):
    path = write(tmp_path, "x", "".join(f"{number % 2} text {number}\n" for number in range(9)))
    train = read_texts(arguments(train_file=path)).train
    assert sample(train, 1, 0) is train
    drawn = sample(train, 0.5, 0)["source"]
    assert len(drawn) == 4
    assert list(drawn) == sorted(drawn) == list(sample(train, 0.5, 0)["source"])
    assert list(drawn) != list(sample(train, 0.5, 1)["source"])
    assert len(sample(train, 0.01, 0)) == 1
