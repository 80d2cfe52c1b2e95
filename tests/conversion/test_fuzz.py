# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Random damage to every format: a conversion succeeds, or fails in one line and leaves nothing.

    PYTHONPATH=tests/helpers python tests/conversion/test_fuzz.py 10000

runs as many mutations and prints those that do neither.
"""

import json
import random
import shutil
import sys
import tarfile
import tempfile
import traceback
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from allennlp_archives import HIDDEN, INDEXERS, PREFIX, TAGGER, TAGS, Shapes, namespaces, tagger_tensors, write_task
from allennlp_weights import state_dict, write_archive
from checkpoint_writer import lay_out, write
from damage import mutate
from lanes import first_fast
from many_langs_weights import write_model
from pair_archives import bidaf, esim, layers, rnn
from small_original import OPTIONS

from hf_elmo.conversion import convert
from hf_elmo.conversion.alignment import align
from hf_elmo.conversion.conversion import read_words
from hf_elmo.conversion.original import Source
from hf_elmo.conversion.output import build_model, save_tokenizer
from hf_elmo.conversion.random_weights import random_weights, write_files
from hf_elmo.conversion.sources import open_source

MUTATIONS = 60  # of each format; the command above takes as many as you like
WHOLE = 6  # one mutation in so many takes the whole command, which mostly copies the same code and card
TENSORS = random_weights(OPTIONS)


# ---- sound models


def hdf5(folder):
    write_files(folder, OPTIONS, random_weights(OPTIONS, words=4))
    (folder / "vocab.txt").write_text("<S>\n</S>\n<UNK>\nbank\n")


def token_cache(folder):
    """Weights without a character encoder, and the token embeddings that take its place."""
    write_files(folder, OPTIONS, {name: array for name, array in TENSORS.items() if name.startswith("RNN")})
    with h5py.File(folder / "cache.hdf5", "w") as file:
        file["embedding"] = TENSORS["CNN_proj/W_proj"][:4]
    (folder / "vocab.txt").write_text("<S>\n</S>\n<UNK>\nbank\n")


def alignment(folder):
    write_files(folder, OPTIONS, TENSORS)
    torch.save(np.eye(12, dtype=np.float32), folder / "best_mapping.pth")
    torch.save(torch.ones(12, 12), folder / "other.pth")


def nlpl(folder):
    write_files(folder, OPTIONS, TENSORS, "model.hdf5")
    meta = {"corpus": [{"language": "eng", "lemmatized": False}], "handle": "x", "creators": [{"name": "y"}]}
    (folder / "meta.json").write_text(json.dumps(meta))


def variables(root):
    """Return the variables of TensorFlow that are the weights."""
    names = (("/W_0", "/kernel"), ("/B", "/bias"), ("/W_P_0", "/projection/kernel"))
    found = {}
    for name, array in TENSORS.items():
        for theirs, ours in names:
            name = name.replace(theirs, ours) if name.startswith("RNN") else name
        found[f"{root}/{name}"] = array
    return found


def checkpoint(folder):
    """What training leaves, with slots of the optimizer."""
    found = variables("lm")
    slots = {f"{name}/Adagrad": array for name, array in found.items()}
    write(folder, *lay_out(found | slots | {"global_step": np.array(7, np.int64)}))
    (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-1"\n')
    (folder / "options.json").write_text(json.dumps(OPTIONS))


def tfhub(folder):
    mix = {"aggregation/weights": TENSORS["CNN/b_cnn_0"][:3], "aggregation/scaling": TENSORS["CNN/b_cnn_0"][:1]}
    (folder / "variables").mkdir()
    write(folder / "variables", *lay_out(variables("module/bilm") | {f"module/{key}": mix[key] for key in mix}))
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    (folder / "options.json").write_text(json.dumps(OPTIONS))


def unpack(path):
    with tarfile.open(path) as tar:
        tar.extractall(path.parent, filter="data")
    path.unlink()


def allennlp(folder):
    settings = {"model": {"type": "x", "e": {"type": "elmo_token_embedder", "do_layer_norm": False, "dropout": 0.1}}}
    unpack(write_archive(folder / "m.tar.gz", state_dict(TENSORS, "_elmo."), settings))


def state(folder):
    torch.save(state_dict(TENSORS, ""), folder / "weights.th", _use_new_zipfile_serialization=False)
    (folder / "config.json").write_text('{"model": {"type": "x", "elmo": {"options_file": "y"}}}')


def languages(folder):
    """The embedder of two languages, one of them aligned."""
    place, found = "e.token_embedder_elmo", {}
    for language in ("en", "es"):
        found |= state_dict(TENSORS, f"{place}.elmo_{language}.")
        found[f"{place}.aligning_{language}.weight"] = torch.ones(12, 12)
    files = {"en": "o", "es": "o"}
    embedder = {"type": "elmo_token_embedder_multilang", "options_files": files, "weight_files": files}
    settings = {"model": {"type": "x", "e": {"token_embedders": {"elmo": embedder}}}}
    unpack(write_archive(folder / "m.tar.gz", found, settings))


def task(folder, model, shapes, indexers, labels, prefix, **options):
    unpack(write_task(folder / "m.tar.gz", model, indexers, shapes, namespaces(labels), prefix, **options)[0])


def tagger(folder):
    """The tagger around the ELMo, with all that one can have."""
    shapes = Shapes().linear("tag_projection_layer._module", 3, 10).add("crf.transitions", 3, 3)
    place = "text_field_embedder.token_embedder_"
    shapes.add(f"{place}tokens.weight", 9, 4).add(f"{place}token_characters._embedding._module.weight", 17, 3)
    shapes.cnn(f"{place}token_characters._encoder._module", 3, 4, [2]).add("crf._constraint_mask", 5, 5)
    shapes.torch_rnn("encoder._module", 4, 4 + 4 + HIDDEN, 5, both=True).feedforward("_feedforward", 10, 10)
    indexers = {"tokens": {"type": "single_id"}, "token_characters": {"type": "characters", "min_padding_length": 2}}
    cnn = {"type": "cnn", "embedding_dim": 3, "num_filters": 4, "ngram_filter_sizes": [2]}
    embedders = {
        "elmo": {"type": "elmo_token_embedder", "options_file": "o"},
        "tokens": {"type": "embedding", "embedding_dim": 4, "max_norm": 2.0},
        "token_characters": {"type": "character_encoding", "embedding": {"embedding_dim": 3}, "encoder": cnn},
    }
    model = {
        "type": "crf_tagger",
        "text_field_embedder": {"token_embedders": embedders},
        "encoder": {"type": "lstm", "input_size": 20, "hidden_size": 5, "num_layers": 1, "bidirectional": True},
        "feedforward": {"input_dim": 10, "num_layers": 1, "hidden_dims": [10], "activations": "relu", "dropout": [0.1]},
        "include_start_end_transitions": False,
        "label_encoding": "BIO",
    }
    task(folder, model, shapes, indexers, ["O", "B-X", "I-X"], f"{place}elmo._elmo.")


def simple(folder):
    """A tagger in one file, as `model.tar.gz`."""
    task(folder, TAGGER, tagger_tensors(), INDEXERS, TAGS, PREFIX)


def classifier(folder):
    """The biattentive classification network."""
    shapes = Shapes().feedforward("_pre_encode_feedforward", HIDDEN, 5)
    shapes.torch_rnn("_encoder._module", 4, 5, 3, both=True).torch_rnn("_integrator._module", 3, 18, 2, both=True)
    shapes.linear("_self_attentive_pooling_projection", 1, 4 + HIDDEN).linear("_output_layer._linear_layers.0", 4, 64)
    model = {
        "type": "bcn",
        "text_field_embedder": {"token_embedders": {}},
        "elmo": {"options_file": "o", "weight_file": "w", "num_output_representations": 2},
        "use_input_elmo": True,
        "use_integrator_output_elmo": True,
        "pre_encode_feedforward": layers(HIDDEN, 5, "relu"),
        "encoder": rnn("lstm", 5, 3, bidirectional=True),
        "integrator": rnn("gru", 18, 2, bidirectional=True),
        "output_layer": {"input_dim": 64, "num_layers": 1, "output_dims": 2, "pool_sizes": 2, "dropout": 0.1},
    }
    task(folder, model, shapes, {"elmo": {"type": "elmo_characters"}}, ["x", "y"], "_elmo.", mixes=2)


def over_elmo(folder, model, shapes, labels):
    model["text_field_embedder"] = {"token_embedders": {"elmo": {"type": "elmo_token_embedder"}}}
    reader = {"type": "squad", "tokenizer": {"type": "spacy", "end_tokens": ["@@NULL@@"]}, "passage_length_limit": 9}
    prefix = "_text_field_embedder.token_embedder_elmo._elmo."
    task(folder, model, shapes, {"elmo": {"type": "elmo_characters"}}, labels, prefix, reader=reader)


def answers(folder):
    phrase = rnn("lstm", HIDDEN, 3, bidirectional=True)
    similarity = {"type": "linear", "tensor_1_dim": 6, "tensor_2_dim": 6}
    over_elmo(folder, *bidaf(HIDDEN, phrase, {"matrix_attention": similarity}), ["x"])


def pairs(folder):
    encoder, similarity = rnn("gru", HIDDEN, 3), {"type": "bilinear", "tensor_1_dim": 3, "tensor_2_dim": 3}
    over_elmo(folder, *esim(HIDDEN, 2, encoder, {"similarity_function": similarity}), ["x", "y"])


def many_langs(folder):
    write_model(folder)


def saved(folder):
    hdf5(folder / "original")
    convert(folder / "original", folder / "model")
    for path in (folder / "model").iterdir():
        if path.suffix in (".json", ".safetensors"):
            path.rename(folder / path.name)
    shutil.rmtree(folder / "original")
    shutil.rmtree(folder / "model")


FORMATS = {
    form.__name__: form
    for form in (
        *(hdf5, token_cache, alignment, nlpl, checkpoint, tfhub, many_langs, saved, allennlp, state, languages),
        *(simple, tagger, classifier, answers, pairs),
    )
}
PACKED = {"nlpl": "model.zip"} | dict.fromkeys(["allennlp", "simple", "classifier", "pairs"], "model.tar.gz")


# ---- damage


def packed(folder: Path, name: str) -> Path:
    """Put the files of a folder into the archive of a format."""
    files, archive = sorted(path for path in folder.rglob("*") if path.is_file()), folder / PACKED[name]
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            for path in files:
                file.write(path, path.relative_to(folder))
    else:
        with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
            for path in files:
                tar.add(path, path.relative_to(folder))
    for path in files:
        path.unlink()
    return archive


def damaged(name: str, sound: Path, source: Path, dice: random.Random) -> Path:
    """Copy a model with damage, which formats of archives have inside or outside, and return what to convert."""
    shutil.copytree(sound, source)
    is_archive = name in PACKED and dice.random() < 0.6
    path = packed(source, name) if is_archive and dice.random() < 0.4 else source
    for _ in range(dice.randint(1, 2)):
        mutate(source, dice)
    return packed(source, name) if is_archive and path == source else path


def attempt(name: str, sound: Path, work: Path, seed: int) -> str | None:
    """Convert a damaged copy. Returns the error in one line, and None for success."""
    dice = random.Random(f"{name} {seed}")
    source, output = work / "source", work / "output"
    path = damaged(name, sound, source, dice)
    matrices = {1: source / "best_mapping.pth", 2: source / "other.pth"} if name == "alignment" else {}
    part = "es" if name == "languages" else None
    try:
        if name == "saved" or seed % WHOLE == 0:
            files = [f"{layer}={file}" for layer, file in matrices.items()]
            convert(path, output, alignment=files, part=part, to="hdf5" if name == "saved" else "safetensors")
        else:
            build(Source(path, part=part, alignment=matrices))
    except (ValueError, OSError) as error:
        assert not output.exists()
        return str(error)
    finally:
        shutil.rmtree(source)
        left = sorted(path.name for path in work.iterdir())
        shutil.rmtree(output, ignore_errors=True)
        assert left in ([], ["output"]), left
    return None


def build(request: Source):
    """Do what a conversion does, without the writing of weights, code and card."""
    with tempfile.TemporaryDirectory() as folder, open_source(request) as original:
        original = align(original, request.alignment)
        words = read_words(original, given=False)
        if words is not None:
            Path(folder, "vocab.txt").write_text("\n".join(words), encoding="utf-8")
        build_model(original)
        save_tokenizer(original, Path(folder))


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_refused_in_one_line(name, tmp_path):
    sound, work = tmp_path / "sound", tmp_path / "work"
    sound.mkdir()
    work.mkdir()
    FORMATS[name](sound)
    errors = [attempt(name, sound, work, seed) for seed in range(MUTATIONS)]
    refused = [error for error in errors if error is not None]
    assert MUTATIONS / 5 < len(refused) < MUTATIONS
    assert not any("\n" in error for error in refused)


@pytest.mark.parametrize("name", first_fast(FORMATS, 3))
def test_a_pointer_of_git_lfs_in_place_of_any_file_is_named(name, tmp_path):
    """And what to type; where the format does not need the file, it is named among what was left out."""
    (tmp_path / "sound").mkdir()
    FORMATS[name](tmp_path / "sound")
    paths = [path for path in (tmp_path / "sound").rglob("*") if path.is_file() and path.name != ".lock"]
    files = [path.relative_to(tmp_path / "sound") for path in paths]
    for number, file in enumerate(files):
        source, output = tmp_path / f"source{number}", tmp_path / f"output{number}"
        shutil.copytree(tmp_path / "sound", source)
        (source / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
        part = "es" if name == "languages" else None
        try:
            notes = convert(source, output, part=part, to="hdf5" if name == "saved" else "safetensors").notes
        except ValueError as error:
            notes = [str(error)] if "run `git lfs pull` in its repository" in str(error) else []
        assert any(f"{source / file}: this is a git-lfs pointer" in note for note in notes), (file, notes)


if __name__ == "__main__":
    failures, total, refused = 0, int(sys.argv[1]), 0
    with tempfile.TemporaryDirectory() as folder:
        for name, write_sound in FORMATS.items():
            sound, work = Path(folder, name), Path(folder, f"{name}.work")
            sound.mkdir()
            work.mkdir()
            write_sound(sound)
            for seed in range(1000, 1000 + total // len(FORMATS)):
                try:
                    error = attempt(name, sound, work, seed)
                    refused += error is not None
                    assert error is None or "\n" not in error, error
                except Exception:
                    failures += 1
                    print(name, seed, traceback.format_exc(limit=-4), flush=True)
                    shutil.rmtree(work)
                    work.mkdir()
    print(f"{total:,} mutations: {refused:,} refused in one line, {failures} failures")
