"""Whether the vectors of a word tell its senses apart, for ten words of two senses and the "bank" of the demo.

    python benchmarks/senses.py --model MODEL [--files benchmarks/senses/*.tsv]

Each file is a table of occurrences with the columns index, sentence and sense: four sentences, two of each sense. For
each layer the tables have the cosine similarities of the two of one sense and of the two of the other, the highest one
of two different senses, and how many of the four are nearest to the other one of their sense.
"""

import argparse
import csv
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from hf_elmo.demo import SENTENCES, WORD

FILES = sorted((Path(__file__).parent / "senses").glob("*.tsv"))
SAME = [1, 0, 3, 2]  # of each of the four, the other one of its sense
ACROSS = [[2, 3], [2, 3], [0, 1], [0, 1]]


def read_occurrences(path: Path) -> list[tuple[int, list[str]]]:
    """Return the index and the words of each sentence, those of one sense side by side."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    senses = [row["sense"] for row in rows]
    if len(rows) != 4 or senses[0] != senses[1] or senses[2] != senses[3] or senses[0] == senses[2]:
        raise SystemExit(f"{path}: expected two sentences of one sense, then two of another, but found {senses}")
    return [(int(row["index"]), row["sentence"].split()) for row in rows]


@torch.no_grad()
def similarities(model, tokenizer, occurrences: list[tuple[int, list[str]]]) -> Tensor:
    """Return the cosine similarity of each two occurrences in each biLSTM layer, `(layers, 4, 4)`."""
    indices, sentences = zip(*occurrences)
    batch = tokenizer(list(sentences), is_split_into_words=True, padding=True, return_tensors="pt")
    layers = torch.stack(model(**batch, output_hidden_states=True).hidden_states[1:])
    vectors = normalize(layers[:, torch.arange(4), 1 + torch.tensor(indices)], dim=-1)  # <S> is before the words
    return vectors @ vectors.transpose(1, 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a folder or a name on the Hub")
    parser.add_argument("--files", nargs="+", type=Path, default=FILES, metavar="FILE.tsv")
    arguments = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model = AutoModel.from_pretrained(arguments.model).eval()
    demo = [(sentence.split().index(WORD), sentence.split()) for sentence in SENTENCES]
    words = {WORD: demo, **{path.stem: read_occurrences(path) for path in arguments.files}}
    found = {word: similarities(model, tokenizer, occurrences) for word, occurrences in words.items()}
    print(f"| word |{' same sense | across | nearest right |' * model.config.num_hidden_layers}")
    print(f"| --- |{' --- | --- | --- |' * model.config.num_hidden_layers}")
    right = torch.zeros(model.config.num_hidden_layers, dtype=torch.long)
    for word, layers in found.items():
        cells = []
        for number, cosines in enumerate(layers):
            same = cosines[range(4), SAME]
            across = cosines[torch.arange(4)[:, None], torch.tensor(ACROSS)].amax(1)
            nearest = int((same > across).sum())
            cells.append(f"{same[0]:.2f}, {same[2]:.2f} | {across.max():.2f} | {nearest} of 4")
            right[number] += nearest
        print(f"| {word} | {' | '.join(cells)} |")
    cells = [f" | | {number} of {4 * len(found)}" for number in right.tolist()]
    print(f"| all | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
