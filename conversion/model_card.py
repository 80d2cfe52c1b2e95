# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The README.md of a converted model: what its files record, and nothing else."""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import ModelCard

from hf_elmo.model.model_card_elmo import ORIGIN, inherited_facts, model_card, section
from hf_elmo.model.modeling_elmo import ElmoPreTrainedModel

from .original import Original

TOKENIZATION = (
    "The original files do not record this. Feed words split alike where you know how: "
    "`tokenizer(words, is_split_into_words=True)` takes them as they are. Raw text is split like the Penn Treebank, "
    "punctuation and clitics apart."
)


def converted_card(
    original: Original,
    model: ElmoPreTrainedModel,
    *,
    name: str,
    source: str,
    files: dict[str, str],
    license: str | None,
    language: str | None,
    inherited: ModelCard | None = None,
) -> str:
    """Return the card of a converted model.

    Args:
        original: The model as it was found.
        model: The converted model.
        name: Name on the Hub, or of the folder.
        source: The path, URL or preset that the user named.
        files: SHA-256 of the files that were read, by name.
        license, language: Identifiers as on the Hub, None where they are not known.
        inherited: The card that lay beside the original files.
    """
    rows = "\n".join(f"| `{file}` | `{digest}` |" for file, digest in files.items())
    public_notes = [public(original.files, note) for note in original.notes]
    notes = "".join(f"\n\n{note[0].upper()}{note[1:]}." for note in public_notes)
    moved = f"Converted by `hf-elmo convert` from `{source}` ({original.format}). " + (
        "The encoder's matrices were rounded to 8 bits; all other numbers are the original's. Results were measured "
        "before that."
        if hasattr(model.config, "quantization_config")
        else "The numbers are the original's, bit by bit."
        if original.head is None
        else f"The encoder's numbers are the original's, bit by bit, and so are those of the {original.head.kind} "
        "around it, but for the rounding where two biases became one."
    )
    read = f"| file | SHA-256 |\n| --- | --- |\n{rows}{notes}"
    facts = {"tokenization": TOKENIZATION, "tags": ["converted"], **original.facts}
    citation, recorded = facts.pop("citation", None), facts.pop("origin", None)
    if citation:
        read = f"The weights are those of {citation}.\n\n{read}"
    if inherited is None:
        unknown = "Corpus, training and evaluation are not recorded in these files; see the publication of the weights."
        facts["origin"] = "\n\n".join([moved, recorded or unknown, read])
    else:
        known = inherited_facts(inherited, source, changed=False)
        facts |= {key: fact for key, fact in known.items() if fact is not None}
        facts |= {"training": section(inherited, "Training"), "eval_results": inherited.data.eval_results}
        facts["origin"] = "\n\n".join([*filter(None, [section(inherited, ORIGIN)]), moved, read])
    given = {"license": license, "language": language}
    facts |= {key: fact for key, fact in given.items() if fact is not None}
    return model_card(name, model.config, type(model).__name__, num_parameters=model.num_parameters(), **facts).content


def public(files: Sequence[Path], note: str) -> str:
    """Return a note without the folders of this machine."""
    for folder in sorted({str(file.parent) for file in files}, key=len, reverse=True):
        note = note.replace(f"{folder}/", "").replace(folder, Path(folder).name)
    return note
