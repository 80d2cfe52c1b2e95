# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""ELMo: deep contextualized word representations (Peters et al. 2018, arXiv:1802.05365).

    characters -> convolutions, maximum, highways, projection -> layer 0, one context-free vector a word
    layer 0    -> L layers of a forward and a backward LSTM, which never see each other
    all layers -> scalar mix, the ELMo representation

Letters in shapes: B batch, T words (the boundary words `<S>` and `</S>` among them), W characters a word, E width of a
character, C cell width, P projection width, L layers.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .char_cnn_elmo import ElmoCharacterEncoder
from .configuration_elmo import ElmoConfig
from .lstm_elmo import Direction, LstmState, bilstm, direction_of_layers
from .quantizer_elmo import Int8Linear, use_float_layers, use_int8_layers
from .saved_card_elmo import ModelCardMixin

# (B, L, 2, P) and (B, L, 2, C): output and cell of each layer and direction (0 forward, 1 backward) after the last word
State = tuple[Tensor, Tensor]


@dataclass
class ElmoModelOutput(ModelOutput):
    """What ELMo knows about each word. Positions that the attention mask leaves out are exactly 0 everywhere.

    Args:
        last_hidden_state (`(B, T, 2P)`): The first scalar mix of all layers: the ELMo representation.
        hidden_states (`tuple` of `L + 1` tensors `(B, T, 2P)`, with `output_hidden_states=True`):
            Layer 0 is the token embedding twice, layer k the biLSTM's: forward half, then backward half.
        token_embeddings (`(B, T, P)`): Context-free word vectors, what the character CNN makes of a word.
        other_mixes (`(B, num_mixes - 1, T, 2P)`, with `num_mixes > 1`): The second and further mixes.
        state (`(B, L, 2, P)` and `(B, L, 2, C)`, with `use_state=True`):
            Output and cell of each layer and direction after its last word, to be passed in as `state` next time.
    """

    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    token_embeddings: Tensor | None = None
    other_mixes: Tensor | None = None
    state: State | None = None

    @property
    def mixes(self) -> tuple[Tensor, ...]:
        """All scalar mixes, each `(B, T, 2P)`."""
        others = () if self.other_mixes is None else self.other_mixes.unbind(1)
        return (self.last_hidden_state, *others)


class ElmoLstm(nn.Module):
    """One direction of one biLSTM layer: the projected, clipped LSTM of `lstm_elmo`."""

    def __init__(self, config: ElmoConfig, reverse: bool):
        super().__init__()
        P, C = config.projection_size, config.cell_size
        self.reverse = reverse
        self.options = {
            "forget_bias": config.forget_bias,
            "cell_clip": config.cell_clip,
            "projection_clip": config.projection_clip,
        }
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
    """A biLSTM layer: two directions that share nothing, dropout before them, the skip connection around them."""

    def __init__(self, config: ElmoConfig, index: int):
        super().__init__()
        self.forward_lstm = ElmoLstm(config, reverse=False)
        self.backward_lstm = ElmoLstm(config, reverse=True)
        self.dropout = nn.Dropout(config.lstm_dropout)
        self.add_input = config.use_skip_connections and index > 0
        self.config = config

    def forward(self, hidden: Tensor, mask: Tensor | None, state: tuple[State, State]):
        """From `(B, T, 2P)` to `(B, T, 2P)` and the state of both directions."""
        inputs = [self.dropout(half) for half in hidden.chunk(2, dim=-1)]
        lstms = self.forward_lstm, self.backward_lstm
        directions = [lstm.direction(x, start) for lstm, x, start in zip(lstms, inputs, state)]
        results = bilstm(*directions, mask, recompute=self.config.recompute_gates, **self.forward_lstm.options)
        outputs, states = zip(*results)
        if self.add_input:  # as dropped out; what recurs is the output before the addition
            outputs = [output + x for output, x in zip(outputs, inputs)]
        return torch.cat(outputs, dim=-1), states


