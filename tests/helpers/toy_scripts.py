"""A short command for each fine-tuning script, with its data: what tests of the life of a run have in common."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import toy_tasks
from toy_finetuning import QUIET, SMALL, command, write_encoder, write_texts, write_words

from hf_elmo.training import classify, coref, ner, nli, qa, seq2seq, srl

COUNTS = {"train": 48, "validation": 12, "test": 8}


def write_data(folder: Path) -> Path:
    """Write the data of all scripts, each into a folder of its own with the encoder."""
    writers = {"ner": write_words, "classify": write_texts, "nli": write_pairs, "qa": write_questions}
    rest = {"coref": write_documents, "srl": write_predicates, "seq2seq": write_parallel, "tables": write_tables}
    for name, write in {**writers, **rest}.items():
        (folder / name).mkdir(parents=True)
        write(folder / name)
    return folder


def write_pairs(folder: Path) -> None:
    """Sentences, and others that say in one word whether they are true."""
    labels = {"true": "entailment", "false": "contradiction", "unsure": "neutral"}
    for seed, (split, count) in enumerate(COUNTS.items()):
        draw, rows = random.Random(seed), []
        for words in toy_tasks.sentences(count, seed):
            answer = draw.choice([*labels])
            rows.append({"sentence1": " ".join(words), "sentence2": f"this is {answer}", "gold_label": labels[answer]})
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_encoder(folder / "encoder")


def write_tables(folder: Path) -> None:
    """Pairs of sentences with the kinds of names in the first, its share of names, and whether both have as many."""
    for seed, (split, count) in enumerate(COUNTS.items()):
        rows = []
        for first, second in zip(toy_tasks.sentences(count, seed), toy_tasks.sentences(count, seed + len(COUNTS))):
            names = [toy_tasks.names_in(words) for words in (first, second)]
            labels = {
                "kinds": sorted({toy_tasks.KINDS[toy_tasks.kind(word)] for word in first} - {"O"}),
                "share": names[0] / len(first),
                "same": "yes" if names[0] == names[1] else "no",
            }
            rows.append({"text": " ".join(first), "second": " ".join(second), **labels})
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_encoder(folder / "encoder")


def write_questions(folder: Path) -> None:
    """Texts with one name among other words, and questions for the name; every third has none (SQuAD 2.0)."""
    for seed, (split, count) in enumerate(COUNTS.items()):
        draw, paragraphs = random.Random(seed), []
        for number in range(count):
            name = draw.choice(toy_tasks.NAMES) if number % 3 else ""
            words = [*([name] if name else []), *draw.choices(toy_tasks.OTHERS, k=10)]
            draw.shuffle(words)
            context = " ".join(words)
            answers = [{"text": name, "answer_start": context.index(name)}] if name else []
            question = {"id": f"{seed}-{number}", "question": "Who was it?", "answers": answers}
            paragraphs.append({"context": context, "qas": [question | {"is_impossible": not name}]})
        (folder / f"{split}.json").write_text(json.dumps({"version": "v2.0", "data": [{"paragraphs": paragraphs}]}))
    write_encoder(folder / "encoder")


def write_documents(folder: Path) -> None:
    """Documents of three sentences, in which a name always means the same person, in the format of CoNLL-2012."""
    for seed, (split, count) in enumerate(COUNTS.items()):
        sentences, lines = iter(toy_tasks.sentences(3 * count, seed)), []
        for number in range(count):
            lines.append(f"#begin document ({split}/{number}); part 000")
            for words in (next(sentences) for _ in range(3)):
                for place, word in enumerate(words):
                    mention = f"({toy_tasks.NAMES.index(word)})" if word in toy_tasks.NAMES else "-"
                    lines.append(f"{split}/{number} 0 {place} {word} {mention}")
                lines.append("")
            lines.append("#end document")
        (folder / f"{split}.conll").write_text("\n".join(lines) + "\n")
    write_encoder(folder / "encoder")


def write_predicates(folder: Path) -> None:
    """Sentences of one or two predicates, in numbered columns: the word before is ARG0, the one behind it ARG1."""
    for seed, (split, count) in enumerate(COUNTS.items()):
        draw, lines = random.Random(seed), []
        for number in range(count):
            clauses = [draw.sample(toy_tasks.NAMES, 2) for _ in range(1 + number % 2)]
            words = " and ".join(f"{one} {draw.choice(['met', 'saw'])} {other}" for one, other in clauses).split()
            lines.append(f"# sent_id = {split}-{number}")
            for place, word in enumerate(words):
                roles = [
                    {0: "B-ARG0", 1: "B-V", 2: "B-ARG1"}.get(place - 4 * clause, "O") for clause in range(len(clauses))
                ]
                frame = f"{word}.01" if word in ("met", "saw") else "_"
                lines.append("\t".join([str(place + 1), word, word.lower(), "X", "Y", frame, *roles]))
            lines.append("")
        (folder / f"{split}.srl").write_text("\n".join(lines) + "\n")
    write_encoder(folder / "encoder")


def write_parallel(folder: Path) -> None:
    """Sentences, and the same in capitals, in parallel lines."""
    for seed, (split, count) in enumerate(COUNTS.items()):
        lines = "".join(f"{' '.join(words[:4])}\n" for words in toy_tasks.sentences(count, seed))
        (folder / f"{split}.low").write_text(lines)
        (folder / f"{split}.up").write_text(lines.upper())
    write_encoder(folder / "encoder")


DECODER = ["--decoder_layers", "1", "--decoder_size", "8", "--decoder_heads", "2", "--target_vocab_size", "300"]
DECODER += ["--source_language", "low", "--target_language", "up", "--max_target_length", "12"]
MULTI_LABEL = ["--problem_type", "multi_label"]
SPANS = {"coref_size": 8, "coref_hidden_size": 8, "coref_feature_size": 4, "coref_max_width": 2}


def short(data: Path, output: Path, name: str, suffix: str, *more: str, **options: object) -> list[str]:
    """Return the arguments of a script for three epochs."""
    files = [part for split in COUNTS for part in (f"--{split}_file", str(data / name / f"{split}.{suffix}"))]
    return [
        *("--model_name_or_path", str(data / name / "encoder"), "--output_dir", str(output), *files, *QUIET),
        *("--config_overrides", json.dumps(SMALL | options), "--num_train_epochs", "3"),
        *("--per_device_train_batch_size", "8", "--learning_rate", "0.01", *more),
    ]


def tagger(data: Path, output: Path, *more: str, **options: object) -> list[str]:
    samples = ["--max_train_samples", "40", "--save_strategy", "steps", "--eval_strategy", "steps"]
    samples += ["--save_steps", "4", "--eval_steps", "4", "--logging_strategy", "epoch"]
    return command(data / "ner", output, *samples, *more, **options)


def seeds(data: Path, output: Path, *more: str, **options: object) -> list[str]:
    return tagger(data, output, "--seeds", "1", "2", "--train_fraction", "0.9", *more, **options)


def maker(name: str, suffix: str, *always: str, **fixed: object) -> Callable[..., list[str]]:
    """Return what makes the command of a script from the folders of its data and its output, and from more options."""

    def make(data: Path, output: Path, *more: str, **options: object) -> list[str]:
        return short(data, output, name, suffix, *always, *more, **fixed | options)

    return make


SCRIPTS = {
    "ner": (ner.main, tagger),
    "seeds": (ner.main, seeds),
    "classify": (classify.main, maker("classify", "txt")),
    "multi-label": (classify.main, maker("tables", "jsonl", "--label_column", "kinds", *MULTI_LABEL)),
    "regression": (classify.main, maker("tables", "jsonl", "--label_column", "share", "--problem_type", "regression")),
    "pairs": (classify.main, maker("tables", "jsonl", "--label_column", "same", "--text_pair_column", "second")),
    "nli": (nli.main, maker("nli", "jsonl", sequence_size=8)),
    "qa": (qa.main, maker("qa", "json", qa_size=8)),
    "coref": (coref.main, maker("coref", "conll", **SPANS)),
    "srl": (srl.main, maker("srl", "srl", tagger_layers=1, predicate_feature_size=4)),
    "seq2seq": (seq2seq.main, maker("seq2seq", "low", *DECODER)),
}
