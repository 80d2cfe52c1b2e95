# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""ELMo: deep contextualized word representations (Peters et al. 2018, arXiv:1802.05365).

    character ids -> character encoder -> layer 0, one context-free vector per word
    layer 0 -> L layers of a forward and a backward LSTM, which never read each other's outputs
    all layers -> scalar mix, the ELMo representation

B batch   T words, `<S>` and `</S>` included   W characters per word   E width of a character embedding   C cell width
P projection width   L biLSTM layers
"""

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput, logging
from transformers.utils.generic import can_return_tuple

from .char_cnn_elmo import ElmoCharacterEncoder, encode_words, without_features
from .configuration_elmo import ElmoConfig
from .lstm_elmo import Direction, LstmState, direction_of_layers, lstm
from .model_card_elmo import ModelCardMixin
from .pooling_elmo import ElmoAlignment, ElmoScalarMix, SentencePooling, special_tokens_mask
from .quantizer_elmo import Int8Linear

# (B, L, 2, P) and (B, L, 2, C): h and c of each layer and direction (0 forward, 1 backward) after the last word
State = tuple[Tensor, Tensor]
# Low-rank adapters (LoRA, Hu et al. 2021) go into all products of the biLSTM layers, if `LoraConfig` names no others.
PRODUCTS = ("input_gates", "recurrent_gates", "projection")
LORA_TARGETS = [f"{direction}_lstm.{product}" for direction in ("forward", "backward") for product in PRODUCTS]
logger = logging.get_logger(__name__)


@dataclass
class ElmoModelOutput(ModelOutput):
    """ELMo's vectors of each word, exactly 0 at positions that the attention mask leaves out.

    Args:
        last_hidden_state (`(B, T, 2P)`): The first scalar mix of all layers: the ELMo representation.
        hidden_states (`tuple` of `L + 1` tensors `(B, T, 2P)`, with `output_hidden_states=True`): Layer 0 is the token
            embedding twice; the others are the outputs of the biLSTM layers: forward half, then backward half.
        token_embeddings (`(B, T, P)`): Context-free word vectors, the output of the character encoder.
        other_mixes (`(B, num_mixes - 1, T, 2P)`, with `num_mixes > 1`): The second and further mixes.
        state (`(B, L, 2, P)` and `(B, L, 2, C)`, with `use_state=True`):
            h and c of each layer and direction after its last word, to be passed in as `state` next time.
    """

    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    token_embeddings: Tensor | None = None
    other_mixes: Tensor | None = None
    state: State | None = None

    @property
    def mixes(self) -> tuple[Tensor, ...]:
        """Return all scalar mixes, each `(B, T, 2P)`."""
        others = () if self.other_mixes is None else self.other_mixes.unbind(1)
        return (self.last_hidden_state, *others)

    @property
    def attentions(self) -> None:
        """Return None: ELMo has no attention, for which encoder-decoder models of the library ask."""
        return None


class ElmoLstm(nn.Module):
    """One direction of one biLSTM layer: the projected, clipped LSTM of `lstm_elmo`."""

    def __init__(self, config: ElmoConfig, reverse: bool):
        super().__init__()
        P, C = config.projection_size, config.cell_size
        self.reverse = reverse
        self.options = config.forget_bias, config.cell_clip, config.projection_clip
        self.input_gates = nn.Linear(P, 4 * C)
        self.recurrent_gates = nn.Linear(P, 4 * C, bias=False)
        self.projection = nn.Linear(C, P, bias=False) if config.use_cell_projection else None
        # TensorFlow's default for the one kernel that holds both, Glorot and Bengio's uniform.
        bound = (6 / (2 * P + 4 * C)) ** 0.5
        for layer in (self.input_gates, self.recurrent_gates):
            layer.init_weight = partial(init.uniform_, a=-bound, b=bound)
        if self.projection is not None:
            bound = (6 / (C + P)) ** 0.5
            self.projection.init_weight = partial(init.uniform_, a=-bound, b=bound)

    def direction(self, x: Tensor, state: LstmState | None) -> Direction:
        """Return the direction to run, over `x` `(B, T, P)` from `state` `(B, P)`, `(B, C)`."""
        layers = self.input_gates, self.recurrent_gates, self.projection
        return direction_of_layers(x, *layers, state, self.reverse)


class ElmoLayer(GradientCheckpointingLayer):
    """A biLSTM layer: dropout, two directions that share nothing, and the skip connection around them."""

    def __init__(self, config: ElmoConfig, index: int):
        super().__init__()
        self.forward_lstm = ElmoLstm(config, reverse=False)
        self.backward_lstm = ElmoLstm(config, reverse=True)
        self.dropout = nn.Dropout(config.lstm_dropout)
        self.add_input = config.use_skip_connections and index > 0
        self.config = config

    def forward(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        state: tuple[LstmState | None, ...],
        lengths: list[int] | None = None,
        use_state: bool = False,
    ) -> Tensor | tuple[Tensor, tuple[LstmState, ...]]:
        """From `(B, T, 2P)` to `(B, T, 2P)`, or from `(B, T, P)` the forward direction's; with `use_state`, also the
        directions' state. Without, it is a plain tensor, which hooks of other libraries need."""
        inputs = [self.dropout(half) for half in hidden.split(self.config.projection_size, dim=-1)]
        lstms = self.forward_lstm, self.backward_lstm
        directions = [part.direction(x, start) for part, x, start in zip(lstms, inputs, state)]
        outputs, states = zip(*lstm(directions, mask, *self.forward_lstm.options, self.config.recompute_gates, lengths))
        if self.add_input:  # after dropout; the carried state is the output before the addition
            outputs = [output + x for output, x in zip(outputs, inputs)]
        output = torch.cat(outputs, dim=-1)
        return (output, states) if use_state else output


