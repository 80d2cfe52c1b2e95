"""A text that is learnt in seconds, and the command that learns it: what tests of pretraining train on."""

import json
import random
from pathlib import Path

from hf_elmo.training import pretrain

SIZES = {
    "char_cnn_filters": [[1, 4], [2, 6]],
    "char_embedding_size": 4,
    "num_highway_layers": 1,
    "projection_size": 6,
    "cell_size": 12,
}
QUIET = ["--plots", "False", "--use_cpu", "True", "--report_to", "none", "--disable_tqdm", "True"]


def write_texts(folder: Path) -> Path:
    """Two files of sentences that follow a rule a language model can learn, and held-out ones of the same make."""
    rng = random.Random(0)
    nouns, verbs = ["dog", "cat", "bird", "child"], {"dog": "barks", "cat": "purrs", "bird": "sings", "child": "laughs"}
    for name, count in (("a.txt", 120), ("b.txt", 80), ("held_out.txt", 20)):
        subjects = [rng.choice(nouns) for _ in range(count)]
        lines = [
            f"the {rng.choice(['old', 'young'])} {noun} {verbs[noun]} {'now ' * rng.randrange(3)}." for noun in subjects
        ]
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def command(texts: Path, output: Path, *more: str, **sizes) -> list[str]:
    """Arguments of a small run: sampled softmax, dropout, logs and checkpoints that do not fall together."""
    return [
        *("--train_files", str(texts / "[ab].txt"), "--output_dir", str(output), *QUIET),
        *("--config_overrides", json.dumps(SIZES | sizes), "--min_count", "1", "--num_negative_samples", "6"),
        *("--per_device_train_batch_size", "4", "--unroll_steps", "5"),
        *("--max_steps", "12", "--logging_steps", "3", "--save_steps", "4", *more),
    ]


def pretrained(*arguments: str) -> int:
    return pretrain.main(list(arguments))
