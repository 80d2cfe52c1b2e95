# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The catalogue of published models: consistent, listed, and converted in a row that an error or a break survives."""

import json
import re
from functools import partialmethod

import pytest
from huggingface_hub import HfApi, constants
from kills import run
from loopback_hub import running_hub
from small_original import OPTIONS

from hf_elmo.cli import main
from hf_elmo.conversion.catalogue import LOCK, STATE, convert_many
from hf_elmo.conversion.presets import catalogue, read_catalogue
from hf_elmo.conversion.random_weights import random_weights, write_files
from hf_elmo.conversion.sources import FORMATS


def test_entries_are_consistent():
    presets = catalogue()
    formats = {form.name for form in FORMATS}
    for preset in presets.values():
        addresses = [address for source in preset.sources for kind, address in source.items() if kind != "hub"]
        addresses += filter(None, (preset.softmax, preset.vocabulary, preset.alignment, preset.page))
        assert all(re.fullmatch(r"https?://[\w./?=~-]+", address) for address in addresses), preset.name
        assert preset.sources or preset.page, preset.name
        assert preset.format in formats, preset.name
        assert preset.language is None or re.fullmatch("[a-z]{2,3}", preset.language), preset.name
        assert re.fullmatch(r"unknown|[a-z0-9][a-z0-9.-]*", preset.license), preset.name
        assert preset.megabytes is None or 0 < preset.megabytes < 10_000, preset.name
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in preset.sha256.values()), preset.name
        assert preset.tokenization, preset.name
        assert preset.about, preset.name
        assert preset.citation, preset.name
    every = [json.dumps(source) for preset in presets.values() for source in preset.sources]
    assert len(every) == len(set(every))
    assert {"small", "medium", "original", "original-5.5b", "portuguese", "pubmed", "seqvec"} <= presets.keys()
    assert sum(preset.format == "ELMoForManyLangs" for preset in presets.values()) == 45
    assert presets["original-5.5b"].sources[0]["weights"] == (
        "https://allennlp.s3.amazonaws.com/models/elmo/2x4096_512_2048cnn_2xhighway_5.5B/"
        "elmo_2x4096_512_2048cnn_2xhighway_5.5B_weights.hdf5"
    )


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not readable as a catalogue"),
        ("{}", "expected a JSON list of entries"),
        ('["nowhere"]', "entry 1: 'nowhere' is no published model; `hf-elmo convert --list`"),
        ('["small", "small"]', "entry 2: the name 'small' is taken by another entry"),
        ('[{"name": "a"}]', "entry 1: lacks 'about'"),
        ('[{"name": "a", "weights": "b"}]', "entry 1: unknown key 'weights'"),
        (
            '[{"name": "A b", "language": "en", "format": "x", "about": "y"}]',
            "entry 1: the name must be lower-case letters, digits",
        ),
        (
            '[{"name": "a", "language": "en", "format": "x", "about": "y", "sources": [{"weights": "z"}]}]',
            "entry 1: a source must be weights and options, an archive or a hub",
        ),
    ],
)
def test_a_catalogue_that_is_none(tmp_path, content, complaint):
    (tmp_path / "list.json").write_text(content)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared below)
        read_catalogue(tmp_path / "list.json")
    assert complaint in str(caught.value)


