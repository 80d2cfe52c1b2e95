# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Sequence to sequence: transformers' `EncoderDecoderModel` with an ELMo encoder, and the files that open it anywhere.

source words (B, S, W) -> ELMo, the first scalar mix (B, S, 2P) -> cross-attention of a decoder -> target tokens
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, MODEL_MAPPING, AutoConfig, AutoModel, EncoderDecoderConfig, EncoderDecoderModel

from .auto_map_elmo import copy_code
from .configuration_elmo import ElmoConfig
from .model_card_elmo import ModelCardMixin
from .modeling_elmo import ElmoModel

PAIR_AUTO_MAP = {
    "AutoConfig": "encoder_decoder_elmo.ElmoEncoderDecoderConfig",
    "AutoModelForSeq2SeqLM": "encoder_decoder_elmo.ElmoForSeq2SeqLM",
}
# The library builds both parts by the type of their configurations; without the package, nobody has named this one.
if ElmoConfig.model_type not in CONFIG_MAPPING:
    AutoConfig.register(ElmoConfig.model_type, ElmoConfig)
if ElmoConfig not in MODEL_MAPPING:
    AutoModel.register(ElmoConfig, ElmoModel, exist_ok=True)


class ElmoEncoderDecoderConfig(EncoderDecoderConfig):
    """The configuration of an ELMo encoder and a decoder of any type, saved with the code of the encoder."""

    def save_pretrained(self, save_directory: str | Path, push_to_hub: bool = False, **kwargs):
        self.auto_map = PAIR_AUTO_MAP
        super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)
        copy_code(save_directory, self.name_or_path, PAIR_AUTO_MAP)


class ElmoForSeq2SeqLM(ModelCardMixin, EncoderDecoderModel):
    """An ELMo encoder and a decoder of the library, trained together. It generates as every such model does."""

    config_class = ElmoEncoderDecoderConfig
    separate_texts = False  # a source is one sentence for the encoder, as in task heads that read no pairs

    def __init__(
        self,
        config: EncoderDecoderConfig | None = None,
        encoder: ElmoModel | None = None,
        decoder: nn.Module | None = None,
    ):
        super().__init__(config, encoder, decoder)
        # Tied weights are saved once; the Trainer warns of all others that a checkpoint lacks.
        self._keys_to_ignore_on_save |= {*self.all_tied_weights_keys}

    @property
    def elmo(self) -> ElmoModel:
        """Return the encoder, as task heads name it."""
        return self.encoder

    @torch.no_grad()
    def compute_layers(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Compute all layers `(B, S, L + 1, 2P)`, which `forward` and `generate` take as `layers`, without dropout."""
        training = self.encoder.training
        self.encoder.eval()
        try:
            output = self.encoder(input_ids, attention_mask, output_hidden_states=True)
        finally:
            self.encoder.train(training)
        return torch.stack(output.hidden_states, dim=2)

    def config_of_card(self) -> ElmoConfig:
        return self.config.encoder