class ElmoScalarMix(nn.Module):
    """A learnt weighted sum of the layers, `gamma * sum_k softmax(weights)_k h_k` (Peters et al. 2018, equation 1).

    The Trainer's weight decay, where one is set, reaches `weights` too: it is the penalty of section 3.3, which keeps
    the mix close to the mean of the layers.
    """

    def __init__(self, config: ElmoConfig):
        super().__init__()
        self.layer_norm = config.mix_layer_norm
        self.initial_weights = config.mix_initial_weights or [0.0] * (config.num_hidden_layers + 1)
        self.weights = nn.Parameter(torch.zeros(config.num_hidden_layers + 1), requires_grad=config.mix_trainable)
        self.gamma = nn.Parameter(torch.ones(1), requires_grad=config.mix_trainable)

    @torch.no_grad()
    def begin_if_untrained(self):
        """Take the initial weights if these are still all 0 and gamma is 1."""
        untrained = not (self.weights.is_meta or self.weights.any() or (self.gamma != 1).any())
        if untrained and any(self.initial_weights):
            self.weights.copy_(torch.tensor(self.initial_weights))

    def forward(self, layers: list[Tensor], mask: Tensor) -> Tensor:
        """From `L + 1` tensors `(B, T, 2P)` and the mask `(B, T)` to `(B, T, 2P)`."""
        if self.layer_norm:
            layers = [normalized_over_words(layer, mask) for layer in layers]
        shares = self.gamma * torch.softmax(self.weights, dim=0)
        return sum(share * layer for share, layer in zip(shares, layers))


