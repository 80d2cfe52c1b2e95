# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Write a folder that sentence-transformers loads: an encoder, its tokenizer, and how words become one vector."""

import shutil
from pathlib import Path

import torch
from torch import Tensor

from hf_elmo.model.modeling_elmo import ElmoModel, ElmoPreTrainedModel
from hf_elmo.model.quantizer_elmo import ElmoInt8Config
from hf_elmo.sentence_vectors import write_sentence_transformer_files

from .original import Original
from .output import save_model, write_folder

ATTENTION = "sentence_pooling.attention.score.weight"  # in `ElmoModel`
OF_CLASSIFIER = "pooling.score.weight"  # the same in `ElmoForSequenceClassification` with pooling="attention"


def write_sentence_transformer(
    original: Original, source: Path, folder: Path, dtype: str | None, pooling: str | None
) -> ElmoPreTrainedModel:
    """Write what `SentenceTransformer(folder)` loads.

    Args:
        original: The model.
        source: Where it was found; a saved model is loaded from there, without its head.
        folder: Where to write.
        dtype: As in `convert`.
        pooling: `"mean"`, `"max"` or `"attention"`; by default as the configuration says. A learnt attention is that of
            the model or, if it has none, of its classifier with the same pooling.
    """
    config = original.config
    config.sentence_pooling = pooling or config.sentence_pooling
    attention = {ATTENTION: attention_weight(original)} if config.sentence_pooling == "attention" else {}
    if original.format == "safetensors":
        original.notes.clear()  # they name what the original format cannot hold
        quantization = {"quantization_config": ElmoInt8Config()} if dtype == "int8" else {}
        model = ElmoModel.from_pretrained(source, config=config, **quantization)
        model.load_state_dict(attention, strict=False)
        save_model(model, folder)
        for name in ("tokenizer_config.json", "vocab.txt", "dictionaries.json"):
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
    else:
        model = write_folder(original._replace(state={**original.state, **attention}), folder, dtype)
    if attention and not attention[ATTENTION].any():
        original.notes.append("the attention is untrained and weighs all words alike, as the mean does: train it")
    write_sentence_transformer_files(folder)
    return model


def attention_weight(original: Original) -> Tensor:
    """Return the learnt weight of attention, `(1, 2P)`; zeros where the model has learnt none."""
    shape = 1, original.config.hidden_size
    for name in (ATTENTION, OF_CLASSIFIER):
        if name in set(original.state) and original.state[name].shape == shape:
            return original.state[name]
    return torch.zeros(shape)
