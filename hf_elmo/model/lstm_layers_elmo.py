"""All layers of a biLSTM in one call, where no gradients are wanted.

The directions share nothing. Nor do different layers that are some words apart: a layer's first words need only the
first words of the layer below. So the blocks of the packed path can run as a wavefront:

    phase     1    2    3    4
    layer 1   b1   b2   b3
    layer 2        b1   b2   b3

What is in one phase, a lane for each layer of each direction, is computed at the same time: on a GPU by the same
launches, if it has multiprocessors for all their programs; on a CPU by a worker for each lane, if there are threads
enough. Elsewhere, and where gradients are wanted, the layers run one by one. The results are the same.
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from .lstm_elmo import (
    Path,
    bilstm,
    forced_wavefront,
    settle_path,
    seven_int8_tensors,
    seven_tensors,
    tell_path,
    want_gradients,
)
from .lstm_int8_elmo import CHEAPER, Int8Forward
from .lstm_packed_elmo import (
    BLOCK,
    Forward,
    Options,
    clip,
    concurrently,
    cost_of_step,
    make_plan,
    spread,
    step_sizes,
    worth_a_worker,
)

STEPS = 8  # of a block of the wavefront: the launches of a step are captured in as many, and its weights are read less
FEWEST_BLOCKS = 4  # for the wavefront of a CPU: the first and the last phase have fewer lanes


def bilstm_layers(
    layers, mask=None, *, add_inputs, forget_bias=1.0, cell_clip=None, projection_clip=None
):  # fmt: skip
    """Run layers of two `Direction`s each, every one on the outputs of the one below.

    Args:
        layers: Pairs of `Direction`s, ahead and behind, from the lowest layer on. The `x` `(B, T, I)` of the lowest are
            the words; those of the others are not looked at.
        mask: As in `lstm_reference`.
        add_inputs: For each layer, whether it adds its inputs to its outputs. What recurs are the outputs before that.
        forget_bias, cell_clip, projection_clip: As in `lstm_reference`.
    Returns:
        for each layer the pair of what `lstm` returns for its directions, with the inputs in the outputs if added.
    Raises:
        ValueError: a wavefront was forced where it cannot be.
    """
    options = {"forget_bias": forget_bias, "cell_clip": cell_clip, "projection_clip": projection_clip}
    layers = list(layers)
    for place, layer in enumerate(layers[1:], 1):  # of the words above the lowest layer, rows and type are known
        layers[place] = [direction._replace(x=lowest.x[:, :0]) for direction, lowest in zip(layer, layers[0])]
    directions = list(itertools.chain(*layers))
    path = settle_path(directions)
    trouble = why_no_wavefront(path, directions)
    if forced_wavefront() and trouble is not None:
        raise ValueError(f"the layers cannot run as a wavefront: {trouble}")
    if trouble is None and forced_wavefront() is not False:
        engine = engine_of(path.name)
        tensors = [[engine.seven_tensors(direction) for direction in layer] for layer in layers]
        x, *_, h, c = tensors[0][0]
        mask = x.new_ones(x.shape[:2], dtype=torch.bool) if mask is None else mask
        if forced_wavefront() or engine.suits(mask, h, c, len(directions)):
            tell_path(Path(path.name, f"{path.reason}, the layers as a wavefront"))
            return wavefront(engine, tensors, mask, add_inputs, [Options(d.reverse, **options) for d in layers[0]])
    return one_by_one(layers, mask, add_inputs, options)


def why_no_wavefront(path, directions):
    """What keeps layers from running at the same time, in words, or None."""
    if path.name not in ("packed", "triton", "int8"):
        return f"the path {path.name!r} has none"
    if len({(type(d.w_hh), d.w_hh.shape, d.w_proj is None) for d in directions}) > 1:
        return "they differ in their shapes or types"
    if len(directions) == 2:
        return "there is one only"
    return "gradients are wanted" if want_gradients(directions) else None


def one_by_one(layers, mask, add_inputs, options):
    results, words = [], [direction.x for direction in layers[0]]
    if mask is not None and add_inputs[0]:  # what stands where there is no word is not added
        words = [x.masked_fill(~mask[..., None], 0) for x in words]
    for layer, add_input in zip(layers, add_inputs):
        pair = bilstm(*(direction._replace(x=x) for direction, x in zip(layer, words)), mask, **options)
        words = [outputs + x if add_input else outputs for (outputs, _), x in zip(pair, words)]
        results.append(tuple((outputs, state) for outputs, (_, state) in zip(words, pair)))
    return results


def wavefront(engine, tensors, mask, add_inputs, options):
    """`one_by_one`, phase by phase, from seven tensors for each direction of each layer."""
    block_size = min(engine.largest_block, STEPS * len(mask))
    plans = [make_plan(mask, option.reverse, block_size, STEPS) for option in options]
    sizes = [sum(step_sizes(block)) for block in plans[0].blocks]  # of both directions
    walks = [[engine.walk(*each, *six) for *each, (_, *six) in zip(plans, options, layer)] for layer in tensors]
    words = [x for x, *_ in tensors[0]]
    # What there is of each level, direction and block: the words, and then the outputs of each layer.
    levels = [[x.flatten(0, 1)[plan.words].split(sizes) for plan, x in zip(plans, words)]]
    levels += [[[] for _ in layer] for layer in walks]
    for phase in range(len(sizes) + len(walks) - 1 if sizes else 0):
        lanes = [
            (walk, phase - layer, below[phase - layer], above, add_input)
            for layer, (pair, add_input) in enumerate(zip(walks, add_inputs))
            if 0 <= phase - layer < len(sizes)
            for walk, below, above in zip(pair, levels[layer], levels[layer + 1])
        ]
        hidden = engine.take([lane[:3] for lane in lanes])
        for h, (walk, _, x, above, add_input) in zip(hidden, lanes):
            h = clip(h, walk.projection_clip).to(x.dtype)
            above.append(h + x if add_input else h)
    return [tuple(map(to_places, plans, words, pair, blocks)) for pair, blocks in zip(walks, levels[1:])]


def to_places(plan, x, walk, blocks):
    """A direction's outputs and state, in the order of the batch."""
    h, c = (part.to(x.dtype) for part in walk.state())
    return spread(torch.cat([h[:0], *blocks]), plan.words, (*x.shape[:2], h.shape[1])), (h, c)


