# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Load a model from its original files, without writing a converted folder."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hf_elmo.model.modeling_elmo import ElmoModel, ElmoPreTrainedModel
from hf_elmo.model.tokenization_elmo import ElmoTokenizer

from .conversion import read_words
from .output import VOCABULARY, build_model, save_tokenizer
from .presets import localize
from .sources import open_source


def load_original(
    source: str | Path, options: str | Path | None = None, **fields: object
) -> tuple[ElmoPreTrainedModel, ElmoTokenizer | None]:
    """Load the encoder of a model, with its softmax where that is beside it, and its tokenizer.

    Args:
        source: As in `convert`; a folder saved by transformers, too.
        options: Options file, or its URL. By default the one beside the weights.
        fields: Fields of the configuration to set. With `num_mixes`, scalar mixes start untrained, as the mean of the
            layers, also where the source has trained ones.

    Returns:
        an [`ElmoModel`] or, with a softmax, an [`ElmoForPreTraining`], in evaluation mode, and the tokenizer, which
        models of whole words lack without their word list.

    Raises:
        `ValueError`: as `convert`.
    """
    request = localize(source, options=options)._replace(encoder_only=True)
    with open_source(request) as original, TemporaryDirectory() as folder:
        words = read_words(original, given=False)
        for name, value in fields.items():
            setattr(original.config, name, value)
        if "num_mixes" in fields:
            state = {name: original.state[name] for name in original.state if not name.startswith("scalar_mixes.")}
            original = original._replace(state=state)
        if words is not None:
            Path(folder, VOCABULARY).write_text("\n".join(words) + "\n", encoding="utf-8", newline="\n")
        save_tokenizer(original, Path(folder))
        has_tokenizer = Path(folder, "tokenizer_config.json").is_file()
        tokenizer = ElmoTokenizer.from_pretrained(folder) if has_tokenizer else None
        return build_model(original, "float32").eval(), tokenizer  # as the original programs compute


def load_encoder(source: str | Path, options: str | Path | None = None, **fields: object) -> ElmoModel:
    """Load the encoder alone; arguments and errors are those of `load_original`."""
    return load_original(source, options, **fields)[0].base_model
