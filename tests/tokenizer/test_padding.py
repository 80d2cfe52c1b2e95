"""Padding, by a call of the tokenizer and by `pad`."""

import copy

import numpy as np
import pytest
import torch

from hf_elmo import ElmoTokenizer

TEXT = "I don't  know the bank."
WORDS = ["I", "do", "n't", "know", "the", "bank", "."]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    ("options", "length"),
    [
        ({"padding": True}, 9),
        ({"padding": "max_length", "max_length": 12}, 12),
        ({"padding": True, "pad_to_multiple_of": 8}, 16),
        ({"padding": "max_length", "max_length": 12, "pad_to_multiple_of": 8}, 16),
    ],
)
def test_calls_and_pad_fill_up_alike(side, options, length):
    tokenizer = ElmoTokenizer(padding_side=side)
    wanted = {"return_special_tokens_mask": True, "return_token_type_ids": True, "return_offsets_mapping": True}
    plain = tokenizer([TEXT, "a bank"], **wanted)
    called = tokenizer([TEXT, "a bank"], **wanted, **options, return_tensors="pt")
    assert called["input_ids"].shape == (2, length, 50)
    mask = called["attention_mask"].bool()
    assert called["input_ids"][mask].tolist() == [row for rows in plain["input_ids"] for row in rows]
    assert not called["input_ids"][~mask].any()
    assert called["special_tokens_mask"][~mask].all()
    assert mask[1].tolist() == ([True] * 4 + [False] * (length - 4))[:: 1 if side == "right" else -1]
    plain.pop("offset_mapping")
    examples = [{name: values[i] for name, values in plain.items()} for i in range(2)]
    for encoded in (dict(plain), examples, plain):
        padded = tokenizer.pad(encoded, **options, return_tensors="pt")
        for name in padded:
            assert torch.equal(padded[name], called[name]), name
        assert tokenizer.pad(encoded, **options)["input_ids"] == called["input_ids"].tolist()


def test_pad_takes_one_example_and_arrays_and_tensors(tokenizer):
    one = tokenizer("a bank")
    padded = tokenizer.pad(one, padding="max_length", max_length=6)
    assert padded["input_ids"] == one["input_ids"] + [[0] * 50] * 2
    assert padded["attention_mask"] == [1, 1, 1, 1, 0, 0]
    assert tokenizer.pad(one)["input_ids"] == one["input_ids"]
    for kind, library in ((np.array, np.ndarray), (torch.tensor, torch.Tensor)):
        examples = [
            {"input_ids": kind(tokenizer(text)["input_ids"]), "labels": kind([1, 2])} for text in ("a bank", "a")
        ]
        batch = tokenizer.pad(examples)
        assert isinstance(batch["input_ids"], library)
        assert isinstance(batch["labels"], library)
        assert batch["input_ids"].shape == (2, 4, 50)
        assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
        single = tokenizer.pad({"input_ids": kind(one["input_ids"])}, padding="max_length", max_length=6)
        assert single["input_ids"].tolist() == padded["input_ids"]


def test_pad_leaves_labels_and_its_input_alone(tokenizer):
    examples = [{**tokenizer("a bank"), "labels": [0, 1, 2, 0]}, {**tokenizer("a"), "labels": [0, 1, 0]}]
    before = copy.deepcopy(examples)
    batch = tokenizer.pad(examples)
    assert batch["labels"] == [[0, 1, 2, 0], [0, 1, 0]]
    assert examples == before
    assert [len(rows) for rows in tokenizer.pad(examples, padding=False)["input_ids"]] == [4, 3]
    without = [{"input_ids": example["input_ids"]} for example in examples]
    assert "attention_mask" not in tokenizer.pad(without, return_attention_mask=False)


def test_pad_refuses_rows_of_another_width(tokenizer):
    narrow = ElmoTokenizer(max_characters_per_token=20)(["a", "a bank"])
    with pytest.raises(ValueError, match="input_ids must hold rows of 50 ids, but an example's rows hold 20"):
        tokenizer.pad(dict(narrow))
    with pytest.raises(ValueError, match="attention_mask has 1 examples, but input_ids has 2"):
        tokenizer.pad({"input_ids": tokenizer(["a", "b"])["input_ids"], "attention_mask": [[1, 1, 1]]})


def test_a_tensor_of_unequal_rows_is_refused(tokenizer):
    with pytest.raises(ValueError, match="rows of 3 to 4 words make no tensor: pass padding=True"):
        tokenizer(["a", "a bank"], return_tensors="pt")
    with pytest.raises(ValueError, match="rows of 3 to 4 words make no tensor"):
        tokenizer.pad(tokenizer(["a", "a bank"]), padding=False, return_tensors="pt")
    with pytest.raises(ValueError, match="padding_side must be 'left' or 'right', but is 'top'"):
        tokenizer(["a", "a bank"], padding=True, padding_side="top")


def test_special_tokens_mask(tokenizer):
    batch = tokenizer(["<S> a", "bank"], padding=True, return_special_tokens_mask=True)
    assert batch["special_tokens_mask"] == [[1, 0, 0, 1], [1, 0, 1, 1]]  # a special token in the text is a word
    assert tokenizer.get_special_tokens_mask(batch["input_ids"][1], already_has_special_tokens=True) == [1, 0, 1, 1]
    assert tokenizer.get_special_tokens_mask([[1] * 50] * 2, [[1] * 50]) == [1, 0, 0, 1, 1, 0, 1]
