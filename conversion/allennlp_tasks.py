# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The task models of AllenNLP that have a counterpart here, and those that have none.

To add one, write its reader, which takes every setting and every tensor of the archive, and its line in `TASKS`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from hf_elmo.splitting_rules import DESCRIPTIONS

from .allennlp_classification import read_basic_classifier, read_bcn
from .allennlp_model import Settings, TaskArchive
from .allennlp_pairs import read_bidaf, read_decomposable_attention, read_esim
from .allennlp_tagging import read_crf_tagger, read_simple_tagger, read_srl
from .original import Head

TASKS: dict[str, Callable[[TaskArchive], Head]] = {
    "crf_tagger": read_crf_tagger,
    "simple_tagger": read_simple_tagger,
    "srl": read_srl,
    "basic_classifier": read_basic_classifier,
    "bcn": read_bcn,
    "esim": read_esim,
    "pc-esim": read_esim,
    "decomposable_attention": read_decomposable_attention,
    "pc-decomposable-attention": read_decomposable_attention,
    "bidaf": read_bidaf,
    "rc-bidaf": read_bidaf,
}
WITHOUT_COUNTERPART = {
    "constituency_parser": "a head that scores spans and a chart parser",
    "bimpm": "its matching from several perspectives",
    "biaffine_parser": "a head that scores arcs and a tree decoder",
    "biaffine_parser_multilang": "a head that scores arcs and a tree decoder",
    "graph_parser": "a head that scores arcs",
    "coref": "a way from its scorers of spans to those of ElmoForCoreferenceResolution",
    "srl_bert": "BERT",
    "bert_for_classification": "BERT",
    "simple_seq2seq": "its decoder",
    "copynet_seq2seq": "its decoder",
    "composed_seq2seq": "its decoder",
    "event2mind": "its decoder",
    "naqanet": "the encoder of QANet and its heads for arithmetic",
    "numerically_augmented_qanet": "the encoder of QANet and its heads for arithmetic",
    "qanet": "the encoder of QANet",
    "dialog_qa": "a head for dialogs",
    "bidaf-ensemble": "a mean over models",
    "open_information_extraction": "its decoding into tuples",
    "language_model": "a language model over AllenNLP's encoders, such as its bidirectional_language_model_transformer",
    "bidirectional_language_model": "a language model over AllenNLP's encoders, such as the transformer",
    "next_token_lm": "a language model over AllenNLP's encoders, such as the transformer",
    "masked_language_model": "a masked language model",
}
TOKENIZERS = {"just_spaces": "whitespace", "whitespace": "whitespace", "letters_digits": "letters_digits"}
SPLITTERS = {"quora_paraphrase": "just_spaces"}  # of dataset readers whose default is not spaCy
NO_ANSWER = "@@<NO_ANSWER>@@"  # which the reader of SQuAD 2.0 puts behind a passage
ALONE = "--encoder-only converts its ELMo alone"


def read_head(
    folder: Path, file: Path, state: Mapping[str, Tensor], mixes: Mapping[str, int], hidden_size: int
) -> tuple[Head | None, list[str]]:
    """Return the task model of an archive, None for one of an unknown type, and notes.

    Args:
        folder: The unpacked archive.
        file: The file of the state dict.
        state: Its tensors outside of the ELMo.
        mixes: Number of the first scalar mix of each ELMo, by the beginning of its tensors' names.
        hidden_size: Width of ELMo's vectors.

    Raises:
        ValueError: The model has no counterpart, or a part of it has none.
    """
    archive = TaskArchive(folder, file, state, mixes, hidden_size)
    kind = archive.model.pop("type", "", str)
    if kind in WITHOUT_COUNTERPART:
        missing = WITHOUT_COUNTERPART[kind]
        raise ValueError(f"{archive.config_file}: a {kind} has no counterpart: {missing} is missing; {ALONE}")
    if kind not in TASKS:
        return None, []
    try:
        head = TASKS[kind](archive)
        archive.finish()
    except ValueError as error:
        raise ValueError(f"{error}; {ALONE}") from error
    tokenizer, notes = read_tokenizer(archive)
    facts = describe(archive, kind, tokenizer, notes)
    return head._replace(kind=kind, tokenizer=tokenizer, facts=facts), [*archive.notes, *notes]


def describe(archive: TaskArchive, kind: str, tokenizer: Mapping[str, Any], notes: list[str]) -> dict[str, str]:
    """Return what a model card says about a task model: what its config.json records of data and words."""
    reader, data = archive.reader("type").content.get("type"), archive.config.get("train_data_path")
    by = f"It is a `{kind}` of AllenNLP, with its trained weights"
    by += f", and reads data as `{reader}`" if isinstance(reader, str) else ""
    if isinstance(data, str) and data.strip("/"):
        name = data if "://" in data else PurePosixPath(data).name  # no folders of the machine that trained it
        by += f". It was trained on `{name}`"
    words = [f"{note[0].upper()}{note[1:]}." for note in notes]
    if tokenizer["split"] != "treebank":
        words.insert(0, DESCRIPTIONS[tokenizer["split"]])
    return {
        "origin": "The corpus of the encoder is not recorded in these files; see the publication of the weights.",
        "training": f"{by}. Results of the archive are not carried over; dropouts are, optimizer and schedule are not.",
        "tokenization": " ".join(words),
    }


def read_tokenizer(archive: TaskArchive) -> tuple[dict[str, Any], list[str]]:
    """Return the options of a tokenizer that splits raw text as the archive's dataset reader does, and notes where it
    does not."""
    reader = archive.reader("type")
    kind, content = reader.pop("type", "unnamed", str), reader.pop("tokenizer", {}, dict, str)
    content = {"type": content} if isinstance(content, str) else content
    settings = Settings(content, f"{reader.place}.tokenizer", reader.file)
    splitter = settings.section("word_splitter")  # before 1.0
    name = settings.pop("type", SPLITTERS.get(kind, "spacy"), str)
    name = name if splitter is None else splitter.pop("type", "spacy", str)
    sides = [settings.pop(f"{side}_tokens", [], list) for side in ("start", "end")]
    if not all(isinstance(word, str) for side in sides for word in side):
        raise ValueError(f"{settings.file}: start_tokens and end_tokens of {settings.place} must be words")
    behind_second = sides[1]
    if (no_answer := reader.pop("no_answer_token", NO_ANSWER if kind == "squad2" else None, str)) is not None:
        behind_second = [*sides[1], no_answer]
    options = {"split": "whitespace" if settings.pop("split_on_spaces", False, bool) else TOKENIZERS.get(name)}
    if any(sides) or behind_second:
        options["words_around"] = [sides, [sides[0], behind_second]]
    notes = []
    if options["split"] is None:
        options["split"] = "treebank"
        notes.append(
            f"raw text is split like the Penn Treebank, where the archive's reader ({kind}) takes words, or the tokens "
            f"of {'spaCy' if name in ('spacy', 'word') else name}; give words with is_split_into_words=True where the "
            "difference counts"
        )
    for change in ("word_filter", "word_stemmer"):  # before 1.0
        if (section := settings.section(change)) and section.pop("type", "pass_through", str) != "pass_through":
            notes.append(f"the archive's reader ({kind}) changes words by a {change}; give words as they are after it")
    if (most := reader.pop("max_sequence_length", None, int)) is not None:
        options["model_max_length"] = most + 2
        notes.append(
            f"the archive's reader ({kind}) reads the first {most:,} words of a text; so do calls of the tokenizer "
            "with truncation=True"
        )
    return options, notes
