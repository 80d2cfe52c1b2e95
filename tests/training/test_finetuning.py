"""Fine-tuning as transformers' example scripts do it, call by call, from a folder and files to a model that has learnt.

The scripts are `run_ner.py`, `run_classification.py`, `run_glue.py` and `run_qa.py` in its `examples/pytorch`:
no package holds them, and they take their metrics from a network. What they call of a model and its tokenizer is called
here in the same way.
"""

import json
import random

import numpy as np
import pytest
import toy_tasks
from datasets import load_dataset
from toy_finetuning import write_encoder
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

pytestmark = pytest.mark.slow  # each test trains


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    write_encoder(folder)
    return folder


def load_toy_dataset(folder, make_rows):
    """Training, validation and test splits through files, as the scripts have them."""
    files = {}
    for seed, (split, count) in enumerate({"train": 128, "validation": 40, "test": 10}.items()):
        files[split] = str(folder / f"{split}.json")
        rows = make_rows(count, random.Random(seed))
        (folder / f"{split}.json").write_text("\n".join(map(json.dumps, rows)))
    return load_dataset("json", data_files=files, cache_dir=str(folder / "cache"))


def training_arguments(folder, learning_rate=2e-2, **options):
    return TrainingArguments(
        output_dir=str(folder / "output"),
        use_cpu=True,
        learning_rate=learning_rate,
        per_device_train_batch_size=16,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        **options,
    )


def train_and_evaluate(trainer, test_dataset):
    """What every script does with its Trainer. Returns the metrics on the validation split and the test predictions."""
    metrics = trainer.train(resume_from_checkpoint=None).metrics
    trainer.save_model()
    trainer.log_metrics("train", metrics)
    trainer.save_metrics("train", metrics)
    trainer.save_state()
    metrics = trainer.evaluate()
    trainer.log_metrics("eval", metrics)
    trainer.save_metrics("eval", metrics)
    predictions = trainer.predict(test_dataset, metric_key_prefix="predict").predictions
    trainer.create_model_card(finetuned_from="elmo", tasks="token-classification")
    return metrics, predictions


def load_again(auto_class, trainer):
    """The model and the tokenizer that the Trainer saved."""
    folder = trainer.args.output_dir
    return auto_class.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("pad_to_max_length", [False, True])
def test_token_classification(checkpoint, tmp_path, pad_to_max_length):
    def make_rows(count, chance):
        rows = toy_tasks.sentences(count, chance.random())
        return [
            {"tokens": words, "ner_tags": [toy_tasks.KINDS[toy_tasks.kind(word)] for word in words]} for words in rows
        ]

    raw_datasets = load_toy_dataset(tmp_path, make_rows)
    label_list = sorted({label for labels in raw_datasets["train"]["ner_tags"] for label in labels})
    label_to_id = {label: i for i, label in enumerate(label_list)}
    set_seed(0)
    config = AutoConfig.from_pretrained(checkpoint, num_labels=len(label_list), finetuning_task="ner")
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, use_fast=True)
    model = AutoModelForTokenClassification.from_pretrained(checkpoint, config=config, ignore_mismatched_sizes=False)
    assert hasattr(tokenizer, "_tokenizer") or tokenizer.is_fast
    model.config.label2id = label_to_id
    model.config.id2label = dict(enumerate(label_list))

    def tokenize_and_align_labels(examples):
        tokenized_inputs = tokenizer(
            examples["tokens"],
            padding="max_length" if pad_to_max_length else False,
            truncation=True,
            max_length=16,
            is_split_into_words=True,
        )
        labels = []
        for i, label in enumerate(examples["ner_tags"]):
            label_ids, previous = [], None
            for word in tokenized_inputs.word_ids(batch_index=i):
                label_ids.append(-100 if word is None or word == previous else label_to_id[label[word]])
                previous = word
            labels.append(label_ids)
        tokenized_inputs["labels"] = labels
        return tokenized_inputs

    dataset = raw_datasets.map(tokenize_and_align_labels, batched=True)

    def compute_metrics(evaluation):
        predictions, labels = evaluation
        predictions = np.argmax(predictions, axis=2)
        return {"accuracy": (predictions == labels)[labels != -100].mean()}

    trainer = Trainer(
        model=model,
        args=training_arguments(tmp_path, 1e-2, num_train_epochs=12),
        train_dataset=dataset["train"],
        eval_dataset=dataset["validation"],
        processing_class=tokenizer,
        data_collator=DataCollatorForTokenClassification(tokenizer, pad_to_multiple_of=None),
        compute_metrics=compute_metrics,
    )
    metrics, predictions = train_and_evaluate(trainer, dataset["test"])
    assert metrics["eval_accuracy"] == 1.0

    model, tokenizer = load_again(AutoModelForTokenClassification, trainer)
    for words, labels, scores in zip(raw_datasets["test"]["tokens"], raw_datasets["test"]["ner_tags"], predictions):
        assert [label_list[i] for i in scores.argmax(-1)[1 : len(words) + 1]] == labels
        logits = model(**tokenizer(words, is_split_into_words=True, return_tensors="pt")).logits[0]
        np.testing.assert_allclose(logits.detach(), scores[: len(logits)], rtol=0, atol=1e-5)
        assert [model.config.id2label[int(i)] for i in logits.argmax(-1)[1:-1]] == labels


