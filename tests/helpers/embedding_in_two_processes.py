"""What each of two processes runs in tests/model/test_embedding.py: they share a corpus."""

import sys
from pathlib import Path

import torch
from accelerate import Accelerator

from hf_elmo import ElmoModel, ElmoTokenizer
from hf_elmo.embedding import embed_sentences


def main(folder: Path):
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    model = ElmoModel.from_pretrained(folder / "model")
    sentences = (folder / "text.txt").read_text(encoding="utf-8").split("\n")
    for name, options in {
        "all": {"layers": "all"},
        "main": {"main_process_only": True},
        "few": {"sentences": sentences[:2]},  # one window: nothing for the second process
        "empty": {"sentences": ["", ""]},
        "none": {"sentences": []},
        "half": {"half": True},
    }.items():
        text = options.pop("sentences", sentences)
        if options.pop("half", False):
            model.bfloat16()
        settings = {"words_per_batch": 20, "batches_per_window": 2, "accelerator": accelerator, **options}
        vectors = list(embed_sentences(model, ElmoTokenizer(), text, **settings))
        torch.save(vectors, folder / f"{name}-{accelerator.process_index}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
