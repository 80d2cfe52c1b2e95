"""The tokenizer where others use it: Auto classes, saved folders, collators, datasets."""

import copy
import json
import logging
import tracemalloc

import datasets
import numpy as np
import pyarrow
import pytest
from lanes import first_fast
from transformers import (
    AutoTokenizer,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
)

from hf_elmo import ElmoConfig, ElmoTokenizer


def test_a_saved_tokenizer_is_found_and_the_same(tmp_path):
    tokenizer = ElmoTokenizer(max_characters_per_token=12, split="whitespace", padding_side="left", model_max_length=99)
    files = tokenizer.save_pretrained(tmp_path)
    ElmoConfig().save_pretrained(tmp_path)
    assert [str(tmp_path / "tokenizer_config.json")] == [*files]
    assert not (tmp_path / "tokenizer.json").exists()
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert type(again) is ElmoTokenizer
    assert isinstance(again, PreTrainedTokenizerFast)
    options = ("max_characters_per_token", "split", "padding_side", "model_max_length", "special_tokens_map")
    for name in options:
        assert getattr(again, name) == getattr(tokenizer, name)
    assert again("it's a bank")["input_ids"] == tokenizer("it's a bank")["input_ids"]
    saved = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert saved["auto_map"] == {"AutoTokenizer": ["tokenization_elmo.ElmoTokenizer", None]}
    again.save_pretrained(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "tokenizer_config.json").read_text()) == saved
    assert ElmoTokenizer.from_pretrained(tmp_path, split="treebank").tokenize("it's") == ["it", "'s"]


@pytest.mark.parametrize("options", [{"add_bos_token": False}, {"add_eos_token": False}])
def test_a_saved_tokenizer_leaves_off_the_same_special_tokens(options, tmp_path):
    tokenizer = ElmoTokenizer(**options)
    tokenizer.save_pretrained(tmp_path)
    again = ElmoTokenizer.from_pretrained(tmp_path)
    assert again.tokenize("a", add_special_tokens=True) == tokenizer.tokenize("a", add_special_tokens=True)
    assert len(again("a")["input_ids"]) == 2


def test_the_vocabulary_travels_with_it(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "words.txt").write_text("<S>\n</S>\n<UNK>\nthe\n")
    tokenizer = ElmoTokenizer(vocab_file=str(tmp_path / "here" / "words.txt"))
    (tmp_path / "here" / "words.txt").unlink()
    files = tokenizer.save_pretrained(tmp_path / "there")
    assert {file.rpartition("/")[2] for file in files} == {"tokenizer_config.json", "vocab.txt"}
    assert (tmp_path / "there" / "vocab.txt").read_bytes() == b"<S>\n</S>\n<UNK>\nthe\n"
    assert ElmoTokenizer.from_pretrained(tmp_path / "there").convert_words_to_labels(["the"]) == [3]
    assert str(tmp_path) not in (tmp_path / "there" / "tokenizer_config.json").read_text()


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_stock_collators(side, caplog):
    tokenizer = ElmoTokenizer(padding_side=side)
    texts, labels = [["a", "river", "bank"], ["a"]], [[-100, 0, 1, 2, -100], [-100, 0, -100]]
    expected = tokenizer(texts, is_split_into_words=True, padding=True, return_tensors="pt")
    examples = [dict(tokenizer(words, is_split_into_words=True)) for words in texts]
    with caplog.at_level(logging.WARNING):
        batch = DataCollatorWithPadding(tokenizer)([{**example, "labels": 1} for example in examples])
        assert batch["input_ids"].equal(expected["input_ids"])
        assert batch["attention_mask"].equal(expected["attention_mask"])
        assert batch["labels"].tolist() == [1, 1]
        features = [{**example, "labels": tags} for example, tags in zip(examples, labels)]
        batch = DataCollatorForTokenClassification(tokenizer)(features)
    assert batch["input_ids"].equal(expected["input_ids"])
    padding = [-100, -100]
    assert batch["labels"].tolist() == [labels[0], labels[1] + padding if side == "right" else padding + labels[1]]
    assert not caplog.records
    batch = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8)(examples)
    assert batch["input_ids"].shape == (2, 8, 50)


def test_lists_need_as_little_memory_as_tensors():
    """A pointer of 8 bytes for each id: the integers themselves are shared."""
    tokenizer = ElmoTokenizer()
    words = [[f"word{number}" for number in range(500)] for _ in range(10)]
    tokenizer(words, is_split_into_words=True)
    tracemalloc.start()
    ids = tokenizer(words, is_split_into_words=True)["input_ids"]
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(map(len, ids)) == 5020
    assert used < 5020 * (8 * 50 + 100)