class ElmoPreTrainedModel(ModelCardMixin, PreTrainedModel):
    """Weights' initial values, saving and loading for all ELMo classes."""

    config_class = ElmoConfig
    base_model_prefix = "elmo"
    main_input_name = "input_ids"
    input_modalities = ("text",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["ElmoCharacterEncoder", "ElmoLayer"]

    def __init__(self, config: ElmoConfig, *args, **kwargs):
        config.validate()  # which nobody has done where `from_pretrained` was told other values
        super().__init__(config, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """The initial values of the original's training code; task heads get small normal weights."""
        if isinstance(module, nn.Embedding):
            init.uniform_(module.weight, a=-1.0, b=1.0)
            if module.padding_idx is not None and not getattr(module.weight, "_is_hf_initialized", False):
                init.zeros_(module.weight[module.padding_idx])
        elif isinstance(module, (nn.Linear, nn.Conv1d)):
            # The owner says how its leaf starts: the library initializes leaves only.
            getattr(module, "init_weight", partial(init.normal_, std=self.config.initializer_range))(module.weight)
            if module.bias is not None:
                init.constant_(module.bias, getattr(module, "init_bias", 0.0))
        elif isinstance(module, ElmoScalarMix):
            init.copy_(module.weights, torch.tensor(module.initial_weights, dtype=module.weights.dtype))
            init.ones_(module.gamma)
        elif hasattr(module, "reset_parameters"):  # parts of task heads
            module.reset_parameters()

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """As for every model of transformers; and mixes that never were trained, as in converted weights, begin with
        `mix_initial_weights`, and those that are not to be trained stay so."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        for mix in filter(lambda module: isinstance(module, ElmoScalarMix), model.modules()):
            mix.begin_if_untrained()
            if not model.config.mix_trainable:  # the loader makes all parameters trainable
                mix.requires_grad_(False)
        return loaded

    def use_int8_layers(self):
        """Change the encoder's layers for int8 ones, whose weights are to be loaded. Heads stay as they are."""
        use_int8_layers(self.base_model)

    def use_float_layers(self):
        """Change the encoder's int8 layers for float ones of nearly the same weights."""
        use_float_layers(self.base_model)

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        words = self.config.max_characters_per_token
        return {"input_ids": torch.arange(1, 1 + 2 * 3 * words).remainder(self.config.vocab_size).view(2, 3, words)}


class ElmoModel(ElmoPreTrainedModel):
    """The ELMo encoder: characters to one vector a word, by a biLM's layers and their scalar mix."""

    encoder_is_frozen = False

    def __init__(self, config: ElmoConfig):
        super().__init__(config)
        if config.char_cnn_filters:
            self.char_encoder = ElmoCharacterEncoder(config)
        else:
            self.word_embeddings = nn.Embedding(
                config.vocab_size, config.projection_size, padding_idx=config.pad_token_id
            )
        self.layers = nn.ModuleList(ElmoLayer(config, index) for index in range(config.num_hidden_layers))
        self.scalar_mixes = nn.ModuleList(ElmoScalarMix(config) for _ in range(config.num_mixes))
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.char_encoder.embeddings if self.config.char_cnn_filters else self.word_embeddings

    def set_input_embeddings(self, value: nn.Embedding):
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
        **kwargs,
    ) -> ElmoModelOutput:
        """Represent every word in its sentence.

        Args:
            input_ids (`(B, T, W)`): Character ids of words, as `ElmoTokenizer` makes them.
            attention_mask (`(B, T)`, *optional*):
                True or 1 where there is a word; padding may be on either side. By default, where an id is above 0.
            inputs_embeds (`(B, T, W, E)`, *optional*): Character embeddings in place of `input_ids`.
            token_embeddings (`(B, T, P)`, *optional*): Context-free word vectors in place of `input_ids`.
            state (`(R, L, 2, P)` and `(R, L, 2, C)`, *optional*):
                Where the recurrence starts, row by row; zero by default. Rows that the batch has more start at zero,
                rows that it has fewer are handed through: so the original carries its state from batch to batch.
            use_state (`bool`, *optional*): Whether to return the final state. By default, if `state` is given.
            output_hidden_states (`bool`, *optional*): Whether to return all layers.
            token_type_ids (`(B, T)`, *optional*):
                0 for the words of a first and 1 for those of a second text in the row: each text is then a sentence of
                its own, that knows nothing of the other. By default, a row is one sentence.
            layers (`(B, T, L + 1, 2P)`, *optional*):
                All layers as computed earlier, `torch.stack(output.hidden_states, dim=2)`: then they are only mixed.

        Returns:
            [`ElmoModelOutput`]

        Raises:
            `ValueError`: if not exactly one input is given, or its shape or ids do not fit the configuration.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        use_state = use_state if use_state is not None else state is not None
        if use_state and not (layers is None and token_type_ids is None):
            raise ValueError("`state` goes on with one sentence a row: give it without `layers` and `token_type_ids`")
        if layers is not None:
            layers, mask = self.computed_layers(layers, input_ids, attention_mask)
            words, final_state = layers[0][..., : self.config.projection_size], None
        else:
            words, mask = self.embed_words(input_ids, attention_mask, inputs_embeds, token_embeddings)
            hidden = torch.cat([words, words], dim=-1)
            if token_type_ids is None:
                layers, final_state = self.run_layers(hidden, mask, state)
            else:
                layers, final_state = self.run_layers_apart(hidden, mask, token_type_ids), None
        mixes = [mix(layers, mask) for mix in self.scalar_mixes]
        return ElmoModelOutput(
            last_hidden_state=mixes[0],
            hidden_states=tuple(layers) if output_hidden_states else None,
            token_embeddings=words,
            other_mixes=torch.stack(mixes[1:], dim=1) if len(mixes) > 1 else None,
            state=final_state if use_state else None,
        )

    def run_layers(self, hidden: Tensor, mask: Tensor, state: State | None = None) -> tuple[list[Tensor], State]:
        """All layers, `L + 1` tensors `(B, T, 2P)`, and the final state, from layer 0: the token embeddings that the
        forward direction reads beside those that the backward direction reads."""
        results = []
        for layer, layer_state in zip(self.layers, self.layer_states(state, hidden)):
            results.append(layer(results[-1][0] if results else hidden, mask, layer_state))
        outputs, final_states = zip(*results)
        return [hidden, *outputs], stack_states(final_states, state)

    def run_layers_apart(self, hidden: Tensor, mask: Tensor, token_type_ids: Tensor) -> list[Tensor]:
        """All layers, `L + 1` tensors `(B, T, 2P)`, of rows whose first and second text are sentences of their own."""
        second = mask & (token_type_ids > 0)
        if not torch.compiler.is_compiling() and not second.any():  # a graph cannot tell
            return self.run_layers(hidden, mask)[0]
        rows = hidden.shape[0]
        layers, _ = self.run_layers(torch.cat([hidden, hidden]), torch.cat([mask & ~second, second]))
        return [hidden, *(layer[:rows] + layer[rows:] for layer in layers[1:])]  # each half is 0 at the other's words

    def computed_layers(
        self, layers: Tensor, input_ids: Tensor | None, attention_mask: Tensor | None
    ) -> tuple[list[Tensor], Tensor]:
        """Layers that were computed earlier as a list, 0 where there is no word, and the mask of words."""
        if layers.dim() != 4 or layers.shape[2:] != (self.config.num_hidden_layers + 1, self.config.hidden_size):
            expected = f"(batch, words, {self.config.num_hidden_layers + 1}, {self.config.hidden_size})"
            raise ValueError(f"`layers` must be {expected}, but is {tuple(layers.shape)}")
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
        """Context-free word vectors `(B, T, P)`, 0 where there is no word, and the mask `(B, T)` of words.

        From whichever input is given; arguments and errors as in `forward`.
        """
        if sum(given is not None for given in (input_ids, inputs_embeds, token_embeddings)) != 1:
            raise ValueError("give exactly one of `input_ids`, `inputs_embeds` and `token_embeddings`")
        if input_ids is not None:
            self.check_ids(input_ids)
            input_ids = input_ids.long()  # data sets store small integers
        if inputs_embeds is not None:
            self.check_inputs_embeds(inputs_embeds)
        given = next(x for x in (input_ids, inputs_embeds, token_embeddings) if x is not None)
        mask = word_mask(given, attention_mask)

        if token_embeddings is not None:
            if token_embeddings.dim() != 3 or token_embeddings.shape[-1] != self.config.projection_size:
                expected = f"(batch, words, {self.config.projection_size})"
                raise ValueError(f"`token_embeddings` must be {expected}, but is {tuple(token_embeddings.shape)}")
            return token_embeddings.masked_fill(~mask[..., None], 0), mask  # a product would keep NaN
        if not self.config.char_cnn_filters:
            words = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
            return words.squeeze(2).masked_fill(~mask[..., None], 0), mask
        encode = self.char_encoder if inputs_embeds is None else self.char_encoder.encode_characters
        if torch.compiler.is_compiling():
            words = encode(given.flatten(0, 1)).unflatten(0, mask.shape)
            return torch.where(mask[..., None], words, 0), mask
        vectors = encode(given[mask])  # (number of words, P): padding is not computed
        words = vectors.new_zeros(*mask.shape, self.config.projection_size)
        return words.masked_scatter(mask[..., None], vectors), mask

    def check_inputs_embeds(self, inputs_embeds: Tensor):
        expected = self.config.max_characters_per_token, self.get_input_embeddings().embedding_dim
        if inputs_embeds.dim() != 4 or inputs_embeds.shape[2:] != expected:
            raise ValueError(
                f"`inputs_embeds` must be (batch, words, {expected[0]}, {expected[1]}), an embedding for each id of a "
                f"word's row, but is {tuple(inputs_embeds.shape)}"
            )

    def check_ids(self, input_ids: Tensor):
        width = self.config.max_characters_per_token
        if input_ids.dim() != 3 or input_ids.shape[-1] != width:
            raise ValueError(
                f"`input_ids` must be (batch, words, {width}), a row of {width} ids for each word as ElmoTokenizer "
                f"makes them, but is {tuple(input_ids.shape)}"
            )
        if input_ids.is_floating_point() or input_ids.dtype == torch.bool:
            raise ValueError(f"`input_ids` must be whole numbers, but is {input_ids.dtype}")
        if input_ids.numel() and not torch.compiler.is_compiling():
            low, high = (int(bound) for bound in input_ids.aminmax())
            if low < 0 or high >= self.get_input_embeddings().num_embeddings:
                raise ValueError(
                    f"`input_ids` must be from 0 to {self.get_input_embeddings().num_embeddings - 1}, "
                    f"but go from {low} to {high}"
                )

    def layer_states(self, state: State | None, words: Tensor) -> list[tuple[State | None, State | None]]:
        """The starting state of each layer's two directions, `(B, P)` and `(B, C)`, out of `state`."""
        config, batch = self.config, words.shape[0]
        if state is None:
            return [(None, None)] * config.num_hidden_layers
        for part, size, name in zip(state, (config.projection_size, config.cell_size), ("output", "cell")):
            if part.shape[1:] != (config.num_hidden_layers, 2, size):
                expected = f"(rows, {config.num_hidden_layers}, 2, {size})"
                raise ValueError(f"the {name} of `state` must be {expected}, but is {tuple(part.shape)}")
        hidden, cell = (with_rows(part, batch).to(words) for part in state)
        return [
            tuple((hidden[:, layer, direction], cell[:, layer, direction]) for direction in range(2))
            for layer in range(config.num_hidden_layers)
        ]

    def mix_weights(self) -> Tensor:
        """The share of each layer in each mix, `(num_mixes, L + 1)`: after the softmax, without the scale gamma."""
        return torch.stack([torch.softmax(mix.weights.detach(), dim=0) for mix in self.scalar_mixes])

    def mix_scales(self) -> Tensor:
        """The scale gamma of each mix, `(num_mixes,)`."""
        return torch.cat([mix.gamma.detach() for mix in self.scalar_mixes])

    @torch.no_grad()
    def set_mix_weights(self, weights, gamma: float = 1.0, mix: int = 0):
        """Set a mix, and leave it as trainable as it was.

        Args:
            weights (`L + 1` numbers): Share of each layer, token embeddings first; only their proportions count.
            gamma (`float`, defaults to 1): Scale of the mix.
            mix (`int`, defaults to 0): Which mix.
        """
        target = self.scalar_mixes[mix]
        shares = torch.as_tensor(weights, dtype=target.weights.dtype, device=target.weights.device)
        if shares.shape != target.weights.shape or (shares < 0).any() or not shares.sum() > 0:
            raise ValueError(
                f"a mix needs {len(target.weights)} shares of at least 0, not all 0, but got {shares.tolist()}"
            )
        # A share of 0 becomes a weight so low that its softmax is 0 beside any other, yet finite for regularizers.
        target.weights.copy_((shares / shares.sum()).clamp(min=torch.finfo(shares.dtype).tiny).log())
        target.gamma.fill_(gamma)

    def freeze_encoder(self, frozen: bool = True):
        """Keep training from changing all but the mixes, and from dropping anything out of it; or let it again."""
        if not frozen and any(isinstance(module, Int8Linear) for module in self.modules()):
            raise ValueError(
                "an int8 encoder cannot be trained: load its weights in float32, or take `model.dequantize()`"
            )
        self.encoder_is_frozen = frozen
        for part in self.encoder_parts():
            part.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True):
        super().train(mode)
        if self.encoder_is_frozen:
            for part in self.encoder_parts():
                part.eval()
        return self

    def encoder_parts(self) -> list[nn.Module]:
        """All but the mixes."""
        return [part for name, part in self.named_children() if name != "scalar_mixes"]

    def freeze_mix(self, frozen: bool = True):
        """Keep training from changing the mixes, or let it again."""
        for mix in self.scalar_mixes:
            mix.requires_grad_(not frozen)


