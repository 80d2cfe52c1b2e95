# ruff: noqa: RUF001
"""Words to ids and back: every string as the original spells it, raw text by the documented rule."""

import json
import time

import numpy as np
import pandas
import pytest
import torch
from transformers.utils import logging

from hf_elmo import ElmoTokenizer
from hf_elmo.model.word_splitting_elmo import SPLITTING_RULES, split_words

# What a word may be: accents, surrogates, controls, white space, the lengths around the cut, names of ids
WORDS = [
    *(
        "bank",
        "",
        "é",
        "日本語",
        "😊",
        "e\u0301",
        "\ud800",
        "a\udfffb",
        "\x00",
        "\x1c",
        " ",
        "New York",
        "a\nb",
        "\xa0",
    ),
    *("x" * 47, "x" * 48, "x" * 49, "é" * 24, "a" + "é" * 24, "日" * 17, "x" * 2000, "\u3000", "\U0010ffff", "\ufeff"),
    *("<PAD>", "<UNK>", "<0x41>", "<s>", "a<S>b", "<W>", "##a", "▁a", "don't"),
]


def original_row(word: str, width: int = 50) -> list[int]:
    """What the original makes of a word, written down as plainly as possible."""
    special = {"<S>": [257], "</S>": [258]}
    characters = special.get(word) or [byte + 1 for byte in word.encode("utf-8", "ignore")[: width - 2]]
    return ([259, *characters, 260] + [261] * width)[:width]


@pytest.fixture(scope="module")
def tokenizer():
    return ElmoTokenizer()


@pytest.fixture
def warnings(caplog):
    """What transformers' logger says."""
    logger = logging.get_logger("transformers")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


# ---- ids ----


@pytest.mark.parametrize("width", [50, 20, 3])
def test_words_are_spelled_as_the_original_does(width):
    tokenizer = ElmoTokenizer(max_characters_per_token=width)
    for words in (WORDS, WORDS):  # spelled first, then from the table
        rows = tokenizer(words, is_split_into_words=True)["input_ids"]
        assert rows == [original_row(word, width) for word in ["<S>", *words, "</S>"]]


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ("random/inputs.json", "random/s01_tiny_relu/expected.npz"),
        ("random/inputs.json", "random/s02_tiny_tanh_clip/expected.npz"),
        ("bilm_checkpoint/expected_layers_inputs.json", "bilm_checkpoint/expected_layers.npz"),
        ("bilm_small/lm_embeddings_sentences.json", "bilm_small/expected_layers.npz"),
        ("allennlp_small/sentences.json", "allennlp_small/expected_layers.npz"),
    ],
)
def test_ids_are_those_of_the_original_software(tokenizer, fixtures_dir, inputs, outputs):
    batches = json.loads((fixtures_dir / inputs).read_text())
    if isinstance(batches[0], dict):
        batches = {batch["name"]: batch["sentences"] for batch in batches}
    else:  # three lists of ten sentences, of which the originals saw the first of each, then the second of each, ...
        rows = zip(*batches)
        batches = {
            f"batch_{i}": [row.split() if isinstance(row, str) else row for row in batch]
            for i, batch in enumerate(rows)
        }
    compared = 0
    with np.load(fixtures_dir / outputs) as expected:
        for key in expected.files:
            software, _, name = key.partition("/")
            if software not in ("bilm_ids", "allennlp_ids"):
                continue
            ids = tokenizer(
                batches[name],
                is_split_into_words=True,
                add_special_tokens=software == "bilm_ids",  # AllenNLP adds the boundary words later
                padding=True,
                return_tensors="np",
            )["input_ids"]
            np.testing.assert_array_equal(ids, expected[key])
            compared += 1
    assert compared >= 3


