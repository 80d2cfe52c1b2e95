# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Models of the NLPL repository (vectors.nlpl.eu): zip files and folders with meta.json beside a model of bilm-tf.

meta.json       corpus, language, tokenization, lemmatization, authors, licence, identifier
model.hdf5      weights, with options.json          (read by default)
model.ckpt-*    a checkpoint of the same model      (read with `--prefer checkpoint`: it has the softmax, too)
vocab.txt[.gz]  words of the softmax
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import bilm_checkpoint, bilm_folder
from .original import Format, Original, Source

# Entries of meta.json -> what the model card calls them, in the order of the card.
ENTRIES = {
    "id": "identifier",
    "handle": "handle",
    "description": "description",
    "creators": "authors",
    "contributors": "contributors",
    "documentation": "documentation",
    "publications": "publications",
}
LICENSES = {  # fragments of the addresses that the repository writes, in lower case -> identifiers of the Hub
    "by-nc-sa/4.0": "cc-by-nc-sa-4.0",
    "by-nc/4.0": "cc-by-nc-4.0",
    "by-sa/4.0": "cc-by-sa-4.0",
    "by/4.0": "cc-by-4.0",
    "publicdomain/zero": "cc0-1.0",
    "cc-by-nc-sa": "cc-by-nc-sa-4.0",
    "cc-by-nc": "cc-by-nc-4.0",
    "cc-by-sa": "cc-by-sa-4.0",
    "cc-by": "cc-by-4.0",
    "cc0": "cc0-1.0",
    "mit": "mit",
    "apache": "apache-2.0",
}
LANGUAGES = {  # ISO 639-2 and -3, as the repository writes them -> identifiers of the Hub
    "ara": "ar", "bul": "bg", "cat": "ca", "ces": "cs", "chu": "cu", "dan": "da", "deu": "de", "ell": "el", "eng": "en",
    "spa": "es", "est": "et", "eus": "eu", "fas": "fa", "fin": "fi", "fra": "fr", "gle": "ga", "glg": "gl", "heb": "he",
    "hin": "hi", "hrv": "hr", "hun": "hu", "ind": "id", "ita": "it", "jpn": "ja", "kor": "ko", "lat": "la", "lav": "lv",
    "nld": "nl", "nor": "no", "nob": "nb", "nno": "nn", "pol": "pl", "por": "pt", "ron": "ro", "rus": "ru", "slk": "sk",
    "slv": "sl", "swe": "sv", "tur": "tr", "uig": "ug", "ukr": "uk", "urd": "ur", "vie": "vi", "zho": "zh",
}  # fmt: skip


def is_nlpl(path: Path) -> bool:
    """Return whether a folder holds a model of bilm-tf with the meta.json of the repository."""
    if not (path / "meta.json").is_file() or not (bilm_checkpoint.is_checkpoint(path) or bilm_folder.has_weights(path)):
        return False
    meta = read_meta(path)
    return "algorithm" in meta or "handle" in meta or "corpus" in meta


def read_nlpl(source: Source) -> Original:
    """Read the model, and the entries of the model card."""
    reader = bilm_checkpoint.FORMAT if bilm_checkpoint.is_checkpoint(source.path) else bilm_folder.FORMAT
    found = reader.read(source)
    facts = card_facts(read_meta(source.path))
    if facts.pop("lemmatized", None):
        found.notes.append("the model was trained on lemmas and needs lemmas as input")
    return found._replace(format=f"{FORMAT.name}, {found.format}", facts=facts)


FORMAT = Format("NLPL model", is_nlpl, read_nlpl)


def read_meta(folder: Path) -> dict[str, Any]:
    """Return the content of meta.json, empty if it is not an object."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError, OSError):
        return {}
    return meta if isinstance(meta, dict) else {}


def card_facts(meta: Mapping[str, Any]) -> dict[str, str]:
    """Return the entries of the model card that meta.json records."""
    corpora = meta.get("corpus") or []
    corpora = [corpus for corpus in (corpora if isinstance(corpora, list) else [corpora]) if isinstance(corpus, dict)]
    facts, lines = {}, [line for corpus in corpora for line in describe_corpus(corpus)]
    lines += [f"{label}: {text}" for key, label in ENTRIES.items() if (text := as_text(meta.get(key)))]
    if languages := {str(corpus["language"]) for corpus in corpora if corpus.get("language")}:
        facts["language"] = ", ".join(sorted(LANGUAGES.get(language, language) for language in languages))
    stated = as_text(meta.get("license") or meta.get("licence") or meta.get("rights"))
    if stated:
        lines.append(f"licence: {stated}")
        if name := next((name for part, name in LICENSES.items() if part in stated.lower()), None):
            facts["license"] = name
    if any(corpus.get("lemmatized") for corpus in corpora):
        facts["lemmatized"] = "true"
    facts["origin"] = "The repository records:\n\n" + "\n".join(f"- {line}" for line in lines)
    if tools := [str(corpus[key]) for corpus in corpora for key in ("tool", "tagger", "tokenizer") if corpus.get(key)]:
        facts["tokenization"] = f"By {', '.join(dict.fromkeys(tools))}, as the repository records."
    return facts


def describe_corpus(corpus: Mapping[str, Any]) -> list[str]:
    """Return lines about a corpus: its name and every entry that is filled in."""
    lines = [f"corpus: {as_text(corpus.get('description')) or 'unnamed'}"]
    for key in ("language", "tokens", "tool", "tagger", "lemmatized", "case preserved", "stop words removal", "NER"):
        if corpus.get(key) is not None:
            lines.append(f"{key}: {as_text(corpus[key])}")
    return lines


def as_text(value: Any) -> str:
    """Return an entry in one line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(filter(None, map(as_text, value)))
    if isinstance(value, dict):
        return ", ".join(f"{key} {as_text(part)}" for key, part in value.items())
    return "" if value is None else " ".join(str(value).split())
