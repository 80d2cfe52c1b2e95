"""The tagger: the words of its chain, the words counted by its loss, and the best sequence in a pipeline."""

import itertools

import pytest
import torch
import toy_tasks
from shaken import shake
from transformers import pipeline

import hf_elmo

LABELS = ["O", "B-PER", "I-PER", "L-PER", "U-PER", "B-LOC", "I-LOC", "L-LOC", "U-LOC"]
EXACT = {"rtol": 0, "atol": 2e-6}
SENTENCES = [["Ada", "left", "Rome"], ["Max"], [], ["Eve", "met", "Tom", "in", "Oslo"]]


def tagger(labels=LABELS, seed=0, **options):
    """Make a model that predicts various labels; without the CRF, many sequences would violate the scheme."""
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    torch.manual_seed(seed)
    model = shake(hf_elmo.ElmoForTokenClassification(toy_tasks.config(**names, **options)), seed)
    if model.config.char_cnn_filters:
        with torch.no_grad():
            scores, _ = word_scores(model, encode([toy_tasks.WORDS]))
            spread, mean = torch.std_mean(scores[0], dim=0)
            model.score.bias.copy_(2 / spread * (model.score.bias - mean))
            model.score.weight.mul_(2 / spread[:, None])
    return model


def encode(sentences=SENTENCES, side="right", **options):
    tokenizer = toy_tasks.tokenizer()
    tokenizer.padding_side = side
    return tokenizer(sentences, is_split_into_words=True, padding=True, return_tensors="pt", **options)


def word_scores(model, batch):
    """Return the scores `(B, T, K)` that the chain reads, and the output of the head."""
    scores = []
    hook = model.score.register_forward_hook(lambda module, given, output: scores.append(output))
    output = model(**batch)
    hook.remove()
    return scores[0], output


def is_valid(labels):
    """Whether labels are complete BIOUL entities."""
    opened = None
    for label in labels:
        position, _, kind = label.partition("-")
        if (position in "IL") != (opened is not None) or (opened and kind != opened):
            return False
        opened = kind if position in "BI" else None
    return opened is None


def total(model, scores, path):
    """The score of a sequence of labels for the words of one row."""
    crf = model.crf
    inner = sum(scores[word, label] for word, label in enumerate(path))
    return float(
        inner + crf.start[path[0]] + crf.end[path[-1]] + sum(crf.transitions[a, b] for a, b in itertools.pairwise(path))
    )


@torch.no_grad()
def test_predictions_are_the_best_sequence_that_is_valid():
    invalid = 0
    for seed in range(3):
        model = tagger(seed=seed)
        batch = encode([["Ada", "left", "Rome"], ["Max"], ["in", "Oslo", "again", "today"]])
        scores, output = word_scores(model, batch)
        for row, length in enumerate((3, 1, 4)):
            words = scores[row, 1 : 1 + length]
            every = itertools.product(range(len(LABELS)), repeat=length)
            valid = [path for path in every if is_valid([LABELS[label] for label in path])]
            best = max(valid, key=lambda path: total(model, words, path))
            assert tuple(output.logits[row, 1 : 1 + length].argmax(-1).tolist()) == best
            invalid += not is_valid([LABELS[label] for label in words.argmax(-1).tolist()])
    assert invalid > 3, "word by word, the labels would be valid anyway"


