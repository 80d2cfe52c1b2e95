# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The bidirectional language model (biLM) whose encoder is ELMo: for pretraining, and for words in context.

Both directions share one softmax over words. The forward state at word k has read the words up to k and predicts word
k + 1; the backward state at word k has read the words from the end down to k and predicts word k - 1.

The loss of a large vocabulary is computed in bounded memory, block by block of positions and words.

    full     -log softmax(W x + b)[target]
    sampled  the same over the target and S words drawn for the step (Jean et al. 2015), each score lowered by the
             logarithm of how often its word is expected among the drawn ones

Letters in shapes: B batch, T words, including `<S>` and `</S>`, N positions, W characters per word, P projection width,
L layers, V words of the softmax, S sampled words.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import initialization as init
from transformers.modeling_outputs import MaskedLMOutput
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .configuration_elmo import ElmoConfig
from .linear_elmo import add_product_, is_observed, linear
from .lstm_elmo import at_least_float32
from .modeling_elmo import ElmoModel, ElmoPreTrainedModel, State
from .pipelines_elmo import ElmoFillMaskPipeline, dispatch_by_model

KEPT_SCORES = 1 << 22  # of a batch, up to which they are kept for the gradient: 16 MiB of float32
CPU_BLOCK = 512, 2048  # positions and words whose scores are computed at once: 4 MiB, which stay in the cache
BLOCK = 4096, 8192  # elsewhere


@dataclass
class ElmoForPreTrainingOutput(ModelOutput):
    """Losses and predictions of both language models.

    Args:
        loss (scalar, with `labels`): Mean of both directions' losses, natural logarithm per word.
        forward_loss, backward_loss (scalars, with `labels`): Mean loss of each direction.
        word_losses (`(B, 2, T)`, with `labels`):
            Loss of the word that each direction predicts at each position; 0 where there is none.
        forward_logits, backward_logits (`(B, T, V)`, with `output_logits=True`):
            Scores of the next word, and of the previous word.
        last_hidden_state (`(B, T, 2P)`): The top layer, input of the softmax: forward half, then backward half.
        hidden_states (`tuple` of `L + 1` tensors `(B, T, 2P)`, with `output_hidden_states=True`): All layers.
        state (`(B, L, 2, P)` and `(B, L, 2, C)`, with `use_state=True`): Final state of the recurrence.
    """

    loss: Tensor | None = None
    forward_loss: Tensor | None = None
    backward_loss: Tensor | None = None
    word_losses: Tensor | None = None
    forward_logits: Tensor | None = None
    backward_logits: Tensor | None = None
    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    state: State | None = None


class ElmoLanguageModel(ElmoPreTrainedModel):
    """Base class of both language-model classes: a biLM and a softmax over words."""

    def __init__(self, config: ElmoConfig):
        super().__init__(config)
        if config.word_vocab_size == 0:
            raise ValueError(
                f"{type(self).__name__} needs the number of words it predicts: set `word_vocab_size` in the "
                "configuration (it is 0, which is a model without a language-model head)"
            )
        self.elmo = ElmoModel(config)
        self.elmo.freeze_mix()  # unused, as the softmax reads the top layer
        self.dropout = nn.Dropout(config.lstm_dropout)
        self.lm_head = nn.Linear(config.projection_size, config.word_vocab_size)
        self.lm_head.init_weight = partial(init.normal_, std=config.projection_size**-0.5)
        self.post_init()

    def get_output_embeddings(self) -> None:
        """None: the softmax is over words, and must not be resized with the character embeddings of the input."""


