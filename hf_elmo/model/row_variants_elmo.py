# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Words to rows of other ids than those of the original ELMo's bytes.

Of models whose characters are code points, by the dictionaries of ELMoForManyLangs (Che et al. 2018):

    row = id of `<eow>`, ids of the word's code points, id of `<bow>`, id of `<pad>` ..., [id of the word]

All ids are those of the dictionaries plus one, because 0 is padding between words. The original exchanges the ids of
`<bow>` and `<eow>`, and its weights were trained so. A word of more than W - 2 code points is cut, and its cut form is
looked up in the dictionary of words. `<bos>` and `<eos>` are both characters and words.

Of task heads that read embeddings of their own, whose ids follow those of ELMo:

    row = W character ids of ELMo, then for each feature either the id of the word, or ids of its characters and zeros

Features are those of AllenNLP's token indexers `single_id` and `characters`: a word, perhaps in lower case, has the id
of a vocabulary; characters are code points with a vocabulary, or bytes as id byte + 1. Id 0 is padding. The features
of padding and of `<S>` and `</S>` are zeros. ELMo cuts words at W - 2 bytes; features read them whole, up to `length`.
"""

import numpy as np
from transformers.utils import logging

from .character_ids_elmo import PAD_ID, WordRows

BOS, EOS, OOV, PAD, FIRST, LAST = "<bos>", "<eos>", "<oov>", "<pad>", "<eow>", "<bow>"
UNKNOWN_CHARACTER = "\ufffd"
Dictionaries = dict[str, dict[str, int]]
logger = logging.get_logger(__name__)


class CodePointRows(WordRows):
    """Table from a word to the bytes of its row of int32 ids: W of its characters, then that of the word if there is a
    dictionary. `dictionaries` are ids by name, of `"characters"`, and of `"words"` if words have embeddings too."""

    id_type = np.int32
    unit, original = "characters", "ELMoForManyLangs"

    def __init__(self, num_characters: int, bos: str, eos: str, dictionaries: Dictionaries):
        self.num_characters, self.dictionaries = num_characters, dictionaries
        self.characters, self.words = dictionaries["characters"], dictionaries.get("words")
        self.names_of_characters = {number: name for name, number in self.characters.items()}
        self.names_of_words = {number: name for name, number in (self.words or {}).items()}
        self.start_id, self.end_id = self.characters[FIRST] + 1, self.characters[LAST] + 1
        self.special_names = {bos: BOS, eos: EOS}
        self.num_ids = max(self.characters.values()) + 2
        super().__init__(num_characters + (self.words is not None), bos, eos)
        self.longest = num_characters - 2

    def encode_word(self, word: str) -> tuple[bytes, int]:
        known, name = self.characters, self.special_names.get(word)
        form = name or word[: self.longest]
        ids = [known[name]] if name else [known.get(character, known[OOV]) for character in form]
        ids = [known[FIRST], *ids, known[LAST]]
        ids += [known[PAD]] * (self.num_characters - len(ids))
        if self.words is not None:
            ids.append(self.words.get(form, self.words[OOV]))
        return (np.array(ids, np.int32) + 1).tobytes(), 0 if name else len(word)

    def __reduce__(self) -> tuple:
        return type(self), (self.num_characters, self.bos, self.eos, self.dictionaries)

    def decode(self, row: list[int]) -> str | int:
        """Return the word of a row, or the id of a special token. Unknown characters of unknown words become U+FFFD."""
        if self.is_special(row):
            return row[1] if any(row) else PAD_ID
        ids = row[1 : self.num_characters]
        ids = ids[: ids.index(self.end_id)] if self.end_id in ids else ids
        names = [self.names_of_characters.get(number - 1, OOV) for number in ids]
        word = self.names_of_words.get(row[-1] - 1) if self.words is not None else None
        if OOV in names and word not in (None, OOV):
            return word
        return "".join(UNKNOWN_CHARACTER if name == OOV else name for name in names)

    def is_special(self, row: list[int]) -> bool:
        """Return whether a row is padding, `<bos>` or `<eos>`."""
        return not any(row) or row[1] - 1 in (self.characters[BOS], self.characters[EOS])

    def names(self) -> list[str]:
        """Return the names of all ids but padding, in their order."""
        special = {self.characters[BOS]: self.bos, self.characters[EOS]: self.eos}
        names = self.names_of_characters | special
        return [names.get(number, f"<id {number}>") for number in range(self.num_ids - 1)]


class FeatureRows(WordRows):
    """Table from a word to the bytes of its row of int32 ids: W of ELMo, then those of features. `content` holds
    `"vocabularies"`, ids by name; and `"features"`, a list of dicts with `type` (`"word"` or `"characters"`),
    `vocabulary` (None for bytes), `unknown` (id of what is not in it, or None), `lowercase`, and for characters
    `length`, `start` and `end` (ids before and after them)."""

    id_type = np.int32

    def __init__(self, num_characters: int, bos: str, eos: str, content: dict):
        self.num_characters, self.content, self.has_warned = num_characters, content, False
        self.features, self.vocabularies = content["features"], content["vocabularies"]
        lengths = (feature["length"] if feature["type"] == "characters" else 1 for feature in self.features)
        super().__init__(num_characters + sum(lengths), bos, eos)
        self.longest = num_characters - 2

    def row(self, characters: list[int]) -> bytes:
        elmo = WordRows.row(self, characters)
        ids = np.frombuffer(elmo, self.dtype)[: self.num_characters]
        return ids.tobytes() + bytes(self.padding[len(ids) * self.dtype.itemsize :])

    def encode_word(self, word: str) -> tuple[bytes, int]:
        row, size = super().encode_word(word)
        if word in (self.bos, self.eos):
            return row, size
        ids = [number for feature in self.features for number in self.feature_ids(feature, word)]
        elmo = row[: self.num_characters * self.dtype.itemsize]
        return elmo + np.array(ids, self.dtype).tobytes(), size

    def feature_ids(self, feature: dict, word: str) -> list[int]:
        """Return the ids of one feature of a word, as many as it has in each row."""
        word = word.lower() if feature.get("lowercase") else word
        known, unknown = self.vocabularies.get(feature["vocabulary"]), feature.get("unknown")
        if feature["type"] == "word":
            return [self.known_id(known, word, unknown)]
        if known is None:
            ids = [byte + 1 for byte in word.encode("utf-8", "ignore")]
        else:
            ids = [self.known_id(known, character, unknown) for character in word]
        ids, length = [*feature["start"], *ids, *feature["end"]], feature["length"]
        if len(ids) > length and not self.has_warned:
            self.has_warned = True
            logger.warning(f"A word of {len(ids)} characters was cut to its first {length}: {word[:60]!r}")
        return ids[:length] + [0] * (length - len(ids))

    def known_id(self, known: dict[str, int], name: str, unknown: int | None) -> int:
        number = known.get(name, unknown)
        if number is None:
            raise ValueError(f"{name!r:.80} is not in the vocabulary of this model, which has no id for unknown words")
        return number

    def __reduce__(self) -> tuple:
        return type(self), (self.num_characters, self.bos, self.eos, self.content)

    def decode(self, row: list[int]) -> str | int:
        """Return the word of a row, or the id of a special token, by ELMo's characters."""
        return super().decode(row[: self.num_characters])

    def is_special(self, row: list[int]) -> bool:
        """Return whether a row is padding, `<S>` or `</S>`."""
        return super().is_special(row[: self.num_characters])
