"""Archives of AllenNLP task models with random numbers: config.json, vocabulary and state dict of the right shapes."""

from itertools import pairwise

import torch
from allennlp_weights import state_dict, write_archive
from small_original import OPTIONS

from hf_elmo.conversion.random_weights import random_weights

ELMO = {"type": "elmo_token_embedder", "options_file": "o.json", "weight_file": "w.hdf5", "dropout": 0.0}
TENSORS = random_weights(OPTIONS, seed=5)
MIXES = ((0.5, -1.0, 2.0, 1.5), (1.0, 0.0, 0.25, 0.5))
HIDDEN = 12
WORDS = ["@@PADDING@@", "@@UNKNOWN@@", "the", "bank", ".", "river", "The", "\u00e9t\u00e9", "closed"]
CHARACTERS = ["@@PADDING@@", "@@UNKNOWN@@", *"etahbnkrivTE.\u00e9"]
SENTENCES = [
    ["The", "river", "bank", "was", "closed", "."],
    ["\u00c9t\u00e9"],
    ["the", "x" * 70, "BANK"],
]


def namespaces(labels, padded_labels=False):
    """Return the namespaces by name, each the names by id."""
    labels = ["@@PADDING@@", "@@UNKNOWN@@", *labels] if padded_labels else labels
    return {"tokens": WORDS, "token_characters": CHARACTERS, "labels": labels}


def vocabulary_members(vocabulary, non_padded=("*labels", "*tags")):
    """Return the files of a vocabulary, as an archive has them."""
    members = {"vocabulary/.lock": b"", "vocabulary/non_padded_namespaces.txt": "\n".join(non_padded).encode()}
    for name, entries in vocabulary.items():
        entries = entries[1:] if entries[0] == "@@PADDING@@" else entries
        members[f"vocabulary/{name}.txt"] = ("\n".join(entries) + "\n").encode()
    return members


class Shapes(dict):
    """Random tensors by the names that AllenNLP gives them."""

    def __init__(self, seed=0):
        super().__init__()
        self.random = torch.Generator().manual_seed(seed)

    def add(self, name, *shape, scale=0.7):
        self[name] = scale * torch.randn(*shape, generator=self.random)
        return self

    def linear(self, name, outputs, inputs, bias=True):
        self.add(f"{name}.weight", outputs, inputs)
        return self.add(f"{name}.bias", outputs) if bias else self

    def torch_rnn(self, name, gates, width, size, layers=1, both=False, bias=True):
        for layer in range(layers):
            for suffix in ["", "_reverse"][: 1 + both]:
                self.add(f"{name}.weight_ih_l{layer}{suffix}", gates * size, width)
                self.add(f"{name}.weight_hh_l{layer}{suffix}", gates * size, size)
                for side in ("ih", "hh") if bias else ():
                    self.add(f"{name}.bias_{side}_l{layer}{suffix}", gates * size)
            width = size * (1 + both)
        return self

    def highway_lstm(self, name, width, size, highway=True, bias=True):
        self.linear(f"{name}.input_linearity", (6 if highway else 4) * size, width, bias)
        return self.linear(f"{name}.state_linearity", (5 if highway else 4) * size, size)

    def cnn(self, name, width, filters, lengths, size=None):
        for number, length in enumerate(lengths):
            self.add(f"{name}.conv_layer_{number}.weight", filters, width, length)
            self.add(f"{name}.conv_layer_{number}.bias", filters)
        return self.linear(f"{name}.projection_layer", size, filters * len(lengths)) if size else self

    def feedforward(self, name, *widths):
        for number, (inputs, outputs) in enumerate(pairwise(widths)):
            self.linear(f"{name}._linear_layers.{number}", outputs, inputs)
        return self


def write_task(path, model, indexers, tensors, vocabulary, elmo, mixes=1, reader=None, members=None):
    """Write an archive.

    Args:
        path: The file.
        model, indexers: Sections of config.json.
        tensors: The task's.
        vocabulary: Namespaces by name.
        elmo: The beginning of the names of the ELMo's tensors.
        mixes: How many it has.
        reader: More of the dataset reader's section.
        members: More files.
    """
    config = {
        "model": model,
        "dataset_reader": {"type": "sequence_tagging", "token_indexers": indexers, **(reader or {})},
    }
    state = state_dict(TENSORS, elmo, MIXES[:mixes]) | dict(tensors)
    files = {"meta.json": b'{"version": "2.10.1"}', **vocabulary_members(vocabulary), **(members or {})}
    return write_archive(path, state, config, files), config


# ---- a small tagger

TAGS = ["O", "B-X", "I-X"]
WIDTH = HIDDEN + 4
PREFIX = "text_field_embedder.token_embedder_elmo._elmo."
INDEXERS = {"elmo": {"type": "elmo_characters"}, "tokens": {"type": "single_id", "lowercase_tokens": True}}
TAGGER = {
    "type": "crf_tagger",
    "label_encoding": "BIO",
    "text_field_embedder": {"token_embedders": {"elmo": ELMO, "tokens": {"type": "embedding", "embedding_dim": 4}}},
    "encoder": {"type": "lstm", "input_size": WIDTH, "hidden_size": 5, "bidirectional": True},
}


def tagger_tensors():
    """Return the tensors of `TAGGER`."""
    shapes = Shapes(6).add("text_field_embedder.token_embedder_tokens.weight", 9, 4)
    shapes.torch_rnn("encoder._module", 4, WIDTH, 5, both=True).linear("tag_projection_layer._module", 3, 10)
    shapes["crf._constraint_mask"] = torch.ones(5, 5)
    shapes.add("crf.transitions", 3, 3)
    return shapes.add("crf.start_transitions", 3).add("crf.end_transitions", 3)
