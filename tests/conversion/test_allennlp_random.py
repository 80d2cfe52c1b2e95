# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Task models of AllenNLP in random configurations, against an independent computation from the same archive.

    PYTHONPATH=tests/helpers python tests/conversion/test_allennlp_random.py 1000

tries as many, and prints those that differ.
"""

import json
import sys
import tempfile
import traceback
from pathlib import Path

import pytest
import torch
from allennlp_archives import OPTIONS, SENTENCES, namespaces, write_task
from allennlp_witness import Witness, best_tags
from random_archives import LABELS, RandomModel
from transformers import AutoTokenizer

import hf_elmo
from hf_elmo.conversion import convert

SEEDS = 40


@torch.no_grad()
def check(folder: Path, seed: int):
    """Convert a random archive and compare its scores, and its tags where it has a conditional random field."""
    found, vocabulary = RandomModel(seed), namespaces(LABELS)
    prefix = f"{found.place}{found.elmo}._elmo."
    (folder / "options.json").write_text(json.dumps(OPTIONS))
    archive, config = write_task(
        folder / "model.tar.gz", found.model, found.indexers, found.tensors, vocabulary, prefix
    )
    architecture = convert(archive, folder / "model", options=folder / "options.json").config.architectures[0]
    model = getattr(hf_elmo, architecture).from_pretrained(folder / "model").eval()
    tokenizer, witness = AutoTokenizer.from_pretrained(folder / "model"), Witness(config, found.tensors, vocabulary)
    batch = tokenizer(SENTENCES, is_split_into_words=True, padding=True, return_tensors="pt")
    output, mixes = model(**batch), model.elmo(**batch).last_hidden_state
    for row, words in enumerate(SENTENCES):
        places = slice(1, len(words) + 1)
        if architecture == "ElmoForSequenceClassification":
            expected, scores = witness.classify(words, mixes[row, places]), output.logits[row]
        else:
            expected = witness.tag(words, mixes[row, places])
            scores = (output.logits if output.scores is None else output.scores)[row, places]
        largest = max(1.0, float(expected.abs().max()))  # thousands, out of a recurrence of relu
        torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5 * largest)
        if found.model["type"] == "crf_tagger":
            tags = output.logits[row, places].argmax(-1).tolist()
            assert tags == best_sequence(found.tensors, scores)


def best_sequence(tensors, scores):
    """Return the best sequence that the archive's constraints allow, out of all."""
    mask, count = tensors["crf._constraint_mask"], len(LABELS)
    weights = [tensors.get(f"crf.{name}") for name in ("transitions", "start_transitions", "end_transitions")]

    def allowed(before, after):
        return bool(mask[count if before is None else before, count + 1 if after is None else after])

    return best_tags(scores, allowed, *weights)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_configurations(tmp_path, seed):
    check(tmp_path, seed)


if __name__ == "__main__":
    failures, total = 0, int(sys.argv[1])
    for seed in range(SEEDS, SEEDS + total):
        with tempfile.TemporaryDirectory() as folder:
            try:
                check(Path(folder), seed)
            except Exception:
                failures += 1
                print(seed, traceback.format_exc(limit=-3), flush=True)
    print(f"{total:,} archives, {failures} failures")
