# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The language model that a run starts from: a new one of a named size, or an existing one with its softmax adapted."""

import logging
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ...loading import loading
from ...model.character_ids_elmo import BOS_WORD, EOS_WORD, write_word_vocabulary
from ...model.configuration_elmo import ElmoConfig
from ...model.language_model_elmo import ElmoForPreTraining
from ...model.row_variants_elmo import BOS, EOS, FIRST, LAST, OOV, PAD, Dictionaries
from ...model.tokenization_elmo import ElmoTokenizer
from ...model.tokenizer_files_elmo import DICTIONARIES_FILE, write_json
from ...word_vocabulary import read_unique_words
from ..configs import read_config
from .arguments import ModelArguments, TextArguments
from .corpus import SPECIAL_TOKENS, TextStatistics, build_vocabulary

logger = logging.getLogger("hf_elmo.training")

# small, medium and original are the published English models; tiny trains on a CPU in half an hour.
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "char_cnn_filters": [[1, 16], [2, 16], [3, 32], [4, 48], [5, 80]],
        "num_highway_layers": 1,
        "projection_size": 80,
        "cell_size": 320,
    },
    "small": {"num_highway_layers": 1, "projection_size": 128, "cell_size": 1024},
    "medium": {"num_highway_layers": 1, "projection_size": 256, "cell_size": 2048},
    "original": {"num_highway_layers": 2, "projection_size": 512, "cell_size": 4096},
}
VOCABULARY_FILE, ACCUMULATORS_FILE = "vocab.txt", "adagrad_accumulators.safetensors"


def starting_config(args: ModelArguments, device: torch.device) -> ElmoConfig:
    """Return the configuration of the model that is asked for, and log a size that is chosen by default.

    `ValueError` if there is no such size or model, if several are given, or if the encoder cannot be trained.
    """
    size, name = args.size, args.model_name_or_path or args.config_name
    if size is not None and size not in SIZES:
        raise ValueError(f"--size must be one of {', '.join(SIZES)}, but is {size!r}")
    if name is not None and size is not None:
        raise ValueError(f"--size {size} is for a new model, and {name} has its own sizes: give one of them")
    if name is None and size is None:
        size, reason = ("tiny", "no accelerator is in use") if device.type == "cpu" else ("original", "the default")
        logger.info("--size %s (%s); the sizes are %s", size, reason, ", ".join(SIZES))
    return read_config(name, args.config_overrides, not args.freeze_encoder, **SIZES.get(size, {}))


def default_split(old: ElmoTokenizer | None, language: str | None) -> str:
    """Return the rule for raw text: that of the model to start from, else one for the language (English by default)."""
    if old is not None:
        return old.split
    return "treebank" if (language or "en").split("-")[0] == "en" else "punctuation"


def choose_vocabulary(text: TextArguments, old: ElmoTokenizer | None, statistics: TextStatistics | None) -> list[str]:
    """Return the words to predict: those of a file, else those of the model to start from, else those of the text.

    `ValueError` if no word is frequent enough, or the words of the text were not counted.
    """
    if text.vocab_file is not None:
        return read_unique_words(text.vocab_file)
    if old is not None and old.word_vocab is not None:
        return old.word_vocab
    if statistics is None:
        raise ValueError("--streaming does not count words: give a vocabulary, --vocab_file")
    words = build_vocabulary(statistics.counts, text.max_vocab_size, text.min_count)
    if len(words) == len(SPECIAL_TOKENS):
        raise ValueError(f"no word occurs {text.min_count} times in the text: lower --min_count, or give --vocab_file")
    kept = len(words) - len(SPECIAL_TOKENS)
    if kept < len(statistics.counts):
        logger.info(
            "The vocabulary has %s of the %s different words: those that occur at least %d times (--min_count), and of "
            "these at most %s (--max_vocab_size); the others are <UNK> as words to predict",
            *(f"{kept:,}", f"{len(statistics.counts):,}", text.min_count, f"{text.max_vocab_size:,}"),
        )
    return words


def make_tokenizer(vocabulary: list[str], split: str, old: ElmoTokenizer | None, config: ElmoConfig) -> ElmoTokenizer:
    """Return a tokenizer with a word vocabulary; added words and characters of the model to start from are kept.

    Args:
        split: Name of the rule that splits raw text.
        config: Configuration of the model; a new one that reads code points gets the sizes of its dictionaries.
    """
    added: dict[str, Any] = {} if old is None else {"added_words": old.added_words}
    width, dictionaries = config.max_characters_per_token, None if old is None else old.dictionaries
    if old is None and config.character_scheme == "codepoints":
        dictionaries = make_dictionaries(vocabulary, config)
    with tempfile.TemporaryDirectory() as folder:
        if dictionaries is not None:
            added["dictionaries_file"] = str(Path(folder) / DICTIONARIES_FILE)
            write_json(dictionaries, added["dictionaries_file"])
        vocab_file = Path(folder) / VOCABULARY_FILE
        write_word_vocabulary(vocabulary, vocab_file)
        return ElmoTokenizer(str(vocab_file), max_characters_per_token=width, split=split, **added)


