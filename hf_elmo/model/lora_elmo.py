# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Where low-rank adapters (LoRA, Hu et al. 2021) go by default: into all products of the biLSTM layers."""

import sys

LORA_TARGETS = [
    f"{direction}_lstm.{product}"
    for direction in ("forward", "backward")
    for product in ("input_gates", "recurrent_gates", "projection")
]


def register_lora_targets(model_type: str) -> None:
    """Add the default to PEFT's table of architectures, so that `LoraConfig()` needs no `target_modules`.

    PEFT is not imported for this: a script that uses it has imported it before it creates a model.
    """
    if peft := sys.modules.get("peft"):
        peft.utils.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.setdefault(model_type, LORA_TARGETS)
