# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Archives of AllenNLP in the layouts and with the settings of its versions: one tagger, the same scores each time."""

import io
import json
import tarfile

import pytest
import torch
from allennlp_archives import (
    ELMO,
    INDEXERS,
    OPTIONS,
    PREFIX,
    SENTENCES,
    TAGGER,
    TAGS,
    namespaces,
    tagger_tensors,
    write_task,
)
from allennlp_witness import Witness
from lanes import first_fast
from transformers import AutoTokenizer

from hf_elmo import ElmoForTokenClassification
from hf_elmo.conversion import convert

WORDS = {"type": "embedding", "embedding_dim": 4}
LOSS = {"label_weights": {"O": 0.1}, "weight_strategy": "emission", "ignore_loss_on_o_tags": True, "top_k": 3}
METRICS = {"calculate_span_f1": True, "verbose_metrics": True, "constrain_crf_decoding": True}
START = {"initializer": {"regexes": [["x", {"type": "zero"}]]}, "regularizer": [["x", {"type": "l2", "alpha": 0.1}]]}
TABLE = {"num_embeddings": 9, "padding_index": 0, "trainable": False, "pretrained_file": "/gone.txt", "sparse": True}
ROWS = {"vocab_namespace": "tokens", "scale_grad_by_freq": True, "projection_dim": None, "max_norm": None}
TRAINED = {"requires_grad": True, "scalar_mix_parameters": [0.5, -1.0, 2.0], "do_layer_norm": False}


def embedders(named="elmo", **changed):
    return {"text_field_embedder": {"type": "basic", "token_embedders": {named: ELMO, "tokens": WORDS} | changed}}


MODELS = {  # settings of the model, and the name of its ELMo
    "of training": (TAGGER | LOSS | METRICS | START, "elmo"),
    "of the constraints before 0.5": ({**TAGGER, "label_encoding": None, "constraint_type": "BIO"}, "elmo"),
    "of the table": (TAGGER | embedders(tokens=WORDS | TABLE | ROWS), "elmo"),
    "of a trained encoder with a fixed mix": (TAGGER | embedders(elmo=ELMO | TRAINED), "elmo"),
    "of an ELMo that comes last": (TAGGER | embedders(named="the-elmo"), "the-elmo"),
    "of torch's layer": (
        {**TAGGER, "encoder": TAGGER["encoder"] | {"bias": True, "batch_first": True, "dropout": 0.2}},
        "elmo",
    ),
}


def tensors(model):
    shapes = tagger_tensors()
    return shapes.add("crf.label_weights", 3) if "label_weights" in model else shapes


def written(folder, model=TAGGER, elmo="elmo", indexers=INDEXERS, **options):
    """Write an archive and its options file: the archive, and the witness."""
    shapes, vocabulary = tensors(model), namespaces(TAGS)
    indexers = {(elmo if name == "elmo" else name): section for name, section in indexers.items()}
    prefix = f"text_field_embedder.token_embedder_{elmo}._elmo."
    (folder / "options.json").write_text(json.dumps(OPTIONS))
    path, config = write_task(folder / "model.tar.gz", model, indexers, shapes, vocabulary, prefix, **options)
    return path, Witness(config, shapes, vocabulary)


@torch.no_grad()
def assert_scores(folder, witness):
    model = ElmoForTokenClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(SENTENCES, is_split_into_words=True, padding=True, return_tensors="pt")
    scores, mixes = model(**batch).scores, model.elmo(**batch).last_hidden_state
    for row, words in enumerate(SENTENCES):
        places = slice(1, len(words) + 1)
        expected = witness.tag(words, mixes[row, places])
        torch.testing.assert_close(scores[row, places], expected, rtol=0, atol=5e-6)
    return model


@pytest.mark.parametrize("name", first_fast(MODELS))
def test_settings(tmp_path, name):
    model, elmo = MODELS[name]
    path, witness = written(tmp_path, model, elmo)
    convert(path, tmp_path / "model", options=tmp_path / "options.json")
    loaded = assert_scores(tmp_path / "model", witness)
    assert loaded.config.mix_trainable == ("fixed mix" not in name)


# ---- layouts


def again(path, change=lambda name, content: (name, content), mode="w:gz", folders=()):
    """Write the members of an archive once more."""
    with tarfile.open(path) as tar:
        members = [(member.name, tar.extractfile(member).read()) for member in tar if member.isfile()]
    with tarfile.open(path, mode) as tar:
        for name in folders:
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE
            tar.addfile(member)
        for name, content in (change(*member) for member in members):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def as_before_torch_1_6(name, content):
    if name == "weights.th":
        stream = io.BytesIO()
        torch.save(torch.load(io.BytesIO(content)), stream, _use_new_zipfile_serialization=False)
        content = stream.getvalue()
    return name, content


