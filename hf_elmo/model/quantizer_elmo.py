# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Quantize ELMo's weights to 8-bit integers through the quantization interface of transformers.

    model = AutoModel.from_pretrained("path/to/elmo", quantization_config=ElmoInt8Config())
    model.save_pretrained("path/to/elmo-int8")  # a quarter of the size, and loads like any model

All linear layers of the encoder become `Int8Linear`: highways, projections, and the LSTMs. Embeddings, convolutions,
mixes and task heads stay float32. The encoder is frozen, because rounded products have no gradient; a head trains.
"""

import torch
from torch import Tensor, nn
from transformers.core_model_loading import ConversionOps
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING, register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizers_utils import get_module_from_name
from transformers.utils.quantization_config import QuantizationConfigMixin

from .int8_elmo import Int8Linear, quantize_weight

METHOD = "elmo_int8"  # in config.json, under quantization_config


class ElmoInt8Config(QuantizationConfigMixin):
    """Load ELMo with weights of 8 bits: `from_pretrained(..., quantization_config=ElmoInt8Config())`. No options."""

    def __init__(self, quant_method: str = METHOD):
        if quant_method != METHOD:
            raise ValueError(f"`quant_method` must be {METHOD!r}, but is {quant_method!r}")
        self.quant_method = quant_method


def is_int8_layer(module: nn.Module) -> bool:
    """Return whether a module is an `Int8Linear`, of this copy of the code or of another."""
    return type(module).__name__ == Int8Linear.__name__


def set_types(model: nn.Module, dtype: torch.dtype) -> None:
    """Give all weights of int8 layers this type, where they have another."""
    for module in filter(is_int8_layer, model.modules()):
        if module.weight.dtype != dtype:
            module.weight = nn.Parameter(module.weight.to(dtype), requires_grad=False)


class QuantizeWeight(ConversionOps):
    """Turn a float weight into the state of an int8 layer while it is loaded."""

    def convert(self, input_dict: dict, full_layer_name: str, **kwargs) -> dict[str, Tensor]:
        ((weight,),) = input_dict.values()
        codes, scales = quantize_weight(weight)
        return {full_layer_name: codes, f"{full_layer_name}_scale": scales}


class ElmoInt8Quantizer(HfQuantizer):
    """Load int8 weights in `from_pretrained`, or quantize float weights there.

    It asks the model to replace its layers: where the code comes with the weights, the registered quantizer and the
    model may belong to different copies of this module.
    """

    is_trainable = True  # the Trainer asks for both; the head is trained
    is_qat_trainable = True
    quantized_element_size = 1

    def validate_environment(self, *args, **kwargs):
        """Accept every machine: without oneDNN's kernel, the integers are multiplied as floats."""

    def is_serializable(self) -> bool:
        return True

    def update_dtype(self, dtype: torch.dtype) -> torch.dtype:
        return torch.float32  # whatever was asked for: the parameters that are not quantized are few

    def param_needs_quantization(self, model: nn.Module, param_name: str, **kwargs) -> bool:
        module, name = get_module_from_name(model, param_name)
        return name == "weight" and is_int8_layer(module) and not self.pre_quantized

    def get_quantize_ops(self) -> QuantizeWeight:
        return QuantizeWeight()

    def _process_model_before_weight_loading(self, model: nn.Module, **kwargs):
        if not hasattr(model, "use_int8_layers"):
            raise ValueError(f"ElmoInt8Config quantizes ELMo models only, but this is {type(model).__name__}")
        model.use_int8_layers()
        if not self.pre_quantized:
            # transformers before 5.23 casts a weight to the type that its layer has, and only then quantizes it.
            set_types(model, torch.float32)

    def _process_model_after_weight_loading(self, model: nn.Module, **kwargs):
        set_types(model, torch.int8)  # also of layers whose weights were missing
        model.base_model.freeze_encoder()

    def _dequantize(self, model: nn.Module, dtype: torch.dtype | str | None = None) -> nn.Module:
        model.use_float_layers()
        model.base_model.freeze_encoder(False)
        return model.to(getattr(torch, dtype) if isinstance(dtype, str) else dtype)


# Where code comes with weights, there may be several copies of this module; the first one serves all models.
if METHOD not in AUTO_QUANTIZER_MAPPING:
    register_quantization_config(METHOD)(ElmoInt8Config)
    register_quantizer(METHOD)(ElmoInt8Quantizer)