def make_dictionaries(vocabulary: list[str], config: ElmoConfig) -> Dictionaries:
    """Return the dictionaries of a new model that reads code points, and set their sizes in its configuration.

    Its characters are those of the vocabulary; others have the id of `<oov>`. Its words, where these have embeddings
    of their own (`word_embedding_size`), are the vocabulary.
    """
    words = [word for word in vocabulary if word not in SPECIAL_TOKENS]
    names = {"characters": [OOV, PAD, BOS, EOS, FIRST, LAST, *sorted(set("".join(words)))]}
    if config.word_embedding_size:
        names["words"] = [*dict.fromkeys([OOV, PAD, BOS, EOS, *words])]
        config.word_embedding_count = len(names["words"]) + 1
    ids = {kind: {name: number for number, name in enumerate(listed)} for kind, listed in names.items()}
    config.vocab_size = len(names["characters"]) + 1
    config.bos_token_id, config.eos_token_id = (ids["characters"][name] + 1 for name in (BOS, EOS))
    return ids


def make_model(
    args: ModelArguments, config: ElmoConfig, vocabulary: list[str], old: ElmoTokenizer | None
) -> tuple[ElmoForPreTraining, dict[str, Tensor]]:
    """Return a new model, or an existing one with its softmax over `vocabulary`, and its Adagrad accumulators by name.

    `ValueError` if the existing model's own vocabulary is missing, or no word of it is in `vocabulary`.
    """
    name, old_size = args.model_name_or_path, config.word_vocab_size
    if not config.char_cnn_filters:
        config.vocab_size = len(vocabulary) + 1
        config.bos_token_id, config.eos_token_id = (vocabulary.index(word) + 1 for word in (BOS_WORD, EOS_WORD))
    if name is None:
        config.word_vocab_size = len(vocabulary)
        model, accumulators = ElmoForPreTraining(config), {}
    else:
        if old_size:
            check_word_vocabulary(name, old_size, old.word_vocab)
        config.word_vocab_size = old_size or len(vocabulary)
        with loading(name):
            model = ElmoForPreTraining.from_pretrained(name, config=config, dtype=torch.float32)
        path = Path(name) / ACCUMULATORS_FILE
        accumulators = load_file(path) if path.is_file() else {}
        if old_size and old.word_vocab != vocabulary:
            accumulators = change_vocabulary(model, accumulators, old.word_vocab, vocabulary)
    if args.freeze_encoder:
        model.elmo.requires_grad_(False)
    return model, accumulators


def change_vocabulary(
    model: ElmoForPreTraining, accumulators: dict[str, Tensor], old_words: list[str], words: list[str]
) -> dict[str, Tensor]:
    """Give the softmax of a model a new vocabulary, and return accumulators for it.

    Words of the old vocabulary keep their rows, new words get initial values.
    """
    old_ids = {word: number for number, word in enumerate(old_words)}
    known = [(number, old_ids[word]) for number, word in enumerate(words) if word in old_ids]
    if not known:
        raise ValueError(
            "no word of the new vocabulary is in that of the model: are both of the same language, and split alike?"
        )
    rows, old_rows = (torch.tensor(column) for column in zip(*known))
    head = ElmoForPreTraining(ElmoConfig.from_dict(model.config.to_dict() | {"word_vocab_size": len(words)})).lm_head
    accumulators = dict(accumulators)
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            parameter[rows] = getattr(model.lm_head, name)[old_rows]
            if (sums := accumulators.get(f"lm_head.{name}")) is not None:
                accumulators[f"lm_head.{name}"] = torch.ones_like(parameter).index_copy(0, rows, sums[old_rows])
    model.lm_head, model.config.word_vocab_size = head, len(words)
    logger.info("%d of %d words keep their rows of the softmax", len(known), len(words))
    return accumulators


def check_word_vocabulary(name: str, size: int, words: list[str] | None) -> None:
    """Refuse a model whose vocabulary is not that of its softmax."""
    if words is None or len(words) != size:
        raise ValueError(
            f"{name}: the softmax is over {size} words, and vocab.txt "
            + ("is missing" if words is None else f"has {len(words)}")
            + ": put the vocabulary that the model was trained with beside it"
        )