def test_a_sentence_stands_between_boundary_words(tokenizer):
    begin, end = original_row("<S>"), original_row("</S>")
    assert begin[:4] == [259, 257, 260, 261]
    assert end[:4] == [259, 258, 260, 261]
    assert tokenizer(["bank"], is_split_into_words=True)["input_ids"] == [begin, original_row("bank"), end]
    assert tokenizer([], is_split_into_words=True)["input_ids"] == [begin, end]
    assert tokenizer("")["input_ids"] == [begin, end]
    assert tokenizer("", add_special_tokens=False)["input_ids"] == []
    pair = tokenizer(["a"], ["b"], is_split_into_words=True)["input_ids"]
    assert pair == [begin, original_row("a"), end, begin, original_row("b"), end]
    given = tokenizer(["<S>", "a", "</S>"], is_split_into_words=True, add_special_tokens=False)["input_ids"]
    assert given == [begin, original_row("a"), end]


def test_boundary_words_can_be_left_off_by_default():
    tokenizer = ElmoTokenizer(add_bos_token=False)
    assert tokenizer.tokenize("a", add_special_tokens=True) == ["a", "</S>"]
    tokenizer.add_eos_token = False
    assert tokenizer.tokenize("a", add_special_tokens=True) == ["a"]
    assert tokenizer.num_special_tokens_to_add() == 0


def test_tensors_are_int64_and_padding_is_zeros(tokenizer):
    batch = tokenizer([["a", "b", "c"], []], is_split_into_words=True, padding=True, return_tensors="pt")
    assert batch["input_ids"].dtype == batch["attention_mask"].dtype == torch.int64
    assert batch["input_ids"].shape == (2, 5, 50)
    assert not batch["input_ids"][1, 2:].any()
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    arrays = tokenizer([["a", "b", "c"], []], is_split_into_words=True, padding=True, return_tensors="np")
    assert arrays["input_ids"].dtype == np.int64
    np.testing.assert_array_equal(arrays["input_ids"], batch["input_ids"])


def test_rows_handed_out_are_the_callers_own(tokenizer):
    for return_tensors in (None, "np", "pt"):
        rows = tokenizer(["bank", "bank"], is_split_into_words=True, return_tensors=return_tensors)["input_ids"]
        rows = rows if return_tensors is None else rows[0]
        rows[1][3] = -1
        assert rows[2][3] != -1
        rows[0][1] = -1
        again = tokenizer(["bank"], is_split_into_words=True)["input_ids"]
        assert again == [original_row(word) for word in ("<S>", "bank", "</S>")]


def test_the_table_of_encoded_words_is_bounded():
    tokenizer = ElmoTokenizer()
    tokenizer.word_rows.limit = 10
    words = [f"word{number}" for number in range(35)] + ["<S>"]
    rows = tokenizer(words, is_split_into_words=True, add_special_tokens=False)["input_ids"]
    assert rows == [original_row(word) for word in words]
    assert len(tokenizer.word_rows) <= 10


def test_cut_words_are_counted_and_warned_about_once(warnings):
    tokenizer = ElmoTokenizer()
    tokenizer(["x" * 48, "é" * 24], is_split_into_words=True)
    assert tokenizer.num_cut_words == 0
    assert not warnings.records
    for _ in range(2):
        tokenizer(["x" * 49, "ok", "x" * 49, "é" * 25], is_split_into_words=True)
    assert tokenizer.num_cut_words == 6
    (record,) = warnings.records
    assert "A word of 49 bytes was cut to its first 48" in record.getMessage()
    with pytest.raises(AttributeError):
        tokenizer.num_cut_words = 0


# ---- bad input ----


