# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Whether a local path holds what transformers saved, or published weights that have to be converted first."""

import json
from pathlib import Path


def check_is_saved(name: str | Path | None, subfolder: str | None = None):
    """Raise a `ValueError` that says what to type if a local path is nothing that transformers saved.

    Published weights lie in a folder without a `config.json`, from which default values would be loaded, and AllenNLP's
    in one with a `config.json` of another kind.
    """
    path = Path(name or "", subfolder or "")
    if name is None or not path.exists():
        return
    config = path / "config.json" if path.is_dir() else path
    if not config.is_file():
        found = "there is no config.json in it"
    elif config.suffix != ".json":
        found = "not a folder that transformers saved"
    else:
        try:
            content = json.loads(config.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            return  # damaged, as the library will say
        if not isinstance(content, dict):
            raise ValueError(f"{config} must hold an object, but holds {content!r:.60}")
        if "model_type" in content:
            return
        found = "it names no `model_type`" if config == path else "its config.json names no `model_type`"
    if not (path / "tokenizer_config.json").is_file():
        raise ValueError(
            f"{name}: {found}; published ELMo weights are converted first: type `hf-elmo convert {name} OUTPUT`, and "
            "give OUTPUT instead"
        )
