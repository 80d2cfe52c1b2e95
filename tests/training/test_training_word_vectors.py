"""Static vectors out of text files: found by the model under the words they stand for, or refused with their line."""

import gzip
import json

import pytest
import torch
import toy_tasks
from toy_finetuning import command, tagged, write_words

from hf_elmo import ElmoForTokenClassification
from hf_elmo.training.word_vectors import hashes_of, read_word_vectors, words_and_numbers

GLOVE = "the 0.1 -0.2 3e-05\nThe 9 9 9\nAda 1 2 3\n. . . 4 5 6\nof 7 8 9\n"
TABLE = {"the": [0.1, -0.2, 3e-05], "Ada": [1, 2, 3], ". . .": [4, 5, 6], "of": [7, 8, 9]}


def table_of(path, lowercase=True, wanted=None) -> dict[int, list[float]]:
    table = read_word_vectors(str(path), toy_tasks.tokenizer(), lowercase, wanted)
    return dict(zip(table.hashes.tolist(), table.vectors.tolist()))


def hash_of(word: str, lowercase=True) -> int:
    return hashes_of([word], toy_tasks.tokenizer(), lowercase)[0]


@pytest.mark.parametrize("header", ["", "5 3\n"], ids=["GloVe", "fastText"])
@pytest.mark.parametrize("end", ["\n", " \n"], ids=["", "blank at the end"])
def test_files_with_and_without_a_header(tmp_path, header, end):
    (tmp_path / "v.txt").write_text(header + GLOVE.replace("\n", end))
    (tmp_path / "v.gz").write_bytes(gzip.compress((tmp_path / "v.txt").read_bytes()))
    for name in ("v.txt", "v.gz"):
        table = table_of(tmp_path / name)
        assert len(table) == len(TABLE), "`The` is `the` here, and the first of them counts"
        for word, numbers in TABLE.items():
            assert table[hash_of(word)] == pytest.approx(numbers)
    assert table_of(tmp_path / "v.txt", lowercase=False)[hash_of("The", lowercase=False)] == [9, 9, 9]
    assert table_of(tmp_path / "v.txt", wanted={hash_of("Of"), 3}) == {hash_of("of"): [7, 8, 9]}


def test_a_file_of_one_word(tmp_path):
    (tmp_path / "v.txt").write_text("a 1 2\n")
    assert table_of(tmp_path / "v.txt") == {hash_of("a"): [1, 2]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1 2 3\nb 1 2 3\nc 1 2\n", "line 3: 2 numbers after 'c', where there should be 3"),
        ("a 1.0 2.0\nb 1.0 2.0\nc 1.0 2.0 3.0\n", "line 3: 3 numbers after 'c', where there should be 2"),
        ("2 3\na 1 2 3\nb 1 2\n", "line 3: 2 numbers after 'b', where there should be 3"),
        ("a 1 2\nb 1 x\n", "line 2: 'x' after 'b' is no number"),
        ("a 1 2\nb 1 nan\n", "line 2: 'nan' after 'b' is no number"),
        ("word\nother\n", "line 1: 0 numbers after 'word', where there should be 0"),
    ],
)
def test_files_that_are_refused(tmp_path, text, message):
    (tmp_path / "v.txt").write_text(text)
    with pytest.raises(ValueError, match="line") as refused:
        table_of(tmp_path / "v.txt")
    assert f"{tmp_path / 'v.txt'}, {message}" in str(refused.value)


def test_no_vector_at_all(tmp_path):
    (tmp_path / "v.txt").write_text(GLOVE)
    for text, wanted in (("", None), (GLOVE, {5})):
        (tmp_path / "v.txt").write_text(text)
        with pytest.raises(ValueError, match="no word of the data has a vector in it"):
            table_of(tmp_path / "v.txt", wanted=wanted)


def test_more_lines_than_are_looked_at_first(tmp_path):
    (tmp_path / "v.txt").write_text("".join(f"w{number} {number} 0.5\n" for number in range(250)))
    assert [word for _, word, _ in words_and_numbers(str(tmp_path / "v.txt"))] == [f"w{n}" for n in range(250)]


@pytest.mark.slow
@pytest.mark.parametrize("all_words", [False, True], ids=["words of the data", "all words"])
def test_a_tagger_with_static_vectors(tmp_path, all_words):
    """Its table has the vectors of the words that the data have, and goes wherever the model goes."""
    words = write_words(tmp_path)
    names = [*toy_tasks.NAMES, *toy_tasks.PLACES[:2], "unseen"]
    (tmp_path / "v.txt").write_text("".join(f"{name.lower()} {number} 1 0 -1\n" for number, name in enumerate(names)))
    options = ["--word_vectors", str(tmp_path / "v.txt"), "--all_word_vectors", str(all_words)]
    assert not tagged(*command(words, tmp_path / "model", *options))
    model = ElmoForTokenClassification.from_pretrained(tmp_path / "model")
    assert (model.config.word_vector_count, model.config.word_vector_size) == (len(names) - 1 + all_words, 4)
    batch = toy_tasks.tokenizer()([["Ada", "RIEN", "Oslo", "unseen"]], is_split_into_words=True, return_tensors="pt")
    found = model.word_vectors(batch["input_ids"], batch["attention_mask"].bool())[0, 1:-1]
    none = [0.0] * 4
    assert found.tolist() == [[0, 1, 0, -1], none, [6, 1, 0, -1], [7, 1, 0, -1] if all_words else none]
    assert torch.equal(model.word_vectors.weight[0], torch.zeros(4))
    assert json.loads((tmp_path / "model" / "all_results.json").read_text())["mean"]["eval_f1"] > 0
