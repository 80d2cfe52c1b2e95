"""The language models: what each direction predicts, the losses' sums and means, a word from its context."""

import math

import numpy as np
import pytest
import torch
from shaken import shake
from torch.testing import assert_close
from transformers import AutoModelForMaskedLM, AutoModelForPreTraining

import hf_elmo
from hf_elmo import ElmoForMaskedLM, ElmoForPreTraining, ElmoTokenizer
from hf_elmo.conversion.bilm_checkpoint import bilm_variables
from hf_elmo.conversion.bilm_hdf5 import read_weights
from hf_elmo.conversion.tensorflow_checkpoint import read_checkpoint

WORDS = 11


@pytest.fixture
def model(tiny_config):
    tiny_config.word_vocab_size = WORDS
    torch.manual_seed(0)
    return shake(ElmoForPreTraining(tiny_config))


@pytest.fixture
def masked(model):
    twin = ElmoForMaskedLM(model.config).eval()
    twin.load_state_dict(model.state_dict())
    return twin


@pytest.fixture
def batch():
    """Three sentences of 6, 4 and 2 words, boundary words included, padded on the right, and their word ids."""
    generator = torch.Generator().manual_seed(1)
    input_ids = torch.randint(1, 262, (3, 6, 50), generator=generator)
    labels = torch.randint(WORDS, (3, 6), generator=generator)
    mask = torch.arange(6) < torch.tensor([[6], [4], [2]])
    return {"input_ids": input_ids * mask[..., None], "labels": labels.masked_fill(~mask, -100)}


def test_each_direction_predicts_its_neighbor(model, batch):
    """By the definition, from the logits: forward t predicts label t + 1, backward t label t - 1."""
    out = model(**batch, output_logits=True)
    forward, backward = [], []
    for row, labels in enumerate(batch["labels"]):
        length = int((labels != -100).sum())
        for t in range(length - 1):
            scores = out.forward_logits[row, t].log_softmax(-1)
            forward.append(-scores[labels[t + 1]])
            assert_close(out.word_losses[row, 0, t], forward[-1])
        for t in range(1, length):
            scores = out.backward_logits[row, t].log_softmax(-1)
            backward.append(-scores[labels[t - 1]])
            assert_close(out.word_losses[row, 1, t], backward[-1])
    assert (out.word_losses != 0).sum() == len(forward) + len(backward) == 18
    assert_close(out.forward_loss, torch.stack(forward).mean())
    assert_close(out.backward_loss, torch.stack(backward).mean())
    assert_close(out.loss, (out.forward_loss + out.backward_loss) / 2)
    assert out[0] is out.loss


def test_no_direction_sees_what_it_predicts(model, batch):
    """Changing word k leaves the forward scores before it and the backward scores behind it as they are."""
    changed = batch["input_ids"].clone()
    changed[0, 3] = (changed[0, 3] % 260) + 1
    before, after = (model(ids, output_logits=True) for ids in (batch["input_ids"], changed))
    assert_close(before.forward_logits[0, :3], after.forward_logits[0, :3])
    assert not torch.equal(before.forward_logits[0, 3], after.forward_logits[0, 3])
    assert_close(before.backward_logits[0, 4:], after.backward_logits[0, 4:])
    assert not torch.equal(before.backward_logits[0, 3], after.backward_logits[0, 3])


def test_padding_side_does_not_matter(model, batch):
    left = {
        name: torch.stack([row.roll(6 - length, 0) for row, length in zip(tensor, (6, 4, 2))])
        for name, tensor in batch.items()
    }
    assert_close(model(**left).loss, model(**batch).loss)


