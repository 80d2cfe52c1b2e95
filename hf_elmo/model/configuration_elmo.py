# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The configuration of an ELMo model: the sizes and options of the original's `options.json`."""

from pathlib import Path
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .auto_map_elmo import AUTO_MAP, copy_code
from .saved_folder_elmo import check_is_saved

ORIGINAL_FILTERS = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024))
LEAST = {
    1: (
        "vocab_size char_embedding_size max_characters_per_token projection_size cell_size num_hidden_layers num_mixes "
        "char_feature_width char_feature_embedding_size tagger_size sequence_size qa_size coref_size coref_hidden_size "
        "coref_feature_size coref_max_width coref_max_antecedents coref_depth spans_per_label span_size "
        "span_hidden_size"
    ).split(),
    0: (
        "num_highway_layers word_vocab_size word_embedding_count word_embedding_size word_vector_count "
        "word_vector_size char_feature_filters tagger_layers predicate_feature_size coref_layers"
    ).split(),
}
LAYERS = ("num_hidden_layers", "num_highway_layers", "num_mixes", "tagger_layers", "coref_layers", "coref_depth")
DTYPES = ("None", "float16", "bfloat16", "float32", "float64")
# More can only be a damaged file, and would fill the memory one by one.
MOST_LAYERS, MOST_LABELS = 1000, 1_000_000

PAIR_ENCODERS = ("esim", "decomposable_attention")  # choices of `sequence_encoder` that need two texts
CHOICES = {
    "char_cnn_activation": ("relu", "tanh"),
    "character_scheme": ("bytes", "codepoints"),
    "sequence_encoder": ("pooling", "bcn", *PAIR_ENCODERS),
    "pooling": ("mean", "max", "attention"),
    "sentence_pooling": ("mean", "max", "attention"),
    "qa_encoder": ("bidaf", "bidaf_original", "linear"),
    "tagger_constraints": (None, "none", "labels", "stored"),
}


def check(name: str, value: Any, holds: bool, rule: str) -> None:
    """Raise a `ValueError` that names a field and its value, where the rule does not hold."""
    if not holds:
        raise ValueError(f"`{name}` must {rule}, but is {value!r:.60}")


