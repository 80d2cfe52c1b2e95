# ruff: noqa: RUF001
"""Raw text to words, by the documented rules."""

from functools import cache

import numpy as np
import pytest
from encoded_words import original_row
from lanes import first_fast

from hf_elmo import ElmoTokenizer
from hf_elmo.model.word_splitting_elmo import SPLITTING_RULES, splitting_rule
from hf_elmo.splitting_rules import DESCRIPTIONS


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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("L'État, c'est moi : «oui» d’accord !", "L'État , c'est moi : « oui » d’accord !"),
        ("Er sagt: „Ja“, z.B. 3,5 km um 10:30 Uhr.", "Er sagt : „ Ja “ , z.B. 3,5 km um 10:30 Uhr ."),
        ("¿Qué? ¡No! un-dos… #tag @user", "¿ Qué ? ¡ No ! un-dos … #tag @user"),
        ("यह है। अच्छा॥ مرحبا، كيف؟", "यह है । अच्छा ॥ مرحبا ، كيف ؟"),
        ("Ελλάδα· τι; 日本・東京。", "Ελλάδα · τι ; 日本 ・ 東京 。"),
        ("I don't. Mr. J. can't 'x' https://a.b/c?d=e.", "I don't . Mr . J . can't ' x ' https://a.b/c?d=e ."),
    ],
)
def test_the_rule_for_text_of_other_languages(text, words):
    assert splitting_rule("punctuation").findall(text) == words.split()
    assert splitting_rule("punctuation").findall(words) == words.split()


def test_rules_are_described_in_a_sentence_and_others_refused():
    assert DESCRIPTIONS.keys() == SPLITTING_RULES.keys()
    for description in DESCRIPTIONS.values():
        assert description.endswith(".")
        assert len(description) < 120
    with pytest.raises(
        ValueError, match="split must be one of 'treebank', 'punctuation', 'letters_digits', 'whitespace', but is 'ptb'"
    ):
        splitting_rule("ptb")


def test_text_can_be_split_at_white_space_only():
    tokenizer = ElmoTokenizer(split="whitespace")
    assert tokenizer.tokenize("I don't know.\tYes,\xa0no \u3000 (maybe)\x1cso") == [
        "I", "don't", "know.", "Yes,", "no", "(maybe)", "so",
    ]  # fmt: skip


ALPHABET = (
    "aAnNtTsSvVeEmrRlL'’‘.,:&-–—\"“” \t\n\xa0\u3000\u200b$%012()[]{}<>!?;/@#*_…`"
    "\u0301éßİ😊\U0010ffff\x00\x1c\x85\u2028中。Ⅳ²"
)


@cache
def random_texts(count: int, alphabet: str = ALPHABET) -> list[str]:
    random, letters = np.random.default_rng(0), np.array(list(alphabet))
    return ["".join(random.choice(letters, random.integers(30))) for _ in range(count)]


@pytest.mark.parametrize("split", first_fast(SPLITTING_RULES))
def test_words_are_all_of_the_text_and_lie_where_the_offsets_say(split):
    tokenizer = ElmoTokenizer(split=split)
    for text in random_texts(2000, ALPHABET + "\ud800"):
        encoding = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        words = encoding.tokens() if encoding["input_ids"] else []
        assert [text[start:end] for start, end in encoding["offset_mapping"]] == words
        assert "".join(words) == "".join(text.split())
        assert encoding["input_ids"] == [original_row(word) for word in words]


@pytest.mark.slow
@pytest.mark.parametrize("split", [rule for rule in SPLITTING_RULES if rule != "letters_digits"])
def test_the_rust_tokenizer_behind_it_splits_alike(split):
    """But for the rule of AllenNLP, whose letters are those of Python: to Rust, combining marks are letters too."""
    tokenizer = ElmoTokenizer(split=split)
    for text in random_texts(2000):
        rust = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        assert rust.tokens == tokenizer.tokenize(text)


@pytest.mark.parametrize("rule", first_fast(SPLITTING_RULES))
@pytest.mark.parametrize(
    "unit", ["a", ".", "'", "a'", "n't", "www.(", "http://(", "a.", "1,", "-'", "Mr. ", " ", "Mr.\n"]
)
def test_long_texts_are_no_burden(rule, unit):
    """In time linear in the text this is done at once; in quadratic time it would take minutes."""
    text = unit * (160_000 // len(unit))
    assert "".join(splitting_rule(rule).findall(text)) == "".join(text.split())