class ElmoPreTrainedModel(ModelCardMixin, PreTrainedModel):
    """Initial values, loading and saving of all ELMo classes."""

    config_class = ElmoConfig
    base_model_prefix = "elmo"
    main_input_name = "input_ids"
    input_modalities = ("text",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["ElmoCharacterEncoder", "ElmoLayer"]

    def __init__(self, config: ElmoConfig, *args, **kwargs):
        config.validate()  # again: options of `from_pretrained` may have changed its fields
        super().__init__(config, *args, **kwargs)
        if peft := sys.modules.get("peft"):  # a script that uses it has imported it by now
            targets = peft.utils.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
            targets.setdefault(config.model_type, LORA_TARGETS)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Set the initial values of the original's training code, and small normal weights in task heads."""
        if isinstance(module, nn.Embedding):
            init.uniform_(module.weight, a=-1.0, b=1.0)
            if module.padding_idx is not None and not getattr(module.weight, "_is_hf_initialized", False):
                init.zeros_(module.weight[module.padding_idx])
        elif isinstance(module, (nn.Linear, nn.Conv1d)):
            # The library initializes leaves only, so their owners leave them the function to use.
            getattr(module, "init_weight", partial(init.normal_, std=self.config.initializer_range))(module.weight)
            if module.bias is not None:
                init.constant_(module.bias, getattr(module, "init_bias", 0.0))
        elif isinstance(module, ElmoScalarMix):
            init.copy_(module.weights, torch.tensor(module.initial_weights, dtype=module.weights.dtype))
            init.ones_(module.gamma)
        elif hasattr(module, "reset_parameters"):  # parts of task heads
            module.reset_parameters()

    def after_loading(self, options: dict, info: dict) -> None:
        """Start mixes that were never trained, as in converted weights, from `mix_initial_weights`, and freeze those
        that are not trainable."""
        for name, keys in self.__dict__.pop("expected_differences", {}).items():
            info.setdefault(name, set()).update(keys)
        for mix in filter(lambda module: isinstance(module, ElmoScalarMix), self.modules()):
            mix.initialize_untrained()
            if not self.config.mix_trainable:  # the loader makes all parameters trainable
                mix.requires_grad_(False)

    def _adjust_missing_and_unexpected_keys(self, loading_info: Any) -> None:
        """Leave out of the loader's report what follows from loading another class than the one that was saved: that
        class's head, and the head and further mixes of this one. One line names the parts that start untrained."""
        super()._adjust_missing_and_unexpected_keys(loading_info)
        saved = self.config.architectures
        if not saved or type(self).__name__ in saved:
            return
        encoder = {self.base_model_prefix, *(name for name, _ in self.base_model.named_children())}
        unexpected = {key for key in loading_info.unexpected_keys if key.split(".")[0] not in encoder}
        head = {key for key in loading_info.missing_keys if key.split(".")[0] not in encoder}
        mixes = {key for key in loading_info.missing_keys if re.match(r"(elmo\.)?scalar_mixes\.[1-9]", key)}
        self.expected_differences = {"unexpected_keys": unexpected, "missing_keys": head | mixes}
        loading_info.unexpected_keys -= unexpected
        loading_info.missing_keys -= head | mixes
        if head:
            parts = ", ".join(sorted({key.split(".")[0] for key in head}))
            logger.warning(f"{type(self).__name__} starts with untrained parts that {saved[0]} does not have: {parts}")

    def use_int8_layers(self) -> None:
        """Replace the encoder's linear layers, but those of pooling, which learn, by empty int8 layers to be loaded."""
        for name, module in list(self.base_model.named_modules()):
            if type(module) is nn.Linear and not name.startswith("sentence_pooling"):
                layer = Int8Linear(module.in_features, module.out_features, module.bias is not None)
                self.base_model.set_submodule(name, layer)

    def use_float_layers(self) -> None:
        """Replace the encoder's int8 layers by linear layers of the weights that the integers stand for."""
        for name, module in list(self.base_model.named_modules()):
            if type(module) is Int8Linear:
                self.base_model.set_submodule(name, module.dequantized())

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        shape = 2, 3, self.config.ids_per_token
        count = min(self.config.vocab_size, self.config.word_embedding_count or self.config.vocab_size)
        return {"input_ids": torch.arange(1, 1 + math.prod(shape)).remainder(count).view(shape)}


class ElmoModel(ElmoPreTrainedModel):
    """The ELMo encoder: from characters to one vector per word, the scalar mix of a biLM's layers."""

    encoder_is_frozen = False

    def __init__(self, config: ElmoConfig):
        super().__init__(config)
        if config.char_cnn_filters:
            self.char_encoder = ElmoCharacterEncoder(config)
        else:
            sizes = config.vocab_size, config.projection_size
            self.word_embeddings = nn.Embedding(*sizes, padding_idx=config.pad_token_id)
        self.layers = nn.ModuleList(ElmoLayer(config, index) for index in range(config.num_hidden_layers))
        self.alignment = ElmoAlignment(config) if config.aligned_layers else None
        self.scalar_mixes = nn.ModuleList(ElmoScalarMix(config) for _ in range(config.num_mixes))
        self.sentence_pooling = SentencePooling(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.char_encoder.embeddings if self.config.char_cnn_filters else self.word_embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        if self.config.char_cnn_filters:
            self.char_encoder.embeddings = value
        else:
            self.word_embeddings = value

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        token_embeddings: Tensor | None = None,
        state: State | None = None,
        use_state: bool | None = None,
        output_hidden_states: bool | None = None,
        token_type_ids: Tensor | None = None,
        layers: Tensor | None = None,
        sentence_lengths: list[int] | None = None,
        **kwargs: Any,
    ) -> ElmoModelOutput:
        """Represent every word in its sentence.

        Args:
            input_ids (`(B, T, W)`): Character ids of words, as `ElmoTokenizer` makes them.
            attention_mask (`(B, T)`, *optional*): True or 1 where there is a word, by default where an id is above 0;
                padding may be on either side.
            inputs_embeds (`(B, T, W, E)`, *optional*): Character embeddings in place of `input_ids`.
            token_embeddings (`(B, T, P)`, *optional*): Context-free word vectors in place of `input_ids`.
            state (`(R, L, 2, P)` and `(R, L, 2, C)`, *optional*):
                The state that each row starts from; zero by default. As when the original carries its state from batch
                to batch, rows of the batch beyond R start from zero, and rows beyond the batch are returned unchanged.
            use_state (`bool`, *optional*): Whether to return the final state. By default, only if `state` is given.
            output_hidden_states (`bool`, *optional*): Whether to return all layers.
            token_type_ids (`(B, T)`, *optional*): 0 for the words of a row's first text and 1 for those of its second.
                Each text is then encoded as a sentence of its own. By default, a row is one sentence.
            layers (`(B, T, L + 1, 2P)`, *optional*): All layers, computed earlier, which are only mixed:
                `torch.stack(output.hidden_states, dim=2)`.
            sentence_lengths (`list[int]`, *optional*):
                Lengths of sentences that follow each other in the one row of the batch, each encoded as if alone. On a
                CPU without gradients, they are computed in rows that are always busy, see `packed_order_elmo`.

        Raises:
            `ValueError`: if not exactly one input is given, or its shape or ids do not match the configuration.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        use_state = use_state if use_state is not None else state is not None
        if use_state and not (layers is None and token_type_ids is None):
            raise ValueError("a `state` continues one sentence per row: give it without `layers` and `token_type_ids`")
        if sentence_lengths is not None and not (use_state is False and layers is None and token_type_ids is None):
            raise ValueError("give `sentence_lengths` without `state`, `layers` and `token_type_ids`")
        if layers is not None:
            layers, mask = self.masked_layers(layers, input_ids, attention_mask)
            words, final_state = layers[0][..., : self.config.projection_size], None
        else:
            words, mask = self.embed_words(input_ids, attention_mask, inputs_embeds, token_embeddings)
            hidden = torch.cat([words, words], dim=-1)
            if token_type_ids is None:
                layers, final_state = self.run_layers(hidden, mask, state, sentence_lengths, use_state)
            else:
                layers, final_state = self.run_layers_per_text(hidden, mask, token_type_ids), None
            layers = self.align_layers(layers)
        second = None if token_type_ids is None else token_type_ids > 0
        # By name: what explains the output of a module takes its first positional input for a tensor.
        mixes = [mix(layers=layers, mask=mask, second=second) for mix in self.scalar_mixes]
        return ElmoModelOutput(
            last_hidden_state=mixes[0],
            hidden_states=tuple(layers) if output_hidden_states else None,
            token_embeddings=words,
            other_mixes=torch.stack(mixes[1:], dim=1) if len(mixes) > 1 else None,
            state=final_state,
        )

    def sentence_vectors(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return one vector for each text, `(B, 2P)`: the first mix of its words, pooled as `sentence_pooling` says.

        Padding, `<S>` and `</S>` are left out. A text without words has a vector of zeros, whose cosine with any other
        counts as 0.
        """
        vectors = self(input_ids, attention_mask, return_dict=True).last_hidden_state
        mask = word_mask(input_ids, attention_mask) & ~special_tokens_mask(input_ids, self.config)
        return self.sentence_pooling(vectors, mask)

    def run_layers(
        self,
        hidden: Tensor,
        mask: Tensor,
        state: State | None = None,
        lengths: list[int] | None = None,
        use_state: bool = False,
    ) -> tuple[list[Tensor], State | None]:
        """Return all layers, `L + 1` tensors `(B, T, 2P)`, and with `use_state` the final state.

        Args:
            hidden (`(B, T, 2P)`): Layer 0: token embeddings for the forward and, beside them, the backward direction.
                Without the latter, `(B, T, P)`, only the forward direction is computed, and states are of this one.
            mask (`(B, T)`): True where there is a word.
            state: As in `forward`.
            lengths: The `sentence_lengths` of `forward`, without `use_state`.
        """
        layers, final_states = [hidden], []
        if lengths is not None and (hidden.shape[0] != 1 or sum(lengths) != hidden.shape[1] or not mask.all()):
            raise ValueError(
                f"`sentence_lengths` must be of all words of a batch of one row, but sum up to {sum(lengths)}, and the "
                f"batch is {tuple(hidden.shape[:2])} with {int(mask.sum())} words"
            )
        for layer, layer_state in zip(self.layers, self.layer_states(state, hidden)):
            output = layer(hidden, mask, layer_state, lengths, use_state)
            hidden, final_state = output if use_state else (output, None)
            layers.append(hidden)
            final_states.append(final_state)
        return layers, stack_states(final_states, state) if use_state else None

    def align_layers(self, layers: list[Tensor]) -> list[Tensor]:
        """Return layers as hidden states and mixes have them: mapped to another language's where a matrix is stored."""
        return layers if self.alignment is None else self.alignment(layers)

    def run_layers_per_text(self, hidden: Tensor, mask: Tensor, token_type_ids: Tensor) -> list[Tensor]:
        """Return all layers, `L + 1` tensors `(B, T, 2P)`, of rows whose two texts are sentences of their own."""
        second = mask & (token_type_ids > 0)
        if not torch.compiler.is_compiling() and not second.any():  # a graph cannot depend on this
            return self.run_layers(hidden, mask)[0]
        rows = hidden.shape[0]
        layers, _ = self.run_layers(torch.cat([hidden, hidden]), torch.cat([mask & ~second, second]))
        return [hidden, *(layer[:rows] + layer[rows:] for layer in layers[1:])]  # each is 0 at the other text's words

    def masked_layers(
        self, layers: Tensor, input_ids: Tensor | None, attention_mask: Tensor | None
    ) -> tuple[list[Tensor], Tensor]:
        """Return layers that were computed earlier as a list, 0 where there is no word, and the mask of words."""
        check_shape("layers", layers, "(B, T, L + 1, 2P)", self.config.num_hidden_layers + 1, self.config.hidden_size)
        if input_ids is not None and input_ids.shape[:2] != layers.shape[:2]:
            given, expected = tuple(layers.shape[:2]), tuple(input_ids.shape[:2])
            raise ValueError(f"`layers` must be of the words of `input_ids`, {expected}, but is of {given}")
        mask = word_mask(layers if input_ids is None else input_ids, attention_mask)
        layers = layers.to(self.scalar_mixes[0].weights.dtype).masked_fill(~mask[..., None, None], 0)
        return list(layers.unbind(2)), mask

    def embed_words(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        token_embeddings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return context-free word vectors `(B, T, P)`, 0 where there is no word, and the mask `(B, T)` of words.

        Arguments and errors are those of `forward`.
        """
        if sum(given is not None for given in (input_ids, inputs_embeds, token_embeddings)) != 1:
            raise ValueError("give exactly one of `input_ids`, `inputs_embeds` and `token_embeddings`")
        if token_embeddings is not None:
            check_shape("token_embeddings", token_embeddings, "(B, T, P)", self.config.projection_size)
            mask = word_mask(token_embeddings, attention_mask)
            return token_embeddings.masked_fill(~mask[..., None], 0), mask  # a product would keep NaN
        width, embeddings = self.config.max_characters_per_token, self.get_input_embeddings()
        if input_ids is not None:
            input_ids = without_features(input_ids, self.config)
            check_shape("input_ids", input_ids, "(B, T, W)", self.config.ids_per_token - self.config.feature_ids)
            check_ids(input_ids[..., :width], embeddings.num_embeddings)
            check_ids(input_ids[..., width:], self.config.word_embedding_count)
            given = input_ids.long()  # datasets store small integers
        else:
            if self.config.word_embedding_size:
                raise ValueError("`inputs_embeds` are of characters, but this model reads words too: give `input_ids`")
            check_shape("inputs_embeds", inputs_embeds, "(B, T, W, E)", width, embeddings.embedding_dim)
            given = inputs_embeds
        mask = word_mask(given, attention_mask)
        if not self.config.char_cnn_filters:
            words = given if input_ids is None else self.word_embeddings(given)
            return words.squeeze(2).masked_fill(~mask[..., None], 0), mask
        return encode_words(self.char_encoder, given, mask), mask

    def layer_states(self, state: State | None, words: Tensor) -> list[tuple[LstmState | None, ...]]:
        """Return the state `(B, P)`, `(B, C)` that each layer's two directions start from."""
        config, rows, directions = self.config, words.shape[0], words.shape[-1] // self.config.projection_size
        if state is None:
            return [(None, None)] * config.num_hidden_layers
        for part, size, letters in zip(state, (config.projection_size, config.cell_size), "PC"):
            check_shape("state", part, f"(B, L, {directions}, {letters})", config.num_hidden_layers, directions, size)
        h, c = (with_rows(part, rows).to(words) for part in state)
        return [
            tuple((h[:, layer, direction], c[:, layer, direction]) for direction in range(directions))
            for layer in range(config.num_hidden_layers)
        ]

    def mix_weights(self) -> Tensor:
        """Return the normalized weights of each mix, `(num_mixes, L + 1)`, without the scale gamma."""
        return torch.stack([torch.softmax(mix.weights.detach(), dim=0) for mix in self.scalar_mixes])

    def mix_scales(self) -> Tensor:
        """Return the scale gamma of each mix, `(num_mixes,)`."""
        return torch.cat([mix.gamma.detach() for mix in self.scalar_mixes])

    @torch.no_grad()
    def set_mix_weights(self, weights: Sequence[float] | Tensor, gamma: float = 1.0, mix: int = 0) -> None:
        """Set the weights of a mix; it stays as trainable as it was.

        Args:
            weights (`L + 1` numbers): Weight of each layer, token embeddings first; they are normalized to sum to 1.
            gamma (`float`, defaults to 1): Scale of the mix.
            mix (`int`, defaults to 0): Number of the mix.

        Raises:
            `ValueError`: if there are not `L + 1` weights of at least 0, one of them above 0.
        """
        target = self.scalar_mixes[mix]
        weights = torch.as_tensor(weights, dtype=target.weights.dtype, device=target.weights.device)
        if weights.shape != target.weights.shape or (weights < 0).any() or not weights.sum() > 0:
            raise ValueError(
                f"a mix needs {len(target.weights)} weights of at least 0, not all 0, but got {weights.tolist()}"
            )
        # A weight of 0 becomes a parameter so low that its softmax is 0 beside any other, yet finite for regularizers.
        target.weights.copy_((weights / weights.sum()).clamp(min=torch.finfo(weights.dtype).tiny).log())
        target.gamma.fill_(gamma)

    def freeze_encoder(self, frozen: bool = True) -> None:
        """Exclude everything but mixes and pooling from training and turn its dropout off, or undo that."""
        if not frozen and any(isinstance(module, Int8Linear) for module in self.modules()):
            raise ValueError(
                "an int8 encoder cannot be trained: load its weights in float32, or call `model.dequantize()`"
            )
        self.encoder_is_frozen = frozen
        for part in self.encoder_parts():
            part.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> "ElmoModel":
        super().train(mode)
        if self.encoder_is_frozen:
            for part in self.encoder_parts():
                part.eval()
        return self

    def encoder_parts(self) -> list[nn.Module]:
        """Return everything but the mixes and the pooling."""
        return [part for name, part in self.named_children() if name not in ("scalar_mixes", "sentence_pooling")]

    def freeze_mix(self, frozen: bool = True) -> None:
        """Exclude the mixes from training, or undo that."""
        for mix in self.scalar_mixes:
            mix.requires_grad_(not frozen)


def check_shape(name: str, tensor: Tensor, letters: str, *last_sizes: int) -> None:
    """Raise a `ValueError` if a tensor has other dimensions than its letters, or other sizes in the last ones."""
    if not isinstance(tensor, Tensor):
        hint = ": pass return_tensors='pt' to the tokenizer" if name == "input_ids" else ""
        raise ValueError(f"`{name}` must be a tensor, but is a {type(tensor).__name__}{hint}")
    dimensions = letters.count(",") + 1
    if tensor.dim() != dimensions or tensor.shape[dimensions - len(last_sizes) :] != last_sizes:
        expected = ", ".join([*("batch", "words")[: dimensions - len(last_sizes)], *map(str, last_sizes)])
        hint = ", a row of character ids for each word, as ElmoTokenizer returns" if name == "input_ids" else ""
        raise ValueError(f"`{name}` must be {letters} = ({expected}){hint}, but is {tuple(tensor.shape)}")


def check_ids(input_ids: Tensor, count: int) -> None:
    """Raise a `ValueError` if ids are not whole numbers from 0 to `count - 1`."""
    if input_ids.is_floating_point() or input_ids.dtype == torch.bool:
        raise ValueError(f"`input_ids` must be whole numbers, but is {input_ids.dtype}")
    if input_ids.numel() and not torch.compiler.is_compiling():
        low, high = (int(bound) for bound in input_ids.aminmax())
        if low < 0 or high >= count:
            raise ValueError(f"`input_ids` must be from 0 to {count - 1}, but go from {low} to {high}")


def word_mask(words: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Return where there is a word, `(B, T)` of bool: where the attention mask says so, by default where the ids
    `(B, T, W)` of a word are not all 0, and at all places of vectors `(B, T, ...)`."""
    if attention_mask is None:
        if words.is_floating_point():
            return torch.ones(words.shape[:2], dtype=torch.bool, device=words.device)
        return (words > 0).any(dim=-1)
    if attention_mask.shape != words.shape[:2]:
        expected, given = tuple(words.shape[:2]), tuple(attention_mask.shape)
        raise ValueError(f"`attention_mask` must be (B, T) = (batch, words) = {expected}, but is {given}")
    return attention_mask.to(device=words.device, dtype=torch.bool)


def with_rows(part: Tensor, rows: int) -> Tensor:
    """Return the first `rows` rows of a state, with rows of zeros where it has fewer."""
    missing = rows - part.shape[0]
    return F.pad(part, (0, 0) * (part.dim() - 1) + (0, missing)) if missing > 0 else part[:rows]


def stack_states(layers: list[tuple[LstmState, ...]], previous: State | None) -> State:
    """Stack the states of all layers and directions, and append the rows of `previous` beyond the batch."""
    parts = []
    for part in range(2):
        stacked = torch.stack([torch.stack([direction[part] for direction in layer], 1) for layer in layers], 1)
        if previous is not None and previous[part].shape[0] > stacked.shape[0]:
            stacked = torch.cat([stacked, previous[part][stacked.shape[0] :].to(stacked)])
        parts.append(stacked)
    return tuple(parts)
