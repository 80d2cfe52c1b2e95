# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Words as rows of character ids, spelled as the original ELMo does, behind the interface of a fast tokenizer.

    raw text  -> words, by one regular expression (or at white space)       `TREEBANK`
    words     -> rows of W numbers, UTF-8 bytes between two marks            `SpelledWords`
    sentences -> boundary rows, truncation, windows, padding, (B, T, W) ids  `ElmoTokenizer`
    positions -> words, characters of the text, sequences                    `ElmoEncoding`

A Rust tokenizer sits behind it for the vocabulary and the added tokens. The text does not pass through it: a word is
one token here whatever it contains, and spelling words from a table is faster than any lookup of pieces.
"""

import os
import re
import sys
from collections.abc import Mapping
from functools import wraps
from itertools import accumulate, pairwise, product
from reprlib import repr as short_repr

import numpy as np
import torch
from tokenizers import AddedToken, Regex, Tokenizer, pre_tokenizers
from tokenizers.models import Unigram, WordLevel
from transformers import BatchEncoding, TokenizersBackend
from transformers.tokenization_utils_base import PaddingStrategy, TruncationStrategy
from transformers.utils import TensorType, logging, to_py_obj

logger = logging.get_logger(__name__)

# Character ids as at inference (bilm-tf, `UnicodeCharsVocabulary`): byte b is b + 1, and 0 is no word at all
PAD, BEGIN_SENTENCE, END_SENTENCE, BEGIN_WORD, END_WORD, PAD_CHARACTER = 0, 257, 258, 259, 260, 261
CHARACTERS = 262

VOCABULARY_FILE = "vocab.txt"
BOUNDARIES, UNKNOWN = ("<S>", "</S>"), "<UNK>"


# ---------------------------------------------------------------------------------------------------------------------
# Raw text to words
# ---------------------------------------------------------------------------------------------------------------------
# The rule of the Penn Treebank, but nothing is rewritten: joined, the words are the text without its white space.
# - Brackets, double quotes, ; ! ? % currency signs, dashes and the like stand alone; so do "...", "--", "``" and "''".
# - Clitics are cut off: do|n't, John|'s, we|'ll, I|'m, they|'re, you|'ve, he|'d. So are single quotes around a word.
#   An apostrophe elsewhere stays: O'Brien, o'clock, '90s, 'em.
# - , and : stay between digits (1,000 and 10:30), & inside a word (AT&T), hyphens, /, @ and # everywhere.
# - A period stays inside a word (3.14, example.com). At its end it is cut off, except in letters with periods (U.S.)
#   everywhere, and in abbreviations (Mr.) and initials (J.) unless the text ends there.
# - Links are kept whole, and so is what corpora that are split already write: <unk>, @-@, do n't, don 't.
# Python and Rust read the pattern alike.
BLANK = r"\s\x1c-\x1f"
ALONE = (
    r'\[\](){}<>";!?%$\u00a1\u00a2\u00a3\u00a5\u00ab\u00bb\u00bf\u2013-\u2015\u201c-\u201f\u2022\u2026\u2039\u203a\u20ac'
    r"\u3001\u3002\u3008-\u3011\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f"  # Chinese and Japanese
)
APOSTROPHE = r"['\u2019]"
PLAIN = rf"[^{BLANK}{ALONE}.,:&'\u2018\u2019`\-]"
END = rf"(?!-?{PLAIN})"
CLITIC = rf"(?:[sSmMdD]|[lL][lL]|[rRvV][eE]){END}"
NOT = rf"[nN]{APOSTROPHE}[tT]{END}"
ABBREVIATION = (
    "[A-HJ-Z]|Mr|Mrs|Ms|Messrs|Dr|Prof|Rev|Hon|Gov|Sen|Rep|Pres|Gen|Col|Maj|Capt|Lt|Sgt|St|Mt|Ft|Jr|Sr|Inc|Corp|Co|Ltd|"
    "Bros|Ph\\.D|Jan|Feb|Mar|Apr|Aug|Sept|Oct|Nov|Dec|vs|etc|al|cf"
)
TREEBANK = "|".join(
    (
        rf"""(?:https?://|www\.)[^{BLANK}<>"]*[^{BLANK}<>".,:;!?()'\u2019\u201d\]]""",  # a link, not what follows it
        rf"(?:[^\W\d_]\.){{2,}}{END}",  # U.S.
        rf"(?:{ABBREVIATION})\.{END}(?=[{BLANK}]*[^{BLANK}])",  # Mr. and J., if more text follows
        rf"[nN]os?\.(?=[{BLANK}]*\d)",  # No. 1
        r"<unk>|<UNK>|@[-,.]@",
        NOT,
        rf"{APOSTROPHE}(?:{CLITIC}|[tT]{END}|(?:em|til|tis|twas){END}|\d\ds?{END})",
        rf"-?{PLAIN}(?:(?!{NOT}){PLAIN}|-(?!-)|\.(?=-?{PLAIN})|[,:](?<=\d[,:])(?=\d)|&(?={PLAIN})"
        rf"|{APOSTROPHE}(?!{CLITIC})(?={PLAIN}))*",  # a word
        rf"\.{{2,}}|-{{2,}}|``|''|[^{BLANK}]",  # punctuation
    )
)
WHITE_SPACE = rf"[^{BLANK}]+"
SPLIT = {"treebank": re.compile(TREEBANK), "whitespace": re.compile(WHITE_SPACE)}


