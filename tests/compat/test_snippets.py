"""The usage that each library documents, as text, with only the import changed as the page on moving over says."""

import json
import re
from pathlib import Path

import h5py
import numpy as np
import torch

PAGE = Path(__file__).resolve().parents[2] / "docs" / "moving-over.md"
IMPORTS = dict(re.findall(r"^\| `(from \S+ import [^`]+)` \| `([^`]+)` \|$", PAGE.read_text(encoding="utf-8"), re.M))

ALLENNLP = """
from allennlp.modules.elmo import Elmo, batch_to_ids

# Compute two different representation for each token.
# Each representation is a linear weighted combination for the
# 3 layers in ELMo (i.e., charcnn, the outputs of the two BiLSTM))
elmo = Elmo(options_file, weight_file, 2, dropout=0)

# use batch_to_ids to convert sentences to character ids
character_ids = batch_to_ids(sentences)

embeddings = elmo(character_ids)
"""
EMBEDDER = """
from allennlp.commands.elmo import ElmoEmbedder
elmo = ElmoEmbedder(options_file, weight_file)
vectors = elmo.embed_sentence(tokens)
assert(len(vectors[0]) == len(tokens))
"""
SIMPLE_ELMO = """
from simple_elmo import ElmoModel
model = ElmoModel()
model.load(PATH_TO_ELMO)
elmo_vectors = model.get_elmo_vectors(SENTENCES)
"""
MANY_LANGS = """
from elmoformanylangs import Embedder
e = Embedder(path_to_model)
vectors = e.sents2elmo(sents)
"""


def run(snippet: str, **given: object) -> dict:
    """Run a snippet with its import changed by the table of the page; return its names."""
    (old,) = (line for line in snippet.splitlines() if line.startswith("from "))
    names = dict(given)
    with torch.no_grad():
        exec(snippet.replace(old, IMPORTS[old]), names)
    return names


def test_the_page_knows_each_import():
    snippets = (ALLENNLP, EMBEDDER, SIMPLE_ELMO, MANY_LANGS)
    assert set(IMPORTS) == {line for text in snippets for line in text.splitlines() if line.startswith("from ")}


def test_allennlp(fixtures_dir):
    settings = json.loads((fixtures_dir / "elmo_module" / "elmo_module.json").read_text(encoding="utf-8"))
    expected = np.load(fixtures_dir / "elmo_module" / "elmo_module.npz")
    files = fixtures_dir / "random" / "s01_tiny_relu"
    options_file, weight_file = str(files / "options.json"), str(files / "weights.hdf5")
    sentences = settings["batches"][0]
    names = run(ALLENNLP, options_file=options_file, weight_file=weight_file, sentences=sentences)
    first, second = names["embeddings"]["elmo_representations"]
    for vectors in (first, second):  # which are equal until they are trained
        wanted = expected["rep1/batch0/rep0"] * expected["rep1/batch0/mask"][..., None]
        np.testing.assert_allclose(vectors, wanted, rtol=0, atol=2e-6)
    tokens = (fixtures_dir / "elmo_module" / "sentences.txt").read_text(encoding="utf-8").splitlines()[0].split()
    names = run(EMBEDDER, options_file=options_file, weight_file=weight_file, tokens=tokens)
    with h5py.File(fixtures_dir / "elmo_module" / "elmo_command_all.hdf5") as file:
        np.testing.assert_allclose(names["vectors"], file["0"][:], rtol=0, atol=4e-6)


def test_simple_elmo(fixtures_dir):
    folder = fixtures_dir / "nlpl_small"
    sentences = json.loads((folder / "sentences.json").read_text(encoding="utf-8"))
    sentences = sentences if isinstance(sentences, list) else sentences["sentences"]
    found = run(SIMPLE_ELMO, PATH_TO_ELMO=str(folder / "model.zip"), SENTENCES=sentences)["elmo_vectors"]
    wanted = np.load(folder / "expected.npz")["batch32/average/warmup/vectors"]
    for own, theirs, words in zip(found, wanted, sentences, strict=True):
        np.testing.assert_allclose(own[: len(words)], theirs[: len(words)], rtol=0, atol=5e-6)


def test_elmo_for_many_langs(fixtures_dir):
    folder = fixtures_dir / "elmoformanylangs_small"
    call, sentences = next(iter(json.loads((folder / "sentences.json").read_text(encoding="utf-8")).items()))
    expected = np.load(folder / "expected.npz")
    found = run(MANY_LANGS, path_to_model=str(folder), sents=sentences)["vectors"]
    for number, vectors in enumerate(found):
        np.testing.assert_allclose(vectors, expected[f"layer-1/{call}/sent{number}"], rtol=0, atol=5e-6)
