# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Task models of AllenNLP in random configurations: the settings of a version's classes, and tensors that fit them."""

import random

import torch
from allennlp_archives import ELMO, HIDDEN, Shapes

LABELS = ["O", "B-X", "I-X", "L-X", "U-X"]
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
HIGHWAY = ("augmented_lstm", "alternating_lstm", "stacked_bidirectional_lstm")


class RandomModel:
    """A tagger or classifier: its section of config.json, its indexers, and its tensors."""

    def __init__(self, seed):
        self.dice, self.tensors = random.Random(seed), Shapes(seed)
        self.elmo, self.width = self.dice.choice(["elmo", "m", "ELMo_2"]), 0
        self.cell, self.wrapper = self.dice.choice([".cell", ""]), self.dice.choice(["._module", ""])
        kind = self.dice.choice(["crf_tagger", "simple_tagger", "basic_classifier"])
        self.place = f"{'_' * (kind == 'basic_classifier')}text_field_embedder.token_embedder_"
        self.indexers, embedders = {}, {}
        for add in (self.add_elmo, self.add_words, self.add_characters):
            add(embedders)
        self.model = {"type": kind, "text_field_embedder": {"type": "basic", "token_embedders": embedders}}
        self.maybe(self.model, dropout=0.3)
        getattr(self, f"add_{kind}")()

    def chance(self, share=0.5):
        return self.dice.random() < share

    def maybe(self, section, share=0.5, **settings):
        """Add settings by chance, and return whether."""
        added = self.chance(share)
        section |= settings if added else {}
        return added

    # ---- words

    def add_elmo(self, embedders):
        section = embedders[self.elmo] = dict(ELMO)
        self.indexers[self.elmo], self.width = {"type": "elmo_characters"}, HIDDEN
        self.maybe(section, 0.3, do_layer_norm=True)
        self.maybe(section, 0.3, requires_grad=True)
        if self.maybe(section, 0.3, projection_dim=7):
            self.tensors.linear(f"{self.place}{self.elmo}._projection", 7, HIDDEN)
            self.width = 7

    def add_words(self, embedders):
        if self.chance(0.3):
            return
        name = self.dice.choice(["tokens", "Words", "a", "zz"])
        section = embedders[name] = {"type": "embedding", "embedding_dim": 4, "trainable": self.chance()}
        indexer = self.indexers[name] = {"type": "single_id", "lowercase_tokens": self.chance()}
        self.maybe(indexer, namespace="tokens", token_min_padding_length=3)
        self.tensors.add(f"{self.place}{name}.weight", 9, 4)
        projected = self.maybe(section, 0.3, projection_dim=3)
        if projected:
            self.tensors.linear(f"{self.place}{name}._projection", 3, 4)
        self.width += 3 if projected else 4

    def add_characters(self, embedders):
        if self.chance(0.3):
            return
        name, tokenizer = self.dice.choice(["token_characters", "chars", "b"]), {}
        is_bytes = self.maybe(tokenizer, 0.4, byte_encoding="utf-8")
        self.maybe(tokenizer, 0.3, start_tokens=[259] if is_bytes else ["T"], end_tokens=[260] if is_bytes else ["E"])
        if not is_bytes:
            self.maybe(tokenizer, 0.3, lowercase_characters=True)
        self.indexers[name] = {"type": "characters"} | ({"character_tokenizer": tokenizer} if tokenizer else {})
        self.maybe(self.indexers[name], min_padding_length=5)
        place = f"{self.place}{name}"
        self.tensors.add(f"{place}._embedding{self.wrapper}.weight", 262 if is_bytes else 17, 3)
        encoder, width = self.pooler(f"{place}._encoder{self.wrapper}", 3, self.dice.choice(["cnn", "lstm", "gru"]))
        embedders[name] = {"type": "character_encoding", "embedding": {"embedding_dim": 3}, "encoder": encoder}
        self.width += width

    # ---- layers, each with the width of its output

    def recurrent(self, place, width, kind, layers):
        size, both = self.dice.choice([3, 5]), self.chance()
        section = {"type": kind, "input_size": width, "hidden_size": size, "num_layers": layers, "bidirectional": both}
        bias = not self.maybe(section, 0.3, bias=False)
        if kind == "rnn":
            self.maybe(section, nonlinearity="relu")
        self.tensors.torch_rnn(f"{place}._module", GATES[kind], width, size, layers=layers, both=both, bias=bias)
        return section, size * (1 + both)

    def highway_lstms(self, place, width, kind, layers):
        size, highway = self.dice.choice([3, 5]), self.chance(0.7)
        section = {"type": kind, "input_size": width, "hidden_size": size, "use_highway": highway}
        bias, names = self.chance(), ["._module"]
        if kind == "augmented_lstm":
            section["go_forward"], layers = self.chance(), 1
        else:
            section |= {"num_layers": layers, "recurrent_dropout_probability": 0.1}
            sides = ["layer"] if kind == "alternating_lstm" else ["forward_layer", "backward_layer"]
            names = [f"._module.{side}_{layer}" for layer in range(layers) for side in sides]
        output = size * (1 + (kind == "stacked_bidirectional_lstm"))
        for number, name in enumerate(names):
            inputs = width if number < len(names) // layers else output
            self.tensors.highway_lstm(f"{place}{name}{self.cell}", inputs, size, highway=highway, bias=bias)
        return section, output

    def feedforward(self, place, width):
        activations, dropout = self.dice.choice(["relu", ["tanh", "elu"]]), self.dice.choice([0.1, [0.1, 0.2]])
        self.tensors.feedforward(place, width, 6, 4)
        sizes = {"input_dim": width, "num_layers": 2, "hidden_dims": [6, 4]}
        return {**sizes, "activations": activations, "dropout": dropout}, 4

    def encoder(self, place, width, depth=0):
        kind = self.dice.choice([*GATES, *HIGHWAY, "feedforward", "pass_through", "compose"])
        if kind in GATES:
            return self.recurrent(place, width, kind, self.dice.choice([1, 2, 3]))
        if kind in HIGHWAY:
            return self.highway_lstms(place, width, kind, self.dice.choice([1, 2, 3]))
        if kind == "feedforward":
            section, width = self.feedforward(f"{place}._feedforward", width)
            return {"type": kind, "feedforward": section}, width
        if kind == "pass_through" or depth:
            return {"type": "pass_through", "input_dim": width}, width
        parts = []
        for number in range(2):
            part, width = self.encoder(f"{place}.encoder{number}", width, depth + 1)
            parts.append(part)
        return {"type": "compose", "encoders": parts}, width

    def pooler(self, place, width, kind):
        if kind in GATES:
            return self.recurrent(place, width, kind, self.dice.choice([1, 2]))
        if kind in HIGHWAY:
            return self.highway_lstms(place, width, kind, self.dice.choice([1, 2]))
        section = {"type": kind, "embedding_dim": width}
        if kind != "cnn":
            return section | ({} if kind == "cls_pooler" else {"averaged": self.chance()}), width
        lengths = self.dice.choice([[2], [1, 3, 5]])
        section |= {"num_filters": 2, "ngram_filter_sizes": lengths}
        size = 5 if self.maybe(section, 0.4, output_dim=5) else None
        self.tensors.cnn(place, width, 2, lengths, size)
        return section, size or 2 * len(lengths)

    # ---- models

    def add_feedforward(self):
        if self.chance():
            self.model["feedforward"], self.width = self.feedforward("_feedforward", self.width)

    def add_simple_tagger(self):
        self.model.pop("dropout", None)
        self.model["encoder"], width = self.encoder("encoder", self.width)
        self.tensors.linear("tag_projection_layer._module", len(LABELS), width)

    def add_crf_tagger(self):
        count = len(LABELS)
        self.model["encoder"], self.width = self.encoder("encoder", self.width)
        self.add_feedforward()
        self.tensors.linear("tag_projection_layer._module", count, self.width).add("crf.transitions", count, count)
        ends = self.model["include_start_end_transitions"] = self.chance()
        if ends:
            self.tensors.add("crf.start_transitions", count).add("crf.end_transitions", count)
        self.maybe(self.model, label_encoding="BIOUL")
        allowed = torch.ones(count + 2, count + 2)
        if self.chance():
            allowed = (torch.rand(allowed.shape, generator=self.tensors.random) < 0.7).float()
            allowed[0], allowed[:, 0] = 1, 1  # so that there is a sequence for every text
        self.tensors["crf._constraint_mask"] = allowed

    def add_basic_classifier(self):
        if self.chance():
            self.model["seq2seq_encoder"], self.width = self.encoder("_seq2seq_encoder", self.width)
        kinds = [*GATES, *HIGHWAY, "boe", "bag_of_embeddings", "cnn", "cls_pooler"]
        pooler, self.width = self.pooler("_seq2vec_encoder", self.width, self.dice.choice(kinds))
        self.model["seq2vec_encoder"] = pooler
        self.add_feedforward()
        self.maybe(self.model, num_labels=len(LABELS), namespace="tokens")
        self.tensors.linear("_classification_layer", len(LABELS), self.width)
