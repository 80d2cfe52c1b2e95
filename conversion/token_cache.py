# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Token-embedding caches of bilm-tf (`dump_token_embeddings`): what the character encoder gives each word of a list.

    embedding (V, P)    one row a word, in the order of the word list, without a row for padding

With a cache, bilm-tf reads words in place of characters (`use_character_inputs=False, embedding_weight_file=...`), and
a word that is not in the list has the row of `<UNK>`. The converted model is one that reads words.
"""

from collections.abc import Mapping
from pathlib import Path

import torch

from hf_elmo.model.char_cnn_elmo import ElmoCharacterEncoder
from hf_elmo.model.character_ids_elmo import BOS_WORD, EOS_WORD, WordRows
from hf_elmo.model.configuration_elmo import ElmoConfig

from .bilm_config import read_config
from .bilm_hdf5 import check_finite, check_shapes, rules
from .original import StoredTensor
from .word_list import read_word_list

TABLE = "embedding"
CHECKED_WORDS = 1000  # evenly spread over the list; all of a large list would take minutes
TOLERANCE = 1e-4  # of the largest number; both programs compute in float32, and differ by about 1e-6


def is_token_cache(stored: Mapping[str, StoredTensor]) -> bool:
    """Return whether these are all tensors of a cache."""
    return set(stored) == {TABLE} and len(stored[TABLE].shape) == 2


def with_token_embeddings(
    stored: Mapping[str, StoredTensor],
    cache: Mapping[str, StoredTensor],
    options: Mapping,
    options_file: Path,
    vocabulary: Path | None,
) -> tuple[dict[str, StoredTensor], list[str]]:
    """Return the tensors of the model that reads words by a cache, and one line about what was checked.

    Args:
        stored: Tensors of the weight file, of which the character encoder is replaced.
        cache: Tensors of the cache's file.
        options, options_file: Content of options.json, and where it comes from.
        vocabulary: The word list of the cache, without which its rows cannot be compared with the character encoder.
    Raises:
        ValueError: The file is no cache, or its rows are not those of the weights' own character encoder.
    """
    file = next(iter(cache.values())).file
    if not is_token_cache(cache):
        shown = ", ".join(f"{name} {tensor.shape}" for name, tensor in list(cache.items())[:3])
        raise ValueError(f"{file}: expected token embeddings, one dataset embedding (words, width), but found {shown}")
    if "char_embed" not in stored:
        note = f"the weights have no character encoder that {file} could be compared with"
    elif vocabulary is None:
        note = f"{file} could not be compared with the weights' character encoder, as there is no word list"
    else:
        note = compare(stored, cache[TABLE], options, options_file, vocabulary)
    kept = {name: tensor for name, tensor in stored.items() if not name.startswith(("char_embed", "CNN"))}
    return kept | {TABLE: cache[TABLE]}, [note]


def compare(
    stored: Mapping[str, StoredTensor], table: StoredTensor, options: Mapping, options_file: Path, vocabulary: Path
) -> str:
    """Compare rows of a cache with the weights' character encoder, and return one line about it."""
    config, _ = read_config(options, stored, options_file)
    words = read_word_list(vocabulary)
    if table.shape != (len(words), config.projection_size):
        raise ValueError(
            f"{table.file}: embedding must be {(len(words), config.projection_size)}, by the words of {vocabulary} and "
            f"the width of the model, but is {table.shape}"
        )
    chosen = torch.linspace(0, len(words) - 1, min(len(words), CHECKED_WORDS)).long().tolist()
    rows = torch.from_numpy(table.read()).float()
    check_finite(TABLE, rows, table.file)
    computed = encode([words[number] for number in chosen], stored, config)
    differences = (computed - rows[chosen]).abs().amax(1)
    worst = int(differences.argmax())
    if differences[worst] > TOLERANCE * max(1.0, float(rows.abs().max())):
        raise ValueError(
            f"{table.file}: row {chosen[worst]} differs by {differences[worst]:.2g} from what the character encoder "
            f"of the weights gives {words[chosen[worst]]!r}; expected cache, word list and weights of one model"
        )
    return (
        f"{table.file} agrees with the weights' character encoder, which it replaces, in {len(chosen):,} of "
        f"{len(words):,} words; largest difference {differences[worst]:.1e}"
    )


@torch.no_grad()
def encode(words: list[str], stored: Mapping[str, StoredTensor], config: ElmoConfig) -> torch.Tensor:
    """Return the vectors `(N, P)` of words by the character encoder of the weights."""
    table = [rule for rule in rules(config) if rule.parameters[0].startswith("char_encoder.")]
    check_shapes(stored, table)
    encoder, state = ElmoCharacterEncoder(config).eval(), {}
    for rule in table:
        parts = rule.layout.read(torch.from_numpy(stored[rule.dataset].read()).float())
        state |= {name.removeprefix("char_encoder."): part for name, part in zip(rule.parameters, parts, strict=True)}
    encoder.load_state_dict(state)
    rows = WordRows(config.max_characters_per_token, BOS_WORD, EOS_WORD)
    return encoder(torch.from_numpy(rows.ids(rows.encode(words)).astype("int64")))
