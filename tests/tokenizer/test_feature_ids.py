# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Rows that hold ids of whole words and of their characters after those of ELMo."""

import json
import pickle

import numpy as np
import pytest

from hf_elmo import ElmoTokenizer

FEATURES = [
    {"type": "word", "vocabulary": "tokens", "unknown": 1, "lowercase": True},
    {
        "type": "characters",
        "vocabulary": "letters",
        "unknown": 1,
        "lowercase": False,
        "length": 6,
        "start": [9],
        "end": [8],
    },
    {"type": "characters", "vocabulary": None, "unknown": None, "length": 8, "start": [], "end": []},
]
VOCABULARIES = {"tokens": {"the": 2, "\u00e9t\u00e9": 3}, "letters": {"T": 2, "h": 3, "e": 4, "\u00c9": 5}}
CONTENT = {"features": FEATURES, "vocabularies": VOCABULARIES}
WIDTH = 50 + 1 + 6 + 8


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "word_features.json"
    path.write_text(json.dumps(CONTENT), encoding="utf-8")
    return ElmoTokenizer(features_file=str(path))


def ids(tokenizer, *words, **options):
    return tokenizer([list(words)], is_split_into_words=True, return_tensors="np", **options)["input_ids"][0]


def test_rows_begin_with_those_of_elmo_and_go_on_with_features(tokenizer):
    words = ["The", "\u00c9T\u00c9", "", "x" * 60]
    rows, plain = ids(tokenizer, *words), ids(ElmoTokenizer(), *words)
    assert rows.shape == (6, WIDTH)
    assert np.array_equal(rows[:, :50], plain)
    assert not rows[[0, -1], 50:].any()  # <S> and </S>
    features = rows[1:-1, 50:].tolist()
    assert features[0] == [2, 9, 2, 3, 4, 8, 0, 85, 105, 102, 0, 0, 0, 0, 0]
    assert features[1] == [3, 9, 5, 2, 5, 8, 0, 0xC3 + 1, 0x89 + 1, 85, 0xC3 + 1, 0x89 + 1, 0, 0, 0]
    assert features[2] == [1, 9, 8] + [0] * 12
    assert features[3] == [1, 9, 1, 1, 1, 1, 1] + [121] * 8  # cut


def test_words_come_back_and_batches_are_padded_on_both_sides(tokenizer):
    words = [["The", "na\u00efve"], ["x"]]
    for side in ("left", "right"):
        batch = tokenizer(words, is_split_into_words=True, padding=True, padding_side=side, return_tensors="pt")
        assert batch["input_ids"].shape == (2, 4, WIDTH)
        assert not batch["input_ids"][1, 0 if side == "left" else -1].any()
        assert tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True) == ["The na\u00efve", "x"]
        lists = [{"input_ids": row} for row in tokenizer(words, is_split_into_words=True)["input_ids"]]
        padded = tokenizer.pad(lists, padding_side=side, return_tensors="pt")
        assert padded["input_ids"].equal(batch["input_ids"])


def test_copies_are_equal(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "word_features.json").read_text(encoding="utf-8")) == CONTENT
    for copy in (ElmoTokenizer.from_pretrained(tmp_path), pickle.loads(pickle.dumps(tokenizer))):
        assert np.array_equal(ids(copy, "The", "\u00e9t\u00e9"), ids(tokenizer, "The", "\u00e9t\u00e9"))


def test_a_word_without_id(tokenizer, tmp_path):
    content = {**CONTENT, "features": [{**FEATURES[0], "unknown": None}]}
    (tmp_path / "features.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="'other' is not in the vocabulary of this model, which has no id for unknown"):
        ids(ElmoTokenizer(features_file=str(tmp_path / "features.json")), "the", "other")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not readable as features of words"),
        ("[]", "expected an object with `features` and `vocabularies`"),
        ({**CONTENT, "vocabularies": {"tokens": {"the": -1}}}, "each of `vocabularies` must map names to ids from 0"),
        ({**CONTENT, "vocabularies": {"tokens": {}}}, "a feature has the vocabulary 'letters', but there is tokens"),
        ({**CONTENT, "features": 3}, "must be a list of features of the type `word` or `characters`"),
        ({**CONTENT, "features": [{"type": "pos"}]}, "must be a list of features of the type `word` or `characters`"),
        ({**CONTENT, "features": [{**FEATURES[1], "length": 0}]}, "`length` must be from 1 to 10000, but is 0"),
        ({**CONTENT, "features": [{**FEATURES[1], "start": ["T"]}]}, "`start` and `end` must be lists of ids"),
    ],
)
def test_files_that_do_not_describe_features(tmp_path, content, complaint):
    path = tmp_path / "features.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=r"features\.json: ") as caught:
        ElmoTokenizer(features_file=str(path))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