def test_the_list(capsys):
    assert main(["convert", "--list", "--language", "no"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "language", "format", "license", "size", "sha256", "about"]
    assert [line.split()[0] for line in lines[1:]] == ["norelmo-lemmas", "norelmo", "norelmo30", "norelmo100"]
    assert main(["convert", "--list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(catalogue())
    assert main(["convert", "--list", "--language", "xx"]) == 2
    assert "no published model of the language 'xx'; known are ar, bg" in capsys.readouterr().err


def test_what_is_not_known_is_marked(tmp_path, capsys):
    """And an entry of which only a page is known says what to do with it."""
    assert main(["convert", "--list", "--language", "en"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert re.search(r" unknown +54 MB +unknown ", lines["small"])
    by_hand = [preset for preset in catalogue().values() if not preset.sources]
    assert [preset.name for preset in by_hand] == ["bioelmo", "chempatent", "materials-science"]
    for preset in by_hand:
        assert lines[preset.name].endswith(f"(by hand from {preset.page})")
        assert main(["convert", preset.name, str(tmp_path / "model")]) == 2
        assert (
            capsys.readouterr()
            .err.rstrip()
            .endswith(
                f"{preset.name}: no address of its files is known; fetch weights and options from {preset.page} into a "
                "folder, and type `hf-elmo convert FOLDER OUTPUT`"
            )
        )


@pytest.fixture
def models(tmp_path):
    """A list of two sound models and a damaged one between them."""
    entries = []
    for name in ("first", "damaged", "last"):
        write_files(tmp_path / name, OPTIONS, random_weights(OPTIONS))
        source = {"weights": str(tmp_path / name / "weights.hdf5"), "options": str(tmp_path / name / "options.json")}
        entries.append({"name": name, "language": "en", "format": "x", "about": "y", "sources": [source]})
    (tmp_path / "damaged" / "weights.hdf5").write_bytes(b"")
    (tmp_path / "list.json").write_text(json.dumps(entries))
    return tmp_path / "list.json"


def test_an_error_stops_only_its_own_model(models, tmp_path, capsys):
    assert main(["convert", "--catalogue", str(models), str(tmp_path / "all")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["first", "converted"],
        ["damaged", "failed"],
        ["last", "converted"],
    ]
    assert "the file is empty" in lines[2]
    assert (tmp_path / "all" / "last" / "model.safetensors").is_file()


def test_a_second_run_continues(models, tmp_path, capsys):
    presets = read_catalogue(models)
    run = convert_many(presets.values(), tmp_path / "all")
    assert next(run).result == "converted"
    run.close()
    before = (tmp_path / "all" / "first" / "model.safetensors").stat().st_mtime_ns
    write_files(tmp_path / "damaged", OPTIONS, random_weights(OPTIONS))
    outcomes = list(convert_many(presets.values(), tmp_path / "all"))
    assert [outcome.result for outcome in outcomes] == ["done before", "converted", "converted"]
    assert (tmp_path / "all" / "first" / "model.safetensors").stat().st_mtime_ns == before
    assert {outcome.result for outcome in convert_many(presets.values(), tmp_path / "all")} == {"done before"}
    (tmp_path / "all" / STATE).write_text("{")
    with pytest.raises(ValueError, match="remove it to convert everything again"):
        list(convert_many(presets.values(), tmp_path / "all"))


@pytest.fixture
def pushing_hub(monkeypatch):
    """A hub that takes what commands push in this process."""
    with running_hub() as hub:
        for name, value in (("ENDPOINT", hub.url), ("HF_HUB_OFFLINE", False)):
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr(HfApi, "__init__", partialmethod(HfApi.__init__, endpoint=hub.url, token="hf_writes"))
        yield hub


@pytest.mark.slow
def test_a_run_that_is_killed_anywhere_is_continued(models, pushing_hub, tmp_path):
    """With a hub that takes the models: what is done stays done, and nothing half-written is left."""

    def command(folder):
        return ["convert", "--catalogue", str(models), str(folder), "--push-to-hub", folder.name]

    def lenient(arguments):  # 1 is the code for the damaged model between
        return main(arguments) - 1

    whole = run(lenient, command(tmp_path / "whole"), tmp_path / "whole")
    for number, kill_at in enumerate(range(2, whole, max(1, whole // 4))):
        folder = tmp_path / f"killed{number}"
        run(lenient, command(folder), folder, kill_at)
        run(lenient, command(folder), folder)
        names = {path.name for path in folder.iterdir()}
        assert names == {"first", "last", STATE, LOCK}
        assert set(json.loads((folder / STATE).read_text())) == {"first", "last"}
        for model in ("first", "last"):
            pushed = pushing_hub.repositories[f"{folder.name}/{model}"].files
            assert pushed["model.safetensors"] == (folder / model / "model.safetensors").read_bytes()


def test_two_runs_do_not_share_a_folder(models, tmp_path):
    first = convert_many(read_catalogue(models).values(), tmp_path / "all")
    next(first)
    with pytest.raises(ValueError, match="another run converts into this folder"):
        next(convert_many(read_catalogue(models).values(), tmp_path / "all"))
    first.close()
    assert next(convert_many(read_catalogue(models).values(), tmp_path / "all")).result == "done before"


@pytest.mark.slow
def test_models_are_pushed_to_an_organization(models, pushing_hub, tmp_path, capsys):
    assert main(["convert", "--catalogue", str(models), str(tmp_path / "all"), "--push-to-hub", "ada", "--json"]) == 1
    names = set(pushing_hub.repositories)
    outcomes = {outcome["name"]: outcome["result"] for outcome in json.loads(capsys.readouterr().out)}
    assert outcomes == {"first": "pushed", "damaged": "failed", "last": "pushed"}
    assert names >= {"ada/first", "ada/last"}
    assert json.loads((tmp_path / "all" / STATE).read_text()) == {"first": "ada/first", "last": "ada/last"}
