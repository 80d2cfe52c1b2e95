"""The projected, clipped LSTM of ELMo (Peters et al., 2018, section 3.1 and Jozefowicz et al., 2016), one direction of one layer.

B batch   T words   I input width   C cell width   P projection width   gates always in the order i, f, g, o

    i, f, g, o = split(W_ih x[t] + bias + W_hh h)
    c = clip(sigmoid(f + forget_bias) * c + sigmoid(i) * tanh(g), cell_clip)
    h = clip(W_proj (sigmoid(o) * tanh(c)), projection_clip)

Without a projection (P == C) the last line is h = sigmoid(o) * tanh(c), never clipped. What recurs is the clipped c and the
clipped h. A clip of None is off. A word whose mask is False is skipped: its output is 0 and the state passes it unchanged.
"""

import torch
from torch.nn import functional as F


def clip(x, bound):
    return x if bound is None else x.clamp(-bound, bound)


def lstm_steps(
    x, input_gates, recurrent_gates, projection, state, mask=None, *,
    reverse=False, forget_bias=1.0, cell_clip=None, projection_clip=None,
):  # fmt: skip
    """The recurrence over callables, for layers whose weights are not plain tensors (adapters, quantized layers).

    Args:
        x (`(B, T, I)`): the words.
        input_gates (`(B, T, I) -> (B, T, 4C)`): input product and bias.
        recurrent_gates (`(B, P) -> (B, 4C)`): recurrent product.
        projection (`(B, C) -> (B, P)`, or None where P == C): output projection.
        state (`(B, P)`, `(B, C)`): h and c before the first word.
        mask, reverse, forget_bias, cell_clip, projection_clip: as in `lstm_reference`.
    Returns:
        outputs `(B, T, P)` and the state after the last word.
    """
    if (
        mask is not None
    ):  # what stands in a skipped word, NaN included, must reach neither results nor gradients
        x = x.masked_fill(~mask[..., None], 0)
    gates_x = input_gates(x)
    h, c = (part.to(gates_x.dtype) for part in state)
    c = c.to(
        torch.promote_types(c.dtype, torch.float32)
    )  # the cell sums over many words: never in half precision
    words, outputs = range(x.shape[1]), [None] * x.shape[1]
    for t in reversed(words) if reverse else words:
        i, f, g, o = (gates_x[:, t] + recurrent_gates(h)).chunk(4, dim=-1)  # (B, C) each
        next_c = clip((f + forget_bias).sigmoid() * c + i.sigmoid() * g.tanh(), cell_clip)
        next_h = (o.sigmoid() * next_c.tanh()).to(h.dtype)
        if projection is not None:
            next_h = clip(projection(next_h), projection_clip)  # (B, P)
        if mask is None:
            h, c, outputs[t] = next_h, next_c, next_h
        else:
            here = mask[:, t, None]
            h, c = torch.where(here, next_h, h), torch.where(here, next_c, c)
            outputs[t] = next_h.masked_fill(~here, 0)
    outputs = torch.stack(outputs, dim=1) if outputs else h.new_zeros(h.shape[0], 0, h.shape[1])
    return outputs, (h, c.to(h.dtype))


def lstm_reference(
    x, w_ih, bias, w_hh, w_proj=None, state=None, mask=None, *,
    reverse=False, forget_bias=1.0, cell_clip=None, projection_clip=None,
):  # fmt: skip
    """Run the recurrence word by word. Slow, differentiable by autograd, traceable, and the definition of correct.

    Args:
        x (`(B, T, I)`): the words.
        w_ih (`(4C, I)`), bias (`(4C,)`): input weights.
        w_hh (`(4C, P)`): recurrent weights.
        w_proj (`(P, C)`, or None where P == C): projection weights.
        state (`(B, P)`, `(B, C)`, or None for zeros): h and c before the first word.
        mask (`(B, T)` bool, or None for all True): True where there is a word, in any pattern.
        reverse: walk each row from its last word to its first; outputs stay in place.
        forget_bias: added to the forget gate.
        cell_clip, projection_clip (positive, or None for off): bounds of c and of the projected h.
    Returns:
        outputs `(B, T, P)`, 0 where the mask is False, and the state (h `(B, P)`, c `(B, C)`) after the last word.
    """
    if state is None:
        (batch, *_), (width, projected) = x.shape, w_hh.shape
        state = x.new_zeros(batch, projected), x.new_zeros(batch, width // 4)
    return lstm_steps(
        x,
        lambda x: F.linear(x, w_ih, bias),
        lambda h: F.linear(h, w_hh),
        None if w_proj is None else lambda m: F.linear(m, w_proj),
        state,
        mask,
        reverse=reverse,
        forget_bias=forget_bias,
        cell_clip=cell_clip,
        projection_clip=projection_clip,
    )


def lstm(*args, **kwargs):
    """The LSTM that the model uses: arguments and results of `lstm_reference`."""
    return lstm_reference(*args, **kwargs)
