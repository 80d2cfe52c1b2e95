"""What weights of 8 bits, or vectors in half precision, cost: against floats of 32 bits, on sentences of a text.

    python benchmarks/rounding_error.py TEXT [--numbers int8 bfloat16] [--model MODEL] [--sentences 200]

TEXT has a sentence a line, words apart. MODEL is a saved model, by default the trained one that the package carries.

    cosine      of a word's vector to the one in float32: mean over all words, and the lowest
    error       length of their difference, of the length of the one in float32: mean over all words
    words/s     of float32, and how many times as fast the others are; the fastest of three rounds in turns
"""

import argparse
import itertools
import tempfile
from importlib import resources
from pathlib import Path

import torch
from measuring import machine, seconds
from torch.nn.functional import cosine_similarity
from transformers import AutoModel, AutoTokenizer, BatchEncoding
from transformers.utils import logging

from hf_elmo import ElmoInt8Config
from hf_elmo.conversion import convert

BATCH, ROUNDS = 50, 3  # sentences


KINDS = {
    "int8": {"quantization_config": ElmoInt8Config()},
    "bfloat16": {"dtype": torch.bfloat16},
    "autocast": {},  # weights of 32 bits, products in bfloat16
}


class Contestant:
    """A model in one kind of numbers, and the seconds of its rounds."""

    def __init__(self, model: str | Path, numbers: str):
        self.model = AutoModel.from_pretrained(model, **({"dtype": torch.float32} | KINDS.get(numbers, {}))).eval()
        self.autocast = numbers == "autocast"
        self.seconds: list[float] = []

    @torch.no_grad()
    def vectors(self, batches: list[BatchEncoding]) -> torch.Tensor:
        """Return the vectors `(layers + 1, words, 2P)`: of each layer, token embeddings first, then of the mix."""
        found = []

        def run():
            for batch in batches:
                with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
                    output = self.model(**batch, output_hidden_states=True)
                layers = torch.stack([*output.hidden_states, output.last_hidden_state])
                found.append(layers[:, batch["attention_mask"].bool()].float())

        self.seconds.append(seconds(run))
        return torch.cat(found, dim=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--numbers", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--model")
    parser.add_argument("--sentences", type=int, default=200)
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    lines = filter(None, map(str.split, arguments.text.read_text(encoding="utf-8").splitlines()))
    sentences = list(itertools.islice(lines, arguments.sentences))
    with tempfile.TemporaryDirectory() as scratch, resources.as_file(resources.files("hf_elmo.data")) as source:
        model = arguments.model or convert(source, Path(scratch) / "elmo", dtype="float32").output
        tokenizer = AutoTokenizer.from_pretrained(model)
        contestants = {numbers: Contestant(model, numbers) for numbers in ("float32", *arguments.numbers)}
    batches = [
        tokenizer(sentences[start : start + BATCH], is_split_into_words=True, padding=True, return_tensors="pt")
        for start in range(0, len(sentences), BATCH)
    ]
    for _ in range(ROUNDS):
        vectors = {name: contestant.vectors(batches) for name, contestant in contestants.items()}
    fastest = {name: min(contestant.seconds) for name, contestant in contestants.items()}
    floats = vectors.pop("float32")
    words = floats.shape[1]
    print(machine("cpu"))
    print(f"{len(sentences)} sentences, {words:,} words with <S> and </S>, {words / fastest['float32']:,.0f} words/s\n")
    print("| numbers | layer | mean cosine | lowest | mean error | speed |\n|---|---|---|---|---|---|")
    for numbers, rounded in vectors.items():
        for layer, (one, other) in enumerate(zip(floats, rounded)):
            cosine, error = cosine_similarity(one, other, dim=-1), (one - other).norm(dim=-1) / one.norm(dim=-1)
            is_mix = layer == len(floats) - 1
            speed = f"{fastest['float32'] / fastest[numbers]:.2f}x" if is_mix else ""
            cells = f"{cosine.mean():.6f} | {cosine.min():.5f} | {error.mean():.2%} | {speed}"
            print(f"| {numbers} | {'mix' if is_mix else layer} | {cells} |")


if __name__ == "__main__":
    main()