@pytest.mark.parametrize("kind", ["one-label", "several-labels", "regression", "pair"])
def test_text_classification(checkpoint, tmp_path, kind):
    label_list = ["person", "place"]

    def make_row(words):
        present = [any(toy_tasks.kind(word) == 2 - i for word in words) for i in range(2)]
        row = {"sentence": " ".join(words)}
        if kind == "pair":
            row = {"sentence1": " ".join(words[:2]), "sentence2": " ".join(words[2:])}
        if kind == "several-labels":
            row["label"] = [label for label, there in zip(label_list, present) if there]
        elif kind == "regression":
            row["label"] = sum(toy_tasks.kind(word) == 1 for word in words) / len(words)
        else:
            row["label"] = label_list[present[1]]
        return row

    raw_datasets = load_toy_dataset(
        tmp_path, lambda count, chance: [make_row(words) for words in toy_tasks.sentences(count, chance.random())]
    )
    num_labels = 1 if kind == "regression" else 2
    set_seed(0)
    config = AutoConfig.from_pretrained(checkpoint, num_labels=num_labels, finetuning_task="text-classification")
    if kind in ("regression", "several-labels"):
        config.problem_type = {"several-labels": "multi_label_classification"}.get(kind, kind)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, use_fast=True)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, config=config)
    if kind != "regression":
        model.config.label2id = {label: i for i, label in enumerate(label_list)}
        model.config.id2label = dict(enumerate(label_list))

    def preprocess(examples):
        texts = (examples["sentence1"], examples["sentence2"]) if kind == "pair" else (examples["sentence"],)
        result = tokenizer(*texts, padding="max_length" if kind == "pair" else False, max_length=14, truncation=True)
        if kind == "several-labels":
            result["label"] = [[float(label in labels) for label in label_list] for labels in examples["label"]]
        elif kind == "regression":
            result["label"] = examples["label"]
        else:
            result["label"] = [label_list.index(label) for label in examples["label"]]
        return result

    dataset = raw_datasets.map(preprocess, batched=True, remove_columns=["label"])

    def compute_metrics(evaluation):
        scores, labels = evaluation.predictions, evaluation.label_ids
        if kind == "regression":
            return {"error": np.abs(np.squeeze(scores) - labels).mean()}
        if kind == "several-labels":
            return {"error": ((scores > 0) != labels).mean()}
        return {"error": (np.argmax(scores, axis=1) != labels).mean()}

    trainer = Trainer(
        model=model,
        args=training_arguments(tmp_path, num_train_epochs=16 if kind == "several-labels" else 8),
        train_dataset=dataset["train"],
        eval_dataset=dataset["validation"],
        compute_metrics=compute_metrics,
        processing_class=tokenizer,
        data_collator=default_data_collator if kind == "pair" else None,
    )
    metrics, scores = train_and_evaluate(trainer, dataset["test"].remove_columns("label"))
    assert metrics["eval_error"] <= (0.05 if kind == "regression" else 0.0)
    assert scores.shape == (10, num_labels)
    model, _ = load_again(AutoModelForSequenceClassification, trainer)
    assert model.config.problem_type == trainer.model.config.problem_type