class ElmoForPreTraining(ElmoLanguageModel):
    """The forward and the backward language model, with their losses.

    With `sparse_softmax_gradient = True`, a sampled softmax gives `lm_head.weight` a sparse gradient of the rows that
    it read. The optimizer must support sparse gradients, as `torch.optim.Adagrad` and `SparseAdam` do.
    """

    sparse_softmax_gradient = False

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        token_embeddings: Tensor | None = None,
        backward_input_ids: Tensor | None = None,
        labels: Tensor | None = None,
        state: State | None = None,
        use_state: bool | None = None,
        num_negative_samples: int | None = None,
        generator: torch.Generator | None = None,
        output_logits: bool | None = None,
        output_hidden_states: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
        sentence_lengths: list[int] | None = None,
        **kwargs,
    ) -> ElmoForPreTrainingOutput:
        """Read a text in both directions and predict its words.

        Args:
            input_ids, attention_mask, inputs_embeds, token_embeddings, state, use_state, output_hidden_states:
                As in [`ElmoModel`].
            backward_input_ids (`(B, T, W)`, *optional*): Another text for the backward direction, in its natural order;
                it is read from its last word to its first. The original trains each direction on its own shuffle of the
                corpus. It must have words where `input_ids` has words.
            labels (`(B, T)` or `(B, 2, T)`, *optional*):
                With two dimensions, the vocabulary id of each word of the text, special tokens included; -100 at
                padding and for words that are not to be predicted. The forward state at t predicts `labels[:, t + 1]`,
                the backward state at t predicts `labels[:, t - 1]`. With three dimensions, the targets of each
                direction at t, not shifted: `labels[:, 0, t]` forward and `labels[:, 1, t]` backward.
            num_negative_samples (`int`, *optional*): Number of negative samples of the sampled softmax, drawn once per
                call and direction. By default, the full softmax.
            generator (`torch.Generator` on the CPU, *optional*): Random number generator for the samples.
            output_logits (`bool`, *optional*): Whether to return the scores of all words.
            num_items_in_batch (*optional*):
                Number of labels, other than -100, in all batches of one step, as the Trainer counts them. The loss is
                then the sum of all word losses divided by the number of predictions that belong to these labels (with
                `labels` of two dimensions, two for each), in place of the mean over this batch.
            sentence_lengths (`list[int]`, *optional*):
                As in [`ElmoModel`], without state, and with `labels` of three dimensions.

        Raises:
            `ValueError`: if inputs are missing, or shapes or ids do not match each other or the configuration.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if backward_input_ids is None:
            words, mask = self.elmo.embed_words(input_ids, attention_mask, inputs_embeds, token_embeddings)
            backward_words = words
        else:
            given = input_ids, attention_mask, inputs_embeds, token_embeddings
            words, backward_words, mask = self.embed_both_texts(*given, backward_input_ids)
        use_state = use_state if use_state is not None else state is not None
        if sentence_lengths is not None and (use_state or (labels is not None and labels.dim() == 2)):
            raise ValueError("give `sentence_lengths` without `state`, and with `labels` (1, 2, T) of each direction")
        layers, final_state = self.elmo.run_layers(
            torch.cat([words, backward_words], dim=-1), mask, state, sentence_lengths, use_state
        )
        forward, backward = (self.dropout(half) for half in layers[-1].chunk(2, dim=-1))

        loss = forward_loss = backward_loss = word_losses = None
        if labels is not None:
            targets = self.direction_targets(labels, mask)
            sampling = num_negative_samples, generator
            pairs = zip((forward, backward), targets.unbind(1))
            word_losses = torch.stack([self.word_loss(*pair, *sampling) for pair in pairs], dim=1)
            counts = (targets != -100).sum(dim=(0, 2)).clamp(min=1)
            forward_loss, backward_loss = word_losses.sum(dim=(0, 2)) / counts
            loss = (forward_loss + backward_loss) / 2
            if num_items_in_batch is not None:
                predictions_per_label = 2 if labels.dim() == 2 else 1
                loss = word_losses.sum() / (num_items_in_batch * predictions_per_label)
        return ElmoForPreTrainingOutput(
            loss=loss,
            forward_loss=forward_loss,
            backward_loss=backward_loss,
            word_losses=word_losses,
            forward_logits=self.lm_head(forward) if output_logits else None,
            backward_logits=self.lm_head(backward) if output_logits else None,
            last_hidden_state=layers[-1],
            hidden_states=tuple(self.elmo.align_layers(layers)) if output_hidden_states else None,
            state=final_state,
        )

    def embed_both_texts(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        inputs_embeds: Tensor | None,
        token_embeddings: Tensor | None,
        backward_input_ids: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the word vectors of the text of each direction, both `(B, T, P)`, and their common mask `(B, T)`.

        Ids of both texts are encoded together, so that a word in both of them is encoded once.
        """
        if input_ids is not None and input_ids.shape == backward_input_ids.shape:
            masks = None if attention_mask is None else torch.cat([attention_mask, attention_mask])
            both = torch.cat([input_ids, backward_input_ids.to(input_ids)])
            vectors, mask = self.elmo.embed_words(both, masks, inputs_embeds, token_embeddings)
            (words, backward_words), (mask, backward_mask) = vectors.chunk(2), mask.chunk(2)
        else:
            words, mask = self.elmo.embed_words(input_ids, attention_mask, inputs_embeds, token_embeddings)
            backward_words, backward_mask = self.elmo.embed_words(backward_input_ids, attention_mask)
        if not torch.equal(mask, backward_mask):
            raise ValueError("`backward_input_ids` must have words where `input_ids` has words, and nowhere else")
        return words, backward_words, mask

    def direction_targets(self, labels: Tensor, mask: Tensor) -> Tensor:
        """Return the target of each direction at each position, `(B, 2, T)`; -100 for none."""
        batch, length = mask.shape
        if labels.shape not in ((batch, length), (batch, 2, length)):
            raise ValueError(
                f"`labels` must be (batch, words) = {(batch, length)}, or {(batch, 2, length)} with a row for each "
                f"direction, but is {tuple(labels.shape)}"
            )
        labels = labels.long()
        if labels.numel() and int(labels.max()) >= self.config.word_vocab_size:
            raise ValueError(
                f"`labels` must be below word_vocab_size {self.config.word_vocab_size}, but hold {int(labels.max())}"
            )
        if labels.dim() == 2:
            nothing = labels.new_full((batch, 1), -100)
            labels = torch.stack(
                [torch.cat([labels[:, 1:], nothing], 1), torch.cat([nothing, labels[:, :-1]], 1)], dim=1
            )
        return labels.masked_fill(~mask[:, None], -100)

    def word_loss(
        self, outputs: Tensor, targets: Tensor, num_negative_samples: int | None, generator: torch.Generator | None
    ) -> Tensor:
        """The loss of each target, `(B, T)`, from one direction's outputs `(B, T, P)`; 0 where there is no target."""
        counted = targets != -100
        x, ids = outputs[counted], targets[counted]
        weight, bias, size = self.lm_head.weight, self.lm_head.bias, self.config.word_vocab_size
        if num_negative_samples:
            sampled, num_draws = draw_candidates(num_negative_samples, size, generator)
            sampled = sampled.to(x.device)
            numbers, sparse = (num_negative_samples, num_draws, size), self.sparse_softmax_gradient
            of_targets, of_sampled = (expected_counts(words, *numbers) for words in (ids, sampled))
            losses = sampled_softmax_loss(x, weight, bias, ids, sampled, of_targets, of_sampled, sparse)
        else:
            losses = full_softmax_loss(x, weight, bias, ids)
        return losses.new_zeros(targets.shape).masked_scatter(counted, losses)