# ---- What differs between the paths


class Engine(NamedTuple):
    """How a path does it.

    Args:
        seven_tensors: From a `Direction` to its seven tensors.
        walk: From a plan, options and all of them but the words, to what `take` takes from block to block.
        take: From walks, each with a block's number and its words, to the h of the blocks before their clip.
        largest_block: Words of a block.
        suits: Whether it pays to take so many lanes at a time, for words under this mask and such a state of h and c.
    """

    seven_tensors: Callable
    walk: Callable
    take: Callable
    largest_block: int
    suits: Callable


def engine_of(name):
    if name == "triton":
        from .lstm_elmo_triton import LARGEST_BLOCK, leaves_room, take
        from .lstm_elmo_triton import Forward as TritonForward

        return Engine(seven_tensors, TritonForward, take, LARGEST_BLOCK, leaves_room)
    if name == "int8":
        return Engine(seven_int8_tensors, Int8Forward, take_side_by_side, BLOCK, partial(repays_workers, CHEAPER))
    return Engine(seven_tensors, Forward, take_side_by_side, BLOCK, partial(repays_workers, 1))


def take_side_by_side(jobs):
    return concurrently(lambda walk, block, x: walk.take(block, x), jobs, jobs[0][0].cost)


def repays_workers(cheaper, mask, h, c, lanes):
    """Whether a CPU has a thread for each lane, and each worker enough to do."""
    if torch.get_num_threads() < lanes or not worth_a_worker(cost_of_step(h, c) // cheaper):
        return False
    return int(mask.sum()) >= FEWEST_BLOCKS * min(BLOCK, STEPS * len(mask)) > 0
