"""What weights of 8 bits cost: their vectors against those of floats, on sentences of a text.

    python benchmarks/int8_error.py TEXT [--model MODEL] [--sentences 200]

TEXT has a sentence a line, words apart. MODEL is a saved model, by default the trained one that the package carries.

    cosine      of a word's vector in 8 bits to the one in float32: mean over all words, and the lowest
    error       length of their difference, of the length of the one in float32: mean over all words
"""

import argparse
import itertools
import tempfile
from importlib import resources
from pathlib import Path

import torch
from torch.nn.functional import cosine_similarity
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from hf_elmo import ElmoInt8Config
from hf_elmo.conversion import convert

BATCH = 50  # sentences


@torch.no_grad()
def compare(model: str | Path, sentences: list[list[str]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and relative errors `(layers + 1, words)`: of each layer, token embeddings first, then of the mix."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    models = AutoModel.from_pretrained(model), AutoModel.from_pretrained(model, quantization_config=ElmoInt8Config())
    cosines, errors = [], []
    for start in range(0, len(sentences), BATCH):
        batch = tokenizer(sentences[start : start + BATCH], is_split_into_words=True, padding=True, return_tensors="pt")
        mask = batch["attention_mask"].bool()
        outputs = [model(**batch, output_hidden_states=True) for model in models]
        floats, integers = (torch.stack([*o.hidden_states, o.last_hidden_state])[:, mask] for o in outputs)
        cosines.append(cosine_similarity(floats, integers, dim=-1))
        errors.append((floats - integers).norm(dim=-1) / floats.norm(dim=-1))
    return torch.cat(cosines, dim=1), torch.cat(errors, dim=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--sentences", type=int, default=200)
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    lines = filter(None, map(str.split, arguments.text.read_text(encoding="utf-8").splitlines()))
    sentences = list(itertools.islice(lines, arguments.sentences))
    with tempfile.TemporaryDirectory() as scratch, resources.as_file(resources.files("hf_elmo.data")) as source:
        model = arguments.model or convert(source, Path(scratch) / "elmo", dtype="float32").output
        cosines, errors = compare(model, sentences)
    print(f"{len(sentences)} sentences, {cosines.shape[1]:,} words with <S> and </S>\n")
    print("| layer | mean cosine | lowest | mean error |\n|---|---|---|---|")
    names = [*range(len(cosines) - 1), "mix"]
    for name, cosine, error in zip(names, cosines, errors):
        print(f"| {name} | {cosine.mean():.5f} | {cosine.min():.4f} | {error.mean():.2%} |")


if __name__ == "__main__":
    main()