class ElmoForMaskedLM(ElmoLanguageModel):
    """Prediction of each word from its context: from the words before it by the forward language model, and from the
    words after it by the backward one.

    The score of a word is the sum of both models' scores, so that the softmax is proportional to the product of both
    probabilities. The predicted word itself is not read and need not be masked. At either end of a text, the model that
    has no context contributes its bias alone.
    """

    pipeline_class = ElmoFillMaskPipeline

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        token_embeddings: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> MaskedLMOutput:
        """Predict every word from the others, `logits` `(B, T, V)`.

        Args:
            input_ids, attention_mask, inputs_embeds, token_embeddings, output_hidden_states: As in [`ElmoModel`].
            labels (`(B, T)`, *optional*): Vocabulary id of each word, -100 for none. Gives the `loss`.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        context, layers = self.contexts(input_ids, attention_mask, inputs_embeds, token_embeddings)
        logits = self.score(context)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.word_vocab_size, **kwargs)
        layers = tuple(self.elmo.align_layers(layers)) if output_hidden_states else None
        return MaskedLMOutput(loss=loss, logits=logits, hidden_states=layers)

    def contexts(self, *inputs: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Sum both directions' outputs beside each word, which have not read it, `(B, T, P)`; and return all layers."""
        words, mask = self.elmo.embed_words(*inputs)
        layers, _ = self.elmo.run_layers(torch.cat([words, words], dim=-1), mask)
        forward, backward = self.dropout(layers[-1]).chunk(2, dim=-1)
        nothing = forward.new_zeros(forward.shape[0], 1, forward.shape[2])
        before, after = torch.cat([nothing, forward[:, :-1]], 1), torch.cat([backward[:, 1:], nothing], 1)
        return before + after, layers

    def score(self, context: Tensor) -> Tensor:
        """Score all words, `(..., V)`, from the sum of two outputs `(..., P)`: the softmax's bias counts twice."""
        return self.lm_head(context) + self.lm_head.bias

    @torch.no_grad()
    def substitutes(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        top_k: int = 10,
        excluded_ids: tuple[int, ...] = (),
        chunk_size: int = 64,
    ) -> tuple[Tensor, Tensor]:
        """Find the most probable words in place of each word.

        Args:
            input_ids (`(B, T, W)`), attention_mask (`(B, T)`, *optional*): As in [`ElmoModel`].
            top_k (`int`): Number of words.
            excluded_ids (`tuple[int]`): Vocabulary ids never to be proposed, such as those of `<S>`, `</S>`, `<UNK>`.
            chunk_size (`int`): Positions scored at once, which bounds the memory.

        Returns:
            Probabilities and vocabulary ids, both `(B, T, top_k)`, most probable first.
        """
        context, _ = self.contexts(input_ids, attention_mask)
        best = []
        for part in context.flatten(0, 1).split(chunk_size):
            scores = self.score(part)
            scores[:, list(excluded_ids)] = -torch.inf
            best.append(scores.softmax(dim=-1).topk(min(top_k, scores.shape[-1]), dim=-1))
        shape = (*context.shape[:2], -1)
        return tuple(torch.cat(parts).view(shape) for parts in zip(*best))