@strict
class ElmoConfig(PreTrainedConfig):
    r"""Configuration of [`ElmoModel`] and its heads. By default, the original 93.6 M model of Peters et al. (2018).

    `hidden_size`, the width of every contextual vector, is `2 * projection_size` and cannot be set. Types and default
    values stand with the fields below; `None` is the default where the text says "by default".

    Args:
        vocab_size: Number of character ids: 256 bytes, five special characters, and 0 for padding between words. For a
            model of whole words (`char_cnn_filters=[]`), number of words plus one.
        char_embedding_size: Width of a character's embedding.
        char_cnn_filters: `[width in characters, number of filters]` of each convolution. An empty list is a model of
            whole words, without character CNN: the row of a word is one id.
        char_cnn_activation: `"relu"` or `"tanh"`, after the maximum over positions.
        num_highway_layers: Highway layers between convolutions and projection.
        max_characters_per_token: Ids per word, "begin of word" and "end of word" included.
        character_scheme: What a character is: `"bytes"`, as in the original ELMo, or `"codepoints"`, by the dictionary
            of the tokenizer, as in ELMoForManyLangs (Che et al. 2018).
        word_embedding_count: With `"codepoints"`, words that have an embedding beside their characters, plus one for
            padding; 0 for none. The id of the word then follows those of the characters in a row of `input_ids`.
        word_embedding_size: Width of such an embedding.
        use_char_projection: Whether a linear layer maps filters to `projection_size`; by default, if these differ.
        projection_size: Width of one direction's output, and of a context-free word vector.
        cell_size: Width of an LSTM cell.
        use_cell_projection: Whether the LSTM's output is projected; by default, if `cell_size` is not
            `projection_size`.
        num_hidden_layers: biLSTM layers.
        cell_clip: Bound of the cell's absolute values; `None` for no bound.
        projection_clip: The same for the projected output; unused without projection.
        forget_bias: Added to the forget gate at run time, as TensorFlow's LSTM cell does.
        use_skip_connections: Whether layers from the second on add their input.
        recompute_gates: Whether training stores only the outputs of LSTM layers and recomputes the gates in the
            backward pass, which needs a fraction of the memory and a little more time.
        word_vocab_size: Words of the language-model head; 0 is a model without that head.
        aligned_layers: Layers that a stored matrix maps to the space of another language's model, 0 for the token
            embeddings, in hidden states and mixes (Schuster et al. 2019).
        num_mixes: Number of scalar mixes of the layers; the first is `last_hidden_state`.
        mix_layer_norm: Whether layers are normalized before they are mixed, each by its mean and variance over all
            words of the batch, or of all first and of all second texts. Vectors then depend on the rest of the batch.
        mix_initial_weights: Initial weights before the softmax, one per layer, lowest layer first. By default 0: the
            mean.
        mix_trainable: Whether training changes the weights and the scale gamma of mixes.
        sentence_pooling: How the words of a text become one vector (`ElmoModel.sentence_vectors`): `"mean"`, `"max"` or
            `"attention"`, a mean with weights that training learns.
        lstm_dropout, classifier_dropout, head_dropout: Dropout on the input of LSTM layers and of the language-model
            head, on the ELMo representation in task heads, and inside task heads.
        initializer_range: Standard deviation of the initial weights of task heads.
        elmo_at_output: Whether a task head concatenates a second scalar mix to the output of its biLSTM. By default,
            where the published model does: with `"bcn"`, `"esim"` and `"bidaf"`.
        word_vector_count, word_vector_size: Words with a static vector as a further input of task heads, and its width.
        word_vector_lowercase: Whether static vectors are looked up with A to Z as a to z. ELMo reads words as they are.
        word_vector_trainable: Whether training changes the static vectors.
        char_feature_filters, char_feature_width, char_feature_embedding_size: Filters of a small character CNN, trained
            with the task, as a further input of heads; 0 for none. Their width in characters, and that of a character's
            embedding.
        word_features: Vectors that task heads read in place of the first mix, static vectors and the small character
            CNN: tables of words, encoders of characters, and ELMo, in the order of concatenation: see
            `word_features_elmo`.
        task_layers: Layers of a head that differ from those of its class, by the names of their places (see the head),
            each described by a dict with a `type` (see `task_encoders_elmo`). `input_dropout`, a number, is the dropout
            on all vectors that the head reads, `head_dropout` by default.
        task_special_tokens: Whether the layers of a head read `<S>` and `</S>` like words. ELMo itself always does.
        tagger_layers, tagger_size: Token classification: layers of the biLSTM, 0 for none; width of one direction.
        tagger_crf: Token classification: whether a conditional random field selects the labels of a sentence together.
            Without, each word's label is selected by itself; if also `tagger_layers=0`, by a linear layer over ELMo.
        tagger_constraints: Token classification: which sequences of labels may be selected. `"labels"`, those that the
            scheme of the label names allows; `"stored"`, by a matrix among the weights; `"none"`, all of them. By
            default `"labels"` with a conditional random field, and `"none"` without.
        tagger_sums_probabilities: Token classification with constraints and without a conditional random field: whether
            the best sequence has the highest sum of probabilities, as in AllenNLP's `srl` and with its rounding
            (`srl_sequence` of `crf_elmo`), or of their logarithms, as in He et al. (2017).
        predicate_feature_size: Token classification: width of an embedding of whether a word is the predicate whose
            arguments are labeled, given as `token_type_ids` (He et al. 2017); 0 for none.
        sequence_encoder: Sequence classification: `"pooling"`, a linear layer over the pooled words, of a pair
            together; `"bcn"`, the biattentive classification network (McCann et al. 2017); or for pairs `"esim"`, the
            enhanced sequential inference model (Chen et al. 2017), or `"decomposable_attention"` (Parikh et al. 2016).
        pooling: With `"pooling"`: `"mean"`, `"max"` or `"attention"`.
        sequence_size: With `"bcn"` and `"esim"`, width of one direction of the biLSTMs; with
            `"decomposable_attention"`, of the linear layers.
        qa_encoder: Question answering: `"bidaf"`, bidirectional attention flow with the improvements of Clark and
            Gardner (2018), `"bidaf_original"`, as Seo et al. (2017) published it, or `"linear"`.
        qa_size: With both of `"bidaf"`, width of one direction of the biLSTMs.
        qa_no_answer: With `"bidaf"`, whether the score of "no answer" is learnt (SQuAD 2.0) or fixed.
        qa_null_score: With `"bidaf_original"`, the score of "no answer"; `None` for a model that always answers.
        qa_max_answer_len: The longest answer of the question-answering pipeline, in words; `None` for no limit.
        qa_context_len: Words of a text that the pipeline reads at a time; `None` for all of them.
        qa_length_limits: Words of the question and of the text that the pipeline reads at all; what follows is cut off.
        coref_layers, coref_size: Coreference: layers of the biLSTM over the words of a sentence, 0 for none; width of
            one direction.
        coref_hidden_size, coref_feature_size: Coreference: width of the hidden layers of scorers, and of the embeddings
            of widths and distances.
        coref_max_width: Coreference: words of the longest span that may be a mention.
        coref_span_ratio: Coreference: spans kept per word of the document.
        coref_max_antecedents: Coreference: candidate antecedents of a span.
        coref_coarse_to_fine: Coreference: whether candidates are those with the best bilinear score (Lee et al. 2018)
            or the nearest.
        coref_depth: Coreference: how often antecedents are scored; from the second time on, of spans refined by them.
        coref_singletons: Coreference: whether mentions without others are mentions too, as the data's annotation
            decides.
        spans_per_label, span_size, span_hidden_size: Span classification: spans of what is labeled, 1 or for pairs 2;
            width of a pooled span, and of the hidden layer.
    """

    model_type = "elmo"
    keys_to_ignore_at_inference = (
        "hidden_states token_embeddings other_mixes state forward_loss backward_loss word_losses scores".split()
    )

    # Sizes of the encoder and of the language model
    vocab_size: int = 262
    char_embedding_size: int = 16
    char_cnn_filters: list[list[int]] | tuple[tuple[int, ...], ...] | list[tuple[int, ...]] = ORIGINAL_FILTERS
    char_cnn_activation: str = "relu"
    num_highway_layers: int = 2
    max_characters_per_token: int = 50
    character_scheme: str = "bytes"
    word_embedding_count: int = 0
    word_embedding_size: int = 0
    use_char_projection: bool | None = None
    projection_size: int = 512
    cell_size: int = 4096
    use_cell_projection: bool | None = None
    num_hidden_layers: int = 2
    cell_clip: float | int | None = 3.0
    projection_clip: float | int | None = 3.0
    forget_bias: float | int = 1.0
    use_skip_connections: bool = True
    recompute_gates: bool = False
    word_vocab_size: int = 0
    aligned_layers: list[int] | tuple[int, ...] = ()
    pad_token_id: int | None = 0
    bos_token_id: int | None = 257
    eos_token_id: int | list[int] | None = 258
    tie_word_embeddings: bool = False
    # Mix of the layers, and vectors of texts
    num_mixes: int = 1
    mix_layer_norm: bool = False
    mix_initial_weights: list[float | int] | tuple[float | int, ...] | None = None
    mix_trainable: bool = True
    sentence_pooling: str = "mean"
    # Dropout, in training
    lstm_dropout: float | int = 0.1
    classifier_dropout: float | int = 0.5
    head_dropout: float | int = 0.5
    # Task heads
    initializer_range: float | int = 0.02
    elmo_at_output: bool | None = None
    word_vector_count: int = 0
    word_vector_size: int = 0
    word_vector_lowercase: bool = True
    word_vector_trainable: bool = False
    char_feature_filters: int = 0
    char_feature_width: int = 3
    char_feature_embedding_size: int = 16
    word_features: list[dict[str, Any]] | None = None
    task_layers: dict[str, Any] | None = None
    task_special_tokens: bool = True
    tagger_layers: int = 2
    tagger_size: int = 200
    tagger_crf: bool = True
    tagger_constraints: str | None = None
    tagger_sums_probabilities: bool = False
    predicate_feature_size: int = 0
    sequence_encoder: str = "pooling"
    pooling: str = "mean"
    sequence_size: int = 300
    qa_encoder: str = "bidaf"
    qa_size: int = 100
    qa_no_answer: bool = False
    qa_null_score: float | int | None = 0.0
    qa_max_answer_len: int | None = 17
    qa_context_len: int | None = 400
    qa_length_limits: list[int | None] | None = None
    coref_layers: int = 1
    coref_size: int = 200
    coref_hidden_size: int = 150
    coref_feature_size: int = 20
    coref_max_width: int = 30
    coref_span_ratio: float | int = 0.4
    coref_max_antecedents: int = 50
    coref_coarse_to_fine: bool = True
    coref_depth: int = 1
    coref_singletons: bool = False
    spans_per_label: int = 2
    span_size: int = 256
    span_hidden_size: int = 512

    def __post_init__(self, **kwargs):
        self.char_cnn_filters = [list(width_and_count) for width_and_count in self.char_cnn_filters]
        if self.use_char_projection is None:
            self.use_char_projection = bool(self.char_cnn_filters) and self.char_features != self.projection_size
        if self.use_cell_projection is None:
            self.use_cell_projection = self.cell_size != self.projection_size
        self.aligned_layers = list(self.aligned_layers)
        self.mix_initial_weights = self.mix_initial_weights and list(self.mix_initial_weights)
        given = {**kwargs, **vars(self)}  # transformers reads these before it checks the types of fields
        for name in ("auto_map", "id2label", "quantization_config"):
            value = given.get(name) or {}
            check(name, value, isinstance(value, dict) or hasattr(value, "to_dict"), "be an object")
        ids, count, dtype = list(self.id2label or ()), kwargs.get("num_labels", 2), given.get("dtype")
        check("id2label", ids, all(str(key).isdecimal() for key in ids), "have numbers as keys")
        check("num_labels", count, isinstance(count, int) and 0 <= count <= MOST_LABELS, f"be 0 to {MOST_LABELS:,}")
        check("dtype", dtype, str(dtype).removeprefix("torch.") in DTYPES, f"be one of {', '.join(DTYPES[1:])}")
        kwargs["auto_map"] = {**AUTO_MAP, **(kwargs.get("auto_map") or {})}
        kwargs.pop("hidden_size", None)  # derived; a saved config carries it for readers that know no ELMo
        super().__post_init__(**kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, *args, **kwargs) -> "ElmoConfig":
        check_is_saved(pretrained_model_name_or_path, kwargs.get("subfolder"))
        return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)

    @property
    def hidden_size(self) -> int:
        """Width of a contextual vector, both directions together."""
        return 2 * self.projection_size

    @property
    def char_features(self) -> int:
        """Number of convolution filters of all widths together."""
        return sum(sum(pair[1:]) for pair in self.char_cnn_filters)  # pairs are checked later

    @property
    def ids_per_token(self) -> int:
        """Number of ids in a token's row: its characters, its word where that has an embedding of its own, and those of
        `word_features`."""
        return self.max_characters_per_token + bool(self.word_embedding_size) + self.feature_ids

    @property
    def feature_ids(self) -> int:
        """Number of ids in a token's row that belong to `word_features`."""
        lengths = {"words": 1, "elmo": 0}
        return sum(lengths.get(part.get("type"), part.get("length", 0)) for part in self.word_features or ())

    def to_dict(self) -> dict:
        return {**super().to_dict(), "hidden_size": self.hidden_size}

    def save_pretrained(self, save_directory: str | Path, push_to_hub: bool = False, **kwargs):
        """Save as any configuration of transformers, with the code of every class that it can open."""
        super().save_pretrained(save_directory, **kwargs)
        if "_auto_class" not in vars(self):  # only an object that is saved without code has its own
            copy_code(save_directory, self.name_or_path)
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)

    # These run in the order of their names.

    def validate_alone(self):
        """Check each field by itself; `ValueError` for the first that is wrong."""
        fields = vars(self)
        for least, names in LEAST.items():
            for name in names:
                check(name, fields[name], fields[name] >= least, "be at least 1" if least else "not be negative")
        for name in LAYERS:
            check(name, fields[name], fields[name] <= MOST_LAYERS, f"be at most {MOST_LAYERS}")
        for name in ("lstm_dropout", "classifier_dropout", "head_dropout"):
            check(name, fields[name], 0 <= fields[name] < 1, "be from 0 to below 1")
        for name in ("cell_clip", "projection_clip"):
            check(name, fields[name], fields[name] is None or fields[name] > 0, "be positive, or None for no clipping")
        for name, choices in CHOICES.items():
            check(name, fields[name], fields[name] in choices, f"be one of {', '.join(map(repr, choices))}")
        names = self.architectures
        check("architectures", names, isinstance(names or [], (list, tuple)), "be a list of names of classes")
        check("coref_span_ratio", self.coref_span_ratio, self.coref_span_ratio > 0, "be above 0")
        for number, name in (self.id2label or {}).items():
            check(f"id2label[{number}]", name, isinstance(name, str), "be a name in quotes")

    def validate_characters(self):
        """Check that the fields of the character encoder fit together."""
        width, filters = self.max_characters_per_token, self.char_cnn_filters
        for pair in filters:
            if len(pair) != 2 or not 1 <= pair[0] <= width or pair[1] < 1:
                raise ValueError(
                    "`char_cnn_filters` must be pairs [width, count] with widths from 1 to max_characters_per_token "
                    f"({width}), but holds {pair}"
                )
        if not filters and width != 1:
            raise ValueError(
                f"without `char_cnn_filters` a word is one id: set `max_characters_per_token` to 1, not {width}"
            )
        if filters and not self.use_char_projection and self.char_features != self.projection_size:
            raise ValueError(f"{self.char_features} filters need `use_char_projection` to give {self.projection_size}")
        for table in ("word_embedding", "word_vector"):
            count, size = getattr(self, f"{table}_count"), getattr(self, f"{table}_size")
            if bool(count) != bool(size):
                raise ValueError(
                    f"`{table}_count` and `{table}_size` must both be positive or both 0, but are {count} and {size}"
                )
        can_have_words = self.character_scheme == "codepoints" and filters and self.use_char_projection
        if self.word_embedding_count and not can_have_words:
            raise ValueError(
                "word embeddings beside the characters need `character_scheme='codepoints'`, `char_cnn_filters` and "
                "`use_char_projection`"
            )
        fits = not self.char_feature_filters or self.char_feature_width <= width
        check("char_feature_width", self.char_feature_width, fits, f"be at most max_characters_per_token ({width})")
        if self.word_features is not None and (self.word_vector_count or self.char_feature_filters):
            raise ValueError(
                "`word_features` describes all vectors of words: leave `word_vector_count` and `char_feature_filters` 0"
            )
        if self.feature_ids and (self.character_scheme != "bytes" or self.word_embedding_count):
            raise ValueError("`word_features` of words and characters go with `character_scheme='bytes'`")

    def validate_layers(self):
        """Check that the fields of the biLSTM layers and of their mix fit together."""
        if not self.use_cell_projection and self.cell_size != self.projection_size:
            raise ValueError(f"`cell_size` {self.cell_size} needs `use_cell_projection` to give {self.projection_size}")
        known, aligned, weights = range(self.num_hidden_layers + 1), self.aligned_layers, self.mix_initial_weights
        different = len(set(aligned)) == len(aligned) and all(layer in known for layer in aligned)
        check("aligned_layers", aligned, different, f"be different numbers from 0 to {known[-1]}")
        if weights is not None and len(weights) != len(known):
            raise ValueError(
                f"`mix_initial_weights` must have a number for each of the {len(known)} layers, token embeddings "
                f"first, but has {len(weights)}"
            )

    def validate_answers(self):
        limits = self.qa_length_limits or [None, None]
        check("qa_length_limits", limits, len(limits) == 2, "be two numbers, of question and text")
        lengths = {"qa_max_answer_len": self.qa_max_answer_len, "qa_context_len": self.qa_context_len}
        for name, length in (*lengths.items(), *(("qa_length_limits", limit) for limit in limits)):
            check(name, length, length is None or length >= 1, "be at least 1, or None for no limit")