@pytest.mark.parametrize(
    ("arguments", "words", "message"),
    [
        ((pandas.Series(["a b", "c"]),), False, "but a sequence is 0 a b 1 c"),  # with line ends, as it shows itself
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
        ({"split": "spaces"}, "split must be one of 'treebank', 'punctuation', 'whitespace', but is 'spaces'"),
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


# ---- raw text to words ----


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I went to the river bank.", "I went to the river bank ."),
        ("I don't, can't, won't; DON'T!", "I do n't , ca n't , wo n't ; DO N'T !"),
        ("John's dog, we'll, I'm, they're, you've, he'd", "John 's dog , we 'll , I 'm , they 're , you 've , he 'd"),
        ("don’t John’s can't've", "do n’t John ’s ca n't 've"),
        ("O'Brien's o'clock dogs' rock'n'roll", "O'Brien 's o'clock dogs ' rock'n'roll"),
        ("the '90s, 'em, 'tis", "the '90s , 'em , 'tis"),
        ("'hello' “hi” (\"yes\") [no] «oui» ``so''", "' hello ' “ hi ” ( \" yes \" ) [ no ] « oui » `` so ''"),
        ("$3.50 or 50%, €5 £6", "$ 3.50 or 50 % , € 5 £ 6"),
        ("1,000 at 10:30, ratio: 3:1,", "1,000 at 10:30 , ratio : 3:1 ,"),
        ("Mr. J. Smith of the U.S. and Acme Inc., etc.", "Mr. J. Smith of the U.S. and Acme Inc. , etc ."),
        ("So did I. Ph.D. at 9 a.m. sharp. No. 5", "So did I . Ph.D. at 9 a.m. sharp . No. 5"),
        ("Really?! Wait... what -- no—yes–no… well-known", "Really ? ! Wait ... what -- no — yes – no … well-known"),
        ("AT&T and/or R&D & C++ C# -5 U.S.-based", "AT&T and/or R&D & C++ C# -5 U.S.-based"),
        ("See https://a.b/c?d=e. or me@x.org! (www.x.org)", "See https://a.b/c?d=e . or me@x.org ! ( www.x.org )"),
        ("#tag @user <unk> <b> @-@", "#tag @user <unk> < b > @-@"),
        ("日本語。中文，「好」 हिन्दी 👩‍👩‍👧 naïve", "日本語 。 中文 ， 「 好 」 हिन्दी 👩‍👩‍👧 naïve"),
        ("<S> a </S> a<S>b", "<S> a </S> a < S > b"),
        (" \t\n\xa0\u3000 ", ""),
    ],
)
def test_the_rule_for_raw_text(tokenizer, text, words):
    assert tokenizer.tokenize(text) == words.split()
    if "a<S>b" not in text:  # text that is split already stays as it is
        assert tokenizer.tokenize(words) == words.split()


def test_text_can_be_split_at_white_space_only():
    tokenizer = ElmoTokenizer(split="whitespace")
    assert tokenizer.tokenize("I don't know.\tYes,\xa0no \u3000 (maybe)\x1cso") == [
        "I", "don't", "know.", "Yes,", "no", "(maybe)", "so",
    ]  # fmt: skip


ALPHABET = (
    "aAnNtTsSvVeEmrRlL'’‘.,:&-–—\"“” \t\n\xa0\u3000\u200b$%012()[]{}<>!?;/@#*_…`"
    "\u0301éßİ😊\U0010ffff\x00\x1c\x85\u2028中。Ⅳ²"
)


def random_texts(count: int, alphabet: str = ALPHABET) -> list[str]:
    random = np.random.default_rng(0)
    return ["".join(random.choice(list(alphabet), random.integers(30))) for _ in range(count)]


@pytest.mark.parametrize("split", [*SPLITTING_RULES])
def test_words_are_all_of_the_text_and_lie_where_the_offsets_say(split):
    tokenizer = ElmoTokenizer(split=split)
    for text in random_texts(2000, ALPHABET + "\ud800"):
        encoding = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        words = encoding.tokens() if encoding["input_ids"] else []
        assert [text[start:end] for start, end in encoding["offset_mapping"]] == words
        assert "".join(words) == "".join(text.split())
        assert encoding["input_ids"] == [original_row(word) for word in words]


@pytest.mark.parametrize("split", [*SPLITTING_RULES])
def test_the_rust_tokenizer_behind_it_splits_alike(split):
    tokenizer = ElmoTokenizer(split=split)
    for text in random_texts(2000):
        rust = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        assert rust.tokens == tokenizer.tokenize(text)