# ---- losses of words


def draw_candidates(num_samples: int, vocab_size: int, generator: torch.Generator | None = None) -> tuple[Tensor, int]:
    """Draw words, rank k with probability log((k + 2) / (k + 1)) / log(V + 1), until there are `num_samples` distinct
    ones. Return their ids `(S,)`, and the number of draws.

    This is TensorFlow's log-uniform candidate sampler; it fits vocabularies sorted by falling frequency. The generator
    is one on the CPU, by default the global one. `ValueError` if there are not more words than samples.
    """
    if not 0 < num_samples < vocab_size:
        raise ValueError(
            f"the number of negative samples must be from 1 to {vocab_size - 1}, as the vocabulary has {vocab_size} "
            f"words, but is {num_samples}"
        )
    draws = torch.empty(0, dtype=torch.long)
    while True:
        uniform = torch.rand(2 * num_samples, dtype=torch.float64, generator=generator)
        ids = (uniform * math.log(vocab_size + 1)).exp().long() - 1
        draws = torch.cat([draws, ids.clamp(0, vocab_size - 1)])
        distinct, place = draws.unique(return_inverse=True)
        if len(distinct) >= num_samples:
            break
    order = torch.arange(len(draws))
    first_draw = torch.full_like(distinct, len(draws)).scatter_reduce_(0, place, order, "amin")
    found = first_draw.argsort()[:num_samples]
    return distinct[found], int(first_draw[found[-1]]) + 1


def expected_counts(ids: Tensor, num_samples: int, num_draws: int, vocab_size: int) -> Tensor:
    """The expected count of each word among `num_samples` distinct words found in `num_draws`: 1 - (1 - p)^draws."""
    ranks = ids.double()
    probability = torch.log1p(1 / (ranks + 1)) / math.log(vocab_size + 1)
    if num_draws == num_samples:  # no word was drawn twice: TensorFlow then counts plain draws
        return probability * num_draws
    return -torch.expm1(num_draws * torch.log1p(-probability))


def sampled_softmax_loss(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    sampled_ids: Tensor,
    target_counts: Tensor,
    sampled_counts: Tensor,
    sparse: bool = False,
) -> Tensor:
    """Return the loss of each position `(N,)` against its target and the sampled words: `tf.nn.sampled_softmax_loss`.

    A sampled word that is a position's own target does not count there. Only the rows of targets and samples are read.

    Args:
        x (`(N, P)`): Outputs of the language model.
        weight (`(V, P)`), bias (`(V,)`): The softmax layer.
        targets (`(N,)`): Words to be predicted.
        sampled_ids (`(S,)`): Distinct words, common to all positions.
        target_counts (`(N,)`), sampled_counts (`(S,)`): Expected counts of targets and samples.
        sparse (`bool`): Whether the gradient of `weight` is a sparse tensor of the rows read.
    """
    ids = torch.cat([targets, sampled_ids])
    target_rows, sampled_rows = F.embedding(ids, weight, sparse=sparse).split([len(targets), len(sampled_ids)])
    target_bias, sampled_bias = bias[ids].split([len(targets), len(sampled_ids)])
    target_scores = (x * target_rows).sum(dim=-1) + target_bias - target_counts.log().to(bias.dtype)
    column_of = targets.new_full((len(weight),), -1).scatter(
        0, sampled_ids, torch.arange(len(sampled_ids), device=targets.device)
    )
    sampled_bias = sampled_bias - sampled_counts.log().to(bias.dtype)
    sampled_scores = log_sum_exp(x, sampled_rows, sampled_bias, column_of[targets])
    return torch.logaddexp(sampled_scores, target_scores) - target_scores


