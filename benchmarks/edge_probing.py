"""Which layer holds what (edge probing, Tenney et al. 2019): one head for all tasks, and the mix that it learns.

    python benchmarks/edge_probing.py --model MODEL --output_dir FOLDER --pos TRAIN.conllu TEST.conllu \\
        --ner TRAIN.conll TEST.conll --srl TRAIN.srl TEST.srl --coref TRAIN.conll TEST.conll [--seeds 1 2 3]

Labels are of a word (pos), an entity (ner), or a predicate and its argument (srl), or say that two mentions are the
same (coref; documents are cut into parts of 60 words). Each has a sigmoid; the score is micro-averaged F1. The encoder
is frozen: pretrained, or random. FOLDER gets all numbers, probes.json, and a plot of the pretrained encoder's layers.
"""

import argparse
import json
import statistics
from pathlib import Path

import numpy as np
from downstream import draw_shares, print_table

from hf_elmo import ElmoForSpanClassification
from hf_elmo.loading import load_tokenizer
from hf_elmo.model.label_schemes_elmo import spans as labeled_spans
from hf_elmo.training import arguments as settings
from hf_elmo.training.batches import EncodedDataset, encode
from hf_elmo.training.configs import read_config
from hf_elmo.training.data.documents import read_documents, split_documents
from hf_elmo.training.data.predicates import read_predicates
from hf_elmo.training.data.word_labels import read_word_labels
from hf_elmo.training.encoder_cache import EncoderCache
from hf_elmo.training.starting_model import StartingModel
from hf_elmo.training.trainer import TaskTrainer

TASKS = {
    "pos": lambda **files: read_word_labels(settings.WordLabelArguments(label_scheme="plain", **files)),
    "ner": lambda **files: read_word_labels(settings.WordLabelArguments(**files)),
    "srl": lambda **files: read_predicates(settings.PredicateArguments(**files)),
    "coref": lambda **files: read_documents(settings.DocumentArguments(**files)),
}


def items_of(task: str, example: dict) -> list[tuple[list[tuple[int, int]], str]]:
    """Return one or two spans, first and last words, of each item of an example, and their label, "" for none."""
    if task == "pos":
        return [([(place, place)], label) for place, label in enumerate(example["labels"])]
    if task == "ner":
        return [([(span.start, span.end - 1)], span.type) for span in labeled_spans(example["labels"])]
    if task == "srl":
        roles = [(one["words"], span) for one in example["predicates"] for span in labeled_spans(one["labels"])]
        return [([(verb[0], verb[-1]), (r.start, r.end - 1)], r.type) for verb, r in roles if r.type != "V"]
    mentions = sorted((tuple(mention), n) for n, cluster in enumerate(example["clusters"]) for mention in cluster)
    pairs = [(one, other) for place, other in enumerate(mentions) for one in mentions[:place]]
    return [([one[0], other[0]], "same" if one[1] == other[1] else "") for one, other in pairs]


def encoded(task: str, examples: list[dict], tokenizer, labels: list[str]) -> EncodedDataset:
    """Encode the examples that have items, with `spans` `(N, S, 2)` and `labels` `(N, K)`."""
    features = []
    for example in (example for example in examples if items_of(task, example)):
        sentences, items = example.get("sentences") or [example["tokens"]], items_of(task, example)
        rows = encode(tokenizer, sentences, is_split_into_words=True)
        starts = np.cumsum([0, *(len(row["input_ids"]) for row in rows)])
        place = [start + 1 + n for start, words in zip(starts, sentences) for n in range(len(words))]  # behind <S>
        feature = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        feature["spans"] = np.array([[[place[word] for word in span] for span in spans] for spans, _ in items])
        feature["labels"] = np.array([[label == name for name in labels] for _, label in items], dtype=np.float32)
        features.append(feature)
    return EncodedDataset(features, features)


