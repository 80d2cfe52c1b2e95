# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The ELMo inside archives of AllenNLP: weights, mixes, options, and what is not carried over."""

import json
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from allennlp_weights import state_dict, write_archive
from lanes import first_fast
from small_original import OPTIONS

from hf_elmo import ElmoModel, ElmoTokenizer
from hf_elmo.conversion import convert, looks_unconverted
from hf_elmo.conversion.random_weights import random_weights, write_files

TENSORS = random_weights(OPTIONS, seed=5)
PREFIXES = (
    "",
    "_elmo.",
    "text_field_embedder.token_embedder_elmo._elmo.",
    "_text_field_embedder.token_embedder_some_name._elmo.",
)
MIXES = ((0.5, -1.0, 2.0, 1.5), (1.0, 0.0, 0.25, 0.5))
SENTENCES = [["The", "bank", "was", "closed", "."], ["na\u00efve"], ["x" * 60, "<S>", ""]]


def config(**elmo):
    """The config.json of a tagger, as `allennlp train` writes it."""
    embedder = {"type": "elmo_token_embedder", "options_file": "https://a.b/options.json", **elmo}
    return {"model": {"type": "crf_tagger", "text_field_embedder": {"token_embedders": {"elmo": embedder}}}}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The same biLM, converted from bilm-tf's files."""
    folder = tmp_path_factory.mktemp("original")
    write_files(folder / "original", OPTIONS, TENSORS)
    convert(folder / "original", folder / "model")
    return folder


def outputs(folder):
    batch = ElmoTokenizer()(SENTENCES, is_split_into_words=True, padding=True, return_tensors="pt")
    with torch.no_grad():
        return ElmoModel.from_pretrained(folder).eval()(**batch, output_hidden_states=True)


@pytest.mark.parametrize("prefix", first_fast(PREFIXES, 2))
def test_layers_are_those_of_the_same_weights_in_hdf5(tmp_path, original, prefix):
    archive = write_archive(tmp_path / "model.tar.gz", state_dict(TENSORS, prefix, MIXES), config())
    conversion = convert(archive, tmp_path / "model", options=original / "original" / "options.json")
    assert conversion.format == "AllenNLP archive"
    assert conversion.notes == []
    expected, found = outputs(original / "model"), outputs(tmp_path / "model")
    for one, other in zip(expected.hidden_states, found.hidden_states, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-6)
    layers = torch.stack(found.hidden_states)
    for (*weights, gamma), mix in zip(MIXES, found.mixes, strict=True):
        shares = torch.softmax(torch.tensor(weights), 0)[:, None, None, None]
        torch.testing.assert_close(mix, gamma * (shares * layers).sum(0), rtol=0, atol=2e-6)


def test_it_goes_on_to_the_files_of_bilm(tmp_path, original):
    archive = write_archive(tmp_path / "model.tar.gz", state_dict(TENSORS, ""), config())
    convert(archive, tmp_path / "model", options=original / "original" / "options.json")
    convert(tmp_path / "model", tmp_path / "back", to="hdf5")
    convert(tmp_path / "back", tmp_path / "again")
    expected, found = outputs(original / "model"), outputs(tmp_path / "again")
    torch.testing.assert_close(expected.last_hidden_state, found.last_hidden_state, rtol=0, atol=2e-6)


@pytest.mark.parametrize("form", ["folder", "weights.th", "legacy", "below"])
def test_every_form_of_an_archive(tmp_path, original, form):
    state = state_dict(TENSORS, PREFIXES[2])
    archive = write_archive(tmp_path / "model.tar.gz", state, config())
    folder = tmp_path / "unpacked" / "below" if form == "below" else tmp_path / "unpacked"
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    if form == "legacy":
        torch.save(state, folder / "weights.th", _use_new_zipfile_serialization=False)
    source = {"weights.th": folder / "weights.th", "below": tmp_path / "again.tar"}.get(form, folder)
    if form == "below":
        with tarfile.open(source, "w") as tar:
            tar.add(folder, "some/folder")
    assert "hf-elmo convert" in looks_unconverted(source)
    conversion = convert(source, tmp_path / "model", options=original / "original" / "options.json")
    assert conversion.config.cell_size == 10
    assert str(tmp_path / "unpacked") not in (tmp_path / "model" / "README.md").read_text()


