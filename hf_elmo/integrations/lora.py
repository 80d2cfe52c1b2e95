# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Low-rank adapters (LoRA, Hu et al. 2021) of an ELMo model, by PEFT (`pip install peft`)."""

from typing import Any

from ..model.modeling_elmo import LORA_TARGETS, ElmoPreTrainedModel

try:
    from peft import LoraConfig
except ImportError as error:
    raise ImportError("lora_config needs PEFT: pip install peft") from error


def lora_config(model: ElmoPreTrainedModel, **options: Any) -> LoraConfig:
    """Return a configuration for `peft.get_peft_model(model, ...)`: adapters in all products of the biLSTM layers, and
    the head and the scalar mixes trained in full.

    Args:
        model: The model that gets adapters: an encoder or any head.
        options: Fields of [`peft.LoraConfig`], such as `r` and `lora_alpha`; they have precedence.

    Example:
        >>> from peft import get_peft_model
        >>> model = get_peft_model(model, lora_config(model, r=8))
    """
    trained = [f"scalar_mixes.{number}" for number in range(model.config.num_mixes) if model.config.mix_trainable]
    if model.base_model is not model:
        trained += [
            name
            for name, part in model.named_children()
            if name != model.base_model_prefix and any(True for _ in part.parameters())
        ]
    return LoraConfig(**{"target_modules": LORA_TARGETS, "modules_to_save": trained, **options})


__all__ = ["lora_config"]