def micro_f1(dataset: EncodedDataset, logits: np.ndarray) -> dict[str, float]:
    gold = np.concatenate([feature["labels"] > 0 for feature in dataset.features])
    found = np.concatenate([row[: len(one["labels"])] > 0 for one, row in zip(dataset.features, logits)])
    return {"f1": float(2 * (gold & found).sum() / max(1, gold.sum() + found.sum()))}


def probe(task: str, random: bool, arguments: argparse.Namespace, cache: EncoderCache) -> dict:
    """Train the head with each seed; return the F1 of each run, and the weights of the layers."""
    train, test = getattr(arguments, task)
    splits = {name: [*examples] for name, examples in TASKS[task](train_file=train, test_file=test).items()}
    if task == "coref":
        splits = {name: [*split_documents(examples, 60)] for name, examples in splits.items()}
    splits = {name: examples[: arguments.max_samples] for name, examples in splits.items()}
    # With those of the test alone, which can only be missed
    labels = sorted({label for split in splits.values() for one in split for _, label in items_of(task, one)} - {""})
    spans = {"spans_per_label": 1 if task in ("pos", "ner") else 2, "num_labels": len(labels)}
    config = read_config(arguments.model, None, random, word_vocab_size=0, head_dropout=0.2, **spans)
    tokenizer = load_tokenizer(arguments.model)
    datasets = {name: encoded(task, examples, tokenizer, labels) for name, examples in splits.items()}
    given = settings.ModelArguments(model_name_or_path=arguments.model, random_encoder=random)
    start, runs = StartingModel(ElmoForSpanClassification, config, given, tokenizer, datasets), []
    for seed in arguments.seeds:
        never = dict.fromkeys(("eval_strategy", "save_strategy", "logging_strategy"), "no")
        limits = {"max_steps": arguments.max_steps, "seed": seed}
        args = settings.FineTuningArguments(str(arguments.output_dir), **never, **limits)
        trainer = TaskTrainer(start.create(seed), args, datasets, tokenizer, micro_f1)
        for dataset in datasets.values():
            cache.fill(trainer.model, dataset)
        trainer.train()
        f1 = trainer.predict(datasets["test"]).metrics["test_f1"]
        runs.append({"seed": seed, "f1": f1, "mix_weights": trainer.model.elmo.mix_weights()[0].tolist()})
    items = sum(len(feature["labels"]) for feature in datasets["train"].features)
    return {"labels": labels, "train_items": items, "runs": runs}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="A pretrained encoder, a folder or a name on the Hub.")
    parser.add_argument("--output_dir", required=True, type=Path)
    for task in TASKS:
        parser.add_argument(f"--{task}", nargs=2, metavar=("TRAIN", "TEST"))
    parser.add_argument("--seeds", nargs="+", default=[1, 2, 3], type=int)
    parser.add_argument("--max_samples", type=int, help="Sentences, or parts of documents, of each file.")
    parser.add_argument("--max_steps", type=int, default=2000)
    arguments = parser.parse_args()
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    found, rows, shares = {}, [], {}
    with EncoderCache() as cache:
        for task in filter(vars(arguments).get, TASKS):
            for encoder in ("random", "pretrained"):
                result = found[f"{task}, {encoder}"] = probe(task, encoder == "random", arguments, cache)
                scores = [100 * run["f1"] for run in result["runs"]]
                deviation = f" ± {statistics.stdev(scores):.1f}" if len(scores) > 1 else ""
                layers = zip(*(run["mix_weights"] for run in result["runs"]))
                shares[task] = [statistics.fmean(layer) for layer in layers]
                weights = ", ".join(f"{share:.2f}" for share in shares[task])
                center = f"{sum(layer * share for layer, share in enumerate(shares[task])):.2f}"
                rows.append([task, encoder, f"{statistics.fmean(scores):.1f}{deviation}", weights, center])
                file = arguments.output_dir / "probes.json"  # which holds what is known so far
                file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print_table("Edge probing", ["task", "encoder", "F1", "weights of the layers", "mean layer"], rows)
    draw_shares(shares, arguments.output_dir / "layer-shares.png")  # of the pretrained encoder, which came last


if __name__ == "__main__":
    main()