# ---- options and settings


def changed_options(**lstm):
    return {**OPTIONS, "lstm": {**OPTIONS["lstm"], **lstm}}


def test_options_inside_an_old_archive(tmp_path):
    name = "model.text_field_embedder.token_embedders.elmo.options_file"
    members = {
        "files_to_archive.json": json.dumps({name: "/net/options.json"}).encode(),
        f"fta/{name}": json.dumps(changed_options(cell_clip=0.5)).encode(),
    }
    archive = write_archive(tmp_path / "model.tar.gz", state_dict(TENSORS, PREFIXES[2]), config(), members)
    conversion = convert(archive, tmp_path / "model")
    assert conversion.config.cell_clip == 0.5
    assert conversion.notes == [f"options are those of {archive}: fta/{name}"]


def test_options_where_the_archive_says(tmp_path):
    (tmp_path / "elmo").mkdir()
    (tmp_path / "elmo" / "options.json").write_text(json.dumps(changed_options(proj_clip=0.25)))
    state = state_dict(TENSORS, PREFIXES[2])
    archive = write_archive(tmp_path / "model.tar.gz", state, config(options_file="elmo/options.json"))
    assert convert(archive, tmp_path / "model").config.projection_clip == 0.25


def test_without_options_the_published_ones_are_assumed_and_said(tmp_path):
    archive = write_archive(tmp_path / "model.tar.gz", state_dict(TENSORS, PREFIXES[2]), config())
    (note,) = convert(archive, tmp_path / "model").notes
    assert "has no options; assumed those of the published models" in note
    assert note.startswith(f"{archive}: weights.th")


def test_options_of_another_model_are_refused(tmp_path):
    (tmp_path / "options.json").write_text(json.dumps(changed_options(dim=11)))
    archive = write_archive(tmp_path / "model.tar.gz", state_dict(TENSORS, ""), config())
    with pytest.raises(ValueError, match=r"options\.json: lstm\.dim is 11, but state_projection of .*: w"):
        convert(archive, tmp_path / "model", options=tmp_path / "options.json")


def test_settings_of_the_mix(tmp_path):
    settings = {"do_layer_norm": True, "dropout": 0.25, "scalar_mix_parameters": [0.5, -1, 2]}
    archive = write_archive(tmp_path / "model.tar.gz", state_dict(TENSORS, PREFIXES[2], MIXES[:1]), config(**settings))
    found = convert(archive, tmp_path / "model").config
    assert (found.mix_layer_norm, found.classifier_dropout, found.mix_trainable) == (True, 0.25, False)


def test_the_rest_of_the_model_is_named(tmp_path):
    state = state_dict(TENSORS, PREFIXES[2])
    state["crf.transitions"] = torch.zeros(3, 3)
    state["text_field_embedder.token_embedder_tokens.weight"] = torch.zeros(9, 2)
    state[f"{PREFIXES[2]}_elmo_lstm._word_embedding.weight"] = torch.zeros(9, 6)
    archive = write_archive(tmp_path / "model.tar.gz", state, config())
    _, cache, rest = convert(archive, tmp_path / "model", encoder_only=True).notes
    assert "_word_embedding.weight (9, 6), a cache of words' vectors; every word is read by its characters" in cache
    assert rest == (
        "the crf_tagger around the ELMo is not carried over: crf, text_field_embedder.token_embedder_tokens (2 tensors)"
    )


