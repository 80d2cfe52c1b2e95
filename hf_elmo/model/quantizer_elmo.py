# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""ELMo's weights as 8-bit integers, by the quantization interface of transformers.

    model = AutoModel.from_pretrained("path/to/elmo", quantization_config=ElmoInt8Config())
    model.save_pretrained("path/to/elmo-int8")  # a quarter of the size, and loads like any model

All linear layers of the encoder become `Int8Linear`: highways, projections, and the LSTMs. Embeddings, convolutions,
mixes and task heads stay float32. The encoder is frozen, for there is no gradient of a rounded product; a head trains.
"""

import weakref

import torch
from torch import Tensor, nn
from transformers.core_model_loading import ConversionOps
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING, register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizers_utils import get_module_from_name
from transformers.utils.quantization_config import QuantizationConfigMixin

from .int8_elmo import Int8Weight, int8_layer, pack_for_kernel, quantize_weight

METHOD = "elmo_int8"  # in config.json, under quantization_config


class ElmoInt8Config(QuantizationConfigMixin):
    """Load ELMo with weights of 8 bits: `from_pretrained(..., quantization_config=ElmoInt8Config())`. No options."""

    def __init__(self, quant_method: str = METHOD):
        if quant_method != METHOD:
            raise ValueError(f"`quant_method` must be {METHOD!r}, but is {quant_method!r}")
        self.quant_method = quant_method


class Int8Linear(nn.Module):
    """A linear layer with weights of 8 bits, which quantizes its input row by row.

    Its state is `weight` `(N, K)` int8, `weight_scale` `(N,)`, what one of these integers is worth in each output
    channel, and `bias` `(N,)`.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(torch.zeros(out_features, in_features, dtype=torch.int8), requires_grad=False)
        self.register_buffer("weight_scale", torch.ones(out_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self.packing = None

    def forward(self, x: Tensor) -> Tensor:
        """From `(..., K)` to `(..., N)`.

        Raises:
            `ValueError`: if a gradient would have to pass.
        """
        return int8_layer(self.matrix(), x.dtype, self.bias)(x)

    def matrix(self) -> Int8Weight:
        """The weight for products."""
        return Int8Weight(self.weight, self.weight_scale, self.packed())

    def packed(self) -> Tensor | None:
        """The weight in oneDNN's layout, kept as long as the weight is what it was; None where oneDNN cannot run."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._are_functorch_transforms_active():
            return None
        weight = self.weight
        state = weight.data_ptr(), None if weight.is_inference() else weight._version
        if self.packing is None or self.packing[0]() is not weight or self.packing[1] != state:
            self.packing = weakref.ref(weight), state, pack_for_kernel(weight.detach())
        return self.packing[2]

    def __getstate__(self) -> dict:
        """What a copy or a pickle of the layer holds: not what can be packed again."""
        return {**self.__dict__, "packing": None}

    def dequantized(self) -> nn.Linear:
        """The layer as floats: the same function, but for the rounding of its input."""
        linear = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        linear.weight = nn.Parameter(self.weight * self.weight_scale[:, None])
        linear.bias = self.bias
        return linear

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def use_int8_layers(encoder: nn.Module) -> None:
    """Put int8 layers, all 0 until they are loaded, in the place of all linear layers."""
    for name, module in list(encoder.named_modules()):
        if type(module) is nn.Linear:
            encoder.set_submodule(name, Int8Linear(module.in_features, module.out_features, module.bias is not None))


def use_float_layers(encoder: nn.Module) -> None:
    """Put linear layers of the weights that the integers stand for in the place of all int8 layers."""
    for name, module in list(encoder.named_modules()):
        if type(module) is Int8Linear:
            encoder.set_submodule(name, module.dequantized())


class QuantizeWeight(ConversionOps):
    """What the loader makes of a float weight where an int8 layer waits for it."""

    def __init__(self, quantizer: HfQuantizer):
        self.quantizer = quantizer

    def convert(self, input_dict: dict, full_layer_name: str, **kwargs) -> dict[str, Tensor]:
        ((weight,),) = input_dict.values()
        codes, scales = quantize_weight(weight)
        return {full_layer_name: codes, f"{full_layer_name}_scale": scales}


class ElmoInt8Quantizer(HfQuantizer):
    """How `from_pretrained` loads int8 weights, or makes them of float weights, and what may be done with them.

    It asks the model to change its layers: where the code travelled with the weights, the registered quantizer and the
    model may be of different copies of this module.
    """

    is_trainable = True  # the Trainer asks both of these; what trains is the head
    is_qat_trainable = True
    quantized_element_size = 1

    def validate_environment(self, *args, **kwargs):
        """Runs everywhere: without oneDNN's kernel, the integers are multiplied as floats."""

    def is_serializable(self) -> bool:
        return True

    def update_dtype(self, dtype: torch.dtype) -> torch.dtype:
        return torch.float32  # of what is not quantized, whatever was asked for: there is little of it

    def param_needs_quantization(self, model: nn.Module, param_name: str, **kwargs) -> bool:
        module, name = get_module_from_name(model, param_name)
        return name == "weight" and module.weight.dtype == torch.int8 and not self.pre_quantized

    def get_quantize_ops(self) -> QuantizeWeight:
        return QuantizeWeight(self)

    def _process_model_before_weight_loading(self, model: nn.Module, **kwargs):
        if not hasattr(model, "use_int8_layers"):
            raise ValueError(f"ElmoInt8Config quantizes ELMo models only, but this is {type(model).__name__}")
        model.use_int8_layers()

    def _process_model_after_weight_loading(self, model: nn.Module, **kwargs):
        model.base_model.freeze_encoder()

    def _dequantize(self, model: nn.Module, dtype: torch.dtype | str | None = None) -> nn.Module:
        model.use_float_layers()
        model.base_model.freeze_encoder(False)
        return model.to(getattr(torch, dtype) if isinstance(dtype, str) else dtype)


# Each copy of this module comes here, where code travels with weights; the first one serves all models.
if METHOD not in AUTO_QUANTIZER_MAPPING:
    register_quantization_config(METHOD)(ElmoInt8Config)
    register_quantizer(METHOD)(ElmoInt8Quantizer)

__all__ = ["ElmoInt8Config", "ElmoInt8Quantizer", "Int8Linear"]