def word_mask(words: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Where there is a word, `(B, T)` of bool.

    As `attention_mask` says; without one, where `words` `(B, T, W)` are ids that are not all 0, or everywhere.
    """
    if attention_mask is None:
        if words.is_floating_point():
            return torch.ones(words.shape[:2], dtype=torch.bool, device=words.device)
        return (words > 0).any(dim=-1)
    if attention_mask.shape != words.shape[:2]:
        expected = tuple(words.shape[:2])
        raise ValueError(f"`attention_mask` must be (batch, words) = {expected}, but is {tuple(attention_mask.shape)}")
    return attention_mask.to(device=words.device, dtype=torch.bool)


def normalized_over_words(layer: Tensor, mask: Tensor) -> Tensor:
    """Layer normalization as AllenNLP's scalar mix has it, from `(B, T, 2P)` to the same.

    One mean and variance over all words of the batch, boundary words included.
    """
    words = mask[..., None].to(layer.dtype)
    count = words.sum() * layer.shape[-1]
    mean = (layer * words).sum() / count
    variance = ((layer - mean) * words).square().sum() / count
    return (layer - mean) / torch.sqrt(variance + 1e-13) * words


def with_rows(part: Tensor, rows: int) -> Tensor:
    """The first `rows` rows of a state, rows of zeros added where it has fewer."""
    missing = rows - part.shape[0]
    return F.pad(part, (0, 0) * (part.dim() - 1) + (0, missing)) if missing > 0 else part[:rows]


def stack_states(layers: list[tuple[State, State]], previous: State | None) -> State:
    """The states of all layers and directions as one, then the rows of `previous` that the batch did not reach."""
    parts = []
    for part in range(2):
        stacked = torch.stack([torch.stack([direction[part] for direction in layer], 1) for layer in layers], 1)
        if previous is not None and previous[part].shape[0] > stacked.shape[0]:
            stacked = torch.cat([stacked, previous[part][stacked.shape[0] :].to(stacked)])
        parts.append(stacked)
    return tuple(parts)


__all__ = ["ElmoModel", "ElmoModelOutput", "ElmoPreTrainedModel"]
