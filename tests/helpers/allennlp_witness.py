"""Task models of AllenNLP in plain torch, one text at a time, from its documentation and the papers that it names.

Everything is computed from the settings and the state dict of an archive, by the names that AllenNLP gives its tensors;
only ELMo's vectors are given. Nothing is shared with the converter or with the heads.
"""

import itertools

import torch
import torch.nn.functional as F

ACTIVATIONS = {"relu": F.relu, "tanh": torch.tanh, "linear": lambda x: x, "elu": F.elu, "leaky_relu": F.leaky_relu}


class Witness:
    """An archive's model: `config` is its config.json, `state` its state dict, `vocabulary` its namespaces by name,
    each the list of names by id."""

    def __init__(self, config, state, vocabulary, old=False):
        self.model, self.indexers = config["model"], config["dataset_reader"]["token_indexers"]
        self.vocabulary, self.old = vocabulary, old
        self.state = {}
        for name, tensor in state.items():
            for wrapper in ("._module", ".cell"):
                name = name.replace(wrapper, "")
            self.state[name.lstrip("_")] = tensor

    def __call__(self, name):
        return self.state[name]

    def linear(self, name, x):
        return F.linear(x, self(f"{name}.weight"), self.state.get(f"{name}.bias"))

    def ids(self, namespace, names):
        table = self.vocabulary[namespace]
        return torch.tensor([table.index(name if name in table else "@@UNKNOWN@@") for name in names])

    # ---- words

    def embed(self, words, elmo):
        """Return the vectors `(T, D)` of the words of a text, with ELMo's `(T, 2P)`."""
        embedders, parts = self.model["text_field_embedder"]["token_embedders"], []
        for name in sorted(embedders):
            settings, place = embedders[name], f"text_field_embedder.token_embedder_{name}"
            if settings["type"] == "elmo_token_embedder":
                parts.append(self.linear(f"{place}._projection", elmo) if settings.get("projection_dim") else elmo)
                continue
            indexer = self.indexers[name]
            if settings["type"] == "embedding":
                lower = indexer.get("lowercase_tokens", False)
                ids = self.ids(indexer.get("namespace", "tokens"), [w.lower() if lower else w for w in words])
                vectors = self(f"{place}.weight")[ids]
                if settings.get("max_norm"):
                    vectors = vectors * (settings["max_norm"] / vectors.norm(dim=1, keepdim=True)).clamp(max=1)
                parts.append(
                    self.linear(f"{place}._projection", vectors) if settings.get("projection_dim") else vectors
                )
            else:
                parts.append(torch.stack([self.encode_characters(settings, indexer, place, word) for word in words]))
        return torch.cat(parts, dim=1)

    def encode_characters(self, settings, indexer, place, word):
        tokenizer = indexer.get("character_tokenizer", {})
        if "byte_encoding" in tokenizer:
            ids = [byte + 1 for byte in word.encode("utf-8")]
            ids = torch.tensor([*tokenizer.get("start_tokens", []), *ids, *tokenizer.get("end_tokens", [])])
        else:
            word = word.lower() if tokenizer.get("lowercase_characters") else word
            names = [*tokenizer.get("start_tokens", []), *word, *tokenizer.get("end_tokens", [])]
            ids = self.ids(indexer.get("namespace", "token_characters"), names)
        return self.pool(settings["encoder"], f"{place}._encoder", self(f"{place}._embedding.weight")[ids])

    # ---- sequences to sequences, `(T, I)` to `(T, D)`, and their final outputs

    def encode(self, settings, place, x):
        return self.run(settings, place, x)[0]

    def run(self, settings, place, x):
        kind = settings["type"]
        if kind in ("lstm", "gru", "rnn"):
            names = {key[len(place) + 1 :]: value for key, value in self.state.items() if key.startswith(f"{place}.")}
            options = {
                key: settings.get(key, default) for key, default in (("num_layers", 1), ("bidirectional", False))
            }
            if kind == "rnn":
                options["nonlinearity"] = settings.get("nonlinearity", "tanh")
            module = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[kind]
            module = module(x.shape[1], settings["hidden_size"], bias="bias_ih_l0" in names, **options)
            module.load_state_dict(names)
            outputs, state = module(x[:, None])
            state = state[0] if kind == "lstm" else state
            return outputs[:, 0], state[-(1 + options["bidirectional"]) :, 0].flatten()
        if kind == "pass_through":
            return x, None
        if kind == "feedforward":
            return self.feedforward(settings["feedforward"], f"{place}._feedforward", x), None
        if kind == "compose":
            for number, part in enumerate(settings["encoders"]):
                x = self.encode(part, f"{place}.encoder{number}", x)
            return x, None
        layers = {
            "augmented_lstm": [[("", not settings.get("go_forward", True))]],
            "alternating_lstm": [[(f".layer_{n}", n % 2 == 1)] for n in range(settings.get("num_layers", 1))],
            "stacked_bidirectional_lstm": [
                [(f".forward_layer_{n}", False), (f".backward_layer_{n}", True)]
                for n in range(settings.get("num_layers", 1))
            ],
        }[kind]
        for layer in layers:
            results = [self.highway_lstm(f"{place}{name}", x, reverse) for name, reverse in layer]
            x = torch.cat([outputs for outputs, _ in results], dim=1)
            last = torch.cat([final for _, final in results])
        return x, last

    def highway_lstm(self, place, x, reverse):
        """He et al. 2017, equations 1 to 6; gates i, f, g, o, r and the projected input."""
        size = self(f"{place}.state_linearity.weight").shape[1]
        highway = len(self(f"{place}.input_linearity.weight")) == 6 * size
        h, c, outputs = torch.zeros(size), torch.zeros(size), [None] * len(x)
        for t in sorted(range(len(x)), reverse=reverse):
            from_input = self.linear(f"{place}.input_linearity", x[t]).split(size)
            from_state = self.linear(f"{place}.state_linearity", h).split(size)
            i, f, g, o = (a + b for a, b in zip(from_input[:4], from_state[:4]))
            c = i.sigmoid() * g.tanh() + f.sigmoid() * c
            h = o.sigmoid() * c.tanh()
            if highway:
                r = (from_input[4] + from_state[4]).sigmoid()
                h = r * h + (1 - r) * from_input[5]
            outputs[t] = h
        return torch.stack(outputs), h

    # ---- sequences to vectors, and vectors to vectors

    def pool(self, settings, place, x):
        kind = settings["type"]
        if kind in ("boe", "bag_of_embeddings"):
            return x.mean(0) if settings.get("averaged") else x.sum(0)
        if kind == "cls_pooler":
            return x[-1 if settings.get("cls_is_last_token") else 0]
        if kind != "cnn":
            return self.run(settings, place, x)[1]
        maxima, activation = [], ACTIVATIONS[settings.get("conv_layer_activation", "relu")]
        for number, width in enumerate(settings.get("ngram_filter_sizes", (2, 3, 4, 5))):
            weight, bias = (self(f"{place}.conv_layer_{number}.{part}") for part in ("weight", "bias"))
            padded = torch.cat([x, torch.zeros(width, x.shape[1])]) if self.old else x
            if len(padded) < width:
                maxima.append(torch.zeros(len(bias)))
            else:
                maxima.append(activation(F.conv1d(padded.T[None], weight, bias))[0].amax(1))
        pooled = torch.cat(maxima)
        return self.linear(f"{place}.projection_layer", pooled) if settings.get("output_dim") else pooled

    def feedforward(self, settings, place, x):
        count = settings["num_layers"]

        def each(name):
            return settings[name] if isinstance(settings[name], list) else [settings[name]] * count

        for number in range(count):
            x = self.linear(f"{place}._linear_layers.{number}", x)
            if "pool_sizes" in settings:
                x = x.view(each("output_dims")[number], each("pool_sizes")[number]).amax(1)
            else:
                x = ACTIVATIONS[each("activations")[number]](x)
        return x

    # ---- models: from words and ELMo's vectors to logits

    def tag(self, words, elmo, predicate=None):
        x = self.embed(words, elmo)
        if predicate is not None:
            x = torch.cat([x, self("binary_feature_embedding.weight")[torch.tensor(predicate)]], dim=1)
        x = self.encode(self.model["encoder"], "encoder", x)
        if "feedforward" in self.model:
            x = self.feedforward(self.model["feedforward"], "feedforward", x)
        return self.linear("tag_projection_layer", x)

    def classify(self, words, elmo):
        x = self.embed(words, elmo)
        if "seq2seq_encoder" in self.model:
            x = self.encode(self.model["seq2seq_encoder"], "seq2seq_encoder", x)
        x = self.pool(self.model["seq2vec_encoder"], "seq2vec_encoder", x)
        if "feedforward" in self.model:
            x = self.feedforward(self.model["feedforward"], "feedforward", x)
        return self.linear("classification_layer", x)

    def bcn(self, words, mixes):
        """McCann et al. 2017, section 5, for one text; `mixes` as `_elmo` gives them."""
        mixes, model, parts = list(mixes), self.model, []
        if model["text_field_embedder"]["token_embedders"]:
            parts.append(self.embed(words, None))
        last = mixes.pop() if model.get("use_integrator_output_elmo") else None
        if model.get("use_input_elmo"):
            parts.append(mixes.pop())
        x = self.feedforward(model["pre_encode_feedforward"], "pre_encode_feedforward", torch.cat(parts, dim=1))
        x = self.encode(model["encoder"], "encoder", x)
        attended = torch.softmax(x @ x.T, dim=1) @ x
        x = self.encode(model["integrator"], "integrator", torch.cat([x, x - attended, x * attended], dim=1))
        x = x if last is None else torch.cat([x, last], dim=1)
        weights = torch.softmax(self.linear("self_attentive_pooling_projection", x), dim=0)
        pooled = torch.cat([x.amax(0), x.amin(0), x.mean(0), (weights * x).sum(0)])
        return self.feedforward(model["output_layer"], "output_layer", pooled)


def best_tags(scores, allowed, transitions=None, start=None, end=None):
    """Return the best of all sequences of labels `(T,)` by trying each, for scores `(T, K)`.

    `allowed(before, label)` says what may follow; before is None at the start, label is None at the end.
    """
    count, best = scores.shape[1], (-float("inf"), None)
    known = [*range(count), None]
    may_follow = {pair: allowed(*pair) for pair in itertools.product(known, known) if pair != (None, None)}
    rows, between = scores.tolist(), None if transitions is None else transitions.tolist()
    ends = None if start is None else (start[:, None] + end).tolist()
    for labels in itertools.product(range(count), repeat=len(rows)):
        pairs = list(itertools.pairwise(labels))
        if not all(may_follow[pair] for pair in [(None, labels[0]), *pairs, (labels[-1], None)]):
            continue
        total = sum(row[label] for row, label in zip(rows, labels))
        if between is not None:
            total += sum(between[before][label] for before, label in pairs)
        if ends is not None:
            total += ends[labels[0]][labels[-1]]
        best = max(best, (total, labels))
    return list(best[1])
