"""How long a model takes to become a graph, and that the graph holds for other numbers of sentences and words.

    python benchmarks/graphs.py [--sizes small original]

Random weights, made-up text. For `torch.compile` with its default backend and for `torch.export`, the seconds until the
first batch is computed, those of two batches of other lengths, which must not compile anything again, and the largest
difference from the model. Processor time of this process and its compilers: set OMP_NUM_THREADS=1 for one core.
"""

import argparse
import os
from collections.abc import Callable

import torch
from measuring import SIZES, machine, print_header, print_row
from tokenizer import made_up_lines  # the benchmark beside this one
from torch import Tensor
from torch.export import Dim
from whole_model import build_model

from hf_elmo import ElmoModel, ElmoTokenizer

BATCHES = ((2, 7), (3, 12), (5, 40))  # sentences and words


def compiled(model: ElmoModel, batch: dict[str, Tensor]) -> Callable:
    return torch.compile(model, dynamic=True, fullgraph=True)


def exported(model: ElmoModel, batch: dict[str, Tensor]) -> Callable:
    free = {name: {0: Dim.AUTO, 1: Dim.AUTO} for name in batch}
    return torch.export.export(model, (), batch, dynamic_shapes=free, strict=False).module()


def processor_seconds() -> float:
    return sum(os.times()[:4])  # children, too


@torch.no_grad()
def print_graph(size: str, way: Callable):
    model, tokenizer, call, cells = build_model(size), ElmoTokenizer(), None, []
    torch._dynamo.reset()
    difference = 0.0
    for count, words in BATCHES:
        lines = [line.split()[:words] for line in made_up_lines(count=count, words=words)]
        batch = dict(tokenizer(lines, is_split_into_words=True, padding=True, return_tensors="pt"))
        start = processor_seconds()
        call = way(model, batch) if call is None else call
        vectors = call(**batch)["last_hidden_state"]
        cells.append(f"{processor_seconds() - start:.1f}")
        difference = max(difference, float((vectors - model(**batch).last_hidden_state).abs().max()))
    print_row(size, way.__name__, *cells, f"{difference:.0e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["small", "original"], choices=SIZES)
    arguments = parser.parse_args()
    # For the default backend, torch 2.13 makes a loop whose counter is a number that a tensor holds.
    torch._dynamo.config.capture_scalar_outputs = True
    print(machine("cpu"))
    print_header(
        "Graphs", ["size", "graph", *(f"{n} sentences of {words} words, s" for n, words in BATCHES), "differs by"]
    )
    for size in arguments.sizes:
        for way in (compiled, exported):
            print_graph(size, way)


if __name__ == "__main__":
    main()