# ---------------------------------------------------------------------------------------------------------------------
# Words to rows
# ---------------------------------------------------------------------------------------------------------------------
class SpelledWords(dict):
    """A word's row of W ids as bytes, spelled when first asked for and kept: text repeats its words.

    The ids are int16, or int32 where a row is one word id (W = 1). Words that had to be cut are not kept, so that each
    of their occurrences is counted in `cut`. When it holds `LIMIT` words it starts anew.
    """

    LIMIT = 1 << 17
    MARKS = {mark: np.int16(mark).tobytes() for mark in range(CHARACTERS)}

    def __init__(self, width: int, boundaries: tuple[str, str], word_ids: dict[str, int] | None = None):
        self.width, self.boundaries, self.word_ids, self.cut = width, boundaries, word_ids, 0
        self.dtype = np.dtype(np.int32 if width == 1 else np.int16)
        self.padding = bytes(width * self.dtype.itemsize)
        self.begin, self.end = map(self.__missing__, BOUNDARIES if width == 1 else boundaries)

    def __missing__(self, word: str) -> bytes:
        if not isinstance(word, str):
            raise ValueError(f"every word must be a string, but one is {word!r} ({type(word).__name__})")
        if self.width == 1:
            row = np.int32(self.word_ids.get(word, self.word_ids[UNKNOWN]) + 1).tobytes()
        elif word in self.boundaries:
            row = self._row([BEGIN_SENTENCE if word == self.boundaries[0] else END_SENTENCE])
        else:
            characters, room = word.encode("utf-8", "ignore"), self.width - 2
            row = self._row([byte + 1 for byte in characters[:room]])
            if len(characters) > room:
                self._count(word, len(characters))
                return row
        if len(word) <= 64:  # longer ones, of word ids or lone surrogates, are rare and would make it large
            if len(self) >= self.LIMIT:
                self.clear()
            self[word] = row
        return row

    def _row(self, characters: list[int]) -> bytes:
        fill = [PAD_CHARACTER] * (self.width - 2 - len(characters))
        return b"".join([self.MARKS[character] for character in (BEGIN_WORD, *characters, END_WORD, *fill)])

    def _count(self, word: str, size: int):
        if not self.cut:
            logger.warning(
                f"A word of {size} bytes was cut to its first {self.width - 2}, as the original ELMo does: "
                f"{word[:60]!r}. Further cuts are only counted, in `tokenizer.num_cut_words`."
            )
        self.cut += 1

    def __reduce__(self):  # copies and other processes begin with an empty table
        return type(self), (self.width, self.boundaries, self.word_ids)


# ---------------------------------------------------------------------------------------------------------------------
# What a row of a batch consists of
# ---------------------------------------------------------------------------------------------------------------------
class Words(list):
    """The words of one sequence, and where each lies: in the raw `text`, or in itself if words were given."""

    text: str | None = None
    _offsets: list[tuple[int, int]] | None = None

    @property
    def offsets(self) -> list[tuple[int, int]]:
        if self._offsets is None:
            self._offsets, end = [], 0
            for word in self:
                # nothing but white space lies between two words of a text, so the next occurrence is the word
                start = 0 if self.text is None else self.text.find(word, end)
                end = start + len(word)
                self._offsets.append((start, end))
        return self._offsets


class ElmoEncoding:
    """One row of a batch as `tokenizers.Encoding` describes it, so that `BatchEncoding` can answer all it is asked.

    A row is `padding[0]` times padding, then for each of one or two sequences the boundary word `<S>`, a range of its
    words, and `</S>`, then `padding[1]` times padding. A word is one token.
    """

    def __init__(self, sequences: tuple[Words, ...], windows: tuple[range, ...], boundaries: tuple, pad_token: str):
        self.sequences, self.windows, self.boundaries, self.pad_token = sequences, windows, boundaries, pad_token
        self.begin, self.end = ([] if word is None else [word] for word in boundaries)
        self.padding = (0, 0)

    def __len__(self) -> int:
        return sum(self.padding) + sum(len(self.begin) + len(window) + len(self.end) for window in self.windows)

    def __repr__(self) -> str:
        return f"ElmoEncoding({self.tokens})"

    @property
    def n_sequences(self) -> int:
        return len(self.sequences)

    def _row(self, of_words, special, padding) -> list:
        row = [padding] * self.padding[0]
        for number, window in enumerate(self.windows):
            row += [*[special] * len(self.begin), *of_words(number, window), *[special] * len(self.end)]
        return row + [padding] * self.padding[1]

    def words(self, number: int) -> list[str]:
        """The words of one sequence that are in this row."""
        window = self.windows[number]
        return self.sequences[number][window.start : window.stop]

    @property
    def tokens(self) -> list[str]:
        row = [self.pad_token] * self.padding[0]
        for number in range(len(self.windows)):
            row += [*self.begin, *self.words(number), *self.end]
        return row + [self.pad_token] * self.padding[1]

    @property
    def word_ids(self) -> list[int | None]:
        return self._row(lambda number, window: window, None, None)

    @property
    def sequence_ids(self) -> list[int | None]:
        return self._row(lambda number, window: [number] * len(window), None, None)

    @property
    def type_ids(self) -> list[int]:
        boundaries = len(self.begin) + len(self.end)
        row = [0] * self.padding[0]
        for number, window in enumerate(self.windows):
            row += [number] * (len(window) + boundaries)
        return row + [0] * self.padding[1]

    @property
    def offsets(self) -> list[tuple[int, int]]:
        spans = [sequence.offsets for sequence in self.sequences]
        return self._row(lambda number, window: spans[number][window.start : window.stop], (0, 0), (0, 0))

    @property
    def special_tokens_mask(self) -> list[int]:
        return self._row(lambda number, window: [0] * len(window), 1, 1)

    @property
    def attention_mask(self) -> list[int]:
        return self._row(lambda number, window: [1] * len(window), 1, 0)

    def _locate(self, token: int) -> tuple[int, int] | None:
        """(sequence, word) of a position, `None` for a boundary word or padding."""
        for number, window in enumerate(self.windows):
            first = self._first_token(number)
            if first <= token < first + len(window):
                return number, window[token - first]
        return None

    def _first_token(self, number: int) -> int:
        before = sum(len(window) + len(self.begin) + len(self.end) for window in self.windows[:number])
        return self.padding[0] + before + len(self.begin)

    def token_to_sequence(self, token: int) -> int | None:
        place = self._locate(token)
        return place and place[0]

    def token_to_word(self, token: int) -> int | None:
        place = self._locate(token)
        return place and place[1]

    def token_to_chars(self, token: int) -> tuple[int, int] | None:
        place = self._locate(token)
        return place and self.sequences[place[0]].offsets[place[1]]

    def word_to_tokens(self, word: int, sequence: int = 0) -> tuple[int, int] | None:
        if sequence >= len(self.windows) or word not in self.windows[sequence]:
            return None
        token = self._first_token(sequence) + word - self.windows[sequence].start
        return token, token + 1

    def word_to_chars(self, word: int, sequence: int = 0) -> tuple[int, int] | None:
        return self.word_to_tokens(word, sequence) and self.sequences[sequence].offsets[word]

    def char_to_word(self, character: int, sequence: int = 0) -> int | None:
        if sequence >= len(self.windows):
            return None
        offsets = self.sequences[sequence].offsets
        return next((w for w in self.windows[sequence] if offsets[w][0] <= character < offsets[w][1]), None)

    def char_to_token(self, character: int, sequence: int = 0) -> int | None:
        word = self.char_to_word(character, sequence)
        return None if word is None else self.word_to_tokens(word, sequence)[0]


