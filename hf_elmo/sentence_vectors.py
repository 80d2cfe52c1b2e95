# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Folders that sentence-transformers loads: `SentenceTransformer(folder)` gives `ElmoModel.sentence_vectors`.

Its stock module `Transformer` calls a method of the model that the folder names, so that the folder needs no module of
its own, and no pooling after the model: sentence-transformers' own would count `<S>` and `</S>` as words.
"""

import json
from pathlib import Path

from .model.modeling_elmo import ElmoModel
from .model.tokenization_elmo import ElmoTokenizer

MODULES = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}]
FILES = {
    "modules.json": MODULES,
    "sentence_bert_config.json": {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "sentence_vectors", "method_output_name": None}},
        "module_output_name": "sentence_embedding",
    },
    "config_sentence_transformers.json": {
        "model_type": "SentenceTransformer",
        "prompts": {"query": "", "document": ""},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",  # of a vector of zeros, an empty text's, it is 0
        "requirements": {"sentence-transformers": ">=6"},
    },
}


def save_sentence_transformer(model: ElmoModel, tokenizer: ElmoTokenizer, folder: str | Path) -> None:
    """Save a model as a folder for `SentenceTransformer(folder)`, which is one for `AutoModel` as well.

    Where hf_elmo is not imported, loading it needs `trust_remote_code=True`, as for every folder that brings code.

    Args:
        model: An encoder. Its configuration's `sentence_pooling` selects how words become one vector.
        tokenizer: Its tokenizer.
        folder: Where to save both.

    Raises:
        `ValueError`: if the model is a head, not an encoder.
    """
    if not isinstance(model, ElmoModel):
        raise ValueError(f"sentence vectors are those of an encoder: pass model.elmo of the {type(model).__name__}")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_sentence_transformer_files(folder)


def write_sentence_transformer_files(folder: str | Path) -> None:
    """Write beside a saved encoder what sentence-transformers reads."""
    for name, content in FILES.items():
        Path(folder, name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


__all__ = ["save_sentence_transformer", "write_sentence_transformer_files"]
