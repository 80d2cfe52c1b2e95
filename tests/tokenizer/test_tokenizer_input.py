"""Input of another form, and options of another kind: one line says what is wrong."""

import pandas
import pytest

from hf_elmo import ElmoTokenizer


@pytest.mark.parametrize(
    ("arguments", "words", "message"),
    [
        ((pandas.Series(["a b", "c"]),), False, "but a sequence is 0 a b 1"),  # with line ends, as it shows itself
        (("the bank",), True, "takes a list of words or a batch of such lists, but a sequence is 'the bank'"),
        ((["a", None],), True, r"every word must be a string, but one is None \(NoneType\)"),
        (([["a", 3]],), True, r"every word must be a string, but one is 3 \(int\)"),
        (([["a"], "b"],), True, "but a sequence is 'b'"),
        (([["a", ["b"]]],), True, "nested too deep"),
        ((["a", ["b"]],), True, "nested too deep"),
        ((["a"], "b"), True, "but a sequence is 'b'"),
        ((3,), False, "must be a string or a list of strings, but a sequence is 3"),
        ((["a", None],), False, "but a sequence is None"),
        (([["a", "b", "c"]],), False, "pass is_split_into_words=True"),
        ((["a", "b"], ["c"]), False, r"a batch of 2 needs as many second sequences, but text_pair is \['c'\]"),
        ((["a", "b"], "c"), False, "a batch of 2 needs as many second sequences, but text_pair is 'c'"),
        ((None,), False, "text"),
    ],
)
def test_input_of_another_form_is_refused_in_one_line(tokenizer, arguments, words, message):
    with pytest.raises(ValueError, match=message) as error:
        tokenizer(*arguments, is_split_into_words=words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"split": "spaces"},
            "split must be one of 'treebank', 'punctuation', 'letters_digits', 'whitespace', but is 'spaces'",
        ),
        ({"max_characters_per_token": 2}, "at least 3"),
        ({"max_characters_per_token": 1}, "need a word vocabulary: vocab_file='vocab.txt'"),
        ({"padding_side": "top"}, "side"),
    ],
)
def test_options_of_another_kind_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ElmoTokenizer(**options)


def test_an_empty_batch_is_an_empty_batch(tokenizer):
    assert dict(tokenizer([])) == {"input_ids": [], "attention_mask": []}
    batch = tokenizer([], padding=True, return_tensors="pt")
    assert batch["input_ids"].shape == (0, 0, 50)
    assert batch["attention_mask"].shape == (0, 0)