def truncate(
    lengths: list[int], room: int, strategy: TruncationStrategy, stride: int = 0, side: str = "right"
) -> list[tuple[range, ...]]:
    """The rows that one or two sequences of `lengths` words make if `room` words fit into a row, as Rust does it.

    Returns, for each row, the range of words it takes from each sequence. The first row is what truncation keeps; the
    further ones hold what overflows, each repeating `stride` words of the one before.
    """
    excess = sum(lengths) - room
    if excess <= 0 or strategy == TruncationStrategy.DO_NOT_TRUNCATE:
        return [tuple(map(range, lengths))]
    if strategy == TruncationStrategy.LONGEST_FIRST and len(lengths) == 2:
        short, long = min(lengths), max(lengths)
        long = max(short, room - short)
        if short + long > room:
            short, long = room // 2, room - room // 2
        kept = [short, long] if lengths[0] <= lengths[1] else [long, short]
    else:
        which = int(strategy == TruncationStrategy.ONLY_SECOND)
        if which >= len(lengths):
            raise ValueError("truncation='only_second' needs a second sequence: pass text_pair or another truncation")
        kept = list(lengths)
        kept[which] -= excess
        if kept[which] < 0:
            raise ValueError(  # "too short" is what the zero-shot pipeline looks for, which then truncates nothing
                f"truncation='{strategy.value}' cannot shorten {' + '.join(map(str, lengths))} words to {room}, as the "
                "sequence to cut is too short: pass truncation='longest_first' or a larger max_length"
            )
    first, *second = (_windows(*sequence, stride, side) for sequence in zip(lengths, kept))
    if not second:
        return [(window,) for window in first]
    (second,) = second
    # Rust's order: what is kept, then what overflows of the first with all of the second, then of the second alone
    return [(first[0], second[0]), *product(first[1:], second), *product(first[:1], second[1:])]


def _windows(length: int, kept: int, stride: int, side: str) -> list[range]:
    """Ranges of at most `kept` of `length` words, each sharing `stride` words with the one before."""
    if kept >= length or not kept:
        return [range(kept)]
    if stride >= kept:
        raise ValueError(f"stride={stride} must be smaller than the {kept} words of the sequence that fit into a row")
    windows = [range(start, min(start + kept, length)) for start in range(0, length - stride, kept - stride)]
    return windows if side == "right" else [range(length - w.stop, length - w.start) for w in windows]