@pytest.mark.parametrize("options", [{}, {"aggregation_strategy": "simple"}])
def test_the_pipeline_shows_the_best_sequence(options):
    model, tokenizer = tagger(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]), toy_tasks.tokenizer()
    text = "Ada  left Rome, Müller\n didn't. Tom met Eve's Lima in Bonn again"
    tokenizer.model_max_length = 9  # so that the text makes several rows
    pipe = pipeline("ner", model=model, tokenizer=tokenizer, stride=0, **options)
    encoding = tokenizer(
        text,
        truncation=True,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding=True,
        return_tensors="pt",
    )
    assert len(encoding["input_ids"]) > 2
    path = model(encoding["input_ids"], encoding["attention_mask"]).logits.argmax(-1)
    expected = []
    for row, offsets in enumerate(encoding["offset_mapping"].tolist()):
        for place, word in enumerate(encoding.word_ids(row)):
            if word is not None:
                expected.append((model.config.id2label[path[row, place].item()], *offsets[place]))
    assert len({label for label, *_ in expected}) > 3
    result = pipe(text)
    if not options:
        assert [(entity["entity"], entity["start"], entity["end"]) for entity in result] == [
            word for word in expected if word[0] != "O"
        ]
    for entity in result:
        here = [label for label, start, end in expected if entity["start"] <= start and end <= entity["end"]]
        assert {label[2:] for label in here} == {(entity.get("entity_group") or entity["entity"][2:])}
        assert "".join(text[entity["start"] : entity["end"]].split()) == entity["word"].replace(" ", "")


@pytest.mark.parametrize("side", ["right", "left"])
def test_special_tokens_and_padding_are_not_in_the_chain(side):
    model, batch = tagger(), encode(side=side, return_special_tokens_mask=True)
    special = batch.pop("special_tokens_mask").bool()
    scores, output = word_scores(model, batch)
    assert not output.logits[special].any()
    assert output.logits[~special].any(-1).all()
    # Labels of special tokens count neither in the chain nor in the number of words.
    labels = torch.randint(len(LABELS), special.shape, generator=torch.Generator().manual_seed(0))
    loss = model(**batch, labels=labels).loss
    torch.testing.assert_close(loss, model(**batch, labels=labels.masked_fill(special, -100)).loss, rtol=0, atol=0)
    expected = model.crf(scores, labels, ~special).sum() / (~special).sum()
    torch.testing.assert_close(loss, expected, **EXACT)


def test_the_loss_is_divided_by_the_words_of_the_step():
    model, batch = tagger(), encode()
    labels = torch.full(batch["attention_mask"].shape, -100)
    assert not model(**batch, labels=labels).loss.any()
    labels[0, 1:3], labels[3, 4] = 2, 1
    loss = model(**batch, labels=labels).loss
    torch.testing.assert_close(model(**batch, labels=labels, num_items_in_batch=torch.tensor(12)).loss, loss * 3 / 12)


def test_whole_words_have_special_tokens_too():
    sizes = {
        "char_cnn_filters": [],
        "max_characters_per_token": 1,
        "vocab_size": 20,
        "bos_token_id": 3,
        "eos_token_id": 4,
    }
    model = tagger(**sizes)
    logits = model(torch.tensor([3, 9, 7, 4])[None, :, None]).logits
    assert logits[0].any(-1).tolist() == [False, True, True, False]


def test_label_names_may_be_set_after_the_model_was_made():
    """Scripts of transformers create the model first and name its labels afterwards."""
    model = tagger([f"LABEL_{label}" for label in range(len(LABELS))])
    batch = encode()
    anything = model(**batch).logits
    model.config.id2label = dict(enumerate(LABELS))
    torch.testing.assert_close(model(**batch).logits, tagger()(**batch).logits, **EXACT)
    assert not torch.equal(anything, model(**batch).logits)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.full((4, 7), len(LABELS)), "`labels` must be -100 or from 0 to 8, but go from 9 to 9"),
        (torch.full((4, 7), -1), "`labels` must be -100 or from 0 to 8, but go from -1 to -1"),
        (torch.zeros(4, 6), r"`labels` must be \(batch, words\) = \(4, 7\), but is \(4, 6\)"),
    ],
)
def test_impossible_labels_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        tagger()(**encode(), labels=labels)


def test_logits_have_gradients_without_labels():
    """With label smoothing, the Trainer keeps the labels and computes its loss from the logits."""
    model, batch = tagger(), encode()
    model(**batch).logits.log_softmax(-1)[:, 1].sum().backward()
    assert all(
        weight.grad.any() for weight in model.parameters() if weight.requires_grad and weight is not model.crf.end
    )
    model.zero_grad()
    assert not model(**batch, labels=torch.zeros(4, 7, dtype=torch.long)).logits.requires_grad
