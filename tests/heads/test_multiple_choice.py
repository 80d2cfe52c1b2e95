"""The choice among several texts, as `transformers` trains it."""

import random

import numpy as np
import pytest
import torch
import toy_tasks
from datasets import Dataset
from shaken import shake
from transformers import (
    AutoModelForMultipleChoice,
    AutoTokenizer,
    DataCollatorForMultipleChoice,
    Trainer,
    TrainingArguments,
    default_data_collator,
)

import hf_elmo

CHOICES = 4


def examples(count: int, seed: int) -> Dataset:
    """Contexts with four endings as in SWAG, of which the right one is a person."""
    draw, rows = random.Random(seed), []
    for _ in range(count):
        endings = draw.sample(toy_tasks.PLACES, CHOICES)
        label = draw.randrange(CHOICES)
        endings[label] = f"{draw.choice(toy_tasks.NAMES)} again"
        named = {f"ending{number}": ending for number, ending in enumerate(endings)}
        rows.append({"sent1": "Who was it ?", "sent2": draw.choice(["met", "saw"]), "label": label, **named})
    return Dataset.from_list(rows)


def preprocess(dataset: Dataset, tokenizer, **options) -> Dataset:
    """What run_swag.py does: pairs of all choices in one call, then regrouped by example."""

    def grouped(batch):
        first = [context for context in batch["sent1"] for _ in range(CHOICES)]
        second = [f"{batch['sent2'][i]} {batch[f'ending{n}'][i]}" for i in range(len(batch["sent1"])) for n in range(4)]
        encoded = tokenizer(first, second, truncation=True, max_length=64, **options)
        return {key: [of[i : i + CHOICES] for i in range(0, len(of), CHOICES)] for key, of in encoded.items()}

    return dataset.map(grouped, batched=True)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return shake(hf_elmo.ElmoForMultipleChoice(toy_tasks.config(num_labels=3, sequence_encoder="esim")))


@torch.no_grad()
def test_a_choice_has_the_score_of_a_classifier_of_its_pair(model):
    rows, tokenizer = examples(2, seed=0), toy_tasks.tokenizer()
    columns = ["input_ids", "attention_mask", "label"]
    features = [*preprocess(rows, tokenizer).select_columns(columns)]
    batch = DataCollatorForMultipleChoice(tokenizer)(features)
    assert batch["input_ids"].ndim == 3  # the collator knows no words of characters
    output = model(**batch)
    classifier = hf_elmo.ElmoForSequenceClassification(toy_tasks.config(num_labels=1, sequence_encoder="esim")).eval()
    classifier.load_state_dict(model.state_dict())
    expected = torch.stack(
        [
            classifier(torch.tensor([ids]), torch.tensor([mask])).logits[0, 0]
            for one in features
            for ids, mask in zip(one["input_ids"], one["attention_mask"])
        ]
    ).view(2, CHOICES)
    torch.testing.assert_close(output.logits, expected, rtol=1e-5, atol=1e-5)
    assert expected.std(dim=1).min() > 1e-3
    by_hand = -expected.log_softmax(dim=1)[range(2), rows["label"]]
    torch.testing.assert_close(output.loss, by_hand.mean())
    torch.testing.assert_close(model(**batch, num_items_in_batch=8).loss, by_hand.sum() / 8)

    padded = preprocess(rows, tokenizer, padding="max_length").select_columns(columns)
    four = default_data_collator([*padded])
    assert four["input_ids"].shape == (2, CHOICES, 64, 12)
    torch.testing.assert_close(model(**four).logits, output.logits, rtol=1e-5, atol=1e-5)
    embedded = model.get_input_embeddings()(four.pop("input_ids"))
    torch.testing.assert_close(model(inputs_embeds=embedded, **four).logits, output.logits, rtol=1e-5, atol=1e-5)


def test_texts_without_choices_are_refused_and_the_configuration_stays_the_callers(model):
    batch = toy_tasks.tokenizer()(["Ada", "Tom"], return_tensors="pt")
    with pytest.raises(ValueError, match=r"must be \(B, choices, T, 12\), or .* but are \(2, 3, 12\)"):
        model(**batch)
    with pytest.raises(ValueError, match=r"but are \(2, 3, 12\)"):
        model(batch["input_ids"])
    config = toy_tasks.config(num_labels=3)
    assert hf_elmo.ElmoForMultipleChoice(config).config.num_labels == 1
    assert config.num_labels == 3


@pytest.mark.slow
def test_the_flow_of_run_swag_learns_and_saves(tmp_path):
    checkpoint = str(toy_tasks.save_checkpoint(tmp_path / "elmo"))
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForMultipleChoice.from_pretrained(checkpoint)
    splits = [preprocess(examples(count, seed), tokenizer) for seed, count in enumerate((96, 24))]
    arguments = TrainingArguments(
        tmp_path / "trained",
        learning_rate=0.03,
        num_train_epochs=6,
        per_device_train_batch_size=16,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=splits[0],
        eval_dataset=splits[1],
        processing_class=tokenizer,
        data_collator=DataCollatorForMultipleChoice(tokenizer=tokenizer),
        compute_metrics=lambda p: {"accuracy": float((np.argmax(p.predictions, axis=1) == p.label_ids).mean())},
    )
    trainer.train()
    assert trainer.evaluate()["eval_accuracy"] > 0.9
    trainer.save_model()
    again = AutoModelForMultipleChoice.from_pretrained(tmp_path / "trained")
    assert type(again) is hf_elmo.ElmoForMultipleChoice
    predictions = trainer.predict(splits[1]).predictions
    found = Trainer(again, arguments, trainer.data_collator).predict(splits[1]).predictions
    np.testing.assert_array_equal(found, predictions)