# ---------------------------------------------------------------------------------------------------------------------
# The tokenizer
# ---------------------------------------------------------------------------------------------------------------------
class ElmoTokenizer(TokenizersBackend):
    r"""Text or words to the character ids of ELMo: `input_ids` (B, T, W) and `attention_mask` (B, T).

    A token is a word, and its id is a row of `W = max_characters_per_token` numbers: 259, the bytes of the word in
    UTF-8 (byte b as b + 1), 260, and 261 to the end. A word longer than W - 2 bytes is cut, maybe inside a character;
    `num_cut_words` counts how often that happened. Lone surrogates are dropped. Each sentence is put between the
    boundary words `<S>` (259, 257, 260, 261, ...) and `</S>` (259, 258, 260, 261, ...), pairs as
    `<S> A </S> <S> B </S>`, unless `add_special_tokens=False`. Words that read `<S>` or `</S>` are boundary words
    wherever they stand. Padding is rows of zeros.

    Everything that `max_length`, `stride`, `pad_to_multiple_of` and the like count is words. With
    `is_split_into_words=True`, each given word is one token, the empty word and words with white space inside too;
    `[]` is a sentence without words. Words added with `add_tokens` are kept whole in raw text.

    Of its 262 ids each has a name (`get_vocab`): `<PAD>`, `<0x00>` ... `<0xFF>`, `<S>`, `</S>` and three marks.

    Args:
        vocab_file (`str`, *optional*):
            A word vocabulary, as the language-model heads and models with words as input need it: one word a line, in
            the order of their ids, `<S>`, `</S>` and `<UNK>` among them. It is saved along as `vocab.txt`.
        max_characters_per_token (`int`, defaults to 50):
            Length W of a row. 1 is for models with words as input: a row is then the word's id plus one.
        split (`str`, defaults to `"treebank"`):
            How raw text becomes words: `"treebank"` cuts off punctuation and clitics, as described at `TREEBANK`;
            `"whitespace"` cuts at white space only.
        pad_token (`str`, defaults to `"<PAD>"`): Name of a padding row. It never stands for a word of a text.
        bos_token (`str`, defaults to `"<S>"`): The boundary word before a sentence.
        eos_token (`str`, defaults to `"</S>"`): The boundary word after a sentence.
        added_words (`list[str | AddedToken]`, *optional*): Words to be kept whole in raw text.
    """

    vocab_files_names = {"vocab_file": VOCABULARY_FILE}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(
        self,
        vocab_file: str | None = None,
        max_characters_per_token: int = 50,
        split: str = "treebank",
        pad_token: str = "<PAD>",
        bos_token: str = BOUNDARIES[0],
        eos_token: str = BOUNDARIES[1],
        added_words: list | None = None,
        **kwargs,
    ):
        if split not in SPLIT:
            raise ValueError(f"split must be one of {', '.join(map(repr, SPLIT))}, but is {split!r}")
        if max_characters_per_token < 3 and max_characters_per_token != 1:
            raise ValueError(
                "max_characters_per_token must be at least 3 (a byte between two marks), or 1 for words as input, "
                f"but is {max_characters_per_token}"
            )
        if max_characters_per_token == 1 and vocab_file is None:
            raise ValueError(
                f"words as input (max_characters_per_token=1) need a word vocabulary: vocab_file='{VOCABULARY_FILE}'"
            )
        self.max_characters_per_token, self.split = max_characters_per_token, split
        self.word_vocab, self._word_ids = None, None
        if vocab_file is not None:
            self.word_vocab = read_word_vocabulary(vocab_file)
            self._word_ids = {word: number for number, word in enumerate(self.word_vocab)}

        names = [str(pad_token or "<PAD>"), str(bos_token or BOUNDARIES[0]), str(eos_token or BOUNDARIES[1])]
        self._tokenizer = self._backend(*names)
        self._tokenizer.add_tokens(added_words or [])
        self._rows = SpelledWords(max_characters_per_token, (names[1], names[2]), self._word_ids)
        if max_characters_per_token == 1:
            kwargs.setdefault("unk_token", UNKNOWN)
        # from_pretrained tells these; none of them describes the tokenizer
        for key in ("is_local", "local_files_only", "tokenizer_file", "tokenizer_object"):
            kwargs.pop(key, None)
        super().__init__(
            vocab_file=vocab_file,
            max_characters_per_token=max_characters_per_token,
            split=split,
            pad_token=_alone(pad_token),
            bos_token=_alone(bos_token),
            eos_token=_alone(eos_token),
            added_words=added_words,
            **{"add_bos_token": True, "add_eos_token": True, **kwargs},
        )
        self._find_kept_words()

    def _backend(self, pad: str, bos: str, eos: str) -> Tokenizer:
        """The Rust tokenizer: names of all ids, added tokens, and the same words of a text."""
        if self.max_characters_per_token == 1:
            names = {word: number + 1 for word, number in self._word_ids.items()} | {pad: PAD}
            backend = Tokenizer(WordLevel(names, unk_token=UNKNOWN))
        else:
            names = [pad, *(f"<0x{byte:02X}>" for byte in range(256)), bos, eos, "<W>", "</W>", "<_>"]
            backend = Tokenizer(Unigram([(name, 0.0) for name in names], unk_id=PAD))
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(SPLIT[self.split].pattern), "removed", invert=True)
        return backend

    # ---- text to ids ----

    def _encode_plus(
        self,
        text,
        text_pair=None,
        add_special_tokens: bool = True,
        padding_strategy: PaddingStrategy = PaddingStrategy.DO_NOT_PAD,
        truncation_strategy: TruncationStrategy = TruncationStrategy.DO_NOT_TRUNCATE,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        verbose: bool = True,
        split_special_tokens: bool | None = None,
        **kwargs,
    ) -> BatchEncoding:
        """What `__call__` and `encode` do, once padding and truncation are sorted out."""
        support_token_classification_pipeline()
        if split_special_tokens is None:
            split_special_tokens = self.split_special_tokens
        examples, is_batched = self._examples(text, text_pair, is_split_into_words, split_special_tokens)

        boundaries = (
            self.bos_token if add_special_tokens and self.add_bos_token else None,
            self.eos_token if add_special_tokens and self.add_eos_token else None,
        )
        encodings, samples = [], []
        for sample, sequences in enumerate(examples):
            windows = self._windows(sequences, boundaries, truncation_strategy, max_length, stride)
            for window in windows if return_overflowing_tokens else windows[:1]:
                encodings.append(ElmoEncoding(sequences, window, boundaries, self.pad_token))
                samples.append(sample)

        length = padded_length([*map(len, encodings)], padding_strategy, max_length, pad_to_multiple_of)
        on_the_left = self._pads_on_the_left(padding_side)
        for encoding in encodings:
            missing = max(length - len(encoding), 0)
            encoding.padding = (missing, 0) if on_the_left else (0, missing)
            self._eventual_warn_about_too_long_sequence(encoding, max_length, verbose)

        columns = {"input_ids": self._input_ids(encodings)}
        for name, attribute, is_wanted in (
            ("token_type_ids", "type_ids", return_token_type_ids),
            ("attention_mask", "attention_mask", return_attention_mask),
            ("special_tokens_mask", "special_tokens_mask", return_special_tokens_mask),
            ("offset_mapping", "offsets", return_offsets_mapping),
        ):
            if is_wanted or (is_wanted is None and name in self.model_input_names):
                columns[name] = [getattr(encoding, attribute) for encoding in encodings]
        if return_length:
            columns["length"] = [*map(len, encodings)]
        if return_overflowing_tokens:
            columns["overflow_to_sample_mapping"] = samples
        if return_tensors is not None:
            shape = (len(encodings), common_length([*map(len, encodings)]))
            widths = {"input_ids": (self._rows.width,), "offset_mapping": (2,)}
            for name in columns.keys() - {"length", "overflow_to_sample_mapping"}:
                columns[name] = as_tensor(columns[name], return_tensors).reshape(shape + widths.get(name, ()))
            return BatchEncoding(columns, encodings, tensor_type=return_tensors)
        ids, ends = columns["input_ids"].tolist(), [0, *accumulate(map(len, encodings))]
        columns["input_ids"] = [ids[start:end] for start, end in pairwise(ends)]
        if not is_batched and not return_overflowing_tokens:
            columns = {name: rows[0] if isinstance(rows[0], list) else rows for name, rows in columns.items()}
        return BatchEncoding(columns, encodings)

    def _examples(
        self, text, text_pair, is_split_into_words: bool, split_special_tokens: bool
    ) -> tuple[list[tuple[Words, ...]], bool]:
        """The words of each example's one or two sequences, and whether the examples came as a batch."""

        def sequence(given) -> Words:
            if is_split_into_words:
                if not isinstance(given, (list, tuple)):
                    raise ValueError(
                        "is_split_into_words=True takes a list of words or a batch of such lists, "
                        f"but a sequence is {shown(given)}: pass its words, or drop is_split_into_words"
                    )
                return Words(given)
            if not isinstance(given, str):
                hint = ": pass is_split_into_words=True for lists of words" if isinstance(given, (list, tuple)) else ""
                raise ValueError(f"text must be a string or a list of strings, but a sequence is {shown(given)}{hint}")
            words = Words(self._split(given, split_special_tokens))
            words.text = given
            return words

        def is_pair(example) -> bool:
            part = (list, tuple) if is_split_into_words else str
            return isinstance(example, (list, tuple)) and len(example) == 2 and isinstance(example[0], part)

        is_batched = isinstance(text, (list, tuple))
        if is_split_into_words:
            is_batched = is_batched and bool(text) and isinstance(text[0], (list, tuple))
        if not is_batched:
            pair = (text,) if text_pair is None else (text, text_pair)
            return [tuple(map(sequence, pair))], False
        if text_pair is None:
            return [tuple(map(sequence, one if is_pair(one) else (one,))) for one in text], True
        if not isinstance(text_pair, (list, tuple)) or len(text) != len(text_pair):
            raise ValueError(
                f"a batch of {len(text)} needs as many second sequences, but text_pair is {shown(text_pair)}"
            )
        return [(sequence(first), sequence(second)) for first, second in zip(text, text_pair)], True

    def _split(self, text: str, split_special_tokens: bool = False) -> list[str]:
        """The words of raw text: added words where they occur, and what the rule makes of the text between them."""
        split = SPLIT[self.split].findall
        contents, pattern = self._kept[split_special_tokens]
        if not any(content in text for content in contents):
            return split(text)
        words, end = [], 0
        for kept in pattern.finditer(text):
            words += [*split(text, end, kept.start()), kept.group()]
            end = kept.end()
        return words + split(text, end)

    def _windows(
        self,
        sequences: tuple[Words, ...],
        boundaries: tuple,
        strategy: TruncationStrategy,
        max_length: int,
        stride: int,
    ) -> list[tuple[range, ...]]:
        """What each row takes of an example's words: all of them in one row, or what `max_length` leaves room for."""
        lengths = [len(words) for words in sequences]
        if strategy == TruncationStrategy.DO_NOT_TRUNCATE:
            return [tuple(map(range, lengths))]
        specials = len(lengths) * sum(word is not None for word in boundaries)
        if max_length < specials:
            raise ValueError(
                f"max_length={max_length} is less than the {specials} boundary words of a row: "
                "pass a larger max_length, or add_special_tokens=False"
            )
        return truncate(lengths, max_length - specials, strategy, stride, self.truncation_side)

    def _input_ids(self, encodings: list[ElmoEncoding]) -> np.ndarray:
        """(positions of all rows, W) ids."""
        rows, spelled = self._rows, []
        for encoding in encodings:
            left, right = encoding.padding
            spelled.append(left * rows.padding)
            for number in range(encoding.n_sequences):
                spelled += [rows.begin] * len(encoding.begin)
                spelled += self._spell(encoding.words(number))
                spelled += [rows.end] * len(encoding.end)
            spelled.append(right * rows.padding)
        return self._as_ids(spelled)

    def _spell(self, words: list[str]) -> list[bytes]:
        try:
            return [*map(self._rows.__getitem__, words)]
        except TypeError:  # what cannot be looked up is no string either
            raise ValueError("every word must be a string, but one is a list: lists are nested too deep") from None

    def _as_ids(self, spelled: list[bytes]) -> np.ndarray:
        return np.frombuffer(b"".join(spelled), self._rows.dtype).astype(np.int64).reshape(-1, self._rows.width)

    def pad(
        self,
        encoded_inputs,
        padding: bool | str | PaddingStrategy = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pad one encoded example or a batch of them: lists, arrays or tensors, as a dict or as a list of dicts.

        Rows of `input_ids` are filled up with rows of zeros, masks along with them. Whatever else an example holds,
        labels for instance, is left to collators.
        """
        is_list = isinstance(encoded_inputs, (list, tuple)) and bool(encoded_inputs)
        if is_list and isinstance(encoded_inputs[0], Mapping):
            encoded_inputs = {name: [example[name] for example in encoded_inputs] for name in encoded_inputs[0]}
        ids = encoded_inputs.get("input_ids") if isinstance(encoded_inputs, Mapping) else None
        dimensions, width = dimensions_of(ids), self._rows.width
        is_single = dimensions == 2 and not is_list and all(len(row) == width for row in ids)
        if not is_single and dimensions < 3:  # single characters, or nothing: not our rows
            return super().pad(
                encoded_inputs, padding, max_length, pad_to_multiple_of, padding_side, return_attention_mask,
                return_tensors, verbose,
            )  # fmt: skip
        strategy, _, max_length, _ = self._get_padding_truncation_strategies(padding, None, max_length, verbose=verbose)
        columns = {name: [values] if is_single else values for name, values in encoded_inputs.items()}
        if wrong := [name for name, values in columns.items() if len(values) != len(columns["input_ids"])]:
            raise ValueError(
                f"{wrong[0]} has {len(columns[wrong[0]])} examples, but input_ids has {len(columns['input_ids'])}"
            )
        if return_tensors is None:
            return_tensors = tensor_type_of(ids)

        examples = [as_array(rows).reshape(len(rows), -1 if len(rows) else width) for rows in columns["input_ids"]]
        if wrong := [rows for rows in examples if rows.shape[1] != width]:
            raise ValueError(f"input_ids must hold rows of {width} ids, but an example's rows hold {wrong[0].shape[1]}")
        lengths = [*map(len, examples)]
        length = padded_length(lengths, strategy, max_length, pad_to_multiple_of)
        on_the_left = self._pads_on_the_left(padding_side)
        if return_attention_mask or (return_attention_mask is None and "attention_mask" in self.model_input_names):
            columns.setdefault("attention_mask", [[1] * unpadded for unpadded in lengths])
        columns["input_ids"] = examples
        fillers = {
            "input_ids": PAD,
            "attention_mask": 0,
            "token_type_ids": self.pad_token_type_id,
            "special_tokens_mask": 1,
        }
        for name, values in columns.items():
            if name not in fillers:
                columns[name] = to_py_obj(values)
                continue
            padded = [fill_up(as_array(row), length, fillers[name], on_the_left) for row in values]
            if return_tensors is None:
                columns[name] = [row.tolist() for row in padded]
            else:
                common_length([*map(len, padded)])
                columns[name] = as_tensor(np.stack(padded), return_tensors)
        if is_single:
            columns = {name: values[0] for name, values in columns.items()}
        return BatchEncoding(columns, tensor_type=return_tensors)

    def _pads_on_the_left(self, padding_side: str | None) -> bool:
        side = padding_side or self.padding_side
        if side not in ("left", "right"):
            raise ValueError(f"padding_side must be 'left' or 'right', but is {side!r}")
        return side == "left"

    # ---- ids to text ----

    def convert_tokens_to_ids(self, tokens: str | list[str]) -> int | list[int] | list[list[int]]:
        """A list of words to their rows; one string to the id of the character of this name, else to its row."""
        if isinstance(tokens, str):
            character = self._tokenizer.token_to_id(tokens)
            return self.convert_tokens_to_ids([tokens])[0] if character is None else character
        return self._as_ids(self._spell(tokens)).tolist()

    def convert_ids_to_tokens(self, ids, skip_special_tokens: bool = False) -> str | list[str]:
        """(T, W) rows to words, one row of (W,) ids to its word, single ids to the names of the characters."""
        dimensions = dimensions_of(ids)
        if dimensions == 0:
            return self._tokenizer.id_to_token(int(ids))
        if dimensions == 1:
            row = [int(character) for character in ids]
            if len(row) == self._rows.width > 1 and (row[0] == BEGIN_WORD or not any(row)):
                return self._word(row)
            specials = set(self.all_special_ids) if skip_special_tokens else ()
            return [self._tokenizer.id_to_token(character) for character in row if character not in specials]
        if dimensions > 2:
            return [self.convert_ids_to_tokens(rows, skip_special_tokens) for rows in ids]
        rows = to_py_obj(ids)
        words = [self._word(row) for row in rows]
        if not skip_special_tokens:
            return words
        specials = self._special_words()
        return [word for word, special in zip(words, self._special_rows(rows)) if not special and word not in specials]

    def _special_words(self) -> set[str]:
        """Added words flagged as special, without the names of padding and boundaries, which have their own rows."""
        own = {self.pad_token, self.bos_token, self.eos_token}
        return {token.content for token in self.added_tokens_decoder.values() if token.special} - own

    def _special_rows(self, rows: list[list[int]]) -> list[bool]:
        """Which rows are padding or boundary words."""
        boundaries = self._boundary_ids
        return [not any(row) or not boundaries.isdisjoint(row) for row in rows]

    @property
    def _boundary_ids(self) -> set[int]:
        if self._rows.width == 1:
            return {self._word_ids[word] + 1 for word in BOUNDARIES}
        return {BEGIN_SENTENCE, END_SENTENCE}

    def _word(self, row: list[int]) -> str:
        if not any(row):
            return self.pad_token
        if self._rows.width == 1:
            return self._tokenizer.id_to_token(row[0])
        if BEGIN_SENTENCE in row or END_SENTENCE in row:
            return self._tokenizer.id_to_token(BEGIN_SENTENCE if BEGIN_SENTENCE in row else END_SENTENCE)
        return bytes(character - 1 for character in row if 0 < character <= 256).decode("utf-8", "ignore")

    def tokenize(self, text, pair=None, add_special_tokens: bool = False, **kwargs) -> list[str]:
        """The words of a text, or of a pair of texts."""
        return self._encode_plus(text, pair, add_special_tokens, return_tensors="np", **kwargs).tokens()

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Words to a text, with a blank between them."""
        return " ".join(tokens)

    def decode(
        self, token_ids, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None, **kwargs
    ) -> str | list[str]:
        """(T, W) ids to a text, (B, T, W) ids to a list of texts, and (W,) ids to the word they spell.

        Words come back as they went in, but for what was cut off; of a character cut in the middle nothing remains.
        """
        dimensions = dimensions_of(token_ids)
        if dimensions > 2:
            return [self.decode(rows, skip_special_tokens, clean_up_tokenization_spaces) for rows in token_ids]
        if dimensions < 2:
            token_ids = np.reshape(to_py_obj(token_ids), (1, -1) if self._rows.width > 1 else (-1, 1))
        text = self.convert_tokens_to_string(self.convert_ids_to_tokens(token_ids, skip_special_tokens))
        if clean_up_tokenization_spaces is None:
            clean_up_tokenization_spaces = self.clean_up_tokenization_spaces
        return self.clean_up_tokenization(text) if clean_up_tokenization_spaces else text

    def get_special_tokens_mask(
        self, token_ids_0, token_ids_1=None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 for boundary words and padding, 0 for words: of (T, W) ids, or of what sequences without them will be."""
        if not already_has_special_tokens:
            sequences = [ids for ids in (token_ids_0, token_ids_1) if ids is not None]
            boundaries = self.add_bos_token, self.add_eos_token
            return [mark for ids in sequences for mark in [1] * boundaries[0] + [0] * len(ids) + [1] * boundaries[1]]
        if dimensions_of(token_ids_0) < 2:
            return super().get_special_tokens_mask(token_ids_0, token_ids_1, already_has_special_tokens)
        return [int(special) for special in self._special_rows(to_py_obj(token_ids_0))]

    @property
    def all_special_ids(self) -> list[int]:
        """The ids that tell padding and boundary words, 0, 257 and 258, and those that name added special words."""
        return [self._tokenizer.token_to_id(token) for token in self.all_special_tokens]

    @property
    def extra_special_tokens_ids(self) -> list[int]:
        """The ids that name the special words given as `extra_special_tokens`."""
        return [self._tokenizer.token_to_id(token) for token in self.extra_special_tokens]

    @property
    def pad_token_id(self) -> int | None:
        """The id that padding rows consist of, also if padding has been given a name that is no character's."""
        if self.pad_token is None:
            return None
        number = self._tokenizer.token_to_id(self.pad_token)
        return PAD if number is None or number >= self.vocab_size else number

    @property
    def vocab_size(self) -> int:
        """Number of ids in `input_ids`: 262, or one more than the words of the vocabulary if words are the input."""
        return CHARACTERS if self._rows.width > 1 else self.word_vocab_size + 1

    def __len__(self) -> int:
        """`vocab_size`, because added words are spelled like any other word: they need no new embeddings."""
        return self.vocab_size

    @property
    def num_cut_words(self) -> int:
        """How many words had more than W - 2 bytes and lost the rest."""
        return self._rows.cut

    # ---- added words and word vocabulary ----

    @property
    def added_words(self) -> list[AddedToken]:
        """The words that were added, in the order of their ids."""
        return [token for number, token in sorted(self.added_tokens_decoder.items()) if number >= self.vocab_size]

    def _add_tokens(self, new_tokens: list[str | AddedToken], special_tokens: bool = False) -> int:
        added = super()._add_tokens(new_tokens, special_tokens)
        self._find_kept_words()
        return added

    def _find_kept_words(self):
        """`_kept[split_special_tokens]`: the words kept whole in raw text, and a pattern that finds them."""
        tokens = sorted(self.added_tokens_decoder.values(), key=lambda token: -len(token.content))
        self._kept = {}
        for split_special_tokens in (False, True):
            kept = [token for token in tokens if not (split_special_tokens and token.special)]
            patterns = (
                rf"(?<!\w){re.escape(token.content)}(?!\w)" if token.single_word else re.escape(token.content)
                for token in kept
            )
            self._kept[split_special_tokens] = [token.content for token in kept], re.compile("|".join(patterns))

    @property
    def word_vocab_size(self) -> int:
        """Number of words in the word vocabulary, 0 without one."""
        return len(self.word_vocab or ())

    def convert_words_to_labels(self, words: str | list) -> int | list:
        """Ids of words in the word vocabulary, what a language-model head predicts: of a word, or of (nested) lists.

        A word that is not in the vocabulary has the id of `<UNK>`.
        """
        self._need_word_vocabulary()
        if isinstance(words, str):
            return self._word_ids.get(words, self._word_ids[UNKNOWN])
        if words and isinstance(words[0], str):
            ids, unknown = self._word_ids, self._word_ids[UNKNOWN]
            return [ids.get(word, unknown) for word in words]
        return [self.convert_words_to_labels(part) for part in words]

    def convert_labels_to_words(self, labels) -> str | list:
        """Words of the word vocabulary, of an id or of (nested) lists, arrays and tensors of ids."""
        self._need_word_vocabulary()
        labels = to_py_obj(labels)
        if isinstance(labels, (list, tuple)):
            return [self.convert_labels_to_words(part) for part in labels]
        if not 0 <= labels < len(self.word_vocab):
            raise ValueError(f"word id {labels} is not in the word vocabulary of {len(self.word_vocab)} words")
        return self.word_vocab[labels]

    def _need_word_vocabulary(self):
        if self.word_vocab is None:
            raise ValueError(
                f"this tokenizer carries no word vocabulary: pass vocab_file='{VOCABULARY_FILE}', one word a line"
            )

    # ---- files ----

    @classmethod
    def convert_to_native_format(cls, trust_remote_code: bool = False, **kwargs) -> dict:
        """Nothing is read from a `tokenizer.json`: its Rust tokenizer could not make rows."""
        return kwargs

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write the word vocabulary, if there is one, to `vocab.txt`."""
        if self.word_vocab is None:
            return ()
        prefix = filename_prefix + "-" if filename_prefix else ""
        path = os.path.join(save_directory, prefix + VOCABULARY_FILE)
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(word + "\n" for word in self.word_vocab)
        return (path,)

    def _save_pretrained(self, save_directory, file_names, legacy_format=None, filename_prefix=None) -> tuple[str, ...]:
        return file_names + self.save_vocabulary(save_directory, filename_prefix)

    def train_new_from_iterator(self, *args, **kwargs):
        raise NotImplementedError(
            "there is nothing to train: the characters are the 256 bytes, and words are not pieced together"
        )


# ---------------------------------------------------------------------------------------------------------------------
# Helpers
# ---------------------------------------------------------------------------------------------------------------------
def shown(given) -> str:
    """What was given, for a message of one line."""
    return " ".join(short_repr(given).split())


def _alone(token: str | AddedToken | None) -> AddedToken | None:
    """A special word that counts as such only where it stands alone: not in `a<S>b`."""
    return AddedToken(token, single_word=True, normalized=False, special=True) if isinstance(token, str) else token


def padded_length(
    lengths: list[int], strategy: PaddingStrategy, max_length: int | None, pad_to_multiple_of: int | None
) -> int:
    """Length to which shorter rows are filled up, 0 for no padding."""
    if strategy == PaddingStrategy.DO_NOT_PAD:
        return 0
    length = max_length if strategy == PaddingStrategy.MAX_LENGTH else max(lengths, default=0)
    return -(-length // pad_to_multiple_of) * pad_to_multiple_of if pad_to_multiple_of else length


def common_length(lengths: list[int]) -> int:
    """The one length that all rows of a tensor have."""
    if len(set(lengths)) > 1:
        raise ValueError(
            f"rows of {min(lengths)} to {max(lengths)} words make no tensor: pass padding=True, "
            "or truncation=True and max_length with padding='max_length'"
        )
    return lengths[0] if lengths else 0


def dimensions_of(ids) -> int:
    """0 for an id, 1 for (W,) ids, 2 for (T, W), 3 for (B, T, W). `[]` has 2: it is a sentence without words."""
    if hasattr(ids, "ndim"):
        return ids.ndim
    if not isinstance(ids, (list, tuple)):
        return 0
    if not ids:
        return 2
    return 1 + dimensions_of(max(ids, key=lambda part: len(part) if hasattr(part, "__len__") else 0))


def tensor_type_of(ids) -> str | None:
    """What ids are given as: "pt" for tensors, "np" for arrays, both in lists too, `None` for lists of numbers."""
    while isinstance(ids, (list, tuple)) and ids:
        ids = ids[0]
    return "pt" if isinstance(ids, torch.Tensor) else "np" if isinstance(ids, np.ndarray) else None


def as_array(values) -> np.ndarray:
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values, dtype=np.int64)


def as_tensor(values, tensor_type: str):
    array = np.asarray(values, dtype=np.int64)
    return torch.from_numpy(array) if TensorType(tensor_type) == TensorType.PYTORCH else array


def fill_up(row: np.ndarray, length: int, filler: int, on_the_left: bool) -> np.ndarray:
    """`row` with its first axis filled up to `length`."""
    missing = np.full((max(length - len(row), 0), *row.shape[1:]), filler, row.dtype)
    return np.concatenate((missing, row) if on_the_left else (row, missing))


def read_word_vocabulary(path: str) -> list[str]:
    """Words of a vocabulary file as bilm-tf reads it: one a line, without white space around it; the id is the line."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            words = [word for line in file if (word := line.strip()) != "!!!MAXTERMID"]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the word vocabulary {path} cannot be read: {error}") from None
    if missing := {*BOUNDARIES, UNKNOWN}.difference(words):
        raise ValueError(
            f"the word vocabulary {path} lacks {', '.join(sorted(missing))}: it needs <S>, </S> and <UNK> among its "
            f"{len(words)} lines, one word a line, most frequent first"
        )
    return words


# ---------------------------------------------------------------------------------------------------------------------
# The token-classification pipeline
# ---------------------------------------------------------------------------------------------------------------------
def support_token_classification_pipeline():
    """Let transformers' token-classification pipeline work on rows of ids.

    The stock class asks for the token of each id by `int(input_ids[i])`, which a row of ids is not. Here its
    `gather_pre_entities` is wrapped: 1-D ids, those of all other models, go to the original untouched; for 2-D ids a
    word is what lies between its offsets. This is done once, and only when the module of the pipeline is there already,
    because importing it takes longer than everything else here. Every call of the tokenizer comes by, and the pipeline
    has to call it before it gathers anything.
    """
    module = sys.modules.get("transformers.pipelines.token_classification")
    original = module and module.TokenClassificationPipeline.gather_pre_entities
    if original is None or hasattr(original, "reads_rows"):
        return

    @wraps(original)
    def gather_pre_entities(self, sentence, input_ids, scores, offset_mapping, special_tokens_mask, *args, **kwargs):
        if getattr(input_ids, "ndim", 1) < 2:
            return original(self, sentence, input_ids, scores, offset_mapping, special_tokens_mask, *args, **kwargs)
        _, word_ids, word_starts = (*args, None, None, None)[:3]
        word_ids, word_starts = kwargs.get("word_ids", word_ids), kwargs.get("word_to_chars_map", word_starts)
        entities = []
        for index in np.flatnonzero(np.asarray(special_tokens_mask) == 0).tolist():
            start, end = (int(offset) for offset in offset_mapping[index])
            if word_ids is not None and word_starts is not None:  # words were given: offsets begin at the word
                start, end = (word_starts[word_ids[index]][0] + offset for offset in (start, end))
            entities.append(
                {
                    "word": sentence[start:end],
                    "scores": scores[index],
                    "start": start,
                    "end": end,
                    "index": index,
                    "is_subword": False,
                }
            )
        return entities

    gather_pre_entities.reads_rows = True
    module.TokenClassificationPipeline.gather_pre_entities = gather_pre_entities