@pytest.mark.parametrize("part", first_fast(["b", "text_field_embedder.token_embedder_b._elmo."]))
def test_one_of_several_elmos_is_chosen(tmp_path, original, part):
    prefixes = [f"text_field_embedder.token_embedder_{name}._elmo." for name in "ab"]
    state = state_dict(random_weights(OPTIONS, seed=6), prefixes[0]) | state_dict(TENSORS, prefixes[1], MIXES)
    archive = write_archive(tmp_path / "model.tar.gz", state, config())
    options = original / "original" / "options.json"
    conversion = convert(archive, tmp_path / "model", options=options, part=part)
    assert [note for note in conversion.notes if "token_embedder_a" in note]
    expected, found = outputs(original / "model"), outputs(tmp_path / "model")
    torch.testing.assert_close(found.hidden_states, expected.hidden_states, rtol=0, atol=2e-6)
    assert len(found.mixes) == 2
    with pytest.raises(
        ValueError, match=r"--part c does not name one of its ELMos, which are text_field_emb.*_a\._elmo, t"
    ):
        convert(archive, tmp_path / "other", options=options, part="c")
    with pytest.raises(ValueError, match="has no parts to choose from"):
        convert(original / "original", tmp_path / "other", part="a")


def test_several_elmos_of_the_same_weights_are_one_with_the_mixes_of_all(tmp_path, original):
    prefixes = [f"text_field_embedder.token_embedder_{name}._elmo." for name in "ab"]
    state = state_dict(TENSORS, prefixes[0], MIXES[:1]) | state_dict(TENSORS, prefixes[1], MIXES[1:])
    archive = write_archive(tmp_path / "model.tar.gz", state, {"model": {"type": "unknown"}})
    options = original / "original" / "options.json"
    conversion = convert(archive, tmp_path / "model", options=options)
    (note,) = conversion.notes
    assert note.endswith("have the same weights and become one, with the mixes of all")
    found = outputs(tmp_path / "model")
    layers = torch.stack(found.hidden_states)
    for (*weights, gamma), mix in zip(MIXES, found.mixes, strict=True):
        shares = torch.softmax(torch.tensor(weights), 0)[:, None, None, None]
        torch.testing.assert_close(mix, gamma * (shares * layers).sum(0), rtol=0, atol=2e-6)


def test_elmos_of_the_same_weights_that_differ_in_settings(tmp_path, original):
    """A fixed mix beside a trained one is only a matter of training; the options and the layer norm are not."""
    prefixes = [f"text_field_embedder.token_embedder_{name}._elmo." for name in "ab"]
    state = state_dict(TENSORS, prefixes[0], MIXES[:1]) | state_dict(TENSORS, prefixes[1], MIXES[1:])

    def convert_with(options=original / "original" / "options.json", **changes):
        sections = {name: {"type": "elmo_token_embedder", "options_file": "o.json"} for name in "ab"}
        sections["b"] |= changes
        model = {"type": "unknown", "text_field_embedder": {"token_embedders": sections}}
        archive = write_archive(tmp_path / "model.tar.gz", state, {"model": model})
        return convert(archive, tmp_path / "model", options=options, overwrite=True)

    conversion = convert_with(scalar_mix_parameters=[1, 0, 1])
    assert conversion.config.mix_trainable
    assert f"the mix of {prefixes[1]} was fixed in training; here it is trained" in "\n".join(conversion.notes)
    with pytest.raises(ValueError, match=r"differ in layer_norm, \[False, True\].* choose one with --part"):
        convert_with(do_layer_norm=True)
    convert_with(options_file="p.json")
    with pytest.raises(ValueError, match=r"differ in options_file, .*'p.json'\].* give those of all with --options"):
        convert_with(options=None, options_file="p.json")


# ---- what is no such archive


class Code:
    def __reduce__(self):
        return os.system, ("touch /tmp/should-never-exist",)


