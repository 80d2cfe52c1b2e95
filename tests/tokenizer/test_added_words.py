"""Words that were added, and other names for special tokens."""

from encoded_words import original_row

from hf_elmo import ElmoTokenizer


def test_added_words_are_kept_whole_in_text(tokenizer, tmp_path):
    tokenizer = ElmoTokenizer()
    text = "In New York, don't touch C:\\ <ent>."
    assert tokenizer.add_tokens(["New York", "don't", "C:\\"]) == 3
    assert tokenizer.add_special_tokens({"extra_special_tokens": ["<ent>"]}) == 1
    words = ["In", "New York", ",", "don't", "touch", "C:\\", "<ent>", "."]
    tokenizer.save_pretrained(tmp_path)
    for either in (tokenizer, ElmoTokenizer.from_pretrained(tmp_path)):
        encoding = either(text, return_offsets_mapping=True, add_special_tokens=False)
        assert encoding.tokens() == words
        assert [text[start:end] for start, end in encoding["offset_mapping"]] == words
        assert encoding["input_ids"] == [original_row(word) for word in words]  # encoded like any other word
        assert len(either) == 262
        assert either.get_vocab() == tokenizer.get_vocab()
        assert either.get_vocab()["New York"] == 262
        assert either.decode(encoding["input_ids"], skip_special_tokens=True) == " ".join(words).replace("<ent> ", "")
        assert either.tokenize("<ent>", split_special_tokens=True) == ["<", "ent", ">"]
        given = ["a New York b", "xdon't"]
        assert either.tokenize(given, is_split_into_words=True) == given


def test_other_names_for_the_special_tokens(tmp_path):
    ElmoTokenizer(pad_token="[PAD]", bos_token="[B]", eos_token="[E]").save_pretrained(tmp_path)
    tokenizer = ElmoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer(["[B]", "<S>", "[PAD]"], is_split_into_words=True)["input_ids"]
    # a name given to padding never makes a word of a text disappear
    assert ids == [original_row("<S>"), original_row("<S>"), [259, 61, 84, 63, 260, *[261] * 45],
                   [259, 92, 81, 66, 69, 94, 260, *[261] * 43], original_row("</S>")]  # fmt: skip
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 257, 258)


def test_a_new_name_changes_no_ids():
    tokenizer = ElmoTokenizer()
    before = tokenizer("a bank")["input_ids"]
    tokenizer.bos_token, tokenizer.pad_token = "[B]", "[P]"
    assert tokenizer("a bank", padding="max_length", max_length=5)["input_ids"] == [*before, [0] * 50]
    assert tokenizer("a bank").tokens() == ["[B]", "a", "bank", "</S>"]
    assert tokenizer.pad_token_id == 0
    assert tokenizer.decode(before, skip_special_tokens=True) == "a bank"
    assert tokenizer.get_special_tokens_mask(before, already_has_special_tokens=True) == [1, 0, 0, 1]