def test_directions_may_read_different_texts(model, batch):
    """The original's windows: each direction as if it had been alone on its text, the state carried on."""
    ids = batch["input_ids"][:1].expand(2, -1, -1).clone()
    other = ids.roll(1, dims=1)
    targets = torch.arange(2 * 2 * 6).view(2, 2, 6) % WORDS
    both = model(ids, backward_input_ids=other, labels=targets, use_state=True)
    ahead, behind = (model(text, labels=targets, use_state=True) for text in (ids, other))
    assert_close(both.word_losses[:, 0], ahead.word_losses[:, 0])
    assert_close(both.word_losses[:, 1], behind.word_losses[:, 1])
    assert not torch.allclose(both.word_losses[:, 1], ahead.word_losses[:, 1])
    for part, first, second in zip(both.state, ahead.state, behind.state):
        assert_close(part, torch.stack([first[:, :, 0], second[:, :, 1]], dim=2))

    # Two windows with the state handed on are one window: forward left to right, backward from the right.
    whole = model(ids, backward_input_ids=other, labels=targets)
    left, right = slice(0, 2), slice(4, 6)
    first = model(
        ids[:, left],
        backward_input_ids=other[:, right],
        labels=torch.stack([targets[:, 0, left], targets[:, 1, right]], 1),
        use_state=True,
    )
    second = model(
        ids[:, 2:],
        backward_input_ids=other[:, :4],
        labels=torch.stack([targets[:, 0, 2:], targets[:, 1, :4]], 1),
        state=first.state,
    )
    assert_close(torch.cat([first.word_losses[:, 0], second.word_losses[:, 0]], 1), whole.word_losses[:, 0])
    assert_close(torch.cat([second.word_losses[:, 1], first.word_losses[:, 1]], 1), whole.word_losses[:, 1])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_sentences_that_follow_each_other_have_the_losses_that_they_have_alone(model, mode):
    ids = torch.randint(1, 262, (2, 12, 50), generator=torch.Generator().manual_seed(2))
    targets = torch.arange(2 * 12).view(1, 2, 12) % WORDS
    lengths = [6, 1, 0, 5]
    with mode():
        together = model(ids[:1], backward_input_ids=ids[1:], labels=targets, sentence_lengths=lengths)
        parts = zip(ids[:1].split(lengths, 1), ids[1:].split(lengths, 1), targets.split(lengths, 2))
        alone = [model(one, backward_input_ids=other, labels=part).word_losses for one, other, part in parts]
    assert_close(together.word_losses, torch.cat(alone, dim=2), rtol=0, atol=1e-5)
    assert together.state is None
    for wrong in ({"labels": targets[:, 0]}, {"use_state": True}):
        with pytest.raises(ValueError, match="give `sentence_lengths` without `state`, and with `labels`"):
            model(ids[:1], sentence_lengths=lengths, **wrong)


@pytest.mark.parametrize("directions", [False, True])
def test_loss_of_parts_adds_up(model, batch, directions):
    """With the Trainer's count of labels, the losses of micro-batches add up to the loss of one large batch."""
    inputs = dict(batch)
    if directions:
        inputs["labels"] = model.direction_targets(batch["labels"], batch["labels"] != -100)
    count = (inputs["labels"] != -100).sum()
    parts = [
        model(**{name: tensor[rows] for name, tensor in inputs.items()}, num_items_in_batch=count).loss
        for rows in (slice(0, 1), slice(1, 3))
    ]
    whole = model(**inputs, num_items_in_batch=count)
    assert_close(sum(parts), whole.loss)
    assert_close(whole.loss, whole.word_losses.sum() / (count if directions else 2 * count))
    if directions:  # both directions predict equally many words
        assert_close(whole.loss, model(**inputs).loss)


def test_sampled_softmax_is_near_the_full_one_and_repeatable(model, batch):
    full = model(**batch).loss
    draws = [
        model(**batch, num_negative_samples=WORDS - 1, generator=torch.Generator().manual_seed(seed)).loss
        for seed in (0, 0, 1)
    ]
    assert draws[0] == draws[1] != draws[2]
    assert 0 < draws[0] < full + 1


def test_sparse_gradient_is_the_dense_one(model, batch):
    gradients = []
    for sparse in (False, True):
        model.sparse_softmax_gradient = sparse
        model.zero_grad()
        model(**batch, num_negative_samples=3, generator=torch.Generator().manual_seed(0)).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[1]["lm_head.weight"].is_sparse
    for name, gradient in gradients[0].items():
        assert_close(gradients[1][name].to_dense(), gradient)


@pytest.mark.slow
def test_800000_words_train_on_the_rows_they_need(tiny_config, batch):
    """One step of Adagrad over a sparse gradient: rows that were not read keep their values and cost nothing."""
    tiny_config.word_vocab_size = 800_000
    model = ElmoForPreTraining(tiny_config)
    model.sparse_softmax_gradient = True
    before = model.lm_head.weight.detach().clone()
    optimizer = torch.optim.Adagrad([model.lm_head.weight], lr=0.2, initial_accumulator_value=1.0, eps=0.0)
    model(**batch, num_negative_samples=64, generator=torch.Generator().manual_seed(0)).loss.backward()
    assert 2 * 64 < model.lm_head.weight.grad._nnz() <= 2 * (9 + 64)
    optimizer.step()
    assert 64 < (model.lm_head.weight != before).any(dim=1).sum() < 2 * (9 + 64)
    with torch.no_grad():
        assert math.isfinite(model.eval()(**batch).loss)


def test_dropout_is_where_the_original_has_it(tiny_config, batch):
    """On the input of every layer and before the softmax: with the layers' outputs fixed, scores still vary."""
    tiny_config.word_vocab_size, tiny_config.lstm_dropout = WORDS, 0.5
    model = shake(ElmoForPreTraining(tiny_config)).train()
    for layer in model.elmo.layers:
        layer.dropout.p = 0.0
    one, two = (model(**batch, output_logits=True) for _ in range(2))
    assert torch.equal(one.last_hidden_state, two.last_hidden_state)
    assert not torch.equal(one.forward_logits, two.forward_logits)


# ---- The original's predictions


