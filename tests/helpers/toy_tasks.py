"""A tiny checkpoint, and a toy task for every head that it can learn in seconds: what training tests train on."""

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PreTrainedModel, TrainingArguments

import hf_elmo
from hf_elmo import ElmoConfig, ElmoTokenizer
from hf_elmo.model.word_features_elmo import word_hashes

NAMES = ["Ada", "Max", "Eve", "Tom", "Ann"]
PLACES = ["Rome", "Oslo", "Lima", "Bonn", "Kyiv"]
OTHERS = ["met", "saw", "left", "in", "of", "and", "again", "today"]
WORDS = NAMES + PLACES + OTHERS
KINDS = ["O", "B-LOC", "B-PER"]

# Newer releases of transformers have another name for it, and warn of the older one.
NAMES_OF_CHECKPOINTING = ("activation_checkpointing", "gradient_checkpointing")
CHECKPOINTING = next(name for name in NAMES_OF_CHECKPOINTING if name in TrainingArguments.__dataclass_fields__)


def kind(word: str) -> int:
    return 2 if word in NAMES else 1 if word in PLACES else 0


def config(**options) -> ElmoConfig:
    small = {
        "char_embedding_size": 8,
        "char_cnn_filters": [[1, 8], [2, 12], [3, 12]],
        "max_characters_per_token": 12,
        "projection_size": 12,
        "cell_size": 24,
        "lstm_dropout": 0.0,
        "classifier_dropout": 0.0,
        "head_dropout": 0.0,
        "tagger_size": 8,
        "sequence_size": 8,
        "qa_size": 8,
        "word_vocab_size": len(WORDS) + 1,
    }
    return ElmoConfig(**{**small, **options})


def tokenizer() -> ElmoTokenizer:
    return ElmoTokenizer(max_characters_per_token=12)


shared_tokenizer = cache(tokenizer)


def save_checkpoint(folder: Path) -> Path:
    """A folder as users have it: an encoder without any task, and its tokenizer."""
    torch.manual_seed(0)
    hf_elmo.ElmoModel(config(word_vocab_size=0)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def save_tagger(folder: Path) -> Path:
    """A folder with a tagger of entities that has learnt nothing, yet predicts several labels, and its tokenizer."""
    torch.manual_seed(0)
    labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: number for number, label in enumerate(labels)}}
    model = hf_elmo.ElmoForTokenClassification(config(word_vocab_size=0, num_labels=5, **names))
    for parameter in model.parameters():
        parameter.data *= 4
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def sentences(count: int, seed: int = 0) -> list[list[str]]:
    """Sentences of 2 to 8 words."""
    chance = random.Random(seed)
    return [[chance.choice(WORDS) for _ in range(chance.randint(2, 8))] for _ in range(count)]


class Task(NamedTuple):
    """A head, its configuration, and the labels of a sentence, as a data set's row has them."""

    head: type[PreTrainedModel]
    options: dict
    labels: Callable[[list[str]], dict]
    is_of_pairs: bool = False
    gamma: float = (
        1.0  # of the mixes: vectors of an untrained encoder are some forty times shorter than of a trained one
    )

    def config(self, **options) -> ElmoConfig:
        return config(**{**self.options, **options})

    def model(self, **options) -> PreTrainedModel:
        torch.manual_seed(0)
        model = self.head(self.config(**options))
        fill_word_vectors(model)
        for mix in model.elmo.scalar_mixes:
            torch.nn.init.constant_(mix.gamma, self.gamma)
        return model

    def encode(self, words: list[str]) -> dict:
        """A sentence with its labels, as a row of a data set; of pairs, behind a text of its last word."""
        pair = [[words[-1]], words] if self.is_of_pairs else [words]
        return {**shared_tokenizer()(*pair, is_split_into_words=True), **self.labels(words)}

    def features(self, count: int, seed: int = 0) -> list[dict]:
        """Encoded sentences with their labels."""
        return [self.encode(words) for words in sentences(count, seed)]


def word_labels(words: list[str], ids: list[int]) -> dict:
    """Every third word has no label; nor have the boundary words, which `tokenizer` adds."""
    return {"labels": [-100, *(-100 if n % 3 == 2 else i for n, i in enumerate(ids)), -100]}


# Static vectors, trained too, and character features: what any task head may read beside ELMo
WORD_FEATURES = {
    "word_vector_count": 4,
    "word_vector_size": 3,
    "word_vector_trainable": True,
    "char_feature_filters": 6,
    "char_feature_embedding_size": 4,
}


def fill_word_vectors(model: PreTrainedModel):
    """Give the first words of `WORDS` vectors of their own, if the model has a table of them."""
    if getattr(model, "word_vectors", None) is not None:
        count, size = (getattr(model.config, f"word_vector_{name}") for name in ("count", "size"))
        ids = shared_tokenizer()(WORDS[:count], is_split_into_words=True, add_special_tokens=False, return_tensors="pt")
        hashes = word_hashes(ids["input_ids"][0], model.config.word_vector_lowercase)
        model.word_vectors.fill(hashes, torch.randn(count, size), torch.randn(size))


def names_in(words: list[str]) -> int:
    return sum(word in NAMES for word in words)


TASKS = {
    "pretraining": Task(
        hf_elmo.ElmoForPreTraining, {}, lambda words: word_labels(words, [1 + WORDS.index(word) for word in words])
    ),
    "masked-lm": Task(
        hf_elmo.ElmoForMaskedLM, {}, lambda words: word_labels(words, [1 + WORDS.index(word) for word in words])
    ),
    "token-classification": Task(
        hf_elmo.ElmoForTokenClassification, {"num_labels": 3}, lambda words: word_labels(words, [*map(kind, words)])
    ),
    "tagging-word-by-word": Task(
        hf_elmo.ElmoForTokenClassification,
        {"num_labels": 3, "tagger_layers": 1, "tagger_crf": False, "elmo_at_output": True, **WORD_FEATURES},
        lambda words: word_labels(words, [*map(kind, words)]),
    ),
    "text-classification": Task(
        hf_elmo.ElmoForSequenceClassification, {"num_labels": 2}, lambda words: {"labels": int(names_in(words) > 1)}
    ),
    "several-labels": Task(
        hf_elmo.ElmoForSequenceClassification,
        {"num_labels": 3, "problem_type": "multi_label_classification"},
        lambda words: {"labels": [float(any(kind(word) == k for word in words)) for k in range(3)]},
    ),
    "regression": Task(
        hf_elmo.ElmoForSequenceClassification,
        {"num_labels": 1, "problem_type": "regression"},
        lambda words: {"labels": names_in(words) / len(words)},
    ),
    "question-answering": Task(
        hf_elmo.ElmoForQuestionAnswering,
        {},
        lambda words: {"start_positions": 4 + len(words) // 2, "end_positions": 3 + len(words)},
        is_of_pairs=True,
        gamma=8.0,
    ),
}
