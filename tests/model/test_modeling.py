"""The encoder's promises: independence of batch, padding and earlier calls, state in and out, mixes, clear errors."""

import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from shaken import shake
from torch.testing import assert_close
from transformers import AutoModel

from hf_elmo import ElmoConfig, ElmoModel, ElmoTokenizer
from hf_elmo.model.char_cnn_elmo import unique_rows, without_common_padding

EXACT = {"rtol": 0, "atol": 1e-6}


def words(*lengths, width=50, seed=0):
    """Random ids of words, `(B, T, W)`, rows of the given lengths padded with 0 on the right."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 262, (len(lengths), max(lengths), width), generator=generator)
    for row, length in enumerate(lengths):
        ids[row, length:] = 0
    return ids


def all_outputs(output):
    return {
        "last_hidden_state": output.last_hidden_state,
        "token_embeddings": output.token_embeddings,
        **{f"hidden_states.{k}": layer for k, layer in enumerate(output.hidden_states)},
    }


def test_the_default_configuration_is_the_original_model():
    with torch.device("meta"):
        model = ElmoModel(ElmoConfig())
    count = sum(p.numel() for name, p in model.named_parameters() if "scalar_mixes" not in name)
    padding_row = 16  # the original's files have no row for words that are not there
    assert count - padding_row == 93_600_848


@pytest.mark.parametrize("side", ["right", "left", "both"])
def test_a_sentence_does_not_depend_on_batch_mates_or_padding(tiny_model, side):
    long, short = words(9), words(4, seed=1)
    alone = all_outputs(tiny_model(short, output_hidden_states=True))
    start = {"right": 0, "left": 5, "both": 2}[side]
    padded = torch.zeros_like(long)
    padded[:, start : start + 4] = short
    for row, batch in ((1, torch.cat([long, padded, long])), (0, torch.cat([padded, long]))):
        together = all_outputs(tiny_model(batch, output_hidden_states=True))
        for name, expected in alone.items():
            assert_close(together[name][row, start : start + 4], expected[0], **EXACT)
            outside = torch.cat([together[name][row, :start], together[name][row, start + 4 :]])
            assert torch.equal(outside, torch.zeros_like(outside)), name


def test_earlier_calls_leave_no_trace(tiny_model):
    first = tiny_model(words(5, 3)).last_hidden_state
    tiny_model(words(9, 2, 6, seed=3), use_state=True)
    assert torch.equal(tiny_model(words(5, 3)).last_hidden_state, first)


def test_what_stands_at_masked_positions_does_not_matter(tiny_model):
    ids = words(6, 3)
    mask = (ids > 0).any(-1).long()
    noisy = torch.where(mask[..., None].bool(), ids, words(6, 6, seed=5))
    assert_close(tiny_model(noisy, attention_mask=mask)[0], tiny_model(ids)[0], **EXACT)


@pytest.mark.parametrize("kind", ["inputs_embeds", "token_embeddings"])
def test_what_is_no_number_at_masked_positions_does_not_matter(tiny_model, kind):
    ids = words(6, 3)
    mask = (ids > 0).any(-1)
    vectors = {
        "inputs_embeds": tiny_model.get_input_embeddings()(ids),
        "token_embeddings": tiny_model(ids).token_embeddings,
    }[kind].detach()
    vectors[~mask] = float("nan")
    output = tiny_model(**{kind: vectors}, attention_mask=mask, output_hidden_states=True)
    for name, values in all_outputs(output).items():
        assert torch.equal(values[~mask], torch.zeros_like(values[~mask])), name
    assert_close(output[0], tiny_model(ids)[0], **EXACT)


@pytest.mark.parametrize("shape", [(1, 2, 50, 3), (1, 2, 40, 4), (2, 50, 4)])
def test_embeddings_of_another_shape(tiny_model, shape):
    with pytest.raises(ValueError, match=r"`inputs_embeds` must be \(B, T, W, E\) = \(batch, words, 50, 4\)"):
        tiny_model(inputs_embeds=torch.zeros(shape))


def test_ids_in_lists(tiny_model):
    with pytest.raises(ValueError, match="`input_ids` must be a tensor, but is a list: pass return_tensors='pt'"):
        tiny_model(input_ids=words(6, 3).tolist())


@pytest.mark.parametrize(
    "wrong", [{"cell_clip": -1.0}, {"char_cnn_activation": "gelu"}, {"num_mixes": 0}, {"mix_initial_weights": [1.0]}]
)
def test_fields_given_while_loading_are_checked(tiny_model, tmp_path, wrong):
    tiny_model.save_pretrained(tmp_path)
    with pytest.raises(StrictDataclassError, match=next(iter(wrong))):
        AutoModel.from_pretrained(tmp_path, **wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_hidden_layers": 2**31}, "`num_hidden_layers` must be at most 1000, but is 2147483648"),
        ({"auto_map": ["x"]}, r"`auto_map` must be an object, but is \['x'\]"),
        ({"id2label": {"0": "A", "1": 0.5}}, r"`id2label\[1\]` must be a name in quotes, but is 0.5"),
        ({"id2label": "A"}, "`id2label` must be an object, but is 'A'"),
        ({"id2label": {"A": "B"}}, r"`id2label` must have numbers as keys, but is \['A'\]"),
        ({"num_labels": 10**30}, "`num_labels` must be 0 to 1,000,000, but is 1000000000000000000"),
        ({"num_labels": "2"}, "`num_labels` must be 0 to 1,000,000, but is '2'"),
        ({"dtype": [1]}, r"`dtype` must be one of float16, bfloat16, float32, float64, but is \[1\]"),
        ({"dtype": "relu"}, "`dtype` must be one of float16, bfloat16, float32, float64, but is 'relu'"),
        ({"quantization_config": 8}, "`quantization_config` must be an object, but is 8"),
        ({"architectures": True}, "`architectures` must be a list of names of classes, but is True"),
    ],
)
def test_a_saved_configuration_with_absurd_values(tiny_config, tmp_path, wrong, message):
    (tmp_path / "config.json").write_text(json.dumps(tiny_config.to_dict() | wrong))
    (field,) = wrong  # of which older releases of transformers say in their own words what was expected
    with pytest.raises((ValueError, StrictDataclassError), match=f"{message}|^Validation error for field '{field}'"):
        ElmoConfig.from_pretrained(tmp_path)


def test_a_saved_configuration_that_is_no_object(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path)
    ElmoTokenizer().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("null")
    with pytest.raises(ValueError, match=r"config\.json must hold an object, but holds None"):
        ElmoModel.from_pretrained(tmp_path)


def test_a_mix_that_was_never_trained_begins_where_it_is_told(tiny_config, tmp_path):
    """Weights that are converted have mixes at 0; one that was trained, or set, stays what it is."""
    model = ElmoModel(tiny_config)
    model.save_pretrained(tmp_path / "fresh")
    only_layer_1 = [-9e10, 1.0, -9e10]
    loaded = AutoModel.from_pretrained(tmp_path / "fresh", mix_initial_weights=only_layer_1, num_mixes=2)
    assert loaded.mix_weights().tolist() == [[0, 1, 0], [0, 1, 0]]
    model.set_mix_weights([1, 1, 2])
    model.save_pretrained(tmp_path / "set")
    loaded = AutoModel.from_pretrained(tmp_path / "set", mix_initial_weights=only_layer_1)
    assert_close(loaded.mix_weights(), torch.tensor([[0.25, 0.25, 0.5]]), **EXACT)


def test_layer_zero_is_the_token_embedding_twice(tiny_model):
    output = tiny_model(words(5, 3), output_hidden_states=True)
    first, second = output.hidden_states[0].chunk(2, dim=-1)
    assert torch.equal(first, output.token_embeddings)
    assert torch.equal(second, output.token_embeddings)
    assert len(output.hidden_states) == 3
    assert not torch.equal(output.hidden_states[1], output.hidden_states[2])


def test_directions_do_not_see_each_other(tiny_model):
    ids, changed = words(7), words(7)
    changed[0, 6] = words(1, seed=9)[0, 0]
    before = tiny_model(ids, output_hidden_states=True).hidden_states
    after = tiny_model(changed, output_hidden_states=True).hidden_states
    for layer in (1, 2):
        ahead, behind = (a - b for a, b in zip(before[layer].chunk(2, -1), after[layer].chunk(2, -1)))
        assert torch.equal(ahead[:, :6], torch.zeros_like(ahead[:, :6])), "the forward direction read the last word"
        assert (behind[:, 0] != 0).any(), "the backward direction did not bring the last word to the first"


def test_inputs_of_all_kinds_agree(tiny_model):
    ids = words(6, 4)
    mask = (ids > 0).any(-1)
    expected = tiny_model(ids)
    embeddings = tiny_model.get_input_embeddings()(ids)
    assert_close(tiny_model(inputs_embeds=embeddings, attention_mask=mask)[0], expected[0], **EXACT)
    vectors = tiny_model(token_embeddings=expected.token_embeddings, attention_mask=mask)
    assert_close(vectors[0], expected[0], **EXACT)


def test_state_continues_a_text(tiny_model):
    """The forward direction over two halves equals the whole; the backward direction starts from what it is given."""
    ids = words(8)
    whole = tiny_model(ids, output_hidden_states=True).hidden_states
    first = tiny_model(ids[:, :5], use_state=True)
    second = tiny_model(ids[:, 5:], state=first.state, output_hidden_states=True)
    for layer in (1, 2):
        assert_close(second.hidden_states[layer].chunk(2, -1)[0], whole[layer][:, 5:].chunk(2, -1)[0], **EXACT)
    assert second.state is not None, "a state that is passed in comes back"
    assert not torch.equal(second.hidden_states[1].chunk(2, -1)[1], whole[1][:, 5:].chunk(2, -1)[1])


def test_rows_of_the_state_shrink_and_grow(tiny_model):
    hidden, cell = tiny_model(words(3, 4, 5), use_state=True).state
    assert hidden.shape == (3, 2, 2, 6)
    assert cell.shape == (3, 2, 2, 10)

    smaller = tiny_model(words(4, seed=1), state=(hidden, cell))
    alone = tiny_model(words(4, seed=1), state=(hidden[:1], cell[:1]))
    assert_close(smaller[0], alone[0], **EXACT)
    assert torch.equal(smaller.state[0][1:], hidden[1:]), "rows beyond the batch keep their state"
    assert torch.equal(smaller.state[1][1:], cell[1:])
    assert_close(smaller.state[0][:1], alone.state[0], **EXACT)

    larger = tiny_model(words(4, 4, 4, 4, seed=2), state=(hidden, cell))
    assert larger.state[0].shape[0] == 4
    assert_close(larger[0][3:], tiny_model(words(4, 4, 4, 4, seed=2)[3:])[0], **EXACT)  # a new row starts at zero


def test_a_row_without_words_keeps_its_state(tiny_model):
    state = tiny_model(words(3, 4), use_state=True).state
    ids = words(4, 4, seed=1)
    ids[1] = 0
    for before, after in zip(state, tiny_model(ids, state=state).state):
        assert torch.equal(after[1], before[1])
        assert not torch.equal(after[0], before[0])


def test_gradients_reach_every_parameter_and_the_state(tiny_model):
    state = tuple(part.requires_grad_() for part in tiny_model(words(3, 4), use_state=True).state)
    for part in state:
        part.retain_grad()
    output = tiny_model(words(5, 2, seed=1), state=state)
    (output.last_hidden_state.square().sum() + sum(part.sum() for part in output.state)).backward()
    for name, parameter in tiny_model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert all(part.grad.abs().sum() > 0 for part in state)


@pytest.mark.parametrize("shape", [(0, 5, 50), (2, 0, 50), (0, 0, 50)])
def test_batches_of_nothing(tiny_model, shape):
    output = tiny_model(torch.zeros(shape, dtype=torch.long), output_hidden_states=True, use_state=True)
    assert output.last_hidden_state.shape == (*shape[:2], 12)
    assert output.state[0].shape == (shape[0], 2, 2, 6)


def test_a_batch_of_padding_is_zero(tiny_model):
    output = tiny_model(torch.zeros(2, 3, 50, dtype=torch.long), output_hidden_states=True)
    assert all(not tensor.any() for tensor in all_outputs(output).values())


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_variants_of_the_architecture(activation):
    config = ElmoConfig(
        char_embedding_size=4,
        char_cnn_filters=[[1, 3], [2, 5]],
        char_cnn_activation=activation,
        num_highway_layers=0,
        max_characters_per_token=7,
        projection_size=8,
        cell_size=8,
        num_hidden_layers=1,
        cell_clip=None,
        projection_clip=None,
        use_skip_connections=False,
    )
    model = shake(ElmoModel(config))
    names = [name for name, _ in model.named_parameters()]
    assert not any("projection" in name or "highway" in name for name in names), "as many filters as outputs, C == P"
    assert model(words(3, 2, width=7))[0].shape == (2, 3, 16)


def test_words_as_inputs():
    config = ElmoConfig(
        vocab_size=11,
        char_cnn_filters=[],
        max_characters_per_token=1,
        projection_size=6,
        cell_size=10,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = shake(ElmoModel(config))
    ids = torch.tensor([[[1], [5], [2]], [[1], [2], [0]]])
    output = model(ids)
    assert torch.equal(output.token_embeddings[0, 1], model.word_embeddings.weight[5])
    assert not output.last_hidden_state[1, 2].any()
    embedded = model(inputs_embeds=model.word_embeddings(ids), attention_mask=(ids > 0)[..., 0])
    assert_close(embedded[0], output[0], **EXACT)


class TestScalarMix:
    def test_is_the_mean_until_trained(self, tiny_config):
        model = ElmoModel(tiny_config).eval()
        output = model(words(5, 3), output_hidden_states=True)
        assert_close(output.last_hidden_state, torch.stack(output.hidden_states).mean(0), **EXACT)

    def test_is_gamma_times_the_softmax_sum(self, tiny_model):
        output = tiny_model(words(5, 3), output_hidden_states=True)
        mix = tiny_model.scalar_mixes[0]
        shares = torch.softmax(mix.weights, 0)
        expected = mix.gamma * sum(share * layer for share, layer in zip(shares, output.hidden_states))
        assert_close(output.last_hidden_state, expected, **EXACT)
        assert_close(tiny_model.mix_weights(), shares[None].detach())
        assert_close(tiny_model.mix_scales(), mix.gamma.detach())

    def test_several(self, tiny_config):
        tiny_config.num_mixes = 3
        model = shake(ElmoModel(tiny_config))
        model.set_mix_weights([0, 0, 1], gamma=2.0, mix=1)
        output = model(words(5, 3), output_hidden_states=True)
        assert len(output.mixes) == 3
        assert torch.equal(output.mixes[0], output.last_hidden_state)
        assert_close(output.mixes[1], 2 * output.hidden_states[2], **EXACT)
        assert model.mix_weights().shape == (3, 3)

    def test_set_read_and_save(self, tiny_model, tmp_path):
        tiny_model.set_mix_weights([1, 2, 1], gamma=0.5)
        assert_close(tiny_model.mix_weights(), torch.tensor([[0.25, 0.5, 0.25]]))
        assert tiny_model.scalar_mixes[0].weights.requires_grad, "setting a mix does not freeze it"
        tiny_model.save_pretrained(tmp_path)
        reloaded = ElmoModel.from_pretrained(tmp_path)
        assert torch.equal(reloaded.mix_weights(), tiny_model.mix_weights())
        assert torch.equal(reloaded.mix_scales(), tiny_model.mix_scales())

    def test_initial_and_fixed_are_two_choices(self, tiny_config, tmp_path):
        tiny_config.mix_initial_weights = [-9e10, 1, -9e10]  # AllenNLP users' way to say: layer 1 alone
        tiny_config.mix_trainable = False
        model = ElmoModel(tiny_config).eval()
        output = model(words(4), output_hidden_states=True)
        assert_close(output.last_hidden_state, output.hidden_states[1], **EXACT)
        model.save_pretrained(tmp_path)
        reloaded = ElmoModel.from_pretrained(tmp_path)
        assert not any(p.requires_grad for p in reloaded.scalar_mixes.parameters()), "a fixed mix stays fixed"
        reloaded.freeze_mix(False)
        assert all(p.requires_grad for p in reloaded.scalar_mixes.parameters())

    def test_layer_norm_leaves_padding_at_zero(self, tiny_config):
        tiny_config.mix_layer_norm = True
        model = shake(ElmoModel(tiny_config))
        output = model(words(5, 3))[0]
        assert not output[1, 3:].any()
        assert output[1, :3].all()

    @pytest.mark.parametrize("shares", [[1, 2], [0, 0, 0], [1, -1, 1], [float("nan")] * 3])
    def test_weights_that_make_no_mix(self, tiny_model, shares):
        with pytest.raises(ValueError, match="3 weights"):
            tiny_model.set_mix_weights(shares)


class TestErrors:
    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            ({}, "exactly one of"),
            ({"input_ids": words(2), "token_embeddings": torch.zeros(1, 2, 6)}, "exactly one of"),
            (
                {"input_ids": torch.ones(2, 3, dtype=torch.long)},
                r"`input_ids` must be \(B, T, W\) = \(batch, words, 50\).*\(2, 3\)",
            ),
            ({"input_ids": words(2, width=49)}, r"\(batch, words, 50\).*\(1, 2, 49\)"),
            ({"input_ids": words(2).float()}, "whole numbers, but is torch.float32"),
            ({"input_ids": torch.full((1, 1, 50), 262)}, "from 0 to 261, but go from 262 to 262"),
            ({"input_ids": torch.full((1, 1, 50), -1)}, "from 0 to 261, but go from -1"),
            ({"input_ids": words(2), "attention_mask": torch.ones(1, 3)}, r"\(1, 2\), but is \(1, 3\)"),
            ({"token_embeddings": torch.zeros(1, 2, 7)}, r"\(batch, words, 6\)"),
            (
                {"input_ids": words(2), "state": (torch.zeros(1, 2, 2, 5), torch.zeros(1, 2, 2, 10))},
                r"`state` must be \(B, L, 2, P\) = \(batch, 2, 2, 6\)",
            ),
        ],
    )
    def test_inputs_that_do_not_fit(self, tiny_model, inputs, message):
        with pytest.raises(ValueError, match=message) as error:
            tiny_model(**inputs)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        "options",
        [
            {"char_cnn_filters": [[51, 3]]},
            {"char_cnn_filters": [[1, 2, 3]]},
            {"char_cnn_filters": []},
            {"char_cnn_activation": "gelu"},
            {"cell_clip": 0},
            {"projection_size": 0},
            {"cell_size": 4096, "use_cell_projection": False},
            {"mix_initial_weights": [0.0, 0.0]},
            {"lstm_dropout": 1},
            {"word_vocab_size": -1},
        ],
        ids=str,
    )
    def test_configurations_that_make_no_model(self, options):
        with pytest.raises(Exception, match=next(iter(options))):
            ElmoConfig(**options)


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32])
def test_ids_may_be_small_integers(tiny_model, dtype):
    assert torch.equal(tiny_model(words(5, 3).to(dtype))[0], tiny_model(words(5, 3))[0])


def test_integers_serve_as_numbers():
    assert ElmoConfig(cell_clip=3, projection_clip=None, lstm_dropout=0).cell_clip == 3


def test_equal_words_are_found():
    rows = torch.tensor([[1, 2, 3], [3, 2, 1], [1, 2, 3], [0, 0, 0]])
    types, inverse = unique_rows(rows)
    assert len(types) == 3
    assert torch.equal(types[inverse], rows)


def test_words_with_the_same_hash_are_distinguished():
    rows = torch.tensor([[1, 2, 3], [3, 2, 1], [1, 2, 3]])
    types, inverse = unique_rows(rows, hash_factor=0)
    assert torch.equal(types[inverse], rows)


def test_common_padding_is_cut_without_effect(tiny_model):
    ids = torch.full((1, 4, 50), 261)
    for word, length in enumerate((3, 1, 7, 2)):
        ids[0, word, :length] = torch.arange(1, length + 1)
    assert without_common_padding(ids[0], 3).shape == (4, 10)
    every_character = tiny_model.char_encoder.encode_characters(tiny_model.get_input_embeddings()(ids[0]))
    assert_close(tiny_model(ids).token_embeddings[0], every_character, **EXACT)
    unpadded = words(4)[0]
    assert torch.equal(without_common_padding(unpadded, 3), unpadded)
