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
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from allennlp_archives import HIDDEN, Shapes, namespaces, write_task
from allennlp_weights import state_dict, write_archive
from checkpoint_writer import lay_out, write
from lanes import first_fast
from many_langs_weights import write_model
from pair_archives import bidaf, rnn
from small_original import OPTIONS

from hf_elmo.conversion import convert
from hf_elmo.conversion.random_weights import random_weights, write_files

TENSORS = random_weights(OPTIONS)
VALUES = [None, True, -1, 0, 1.5, 1e300, 10**30, "", "x", "\n", [], {}, [[]], "../x", "NaN"]


def hdf5(folder):
    write_files(folder, OPTIONS, random_weights(OPTIONS, words=4))
    (folder / "vocab.txt").write_text("<S>\n</S>\n<UNK>\nbank\n")


def extras(folder):
    """Weights without a character encoder, the token embeddings that take its place, and an alignment matrix."""
    write_files(folder, OPTIONS, {name: array for name, array in TENSORS.items() if name.startswith("RNN")})
    with h5py.File(folder / "cache.hdf5", "w") as file:
        file["embedding"] = TENSORS["CNN_proj/W_proj"][:4]
    (folder / "vocab.txt").write_text("<S>\n</S>\n<UNK>\nbank\n")
    torch.save(np.eye(12, dtype=np.float32), folder / "best_mapping.pth")


def nlpl(folder):
    write_files(folder / "files", OPTIONS, TENSORS, "model.hdf5")
    (folder / "files" / "meta.json").write_text('{"corpus": [{"language": "eng"}], "handle": "x"}')
    with zipfile.ZipFile(folder / "model.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for path in (folder / "files").iterdir():
            file.write(path, path.name)
    shutil.rmtree(folder / "files")


def checkpoint(folder):
    names = (("/W_0", "/kernel"), ("/B", "/bias"), ("/W_P_0", "/projection/kernel"))
    variables = {"aggregation/weights": TENSORS["CNN/b_cnn_0"][:3], "aggregation/scaling": TENSORS["CNN/b_cnn_0"][:1]}
    for name, array in TENSORS.items():
        for theirs, ours in names:
            name = name.replace(theirs, ours) if name.startswith("RNN") else name
        variables[f"bilm/{name}"] = array
    write(folder, *lay_out(variables))
    (folder / "options.json").write_text(json.dumps(OPTIONS))


def allennlp(folder):
    settings = {"model": {"type": "x", "e": {"type": "elmo_token_embedder", "do_layer_norm": False, "dropout": 0.1}}}
    write_archive(folder / "model.tar.gz", state_dict(TENSORS, "_elmo."), settings)


def state(folder):
    torch.save(state_dict(TENSORS, ""), folder / "weights.th")
    (folder / "config.json").write_text('{"model": {"type": "x", "elmo": {"options_file": "y"}}}')


def tagger(folder):
    """The files of an archive, with the tagger around the ELMo."""
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
    prefix = f"{place}elmo._elmo."
    archive, _ = write_task(folder / "m.tar.gz", model, indexers, shapes, namespaces(["O", "B-X", "I-X"]), prefix)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    archive.unlink()


def answers(folder):
    """The files of an archive, with the finder of answers around the ELMo."""
    phrase = rnn("lstm", HIDDEN, 3, bidirectional=True)
    similarity = {"type": "linear", "tensor_1_dim": 6, "tensor_2_dim": 6}
    model, shapes = bidaf(HIDDEN, phrase, {"matrix_attention": similarity})
    indexers = {"elmo": {"type": "elmo_characters"}}
    model["text_field_embedder"] = {"token_embedders": {"elmo": {"type": "elmo_token_embedder"}}}
    prefix = "_text_field_embedder.token_embedder_elmo._elmo."
    archive, _ = write_task(folder / "m.tar.gz", model, indexers, shapes, namespaces(["x"]), prefix)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    archive.unlink()


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
    for form in (hdf5, extras, nlpl, checkpoint, allennlp, tagger, answers, state, many_langs, saved)
}


def mutate(folder: Path, dice: random.Random):
    """Damage one file of a folder: bytes, length, or a value of a JSON file."""
    path = dice.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    content = bytearray(path.read_bytes() or b"x")
    kind = dice.choice(["flip", "flip", "flip", "cut", "insert", "repeat", "zero", "text", "value", "value"])
    place = dice.randrange(len(content))
    if kind == "value" and path.suffix == ".json":
        with suppress(ValueError):  # of a file damaged before
            return path.write_text(json.dumps(changed(json.loads(content), dice)))
    if kind == "cut":
        del content[place:]
    elif kind == "insert":
        content[place:place] = dice.randbytes(dice.randint(1, 9))
    elif kind == "repeat":
        content += content[: place + 1]
    elif kind == "zero":
        content[place : place + 64] = bytes(min(64, len(content) - place))
    elif kind == "text":
        content[:] = b"<html>" if dice.random() < 0.5 else b""
    else:
        for _ in range(dice.randint(1, 8)):
            content[min(place + dice.randint(0, 40), len(content) - 1)] ^= 1 << dice.randrange(8)
    return path.write_bytes(content)


def changed(value, dice: random.Random):
    """Replace, remove or keep parts of a JSON value."""
    if isinstance(value, dict) and value and dice.random() < 0.8:
        key = dice.choice(sorted(value))
        return {**value, key: changed(value[key], dice)} if dice.random() < 0.9 else {**value, "x": dice.choice(VALUES)}
    return dice.choice(VALUES)


def packed(folder: Path) -> Path:
    """Return the archive of a format that is one, or its folder."""
    return next((folder / file for file in ("model.zip", "model.tar.gz") if (folder / file).is_file()), folder)


def attempt(name: str, sound: Path, work: Path, seed: int) -> str | None:
    """Convert a damaged copy. Returns the error in one line, and None for success."""
    dice = random.Random(f"{name} {seed}")
    source, output = work / "source", work / "output"
    shutil.copytree(sound, source)
    for _ in range(dice.randint(1, 2)):
        mutate(source, dice)
    alignment = [source / "best_mapping.pth"] if name == "extras" else []
    try:
        convert(packed(source), output, alignment=alignment, to="hdf5" if name == "saved" else "safetensors")
    except (ValueError, OSError) as error:
        assert not output.exists()
        return str(error)
    finally:
        shutil.rmtree(source)
        left = sorted(path.name for path in work.iterdir())
        shutil.rmtree(output, ignore_errors=True)
        assert left in ([], ["output"]), left
    return None


@pytest.mark.parametrize("name", first_fast(FORMATS))
def test_damage_is_refused_in_one_line(name, tmp_path):
    sound, work = tmp_path / "sound", tmp_path / "work"
    sound.mkdir()
    work.mkdir()
    FORMATS[name](sound)
    errors = [attempt(name, sound, work, seed) for seed in range(60)]
    refused = [error for error in errors if error is not None]
    assert len(refused) > 10
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
        try:
            notes = convert(packed(source), output, to="hdf5" if name == "saved" else "safetensors").notes
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
