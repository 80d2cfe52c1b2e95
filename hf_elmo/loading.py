# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""How a saved folder that cannot be loaded is reported: one line that names it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from .model.configuration_elmo import ElmoConfig
from .model.encoder_decoder_elmo import ElmoEncoderDecoderConfig, ElmoForSeq2SeqLM
from .model.modeling_elmo import ElmoModel

# What transformers raises for files with values of other types, damaged weights, and sizes beyond the memory
FAILURES = (OSError, ValueError, TypeError, AttributeError, LookupError, RuntimeError, MemoryError)
FAILURES += (SafetensorError, StrictDataclassError)


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Give errors of the enclosed loading one form.

    Args:
        name: Folder or repository that is loaded.

    Raises:
        `ValueError`: in one line with the name, for whatever the loading raises; for published weights that were not
            converted, with the command that does it.
    """
    try:
        yield
    except FAILURES as error:
        from .conversion import looks_unconverted

        if advice := looks_unconverted(name):
            raise ValueError(advice) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        if Path(name).is_dir() and not list(Path(name).glob("*.json")):
            raise ValueError(f"{name or repr(name)}: this folder has no config.json, as saved models have") from error
        if reason.startswith("Repo id must"):
            raise ValueError(f"{name}: there is no such folder, and repositories have other names") from error
        if isinstance(error, (ValueError, OSError)) and name in reason:
            raise ValueError(reason if reason.startswith((f"{name}:", f"{name}/")) else f"{name}: {reason}") from error
        what = "cannot be loaded" if Path(name).exists() else "there is no such folder, and the Hub gave none"
        raise ValueError(f"{name}: {what}: {reason}") from error


def load_tokenizer(name: str, **options: object) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a model; `ValueError` in one line if it cannot be loaded."""
    with loading(name):
        return AutoTokenizer.from_pretrained(name, **options)


def load_model(model_class: type[PreTrainedModel], name: str) -> Any:
    """Return a model in evaluation mode on the best device; `ValueError` in one line if it cannot be loaded."""
    with loading(name):
        model: Any = model_class.from_pretrained(name)
    return model.to(best_device()).eval()


def load_encoder(name: str) -> ElmoModel:
    """Return the encoder of a saved model, of a task and of a pair with a decoder too, in evaluation mode on the CPU.

    Raises:
        `ValueError`: in one line, if it cannot be loaded, or has no ELMo.
    """
    with loading(name):
        config = AutoConfig.from_pretrained(name)
        types = [config.model_type, getattr(getattr(config, "encoder", None), "model_type", None)]
        if types == [ElmoEncoderDecoderConfig.model_type, ElmoConfig.model_type]:
            pair: Any = ElmoForSeq2SeqLM.from_pretrained(name)
            return pair.encoder.eval()
        if types[0] != ElmoConfig.model_type:
            raise ValueError(f"{name} is a model of type {types[0]}, not {ElmoConfig.model_type}")
        model: Any = ElmoModel.from_pretrained(name)
        return model.eval()


def best_device() -> torch.device:
    """Return the accelerator of this machine, or the CPU."""
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")


def find_device(name: str) -> torch.device:
    """Return a device by its name; `ValueError` in one line if this machine, or this build of torch, has none."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # a build without CUDA asserts that it has it
        reason = str(error).splitlines()[0]
        raise ValueError(f"there is no device {name!r} here ({reason}); `hf-elmo env` lists those that are") from error
    return device


__all__ = ["best_device", "find_device", "load_encoder", "load_model", "load_tokenizer", "loading"]
