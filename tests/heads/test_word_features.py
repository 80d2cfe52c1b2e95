"""What task heads read of words: texts of a pair apart, layers computed earlier, static vectors, character features."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from shaken import shake
from toy_tasks import config, tokenizer

from hf_elmo import ElmoConfig, ElmoForTokenClassification, ElmoModel
from hf_elmo.model.task_layers_elmo import TaskBiLstm
from hf_elmo.model.task_model_elmo import ElmoTaskModel
from hf_elmo.model.word_features_elmo import CharacterFeatures, WordVectors, word_hashes

EXACT = {"rtol": 0, "atol": 2e-6}
PAIRS = [("Ada left Rome", "in Oslo again today"), ("met", "saw Lima")]


class PairsApart(ElmoTaskModel):
    separate_texts = True

    def __init__(self, config, **options):
        super().__init__(config, **options)
        self.post_init()


@pytest.mark.parametrize("side", ["right", "left"])
def test_each_text_of_a_pair_is_a_sentence_of_its_own(side):
    model = shake(PairsApart(config(), num_mixes=2))
    encode = tokenizer()
    encode.padding_side = side
    batch = encode(*map(list, zip(*PAIRS)), padding=True, return_tensors="pt")
    words = model.encode(**batch, output_hidden_states=True)
    layers = model.compute_layers(**batch)
    for row, pair in enumerate(PAIRS):
        texts = [encode(text, return_tensors="pt") for text in pair]
        here = batch["attention_mask"][row].bool()
        for number in range(2):
            alone = torch.cat([model.elmo(**text).mixes[number] for text in texts], dim=1)[0]
            torch.testing.assert_close(words.mixes[number][row][here], alone, **EXACT)
        alone = [torch.stack(model.elmo(**text, output_hidden_states=True).hidden_states, 2) for text in texts]
        torch.testing.assert_close(layers[row][here], torch.cat(alone, dim=1)[0], **EXACT)
        assert not layers[row][~here].any()
    together = model.elmo(**batch).last_hidden_state
    assert (together - words.mixes[0]).abs().max() > 1e-3  # in one row, as one sentence, they know of each other


def test_token_types_separate_texts_without_special_tokens():
    model, encode = shake(ElmoModel(config())), tokenizer()
    batch = encode(*PAIRS[0], add_special_tokens=False, return_token_type_ids=True, return_tensors="pt")
    expected = [model(**encode(text, add_special_tokens=False, return_tensors="pt"))[0] for text in PAIRS[0]]
    torch.testing.assert_close(model(**batch)[0], torch.cat(expected, dim=1), **EXACT)


def test_layers_computed_earlier_are_only_mixed():
    model, batch = (
        shake(ElmoModel(config(num_mixes=2))),
        tokenizer()(["Ada left", "in"], padding=True, return_tensors="pt"),
    )
    output = model(**batch, output_hidden_states=True)
    layers = torch.stack(output.hidden_states, dim=2).detach().requires_grad_()
    again = model(attention_mask=batch["attention_mask"], layers=layers, output_hidden_states=True)
    for name in ("last_hidden_state", "hidden_states", "token_embeddings", "other_mixes"):
        torch.testing.assert_close(again[name], output[name], rtol=0, atol=0)
    again.last_hidden_state.sum().backward()
    trained = {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert trained == {"scalar_mixes.0.weights", "scalar_mixes.0.gamma"}
    half = model(attention_mask=batch["attention_mask"], layers=layers.bfloat16())
    torch.testing.assert_close(half.last_hidden_state, output.last_hidden_state, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"layers": torch.zeros(1, 4, 2, 24)},
            r"`layers` must be \(B, T, L \+ 1, 2P\) = \(batch, words, 3, 24\), but is \(1, 4, 2, 24\)",
        ),
        (
            {"layers": torch.zeros(1, 5, 3, 24)},
            r"`layers` must be of the words of `input_ids`, \(1, 4\), but is of \(1, 5",
        ),
        ({"layers": torch.zeros(1, 4, 3, 24), "use_state": True}, "a `state` continues one sentence per row"),
        ({"token_type_ids": torch.zeros(1, 4), "use_state": True}, "a `state` continues one sentence per row"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs, message):
    model, batch = ElmoModel(config()), tokenizer()("Ada left", return_tensors="pt")
    with pytest.raises(ValueError, match=message):
        model(**batch, **inputs)


def test_a_frozen_encoder_stays_as_it_is_but_for_its_mixes():
    model = ElmoForTokenClassification(config(lstm_dropout=0.5, num_labels=3)).train()
    model.elmo.freeze_encoder()
    batch = tokenizer()("Ada left", return_tensors="pt")
    assert torch.equal(model(**batch).logits, model(**batch).logits)  # nothing is dropped
    trainable = {name for name, weight in model.elmo.named_parameters() if weight.requires_grad}
    assert trainable == {"scalar_mixes.0.weights", "scalar_mixes.0.gamma"}
    assert model.eval().train().elmo.training
    assert not model.elmo.layers[0].training
    model.elmo.freeze_encoder(False)
    assert all(weight.requires_grad for weight in model.parameters())
    assert model.elmo.layers[0].training
    assert not torch.equal(model(**batch).logits, model(**batch).logits)


# ---- static vectors


def ids_of(words):
    ids = tokenizer()(words, is_split_into_words=True, add_special_tokens=False, return_tensors="pt")["input_ids"]
    return ids.squeeze(0)


def table(words, **options):
    """Make a table in which the n-th word has the vector (n, n), and other words (0, 0)."""
    options = {"word_vector_count": len(words), "word_vector_size": 2, **options}
    vectors = WordVectors(config(**options))
    numbers = torch.arange(1.0, len(words) + 1)[:, None].expand(-1, 2)
    vectors.fill(word_hashes(ids_of(words), vectors.lowercase), numbers)
    return vectors


def looked_up(vectors, words):
    ids = ids_of(words)[None]
    return vectors(ids, torch.ones(ids.shape[:2], dtype=torch.bool))[0, :, 0].tolist()


@pytest.mark.parametrize("lowercase", [True, False])
def test_known_words_have_their_vectors_and_others_share_one(lowercase):
    vectors = table(["rome", "ada", "müller", "[", "a"], word_vector_lowercase=lowercase)
    assert looked_up(vectors, ["ada", "rome", "a", "[", "müller"]) == [2, 1, 5, 4, 3]
    assert looked_up(vectors, ["Ada", "ROME", "A"]) == ([2, 1, 5] if lowercase else [0, 0, 0])
    assert looked_up(vectors, ["oslo", "{", "adab", "`", "@", "<S>", ""]) == [0] * 7  # no letters change but A to Z


def test_padding_has_no_vector():
    vectors = table(["ada"])
    vectors.weight[0] = 7
    ids = tokenizer()(["Ada", "Ada left"], add_special_tokens=False, padding=True, return_tensors="pt")
    found = vectors(ids["input_ids"], ids["attention_mask"].bool())[..., 0]
    assert found.tolist() == [[1, 0], [1, 7]]


def test_words_of_a_corpus_have_different_hashes():
    words = ["".join(map(chr, (97 + n % 26, 97 + n // 26 % 26, 97 + n // 676))) for n in range(17576)]
    words += [word[::-1] + "x" for word in words]
    hashes = word_hashes(ids_of(words), lowercase=False)
    assert len(hashes.unique()) == len(words)
    assert all(abs((hashes >> bit & 1).float().mean() - 0.5) < 0.02 for bit in range(64))  # and use all bits


def test_a_table_that_does_not_fit_is_refused():
    vectors = WordVectors(config(word_vector_count=3, word_vector_size=2))
    with pytest.raises(ValueError, match=r"has 3 words with vectors of 2 numbers, but got hashes \(1,\)"):
        vectors.fill(torch.zeros(1, dtype=torch.int64), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="a word occurs twice"):
        vectors.fill(torch.tensor([1, 5, 1]), torch.zeros(3, 2))


@pytest.mark.parametrize("trainable", [True, False])
def test_without_a_table_no_word_is_known(tmp_path, trainable):
    """A model loaded from a folder without a table; the loader must not leave memory uninitialized."""
    ElmoModel(config()).save_pretrained(tmp_path)
    options = {"word_vector_count": 3, "word_vector_size": 2, "word_vector_trainable": trainable}
    model = ElmoForTokenClassification.from_pretrained(tmp_path, **options)
    assert len({*looked_up(model.word_vectors, ["Ada", "left", "Rome"])}) == 1
    assert model.word_vectors.weight.abs().max() < 1
    assert model.word_vectors.weight.requires_grad == trainable


def test_words_as_ids_have_vectors_too():
    whole_words = {"char_cnn_filters": [], "max_characters_per_token": 1, "vocab_size": 100}
    vectors = WordVectors(config(**whole_words, word_vector_count=2, word_vector_size=1))
    vectors.fill(word_hashes(torch.tensor([[70], [80]]), vectors.lowercase), torch.tensor([[1.0], [2.0]]))
    ids = torch.tensor([[[80], [70], [70 + 32], [5]]])
    assert vectors(ids, torch.ones(1, 4, dtype=torch.bool)).flatten().tolist() == [2, 1, 0, 0]


# ---- character features, biLSTM


def test_character_features_are_the_maxima_of_filters():
    part = shake(CharacterFeatures(config(char_feature_filters=5, char_feature_embedding_size=4)))
    ids = tokenizer()(["Ada left Ada", "in"], padding=True, return_tensors="pt")
    features = part(ids["input_ids"], ids["attention_mask"].bool())
    for row, mask, vectors in zip(ids["input_ids"], ids["attention_mask"], features):
        for word, there, vector in zip(row, mask, vectors):
            windows = part.embeddings(word).T.unfold(1, 3, 1)  # (size, positions, width)
            scores = torch.einsum("epw,few->fp", windows, part.convolution.weight).amax(1) + part.convolution.bias
            torch.testing.assert_close(vector, scores.relu() * there, **EXACT)


def test_the_bilstm_is_that_of_torch():
    torch.manual_seed(0)
    ours, theirs = shake(TaskBiLstm(3, 4, num_layers=2)), torch.nn.LSTM(3, 4, 2, bidirectional=True, batch_first=True)
    with torch.no_grad():
        for suffix, lstms in (("", ours.forward_lstms), ("_reverse", ours.backward_lstms)):
            for layer, lstm in enumerate(lstms):
                getattr(theirs, f"weight_ih_l{layer}{suffix}").copy_(lstm.input_gates.weight)
                getattr(theirs, f"weight_hh_l{layer}{suffix}").copy_(lstm.recurrent_gates.weight)
                getattr(theirs, f"bias_ih_l{layer}{suffix}").copy_(lstm.input_gates.bias)
                getattr(theirs, f"bias_hh_l{layer}{suffix}").copy_(torch.tensor([0.0, 1, 0, 0]).repeat_interleave(4))
    x = torch.randn(2, 5, 3)
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 1, 0, 1]]).bool()
    output = ours(x, mask)
    for row, here, found in zip(x, mask, output):
        torch.testing.assert_close(found[here], theirs(row[here][None])[0][0], **EXACT)
        assert not found[~here].any()
    assert TaskBiLstm(3, 4, num_layers=0).output_size == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"word_vector_count": 3}, "`word_vector_size` must both be positive or both 0, but are 3 and 0"),
        ({"word_vector_size": 3}, "`word_vector_size` must both be positive or both 0, but are 0 and 3"),
        ({"char_feature_filters": 3, "char_feature_width": 51}, "`char_feature_width` must be at most"),
        ({"tagger_size": 0}, "`tagger_size` must be at least 1"),
        ({"tagger_layers": -1}, "`tagger_layers` must not be negative"),
        ({"word_vector_count": -1}, "`word_vector_count` must not be negative"),
        ({"word_embedding_count": 3}, "`word_embedding_size` must both be positive or both 0"),
        ({"head_dropout": 1.0}, "`head_dropout` must be from 0 to below 1"),
        (
            {"sequence_encoder": "cnn"},
            "`sequence_encoder` must be one of 'pooling', 'bcn', 'esim', 'decomposable_attention', but is 'cnn'",
        ),
        ({"pooling": "sum"}, "`pooling` must be one of 'mean', 'max', 'attention', but is 'sum'"),
        ({"qa_encoder": "bert"}, "`qa_encoder` must be one of 'bidaf', 'bidaf_original', 'linear', but is 'bert'"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(StrictDataclassError, match=message):
        ElmoConfig(**options)
