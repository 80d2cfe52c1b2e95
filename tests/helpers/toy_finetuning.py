"""Labelled words and texts that are learnt in seconds, and commands that learn them: for tests of the scripts."""

import json
from pathlib import Path

import torch
import toy_tasks
from shaken import shake

import hf_elmo
from hf_elmo.training import ner, sentiment

QUIET = ["--plots", "False", "--use_cpu", "True", "--report_to", "none", "--disable_tqdm", "True"]
SMALL = {
    "tagger_layers": 0,
    "char_feature_filters": 8,
    "sequence_encoder": "pooling",
    "classifier_dropout": 0.1,
    "head_dropout": 0.1,
}
COUNTS = {"train": 128, "validation": 20, "test": 20}


def write_encoder(folder: Path):
    """An encoder that tells words apart, though it has learnt nothing, and its tokenizer."""
    torch.manual_seed(0)
    shake(hf_elmo.ElmoModel(toy_tasks.config(word_vocab_size=0)), scale=0.5).save_pretrained(folder)
    toy_tasks.tokenizer().save_pretrained(folder)


def write_words(folder: Path) -> Path:
    """Sentences whose names of persons and places are labelled, a word a line."""
    for seed, (split, count) in enumerate(COUNTS.items()):
        lines = []
        for words in toy_tasks.sentences(count, seed):
            lines += [f"{word}\t{toy_tasks.KINDS[toy_tasks.kind(word)]}" for word in words] + [""]
        (folder / f"{split}.conll").write_text("\n".join(lines) + "\n")
    write_encoder(folder / "encoder")
    return folder


def write_texts(folder: Path) -> Path:
    """Sentences labelled by whether they name more persons than places."""
    for seed, (split, count) in enumerate(COUNTS.items()):
        lines = []
        for words in toy_tasks.sentences(count, seed):
            kinds = [toy_tasks.kind(word) for word in words]
            lines.append(f"{int(kinds.count(2) > kinds.count(1))} {' '.join(words)}")
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")
    write_encoder(folder / "encoder")
    return folder


def command(data: Path, output: Path, *more: str, splits=("train", "validation", "test"), **options) -> list[str]:
    """Arguments of a short run on the toy encoder, which lies beside the data."""
    suffix = "conll" if (data / "train.conll").exists() else "txt"
    files = [argument for split in splits for argument in (f"--{split}_file", str(data / f"{split}.{suffix}"))]
    return [
        *("--model_name_or_path", str(data / "encoder"), "--output_dir", str(output), *files, *QUIET),
        *("--config_overrides", json.dumps(SMALL | options), "--num_train_epochs", "3"),
        *("--per_device_train_batch_size", "16", "--learning_rate", "0.02", *more),
    ]


def tagged(*arguments: str) -> int:
    return ner.main(list(arguments))


def classified(*arguments: str) -> int:
    return sentiment.main(list(arguments))