@pytest.mark.parametrize(
    "unit", ["a", ".", "'", "a'", "n't", "www.(", "http://(", "a.", "1,", "-'", "Mr. ", " ", "Mr.\n"]
)
def test_time_is_linear_in_the_text(tokenizer, unit):
    def seconds(length: int) -> float:
        times = []
        for _ in range(3):
            start = time.thread_time()  # whatever else the machine does
            split_words(unit * (length // len(unit)))
            times.append(time.thread_time() - start)
        return min(times)

    seconds(1000)
    assert seconds(160_000) < 64 * max(seconds(10_000), 1e-4)  # 16 times the time if linear, 256 times if quadratic


# ---- ids back to text ----


def test_words_come_back_exactly(tokenizer):
    words = [word for word in WORDS if len(word.encode("utf-8", "surrogatepass")) <= 48 and word.isprintable()]
    ids = tokenizer(words, is_split_into_words=True)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<S>", *words, "</S>"]
    assert tokenizer.convert_ids_to_tokens(ids, skip_special_tokens=True) == words
    assert tokenizer.decode(ids, skip_special_tokens=True) == " ".join(words)
    for kind in (np.array, torch.tensor):
        assert tokenizer.decode(kind(ids)) == " ".join(["<S>", *words, "</S>"])
        assert tokenizer.convert_ids_to_tokens(kind(ids[1])) == words[0]


def test_what_is_left_of_a_cut_word_comes_back(tokenizer):
    ids = tokenizer(["日" * 20, "x" * 60, "a\ud800b"], is_split_into_words=True, add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["日" * 16, "x" * 48, "ab"]
    ids = tokenizer(["a" + "日" * 20], is_split_into_words=True, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == "a" + "日" * 15  # the 16th is cut in its middle


def test_batches_are_decoded(tokenizer):
    batch = tokenizer(["The bank.", "A"], padding=True, return_tensors="pt")
    assert tokenizer.decode(batch["input_ids"][1]) == "<S> A </S> <PAD> <PAD>"
    assert tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True) == ["The bank .", "A"]
    assert tokenizer.decode(batch["input_ids"].tolist(), skip_special_tokens=True) == ["The bank .", "A"]
    assert tokenizer.batch_decode(tokenizer(["The bank", "A"])["input_ids"]) == ["<S> The bank </S>", "<S> A </S>"]
    assert tokenizer.decode([]) == ""
    assert tokenizer.batch_decode([[], []]) == ["", ""]
    assert tokenizer.decode(batch["input_ids"][0], clean_up_tokenization_spaces=True) == "<S> The bank. </S>"


def test_every_id_has_a_name(tokenizer):
    vocabulary = tokenizer.get_vocab()
    assert len(vocabulary) == len(tokenizer) == tokenizer.vocab_size == 262
    assert sorted(vocabulary.values()) == list(range(262))
    for name, number in vocabulary.items():
        assert tokenizer.convert_ids_to_tokens(number) == name
        assert tokenizer.convert_tokens_to_ids(name) == number
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 257, 258)
    assert sorted(tokenizer.all_special_ids) == [0, 257, 258]
    assert tokenizer.convert_ids_to_tokens([66, 257]) == ["<0x41>", "<S>"]
    assert tokenizer.decode([66, 67]) == "AB"
    assert tokenizer.decode(66) == "A"


def test_a_list_of_words_becomes_rows_without_boundaries(tokenizer):
    assert tokenizer.convert_tokens_to_ids(["bank", "<S>"]) == [original_row("bank"), original_row("<S>")]
    assert tokenizer.convert_tokens_to_ids("bank") == original_row("bank")
    assert tokenizer.convert_tokens_to_ids([]) == []


# ---- added words ----


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
        assert encoding["input_ids"] == [original_row(word) for word in words]  # spelled like any other word
        assert len(either) == 262
        assert either.get_vocab() == tokenizer.get_vocab()
        assert either.get_vocab()["New York"] == 262
        assert either.decode(encoding["input_ids"], skip_special_tokens=True) == " ".join(words).replace("<ent> ", "")
        assert either.tokenize("<ent>", split_special_tokens=True) == ["<", "ent", ">"]
        given = ["a New York b", "xdon't"]
        assert either.tokenize(given, is_split_into_words=True) == given


def test_other_names_for_the_special_words(tmp_path):
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


# ---- the word vocabulary ----


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("<S>\n</S>\n<UNK>\nthe\nbank\n\nriver\n  bank \n!!!MAXTERMID\n日本\n", encoding="utf-8")
    return path


def test_words_become_labels_and_come_back(vocabulary, tmp_path):
    tokenizer = ElmoTokenizer(vocab_file=str(vocabulary))
    tokenizer.save_pretrained(tmp_path / "saved")
    for either in (tokenizer, ElmoTokenizer.from_pretrained(tmp_path / "saved")):
        assert either.word_vocab_size == 9
        assert either.convert_words_to_labels("the") == 3
        assert either.convert_words_to_labels(["<S>", "the", "bank", "banks", "</S>"]) == [0, 3, 7, 2, 1]
        assert either.convert_words_to_labels([["日本"], [], ["", "The"]]) == [[8], [], [5, 2]]
        assert either.convert_labels_to_words(3) == "the"
        assert either.convert_labels_to_words(torch.tensor([[0, 3], [8, 1]])) == [["<S>", "the"], ["日本", "</S>"]]
        with pytest.raises(ValueError, match="word id 9 is not in the word vocabulary of 9 words"):
            either.convert_labels_to_words([9])
        assert either("the bank")["input_ids"] == ElmoTokenizer()("the bank")["input_ids"]
        assert len(either) == 262


def test_a_vocabulary_that_lacks_a_special_word_is_refused(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("the\n<S>\n")
    with pytest.raises(ValueError, match=r"vocab\.txt lacks </S>, <UNK>: it needs .* one word a line"):
        ElmoTokenizer(vocab_file=str(path))
    path.write_bytes(b"<S>\n\xff\n")
    with pytest.raises(ValueError, match="line 2: not UTF-8"):
        ElmoTokenizer(vocab_file=str(path))
    with pytest.raises(ValueError, match="cannot be read"):
        ElmoTokenizer(vocab_file=str(tmp_path / "none.txt"))
    with pytest.raises(ValueError, match="carries no word vocabulary"):
        ElmoTokenizer().convert_words_to_labels(["the"])


def test_words_can_be_the_input(vocabulary, tmp_path):
    ElmoTokenizer(vocab_file=str(vocabulary), max_characters_per_token=1).save_pretrained(tmp_path / "saved")
    tokenizer = ElmoTokenizer.from_pretrained(tmp_path / "saved")
    batch = tokenizer(["the river banks", "the"], padding=True, return_tensors="pt")
    assert batch["input_ids"].tolist() == [[[1], [4], [7], [3], [2]], [[1], [4], [2], [0], [0]]]
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (
        0,
        1,
        2,
        3,
    )
    assert len(tokenizer) == tokenizer.vocab_size == 10
    assert tokenizer.decode(batch["input_ids"][0]) == "<S> the river <UNK> </S>"
    assert tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True) == ["the river", "the"]
    assert tokenizer.convert_ids_to_tokens([4, 7]) == ["the", "river"]


def test_ids_of_words_as_the_original_checkpoint_has_them(fixtures_dir):
    tokenizer = ElmoTokenizer(vocab_file=str(fixtures_dir / "bilm_checkpoint" / "vocab.txt"))
    sentences = [
        line.split() for line in (fixtures_dir / "bilm_checkpoint" / "lm_sentences.txt").read_text().splitlines()
    ]
    with np.load(fixtures_dir / "bilm_checkpoint" / "lm_predictions.npz") as expected:
        for number, words in enumerate(sentences):
            labels = tokenizer.convert_words_to_labels([*words, "</S>"])
            np.testing.assert_array_equal(labels, expected[f"sent{number}/fw/target_ids"])