def test_predictions_are_the_originals(fixtures_dir):
    folder = fixtures_dir / "bilm_checkpoint"
    config = hf_elmo.ElmoConfig(
        char_embedding_size=4,
        char_cnn_filters=[[1, 4], [2, 8], [3, 16], [4, 32], [5, 64]],
        projection_size=16,
        cell_size=64,
        word_vocab_size=5000,
    )
    state, _ = read_weights(bilm_variables(read_checkpoint(folder / "checkpoint")), config)
    model = ElmoForPreTraining(config).eval()
    names = {name: name if name.startswith("lm_head.") else f"elmo.{name}" for name in state}
    model.load_state_dict({names[name]: tensor for name, tensor in state.items()}, strict=False)
    tokenizer = ElmoTokenizer(str(folder / "vocab.txt"))
    sentences = [line.split() for line in (folder / "lm_sentences.txt").read_text().splitlines()]
    with np.load(folder / "lm_predictions.npz") as expected:
        for number, words in enumerate(sentences):
            batch = tokenizer([words], is_split_into_words=True, return_tensors="pt")
            labels = torch.tensor([tokenizer.convert_words_to_labels(["<S>", *words, "</S>"])])
            with torch.no_grad():
                out = model(**batch, labels=labels, output_logits=True)
            # The original lists the backward direction as it walks: from </S> to <S>.
            for name, losses, logits in (
                ("fw", out.word_losses[0, 0, :-1], out.forward_logits[0, :-1]),
                ("bw", out.word_losses[0, 1, 1:].flip(0), out.backward_logits[0, 1:].flip(0)),
            ):
                best = logits.log_softmax(-1).topk(10)
                assert_close(losses, torch.from_numpy(expected[f"sent{number}/{name}/nll"]), rtol=1e-5, atol=2e-5)
                probabilities = torch.from_numpy(expected[f"sent{number}/{name}/top10_logprob"])
                assert_close(best.values, probabilities, rtol=1e-5, atol=2e-5)
                same = best.indices.numpy() == expected[f"sent{number}/{name}/top10_ids"]
                assert same.mean() > 0.99  # words of equal probability may change places


# ---- A word from its context


def test_masked_lm_multiplies_both_directions(model, masked, batch):
    out = model(batch["input_ids"], output_logits=True)
    logits = masked(batch["input_ids"]).logits
    for k in range(1, 5):
        product = out.forward_logits[0, k - 1].log_softmax(-1) + out.backward_logits[0, k + 1].log_softmax(-1)
        assert_close(logits[0, k].log_softmax(-1), product.log_softmax(-1))
    first = out.backward_logits[0, 1] + model.lm_head.bias
    assert_close(logits[0, 0], first)
    assert logits.shape == (3, 6, WORDS)


def test_masked_lm_does_not_read_the_word_itself(masked, batch):
    changed = batch["input_ids"].clone()
    changed[0, 3] = (changed[0, 3] % 260) + 1
    before, after = (masked(ids).logits for ids in (batch["input_ids"], changed))
    assert_close(before[0, 3], after[0, 3])
    assert not torch.equal(before[0, 2], after[0, 2])
    assert not torch.equal(before[0, 4], after[0, 4])


def test_masked_lm_loss_counts_labels(masked, batch):
    out = masked(**batch)
    expected = torch.nn.functional.cross_entropy(out.logits.flatten(0, 1), batch["labels"].flatten())
    assert_close(out.loss, expected)
    assert_close(masked(**batch, num_items_in_batch=24).loss, expected * 12 / 24)


def test_substitutes_are_the_best_words_allowed(masked, batch):
    probabilities, ids = masked.substitutes(batch["input_ids"], top_k=4, excluded_ids=(0, 3), chunk_size=5)
    logits = masked(batch["input_ids"]).logits
    logits[..., [0, 3]] = -torch.inf
    expected = logits.softmax(-1).topk(4)
    assert_close(probabilities, expected.values)
    assert torch.equal(ids, expected.indices)


# ---- Files and mistakes


def test_both_classes_open_one_checkpoint(model, masked, batch, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = AutoModelForPreTraining.from_pretrained(tmp_path)
    assert_close(loaded(**batch).loss, model(**batch).loss)
    filled = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert_close(filled(**batch).logits, masked(**batch).logits)


def test_mistakes_are_named(model, batch, tiny_config):
    ids, labels = batch["input_ids"], batch["labels"]
    with pytest.raises(ValueError, match="needs the number of words it predicts: set `word_vocab_size`"):
        ElmoForPreTraining(hf_elmo.ElmoConfig())
    with pytest.raises(ValueError, match=r"`labels` must be \(batch, words\) = \(3, 6\), or \(3, 2, 6\).*is \(3, 5\)"):
        model(ids, labels=labels[:, 1:])
    with pytest.raises(ValueError, match=f"below word_vocab_size {WORDS}, but hold {WORDS}"):
        model(ids, labels=torch.full_like(labels, WORDS))
    with pytest.raises(ValueError, match="must have words where `input_ids` has words"):
        model(ids, backward_input_ids=ids.flip(1))
    with pytest.raises(ValueError, match=f"from 1 to {WORDS - 1}"):
        model(ids, labels=labels, num_negative_samples=WORDS)