def spoiled(state, change):
    name = next(name for name in state if "forward_layer_1.state_linearity.bias" in name)
    if change == "missing":
        del state[name]
    elif change == "shape":
        state[name] = state[name][1:].clone()
    elif change == "nan":
        state[name][3] = np.nan
    elif change == "integers":
        state[name] = state[name].int()
    elif change == "expanded":
        state[name] = torch.zeros(1).expand(state[name].shape)
    elif change == "two":
        state |= state_dict(random_weights(OPTIONS, seed=6), "other.")
    elif change == "mix":
        del state["scalar_mix_0.scalar_parameters.2"]
    return state


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("missing", "lacks _elmo_lstm._elmo_lstm.forward_layer_1.state_linearity.bias (40,)"),
        ("shape", "state_linearity.bias must be (40,) to fit the other tensors, but is (39,)"),
        ("nan", "holds 1 NaN or infinite numbers among 40"),
        ("integers", "must hold floating-point numbers, but holds torch.int32"),
        ("expanded", "declares shape (40,), but fewer numbers are stored"),
        ("two", "holds 2 ELMos of different weights, (the whole file), other; choose one with --part"),
        ("mix", "lacks scalar_mix_0.scalar_parameters.2; expected a weight for each of the 3 layers"),
    ],
)
def test_damaged_weights(tmp_path, change, complaint):
    archive = write_archive(tmp_path / "model.tar.gz", spoiled(state_dict(TENSORS, ""), change), config())
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared below)
        convert(archive, tmp_path / "model")
    assert complaint in str(caught.value)
    assert str(caught.value).startswith(f"{archive}: weights.th")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (
            {"transformer.layer.0.self_attn.weight": torch.zeros(2)},
            "Transformer-ELMo and models like it",
        ),
        ({"lstm.weight": torch.zeros(2)}, "no ELMo in it; expected a tensor named"),
        ({"forward_layer_0.input_linearity.weight": torch.zeros(2)}, "a part of a model of ELMoForManyLangs"),
        ({"a": 3}, "a is no tensor"),
        ([torch.zeros(2)], "holds list, not tensors by their names"),
        (Code(), "holds more than tensors, perhaps code, and is not opened"),
    ],
    ids=["transformer", "other", "manylangs", "numbers", "list", "code"],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_files_of_pytorch_without_an_elmo(tmp_path, content, complaint, legacy):
    torch.save(content, tmp_path / "weights.th", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared below)
        convert(tmp_path / "weights.th", tmp_path / "model")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("/tmp/should-never-exist").exists()


def test_a_pickle_with_code_is_not_opened(tmp_path):
    (tmp_path / "weights.th").write_bytes(pickle.dumps(Code(), protocol=2))
    with pytest.raises(ValueError, match=r"weights\.th: (holds more than tensors|not readable as a file of PyTorch)"):
        convert(tmp_path, tmp_path / "model")
    assert not Path("/tmp/should-never-exist").exists()


# ---- the fixtures


@pytest.mark.parametrize(
    "name", first_fast(["elmo_only", "ner_crf_bioul", "sentiment_classifier", "squad_bidaf", "sst_bcn"])
)
def test_mixes_of_the_fixtures(tmp_path, fixtures_dir, name):
    folder = fixtures_dir / "allennlp_archives" / name
    convert(folder / "model.tar.gz", tmp_path / "model")
    model, tokenizer = ElmoModel.from_pretrained(tmp_path / "model").eval(), ElmoTokenizer()
    compared = 0
    with np.load(folder / "expected.npz") as expected:
        for key in (key for key in expected if key.startswith("stateless/") and "/elmo_rep" in key):
            batch = int(key.split("/")[1].removeprefix("batch"))
            number = int(key.split("/elmo_rep")[1].split("/")[0])
            instances = json.loads((folder / "inputs.json").read_text(encoding="utf-8"))["batches"][batch]
            part = key.split("/")[3] + "_tokens" if key.count("/") == 3 else "tokens"
            words = [instance[part] for instance in instances]
            encoded = tokenizer(words, is_split_into_words=True, padding=True, return_tensors="pt")
            with torch.no_grad():
                mix = model(**encoded).mixes[number]
            for row, sentence in enumerate(words):
                wanted = torch.from_numpy(expected[key][row, : len(sentence)])
                torch.testing.assert_close(mix[row, 1 : len(sentence) + 1], wanted, rtol=0, atol=2e-5)
                compared += len(sentence)
    assert compared > 50
