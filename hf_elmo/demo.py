"""`hf-elmo demo`: the whole way from original weights to contextual vectors, on what the package carries."""

import contextlib
import io
import json
import os
import shutil
import sys
from argparse import ArgumentParser, Namespace
from importlib import resources
from pathlib import Path

import torch
from torch.nn.functional import cosine_similarity
from transformers import AutoModel, AutoTokenizer

import hf_elmo  # noqa: F401  registers ELMo with the Auto classes

SENTENCES = [
    "I went to the river bank and watched the water .",
    "The boat was tied to the bank of the river .",
    "The bank lent the company money .",
    "She opened an account at the bank .",
]
WORD = "bank"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--output", metavar="FOLDER", default="elmo", help="folder of the converted model; one that is there is used"
    )
    parser.add_argument("--json", action="store_true", help="print the similarities as one JSON object")


def run(arguments: Namespace) -> None:
    shown = contextlib.redirect_stdout(io.StringIO()) if arguments.json else contextlib.nullcontext()
    with resources.as_file(resources.files("hf_elmo.data")) as source, shown:
        similarities = demonstrate(source, Path(arguments.output))
    if arguments.json:
        facts = {"model": arguments.output, "word": WORD, "sentences": SENTENCES, "similarities": similarities}
        print(json.dumps(facts))
    else:
        print_next_steps(Path(arguments.output))


def demonstrate(source: Path, folder: Path) -> list[list[float]]:
    """Convert `source` to `folder`, load it as any transformers model, and compare `WORD` across `SENTENCES`.

    Returns:
        The similarities of the word in each two sentences.
    """
    from hf_elmo.conversion import convert

    if (folder / "config.json").is_file():
        print(f"1. Using the model in {folder}, which is there already (--output names another folder)")
    else:
        print(f"1. Converting the original-format weights {source / 'weights.hdf5'} to {folder}")
        convert(source, folder, dtype="float32")  # stored in half precision, which CPUs compute slowly
    code = sorted(folder.glob("*.py"))
    for path in sorted(set(folder.iterdir()) - set(code)):
        print(f"   {path.name:32}{path.stat().st_size:>12,} bytes")
    total = sum(path.stat().st_size for path in code)
    print(f"   {f'*.py, {len(code)} files of code':32}{total:>12,} bytes, for those who load it without hf_elmo")

    print("\n2. Loading the folder with AutoTokenizer and AutoModel")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder)
    print(f"   {type(model).__name__} with {model.num_parameters():,} parameters")

    print(f"\n3. Embedding {len(SENTENCES)} sentences")
    batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        output = model(**batch, output_hidden_states=True)
    print(f"   input_ids           {tuple(batch['input_ids'].shape)}  sentences, words, characters")
    print(f"   hidden_states       {len(output.hidden_states)} x {tuple(output.hidden_states[0].shape)}")
    print(f"   last_hidden_state   {tuple(output.last_hidden_state.shape)}  the mix of all layers")

    print(f"\n4. The word {WORD!r} in each sentence: cosine similarities in the top layer")
    places = [batch.tokens(row).index(WORD) for row in range(len(SENTENCES))]
    vectors = output.hidden_states[-1][torch.arange(len(SENTENCES)), places]
    similarities = cosine_similarity(vectors[:, None], vectors[None], dim=-1)
    for sentence, row in zip(SENTENCES, similarities.tolist()):
        print(f"   {'  '.join(f'{value:5.2f}' for value in row)}   {sentence}")
    print(f"\nBefore any context, layer 0, {WORD!r} is one and the same vector in all of them.")
    return similarities.tolist()


def print_next_steps(folder: Path) -> None:
    """Print what to type next, starting with the environment where the shell does not have it yet."""
    print(f"\n{folder} is kept: a model for AutoModel and AutoTokenizer. Next:")
    scripts = Path(sys.executable).parent
    if shutil.which("hf-elmo") is None and (scripts / "activate").is_file():
        activate = os.path.relpath(scripts / "activate")
        print(f"   {activate if os.name == 'nt' else f'source {activate}'}")
    print('   echo "The bank was closed ." > text.txt')
    print(f"   hf-elmo perplexity text.txt --model {folder}")
    print("   hf-elmo --help")
    print("or start python and paste the first example of README.md.")