def full_softmax_loss(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each position against all words, `(N,)`."""
    target_scores = (x * F.embedding(targets, weight)).sum(dim=-1) + bias[targets]
    return log_sum_exp(x, weight, bias) - target_scores


def log_sum_exp(x: Tensor, weight: Tensor, bias: Tensor, excluded: Tensor | None = None) -> Tensor:
    """Return the logarithm of the sum of exp(scores) of each position, `(N,)`, at least in float32.

    It is differentiable once.

    Args:
        x (`(N, P)`), weight (`(V, P)`), bias (`(V,)`): The scores are x @ weight.T + bias, `(N, V)`.
        excluded (`(N,)`, *optional*): Column that is left out of each position's sum; -1 for none.
    """
    if is_observed():
        scores = F.linear(x, weight, bias)
        scores = scores.to(at_least_float32(scores.dtype))
        if excluded is not None:
            columns = torch.arange(len(weight), device=x.device)
            scores = scores.masked_fill(columns == excluded[:, None], torch.finfo(scores.dtype).min)
        return scores.logsumexp(dim=1)
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
    return LogSumExp.apply(x, weight, bias, excluded)


class LogSumExp(torch.autograd.Function):
    """`log_sum_exp` by blocks of positions and words. The gradient computes scores again, which takes less time than
    to write them to memory and read them back; those of small batches are kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, excluded: Tensor | None) -> Tensor:
        total, kept = x.new_full((len(x),), -torch.inf, dtype=at_least_float32(x.dtype)), None
        for rows, columns in score_blocks(x, weight):
            scores = block_scores(x, weight, bias, excluded, rows, columns)
            largest = scores.amax(dim=1)
            exponentials = scores.sub_(largest[:, None]).exp_()
            sums = exponentials.sum(dim=1)
            total[rows] = torch.logaddexp(total[rows], sums.log().add_(largest))
            kept = exponentials.div_(sums[:, None]) if keeps_scores(x, weight) else None
        ctx.save_for_backward(x, weight, bias, excluded, total, kept)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, excluded, total, kept = ctx.saved_tensors
        needs = ctx.needs_input_grad
        for_x, for_weight, for_bias = (
            torch.zeros_like(tensor, dtype=total.dtype) if needed else None
            for tensor, needed in zip((x, weight, bias), needs)
        )
        scaled = (x * gradient[:, None]).to(x.dtype)
        with torch.autocast(x.device.type, enabled=False):  # the products have the types that autocast chose
            for rows, columns in score_blocks(x, weight):
                probabilities = kept
                if kept is None:
                    scores = block_scores(x, weight, bias, excluded, rows, columns)
                    probabilities = scores.sub_(total[rows, None]).exp_()
                factor = probabilities.to(x.dtype)
                if for_x is not None:
                    for_x[rows] += linear(factor, weight[columns].T)
                if for_weight is not None:
                    add_product_(for_weight[columns], factor, scaled[rows])
                if for_bias is not None:
                    for_bias[columns] += gradient[rows] @ probabilities
        if for_x is not None:
            for_x *= gradient[:, None]
        gradients = zip((for_x, for_weight, for_bias), (x, weight, bias))
        return *(part if part is None else part.to(tensor.dtype) for part, tensor in gradients), None


def keeps_scores(x: Tensor, weight: Tensor) -> bool:
    return len(x) * len(weight) <= KEPT_SCORES


def score_blocks(x: Tensor, weight: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield the positions and the words of each block of scores. All positions come with some words before the next
    words come, so that each weight is read once. Few scores are one block."""
    positions, words = CPU_BLOCK if x.is_cpu else BLOCK
    if keeps_scores(x, weight):
        positions, words = max(1, len(x)), len(weight)
    for word in range(0, len(weight), words):
        for position in range(0, len(x), positions):
            yield slice(position, position + positions), slice(word, word + words)


def block_scores(
    x: Tensor, weight: Tensor, bias: Tensor, excluded: Tensor | None, rows: slice, columns: slice
) -> Tensor:
    """Return one block of the scores, with the lowest number where a column is excluded."""
    scores = linear(x[rows], weight[columns], bias[columns])
    scores = scores.to(at_least_float32(scores.dtype))
    if excluded is not None:
        place = excluded[rows, None] - columns.start
        is_inside = (place >= 0) & (place < scores.shape[1])
        place = place.clamp(0, scores.shape[1] - 1)
        scores.scatter_(1, place, scores.gather(1, place).masked_fill_(is_inside, torch.finfo(scores.dtype).min))
    return scores


dispatch_by_model(ElmoFillMaskPipeline)