def with_line_ends_of_windows(name, content):
    return name, content.replace(b"\n", b"\r\n") if name.startswith("vocabulary/") else content


def with_a_mark_of_byte_order(name, content):
    return name, b"\xef\xbb\xbf" + content if name == "config.json" else content


LAYOUTS = {
    "below a dot": {"change": lambda name, content: (f"./{name}", content), "folders": ["./", "./vocabulary"]},
    "in a folder": {"change": lambda name, content: (f"run/{name}", content), "folders": ["run"]},
    "uncompressed": {"mode": "w"},
    "torch before 1.6": {"change": as_before_torch_1_6},
    "windows": {"change": with_line_ends_of_windows},
    "byte order": {"change": with_a_mark_of_byte_order},
}


@pytest.mark.parametrize("name", first_fast(LAYOUTS))
def test_layouts(tmp_path, name):
    path, witness = written(tmp_path)
    again(path, **LAYOUTS[name])
    convert(path, tmp_path / "model", options=tmp_path / "options.json")
    assert_scores(tmp_path / "model", witness)


def test_the_folder_of_a_training_run(tmp_path):
    """With the best weights under the name that training gives them, and its logs."""
    path, witness = written(tmp_path)
    with tarfile.open(path) as tar:
        tar.extractall(tmp_path / "run", filter="data")
    (tmp_path / "run" / "weights.th").rename(tmp_path / "run" / "best.th")
    (tmp_path / "run" / "metrics.json").write_text('{"epoch": 1}')
    convert(tmp_path / "run", tmp_path / "model", options=tmp_path / "options.json")
    assert_scores(tmp_path / "model", witness)


@pytest.mark.parametrize("name", ["options.json", "elmo/options.json", "fta/model.x.elmo.options_file"])
def test_options_in_the_archive(tmp_path, name):
    options = OPTIONS | {"lstm": OPTIONS["lstm"] | {"cell_clip": 0.5}}
    path, _ = written(tmp_path, members={name: json.dumps(options).encode()})
    conversion = convert(path, tmp_path / "model")
    assert conversion.config.cell_clip == 0.5
    assert any("options are those of" in note and name in note for note in conversion.notes)


def test_a_cache_of_words(tmp_path):
    """Words of the cache had the vectors that their characters give, unless training changed these."""
    cache = "text_field_embedder.token_embedder_elmo._elmo._elmo_lstm._word_embedding.weight"
    for trained in (False, True):
        elmo = ELMO | {"namespace_to_cache": "tokens", "requires_grad": trained}
        model = TAGGER | embedders(elmo=elmo)
        shapes, vocabulary = tensors(model).add(cache, 9, 6), namespaces(TAGS)
        path, _ = write_task(tmp_path / f"{trained}.tar.gz", model, INDEXERS, shapes, vocabulary, PREFIX)
        if trained:
            with pytest.raises(
                ValueError, match="requires_grad trained apart from the character encoder, which has no"
            ):
                convert(path, tmp_path / "trained")
        else:
            assert any("every word is read by its characters" in note for note in convert(path, tmp_path / "m").notes)


# ---- readers


READERS = {
    "words": (
        {"type": "conll2003"},
        "treebank",
        "where the archive's reader (conll2003) takes words, or the tokens of",
    ),
    "spaCy": ({"tokenizer": {"type": "spacy"}}, "treebank", "the tokens of spaCy; give words"),
    "of 0.9": (
        {"tokenizer": {"type": "word", "word_splitter": "just_spaces", "word_filter": "stopwords"}},
        "whitespace",
        "changes words by a word_filter; give words as they are after it",
    ),
    "stems": (
        {"tokenizer": {"word_splitter": {"type": "letters_digits"}, "word_stemmer": {"type": "porter"}}},
        "letters_digits",
        "changes words by a word_stemmer; give words as they are after it",
    ),
    "long": (
        {"type": "text_classification_json", "tokenizer": "just_spaces", "max_sequence_length": 4},
        "whitespace",
        "reads the first 4 words of a text; so do calls of the tokenizer with truncation=True",
    ),
}


@pytest.mark.parametrize("name", first_fast(READERS, 2))
def test_readers(tmp_path, name):
    """What a reader does to raw text is done, or said in one line, also on the card."""
    reader, split, note = READERS[name]
    path, _ = written(tmp_path, reader=reader)
    conversion = convert(path, tmp_path / "model", options=tmp_path / "options.json")
    assert any(note in line for line in conversion.notes)
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert note[0].upper() + note[1:] in card or note in card
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.split == split
    if name == "long":
        words = tokenizer("a b c d e f", truncation=True, return_special_tokens_mask=True)
        assert len(words["input_ids"]) == 6
