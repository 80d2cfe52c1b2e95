# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Published models by name, with the addresses that their authors documented, and the download of any source."""

import re
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from .download import download, is_url
from .original import Source

ALLENNLP = "https://allennlp.s3.amazonaws.com/models/elmo"
SEQVEC = "http://maintenance.dallago.us/public/embeddings/embedding_models/seqvec"
JAPANESE = "https://exawizardsallenlp.blob.core.windows.net/data"
GERMAN = "https://github.com/t-systems-on-site-services-gmbh/german-elmo-model/releases/download/files_1"
BASQUE = "https://schweter.eu/cloud/eu-elmo"
PUBLISHED = "published"  # in place of a file: the preset's own


class Preset(NamedTuple):
    weights: str
    options: str
    about: str
    language: str | None = "en"
    softmax: str | None = None
    vocabulary: str | None = None


def official(name: str, about: str, **more: str) -> Preset:
    prefix = f"{ALLENNLP}/{name}/elmo_{name}"
    return Preset(f"{prefix}_weights.hdf5", f"{prefix}_options.json", about, **more)


ORIGINAL, ORIGINAL_5B = "2x4096_512_2048cnn_2xhighway", "2x4096_512_2048cnn_2xhighway_5.5B"
PRESETS = {
    "small": official("2x1024_128_2048cnn_1xhighway", "English, 1 Billion Word Benchmark; 13.6 M parameters"),
    "medium": official("2x2048_256_2048cnn_1xhighway", "English, 1 Billion Word Benchmark; 28 M parameters"),
    "original": official(
        ORIGINAL,
        "English, 1 Billion Word Benchmark; 93.6 M parameters",
        softmax=f"{ALLENNLP}/{ORIGINAL}/elmo_{ORIGINAL}_softmax_weights.hdf5",
        vocabulary=f"{ALLENNLP}/{ORIGINAL}/vocab-2016-09-10.txt",
    ),
    "original-5.5b": official(
        ORIGINAL_5B,
        "English, Wikipedia and news of WMT 2008-2012, 5.5 billion tokens; 93.6 M parameters",
        softmax=f"{ALLENNLP}/{ORIGINAL_5B}/elmo_{ORIGINAL_5B}_softmax_weights.hdf5",
        vocabulary=f"{ALLENNLP}/{ORIGINAL_5B}/vocab-enwiki-news-500000.txt",
    ),
    "portuguese": Preset(
        f"{ALLENNLP}/contributed/pt/elmo_pt_weights.hdf5",
        f"{ALLENNLP}/contributed/pt/elmo_pt_options.json",
        "Portuguese, Wikipedia",
        "pt",
    ),
    "portuguese-brwac": Preset(
        f"{ALLENNLP}/contributed/pt/brwac/elmo_pt_weights_dgx1.hdf5",
        f"{ALLENNLP}/contributed/pt/brwac/options.json",
        "Portuguese, brWaC",
        "pt",
    ),
    "pubmed": Preset(
        f"{ALLENNLP}/contributed/pubmed/elmo_{ORIGINAL}_weights_PubMed_only.hdf5",
        f"{ALLENNLP}/contributed/pubmed/elmo_{ORIGINAL}_options.json",
        "English, PubMed",
    ),
    "japanese": Preset(f"{JAPANESE}/weights.hdf5", f"{JAPANESE}/options.json", "Japanese, by ExaWizards", "ja"),
    "german": Preset(f"{GERMAN}/weights.hdf5", f"{GERMAN}/options.json", "German, Wikipedia; BSD-2-Clause", "de"),
    "basque": Preset(f"{BASQUE}/weights.hdf5", f"{BASQUE}/options.json", "Basque, 72.7 M tokens", "eu"),
    "seqvec": Preset(
        f"{SEQVEC}/weights.hdf5", f"{SEQVEC}/options.json", "Proteins, UniRef50; every residue is a word", None
    ),
}


def find_preset(source: str | Path) -> Preset | None:
    """Return the preset of a name, unless a file or folder has this name too."""
    return None if Path(source).exists() else PRESETS.get(str(source).lower())


def localize(
    source: str | Path,
    options: str | Path | None = None,
    softmax: str | Path | None = None,
    vocabulary: str | Path | None = None,
) -> Source:
    """Download what is not local yet.

    Args:
        source: A file or folder, which precedes everything else of its name; the name of a preset; the URL of a weight
            file; or `user/name`, a repository on the Hub.
        options, softmax, vocabulary: Files or URLs, or None. `"published"` is the preset's own, where it has one.
    Raises:
        ValueError: A file cannot be downloaded, or the preset has no such file.
    """
    named, chosen = str(source), find_preset(source)
    if chosen:
        source, options = chosen.weights, options or chosen.options
    elif is_url(named) and options is None:
        options = options_url(named)
    softmax = published(named, "softmax", softmax, chosen and chosen.softmax)
    vocabulary = published(named, "vocabulary", vocabulary, chosen and chosen.vocabulary)
    options, softmax, vocabulary = (
        None if file is None else local_file(file) for file in (options, softmax, vocabulary)
    )
    return Source(local_source(source), options, softmax, vocabulary)


def published(source: str, kind: str, given: str | Path | None, own: str | None) -> str | Path | None:
    """Return the file that was given, or the preset's own where that was asked for."""
    if str(given) != PUBLISHED or Path(PUBLISHED).exists():
        return given
    if not own:
        raise ValueError(f"{source}: no published {kind} is known; give the file or its URL")
    return own


def options_url(weights: str) -> str:
    """Return the address of the options that belong to a weight file, by the custom of the published models."""
    folder, _, name = weights.rpartition("/")
    if not re.search(r"weights.*\.(hdf5|h5)$", name):
        raise ValueError(f"{weights}: where are its options? Give them with --options, a file or a URL")
    return f"{folder}/{re.sub(r'[.](hdf5|h5)$', '.json', name.replace('weights', 'options'))}"


def local_file(file: str | Path) -> Path:
    if is_url(file):
        return download(str(file))
    if not Path(file).is_file():
        raise ValueError(f"{file}: no such file")
    return Path(file)


def local_source(source: str | Path) -> Path:
    if is_url(source):
        return download(str(source))
    name = str(source)
    if not Path(name).exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).parent.exists():
        return hub_repository(name)
    return Path(source)


def hub_repository(name: str) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=["*.hdf5", "*.h5", "*.json", "*.txt", "*.safetensors"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        known = ", ".join(PRESETS)
        raise ValueError(
            f"{name}: no such file or folder here, nor a repository that can be read on the Hub ({reason}); "
            f"presets are {known}"
        ) from error
