# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Whether a local path holds what transformers saved, or published weights that have to be converted first."""

import json
from pathlib import Path


def check_is_saved(name: str | Path | None, subfolder: str | None = None):
    """Raise a `ValueError` that says what to type if a local path is nothing that transformers saved.

    Without this, default values would be loaded from the folder of published weights, which has no `config.json`, and
    from that of an AllenNLP model, which has one of another kind.
    """
    path = Path(name or "", subfolder or "")
    if name is None or not path.exists() or (path / "tokenizer_config.json").is_file():
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
        if isinstance(content, dict) and "model_type" in content:
            return
        found = "it names no `model_type`" if config == path else "its config.json names no `model_type`"
    raise ValueError(
        f"{name}: {found}; published ELMo weights are converted first: type `hf-elmo convert {name} OUTPUT`, and give "
        "OUTPUT instead"
    )
