# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The tokenizer: text or words to rows of character ids, with the interface of a fast tokenizer.

    raw text  -> words, by a rule                                             `word_splitting_elmo`
    words     -> rows of W ids                                                `character_ids_elmo`
    sentences -> special tokens, truncation, windows, padding: (B, T, W) ids  `ElmoTokenizer`
    positions -> words, characters of the text, sequences                     `encoding_elmo`

A Rust tokenizer holds the vocabulary and the added tokens, for methods of the base class that ask it. Text does not
pass through it: a word is one token here whatever it contains, and a table of encoded words is faster than it.
"""

import json
import os
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import numpy as np
from tokenizers import AddedToken
from transformers import BatchEncoding, TokenizersBackend
from transformers.tokenization_utils_base import PaddingStrategy, TruncationStrategy
from transformers.utils import to_py_obj

from .character_ids_elmo import (
    BOS_WORD,
    EOS_WORD,
    PAD_ID,
    UNKNOWN_WORD,
    IdLists,
    WordRows,
    read_word_vocabulary,
    rust_tokenizer,
)
from .encoding_elmo import (
    ElmoEncoding,
    as_tensor,
    common_length,
    dimensions_of,
    id_arrays,
    pad_columns,
    padded_length,
    read_examples,
    tensor_type_of,
    truncate,
)
from .saved_folder_elmo import check_is_saved
from .tokenizer_files_elmo import (
    FILES,
    NOT_OPTIONS,
    VOCABULARY_FILE,
    check_option,
    check_options,
    make_word_rows,
    read_dictionaries,
    read_features,
    write_files,
)
from .word_splitting_elmo import KeptWords, splitting_rule


class ElmoTokenizer(TokenizersBackend):
    r"""Text or words to the character ids of ELMo: `input_ids` (B, T, W) and `attention_mask` (B, T).

    A token is a word, and its id is a row of `W = max_characters_per_token` numbers: 259, the bytes of the word in
    UTF-8 (byte b as b + 1), 260, and 261 to the end. A word longer than W - 2 bytes is cut, maybe inside a character;
    `num_cut_words` counts how often that happened. Lone surrogates are dropped. Each sentence is put between the
    special tokens `<S>` (259, 257, 260, 261, ...) and `</S>` (259, 258, 260, 261, ...), pairs as
    `<S> A </S> <S> B </S>`, unless `add_special_tokens=False`. The words `<S>` and `</S>` are special tokens wherever
    they stand. Padding is rows of zeros.

    All lengths (`max_length`, `stride`, `pad_to_multiple_of`, ...) are in words. With `is_split_into_words=True`, each
    given word is one token, the empty word and words with white space inside too; `[]` is a sentence without words.
    Words added with `add_tokens` are kept whole in raw text.

    Each of the 262 ids has a name (`get_vocab`): `<PAD>`, `<0x00>` ... `<0xFF>`, `<S>`, `</S>`, `<W>`, `</W>`, `<_>`.

    Lists need 8 bytes an id. `datasets.map` stores 2 with `batched=True`, else 4 (int32) unless `features` say int16.

    Args:
        vocab_file: A word vocabulary, which language-model heads and models with words as input need: one word a line,
            in the order of their ids, `<S>`, `</S>` and `<UNK>` among them. It is saved along as `vocab.txt`.
        max_characters_per_token: Length W of a row. 1 is for models with words as input: a row is then the word's id
            plus one.
        split: Rule that splits raw text into words, a key of `SPLITTING_RULES` in `word_splitting_elmo`: `"treebank"`
            separates punctuation and English clitics, `"punctuation"` only punctuation, `"whitespace"` neither.
        pad_token: Name of a padding row. It never stands for a word of a text.
        bos_token, eos_token: The special tokens around a sentence.
        added_words: Words, or `AddedToken`s, to be kept whole in raw text.
        dictionaries_file: `dictionaries.json` of a model of code points, see `row_variants_elmo`.
        features_file: `word_features.json` of a task model with embeddings of its own, see `row_variants_elmo`. A row
            then has their ids after the W of ELMo.
        words_around: `[[before, behind], [before, behind]]`: lists of words that belong around a first and a second
            text, such as AllenNLP's `@@NULL@@`, and are added where they are missing.

    Raises:
        `ValueError`: in one line, for an option of another type or size, and a vocabulary that cannot be read.
    """

    vocab_files_names = FILES
    model_input_names = ["input_ids", "attention_mask"]
    word_vocab: list[str] | None = None  # of vocab_file, by id
    word_rows: WordRows | None = None  # the table of encoded words

    def __init__(
        self,
        vocab_file: str | None = None,
        max_characters_per_token: int = 50,
        split: str = "treebank",
        pad_token: str = "<PAD>",
        bos_token: str = BOS_WORD,
        eos_token: str = EOS_WORD,
        added_words: list | None = None,
        dictionaries_file: str | None = None,
        features_file: str | None = None,
        words_around: list | None = None,
        **kwargs,
    ):
        tokens = {"pad_token": pad_token, "bos_token": bos_token, "eos_token": eos_token}
        own = {"max_characters_per_token": max_characters_per_token, "split": split, "added_words": added_words}
        own["words_around"] = words_around
        kwargs = {name: value for name, value in kwargs.items() if name not in NOT_OPTIONS}
        for name, value in (own | tokens | kwargs).items():
            if not callable(getattr(type(self), name, None)):  # the base class refuses arguments named like methods
                check_option(name, value, type(self))
        if max_characters_per_token == 1 and vocab_file is None:
            raise ValueError(
                f"words as input (max_characters_per_token=1) need a word vocabulary: vocab_file='{VOCABULARY_FILE}'"
            )
        self.max_characters_per_token, self.split, self.words_around = max_characters_per_token, split, words_around
        self.word_vocab = None if vocab_file is None else read_word_vocabulary(vocab_file)
        self._word_ids = {word: number for number, word in enumerate(self.word_vocab or ())}

        pad, bos, eos = str(pad_token or "<PAD>"), str(bos_token or BOS_WORD), str(eos_token or EOS_WORD)
        self.dictionaries = None if dictionaries_file is None else read_dictionaries(dictionaries_file)
        self.word_features = None if features_file is None else read_features(features_file)
        files = self._word_ids, self.dictionaries, self.word_features
        self.word_rows = make_word_rows(max_characters_per_token, bos, eos, *files)
        self._tokenizer = rust_tokenizer(self.word_rows, pad, splitting_rule(split).pattern)
        self._tokenizer.add_tokens(added_words or [])
        if max_characters_per_token == 1:
            kwargs.setdefault("unk_token", UNKNOWN_WORD)
        alone = {"single_word": True, "normalized": False, "special": True}  # not special in `a<S>b`
        super().__init__(
            vocab_file=vocab_file,
            dictionaries_file=dictionaries_file,
            features_file=features_file,
            **own,
            **{name: AddedToken(token, **alone) if isinstance(token, str) else token for name, token in tokens.items()},
            **{"add_bos_token": True, "add_eos_token": True, **kwargs},
        )
        self._find_kept_words()

    # ---- text to ids ----

    def _encode_plus(
        self,
        text: str | list,
        text_pair: str | list | None = None,
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
        """Encode text or words, once the base class has resolved padding and truncation for `__call__` and `encode`."""
        if split_special_tokens is None:
            split_special_tokens = self.split_special_tokens
        kept = self._kept_words[split_special_tokens]
        split = None if is_split_into_words else lambda given: kept.split(given, self.split)
        examples, is_batched = read_examples(text, text_pair, split, self.words_around)

        specials = (
            self.bos_token if add_special_tokens and self.add_bos_token else None,
            self.eos_token if add_special_tokens and self.add_eos_token else None,
        )
        encodings, samples = [], []
        for sample, sequences in enumerate(examples):
            lengths = [*map(len, sequences)]
            windows = truncate(lengths, max_length, specials, truncation_strategy, stride, self.truncation_side)
            for window in windows if return_overflowing_tokens else windows[:1]:
                encodings.append(ElmoEncoding(sequences, window, specials, self.pad_token))
                samples.append(sample)

        length = padded_length([*map(len, encodings)], padding_strategy, max_length, pad_to_multiple_of)
        on_the_left = self._pads_on_the_left(padding_side)
        for encoding in encodings:
            missing = max(length - len(encoding), 0)
            encoding.padding = (missing, 0) if on_the_left else (0, missing)
            self._eventual_warn_about_too_long_sequence(encoding, max_length, verbose)

        rows = [row for encoding in encodings for row in encoding.rows(self.word_rows)]
        columns: dict[str, Any] = {"input_ids": self.word_rows.ids(rows)}
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
            widths = {"input_ids": (self.word_rows.width,), "offset_mapping": (2,)}
            for name in columns.keys() - {"length", "overflow_to_sample_mapping"}:
                columns[name] = as_tensor(columns[name], return_tensors).reshape(shape + widths.get(name, ()))
            return BatchEncoding(columns, encodings, tensor_type=return_tensors)
        ends = [*accumulate(map(len, encodings))]
        columns["input_ids"] = IdLists.from_arrays(np.split(columns["input_ids"], ends[:-1]) if ends else [])
        if not is_batched and not return_overflowing_tokens:
            columns = {name: rows[0] if isinstance(rows[0], list) else rows for name, rows in columns.items()}
        return BatchEncoding(columns, encodings)

    def pad(
        self,
        encoded_inputs: Mapping | list[Mapping],
        padding: bool | str | PaddingStrategy = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pad one encoded example or a batch of them: lists, arrays or tensors, as a dict or as a list of dicts.

        Rows of `input_ids` are filled up with rows of zeros, and masks along with them. All other values of an
        example, labels for instance, are left to collators.
        """
        is_list = isinstance(encoded_inputs, (list, tuple)) and bool(encoded_inputs)
        if is_list and isinstance(encoded_inputs[0], Mapping):
            encoded_inputs = {name: [example[name] for example in encoded_inputs] for name in encoded_inputs[0]}
        ids = encoded_inputs.get("input_ids") if isinstance(encoded_inputs, Mapping) else None
        dimensions, width = dimensions_of(ids), self.word_rows.width
        is_single = dimensions == 2 and not is_list and all(len(row) == width for row in ids)
        if not isinstance(encoded_inputs, Mapping) or (dimensions < 3 and not is_single):
            return super().pad(  # single characters, or nothing: not our rows
                encoded_inputs, padding, max_length, pad_to_multiple_of, padding_side, return_attention_mask,
                return_tensors, verbose,
            )  # fmt: skip
        strategy, _, max_length, _ = self._get_padding_truncation_strategies(padding, None, max_length, verbose=verbose)
        columns = {name: [values] if is_single else values for name, values in encoded_inputs.items()}
        columns["input_ids"] = id_arrays(columns, width)
        if return_tensors is None:
            return_tensors = tensor_type_of(ids)

        lengths = [*map(len, columns["input_ids"])]
        length = padded_length(lengths, strategy, max_length, pad_to_multiple_of)
        on_the_left = self._pads_on_the_left(padding_side)
        if return_attention_mask or (return_attention_mask is None and "attention_mask" in self.model_input_names):
            columns.setdefault("attention_mask", [[1] * unpadded for unpadded in lengths])
        fillers = {
            "input_ids": PAD_ID,
            "attention_mask": 0,
            "token_type_ids": self.pad_token_type_id,
            "special_tokens_mask": 1,
        }
        pad_columns(columns, fillers, length, on_the_left, return_tensors)
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
        """Return the rows of a list of words; for one string the id of the character of this name, else its row."""
        if isinstance(tokens, str):
            character = self._tokenizer.token_to_id(tokens)
            return self.word_rows.ids(self.word_rows.encode([tokens]))[0].tolist() if character is None else character
        return self.word_rows.ids(self.word_rows.encode(tokens)).tolist()

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> str | list:
        """Return the words of (T, W) ids, the word of a row of (W,) ids, or the names of other ids' characters."""
        dimensions = dimensions_of(ids)
        if dimensions == 0:
            return self._tokenizer.id_to_token(int(ids))
        if dimensions == 1:
            row = [int(character) for character in ids]
            if len(row) == self.word_rows.width > 1 and (row[0] == self.word_rows.start_id or not any(row)):
                return self._word(row)
            specials = set(self.all_special_ids) if skip_special_tokens else ()
            return [self._tokenizer.id_to_token(character) for character in row if character not in specials]
        if dimensions > 2:
            return [self.convert_ids_to_tokens(rows, skip_special_tokens) for rows in ids]
        rows = to_py_obj(ids)
        words = [self._word(row) for row in rows]
        if not skip_special_tokens:
            return words
        specials, is_special = self._special_words(), self.word_rows.is_special
        return [word for word, row in zip(words, rows) if not is_special(row) and word not in specials]

    def _special_words(self) -> set[str]:
        """Return the added words flagged as special, without padding, `<S>` and `</S>`, which have their own rows."""
        own = {self.pad_token, self.bos_token, self.eos_token}
        return {token.content for token in self.added_tokens_decoder.values() if token.special} - own

    def _word(self, row: list[int]) -> str:
        """Return the word of a row."""
        if not any(row):
            return self.pad_token
        word = self.word_rows.decode(row)
        return self._tokenizer.id_to_token(word) if isinstance(word, int) else word

    def tokenize(
        self, text: str | list, pair: str | list | None = None, add_special_tokens: bool = False, **kwargs
    ) -> list[str]:
        """Return the words of a text, or of a pair of texts."""
        return self._encode_plus(text, pair, add_special_tokens, return_tensors="np", **kwargs).tokens()

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Join words to a text, with a blank between them."""
        return " ".join(tokens)

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        **kwargs,
    ) -> str | list:
        """Return the text of (T, W) ids, a list of texts for (B, T, W) ids, the word for (W,) ids.

        Words come back as they were, except for bytes that were cut off; of a character cut inside nothing remains.
        """
        dimensions = dimensions_of(token_ids)
        if dimensions > 2:
            return [self.decode(rows, skip_special_tokens, clean_up_tokenization_spaces) for rows in token_ids]
        if dimensions < 2:
            token_ids = np.reshape(to_py_obj(token_ids), (1, -1) if self.word_rows.width > 1 else (-1, 1))
        text = self.convert_tokens_to_string(cast(list, self.convert_ids_to_tokens(token_ids, skip_special_tokens)))
        if clean_up_tokenization_spaces is None:
            clean_up_tokenization_spaces = self.clean_up_tokenization_spaces
        return self.clean_up_tokenization(text) if clean_up_tokenization_spaces else text

    def get_special_tokens_mask(
        self, token_ids_0: list, token_ids_1: list | None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """Return 1 for special tokens and padding, 0 for words: of (T, W) ids, or of sequences yet without them."""
        if not already_has_special_tokens:
            sequences = [ids for ids in (token_ids_0, token_ids_1) if ids is not None]
            bos, eos = [1] * self.add_bos_token, [1] * self.add_eos_token
            return [value for ids in sequences for value in [*bos, *[0] * len(ids), *eos]]
        if dimensions_of(token_ids_0) < 2:
            return super().get_special_tokens_mask(token_ids_0, token_ids_1, already_has_special_tokens)
        return [int(self.word_rows.is_special(row)) for row in to_py_obj(token_ids_0)]

    @property
    def all_special_ids(self) -> list[int]:
        """Ids of padding, `<S>` and `</S>` (0, 257 and 258), and of the names of added special words."""
        return [self._tokenizer.token_to_id(token) for token in self.all_special_tokens]

    @property
    def extra_special_tokens_ids(self) -> list[int]:
        """Ids of the names of the words given as `extra_special_tokens`."""
        return [self._tokenizer.token_to_id(token) for token in self.extra_special_tokens]

    @property
    def pad_token_id(self) -> int | None:
        """Id that fills padding rows, also where the padding token has a name that no character has."""
        if self.pad_token is None:
            return None
        number = self._tokenizer.token_to_id(self.pad_token)
        return PAD_ID if number is None or number >= self.vocab_size else number

    @property
    def vocab_size(self) -> int:
        """Number of ids in `input_ids`: 262, or one more than the words of the vocabulary where words are the input."""
        return self.word_rows.num_ids if self.word_rows.width > 1 else self.word_vocab_size + 1

    def __len__(self) -> int:
        """Return `vocab_size`: added words are encoded like any other word, so they need no new embeddings."""
        return self.vocab_size

    @property
    def num_cut_words(self) -> int:
        """Number of words so far that had more than W - 2 bytes and were cut."""
        return self.word_rows.num_cut

    # ---- added words and word vocabulary ----

    @property
    def added_words(self) -> list[AddedToken]:
        """Words that were added, in the order of their ids."""
        return [token for number, token in sorted(self.added_tokens_decoder.items()) if number >= self.vocab_size]

    def _add_tokens(self, new_tokens: list[str | AddedToken], special_tokens: bool = False) -> int:
        added = super()._add_tokens(new_tokens, special_tokens)
        self._find_kept_words()
        return added

    def _find_kept_words(self):
        """Set the words that are kept whole in raw text, without and with `split_special_tokens`."""
        tokens = self.added_tokens_decoder.values()
        self._kept_words = [
            KeptWords((token.content, token.single_word) for token in tokens if not (token.special and split_special))
            for split_special in (False, True)
        ]

    @property
    def word_vocab_size(self) -> int:
        """Number of words in the word vocabulary, 0 without one."""
        return len(self.word_vocab or ())

    def convert_words_to_labels(self, words: str | list) -> int | list:
        """Return the ids in the word vocabulary, which a language-model head predicts, of a word or of (nested) lists
        of words. A word that is not in the vocabulary has the id of `<UNK>`."""
        ids, unknown = self._word_ids, self._required_words()[UNKNOWN_WORD]
        if isinstance(words, str):
            return ids.get(words, unknown)
        if words and isinstance(words[0], str):
            return [ids.get(word, unknown) for word in words]
        return [self.convert_words_to_labels(part) for part in words]

    def convert_labels_to_words(self, labels: object) -> str | list:
        """Return words of the word vocabulary for an id, or for (nested) lists, arrays and tensors of ids."""
        labels = to_py_obj(labels)
        if isinstance(labels, (list, tuple)):
            return [self.convert_labels_to_words(part) for part in labels]
        if not (self._required_words() and 0 <= labels < self.word_vocab_size):
            raise ValueError(f"word id {labels} is not in the word vocabulary of {self.word_vocab_size} words")
        return self.word_vocab[labels]

    def _required_words(self) -> dict[str, int]:
        if not self._word_ids:
            raise ValueError("this tokenizer carries no word vocabulary: pass vocab_file='vocab.txt', one word a line")
        return self._word_ids

    # ---- files ----

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, *args, **kwargs) -> "ElmoTokenizer":
        check_is_saved(pretrained_model_name_or_path, kwargs.get("subfolder"))
        try:
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        except (AttributeError, KeyError, TypeError, UnicodeDecodeError) as error:  # the base class expects other types
            if any(callable(getattr(cls, name, None)) for name in kwargs):
                raise  # an argument named like a method: the caller's, not the folder's
            raise ValueError(f"the tokenizer of {pretrained_model_name_or_path} cannot be loaded: {error}") from error

    @classmethod
    def _from_pretrained(cls, resolved_vocab_files: dict[str, str], *args, **kwargs) -> "ElmoTokenizer":
        """Check the files of a saved tokenizer before the base class reads them, so that a faulty field is named."""
        for path in filter(None, map(resolved_vocab_files.get, ("tokenizer_config_file", "special_tokens_map_file"))):
            check_options(path, cls)
        return super()._from_pretrained(resolved_vocab_files, *args, **kwargs)

    @classmethod
    def convert_to_native_format(cls, trust_remote_code: bool = False, **kwargs) -> dict:
        """Read nothing from a `tokenizer.json`: its Rust tokenizer could not make rows."""
        return kwargs

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write the word vocabulary, the dictionaries and the features, if there are any."""
        prefix = filename_prefix + "-" if filename_prefix else ""
        return write_files(save_directory, prefix, self.word_vocab, self.dictionaries, self.word_features)

    def _save_pretrained(
        self,
        save_directory: str | os.PathLike,
        file_names: tuple[str, ...],
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
    ) -> tuple[str, ...]:
        left_out = {name: False for name in ("add_bos_token", "add_eos_token") if not getattr(self, name)}
        if left_out:  # the base class does not save them
            path = Path(file_names[0])
            options = json.loads(path.read_text(encoding="utf-8")) | left_out
            path.write_text(json.dumps(options, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
        return file_names + self.save_vocabulary(os.fspath(save_directory), filename_prefix)

    def train_new_from_iterator(self, *args, **kwargs):
        raise NotImplementedError("there is nothing to train: characters are fixed, and words are not pieced together")