def test_question_answering(checkpoint, tmp_path):
    def make_row(chance, number):
        words = [
            chance.choice(toy_tasks.NAMES),
            chance.choice(toy_tasks.PLACES),
            *chance.choices(toy_tasks.OTHERS, k=6),
        ]
        answer = words[0]
        chance.shuffle(words)
        context = " ".join(words)
        answers = {"text": [answer], "answer_start": [context.index(answer)]}
        return {"id": str(number), "question": "  Who was it?", "context": context, "answers": answers}

    raw_datasets = load_toy_dataset(tmp_path, lambda count, chance: [make_row(chance, n) for n in range(count)])
    set_seed(0)
    config = AutoConfig.from_pretrained(checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, use_fast=True)
    model = AutoModelForQuestionAnswering.from_pretrained(checkpoint, config=config)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    assert tokenizer.padding_side == "right"
    max_length = min(12, tokenizer.model_max_length)  # less than a question and its context: each makes several rows

    def tokenize(examples):
        return tokenizer(
            [question.lstrip() for question in examples["question"]],
            examples["context"],
            truncation="only_second",
            max_length=max_length,
            stride=2,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding=False,
        )

    def prepare_train_features(examples):
        features = tokenize(examples)
        sample_mapping, offset_mapping = features.pop("overflow_to_sample_mapping"), features.pop("offset_mapping")
        features["start_positions"], features["end_positions"] = [], []
        for i, offsets in enumerate(offset_mapping):
            input_ids, sequence_ids = features["input_ids"][i], features.sequence_ids(i)
            if tokenizer.cls_token_id in input_ids:
                nowhere = input_ids.index(tokenizer.cls_token_id)
            elif tokenizer.bos_token_id in input_ids:
                nowhere = input_ids.index(tokenizer.bos_token_id)
            else:
                nowhere = 0
            answers = examples["answers"][sample_mapping[i]]
            first = answers["answer_start"][0]
            last = first + len(answers["text"][0])
            start, end = 0, len(input_ids) - 1
            while sequence_ids[start] != 1:
                start += 1
            while sequence_ids[end] != 1:
                end -= 1
            if offsets[start][0] <= first and offsets[end][1] >= last:
                while start < len(offsets) and offsets[start][0] <= first:
                    start += 1
                while offsets[end][1] >= last:
                    end -= 1
                start, end = start - 1, end + 1
            else:
                start = end = nowhere
            features["start_positions"].append(start)
            features["end_positions"].append(end)
        return features

    def prepare_validation_features(examples):
        features = tokenize(examples)
        sample_mapping = features.pop("overflow_to_sample_mapping")
        features["example_id"] = [examples["id"][sample] for sample in sample_mapping]
        for i, offsets in enumerate(features["offset_mapping"]):
            sequence_ids = features.sequence_ids(i)
            features["offset_mapping"][i] = [o if sequence_ids[k] == 1 else None for k, o in enumerate(offsets)]
        return features

    columns = raw_datasets["train"].column_names
    train_dataset = raw_datasets["train"].map(prepare_train_features, batched=True, remove_columns=columns)
    eval_examples = raw_datasets["validation"]
    eval_dataset = eval_examples.map(prepare_validation_features, batched=True, remove_columns=columns)
    assert len(eval_dataset) > len(eval_examples)

    trainer = Trainer(
        model=model,
        args=training_arguments(tmp_path, 1e-2, num_train_epochs=6),
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer, pad_to_multiple_of=None),
    )
    train_and_evaluate(trainer, eval_dataset)
    start_logits, end_logits = trainer.predict(eval_dataset).predictions

    best = {}
    for feature, starts, ends in zip(eval_dataset, start_logits, end_logits):
        places = [place for place, offset in enumerate(feature["offset_mapping"]) if offset is not None]
        score, start, end = max((starts[s] + ends[e], s, e) for s in places for e in places if s <= e)
        span = (feature["offset_mapping"][start][0], feature["offset_mapping"][end][1])
        best[feature["example_id"]] = max(best.get(feature["example_id"], (-np.inf,)), (score, span))
    correct = 0
    for example in eval_examples:
        start, end = best[example["id"]][1]
        correct += example["context"][start:end] == example["answers"]["text"][0]
    assert correct == len(eval_examples)