@pytest.mark.parametrize("width", first_fast([50, 1]))
def test_datasets_store_two_bytes_an_id(tmp_path, width):
    size = 40_000 if width == 1 else 4  # word ids beyond 16 bits
    (tmp_path / "words.txt").write_text("<S>\n</S>\n<UNK>\n" + "\n".join(f"word{n}" for n in range(size)))
    tokenizer = ElmoTokenizer(str(tmp_path / "words.txt"), max_characters_per_token=width)
    data = datasets.Dataset.from_dict({"words": [["word39999", "x" * number] for number in range(20)] + [[]]})
    mapped = data.map(lambda batch: tokenizer(batch["words"], is_split_into_words=True), batched=True, batch_size=7)
    ids = mapped.features["input_ids"].feature.feature
    assert ids.dtype == ("int16" if width > 1 else "int32")
    assert mapped["input_ids"][:] == tokenizer(data["words"][:], is_split_into_words=True)["input_ids"]
    padded = mapped.map(
        lambda batch: tokenizer.pad({"input_ids": batch["input_ids"]}, padding="max_length", max_length=6),
        batched=True,
        remove_columns=data.column_names,
    )
    assert padded.features["input_ids"].feature.feature == ids
    assert np.array(padded["input_ids"]).shape == (21, 6, width)


def test_datasets_store_single_examples_as_int32_or_as_asked():
    """As the tokenizer's documentation says. Only a batch can tell `datasets` its type."""
    data = datasets.Dataset.from_dict({"text": ["a bank", "b"]})
    tokenizer = ElmoTokenizer()
    mapped = data.map(lambda row: tokenizer(row["text"]))
    assert mapped.features["input_ids"].feature.feature.dtype == "int32"
    rows, mask = (datasets.Sequence(datasets.Value(kind)) for kind in ("int16", "int8"))
    columns = {"input_ids": datasets.Sequence(rows), "attention_mask": mask}
    features = datasets.Features({**data.features, **columns})
    asked = data.map(lambda row: tokenizer(row["text"]), features=features)
    assert asked.features["input_ids"].feature.feature.dtype == "int16"
    assert asked["input_ids"][:] == mapped["input_ids"][:] == tokenizer(data["text"][:])["input_ids"]


def test_lists_of_ids_that_somebody_changed_are_stored_as_they_are():
    ids = ElmoTokenizer()(["a", "b c"])["input_ids"]
    assert pyarrow.array(ids).type == pyarrow.list_(pyarrow.list_(pyarrow.int16()))
    assert pyarrow.array(ids, pyarrow.list_(pyarrow.list_(pyarrow.int64()))).to_pylist() == ids
    for change in ([70_000] * 50, [1, 2], None, [None] * 50):
        changed = copy.deepcopy(ids)
        changed[0][1] = change
        assert pyarrow.array(changed).to_pylist() == changed
    assert pyarrow.array(type(ids)([])).to_pylist() == []


def test_datasets_map_in_two_processes():
    tokenizer = ElmoTokenizer()
    texts = [["bank", "x" * number] for number in range(20)]
    data = datasets.Dataset.from_dict({"words": texts})
    mapped = data.map(lambda batch: tokenizer(batch["words"], is_split_into_words=True), batched=True, num_proc=2)
    expected = tokenizer(texts, is_split_into_words=True)
    assert mapped["input_ids"][:] == expected["input_ids"]
    batch = DataCollatorWithPadding(tokenizer)([mapped.remove_columns("words")[number] for number in (0, 19)])
    assert batch["input_ids"].shape == (2, 4, 50)
    for kind in ("numpy", "torch"):
        formatted = mapped.remove_columns("words").with_format(kind)
        batch = tokenizer.pad([formatted[number] for number in (0, 19)], return_tensors="np")
        np.testing.assert_array_equal(batch["input_ids"], expected["input_ids"][:1] + expected["input_ids"][19:])


def test_a_map_is_cached_however_much_was_tokenized_before():
    """The fingerprint of a map is a hash of the tokenizer: the table of spelled words must not be part of it."""
    tokenizer = ElmoTokenizer()
    before = datasets.fingerprint.Hasher.hash(tokenizer)
    tokenizer(["some words", "more"], padding=True, truncation=True, max_length=3, return_tensors="pt")
    assert datasets.fingerprint.Hasher.hash(tokenizer) == before
