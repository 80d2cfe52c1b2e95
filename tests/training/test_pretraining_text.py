"""Raw and split text in pretraining and in perplexity, sizes by name, default learning rates, what a run says first."""

import json
import logging
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from lanes import first_fast
from safetensors.torch import load_file, save_file
from toy_pretraining import command, pretrained, write_texts
from transformers import AutoConfig, AutoTokenizer

from hf_elmo import ElmoConfig, ElmoModel, cli
from hf_elmo.model.word_splitting_elmo import SPLITTING_RULES
from hf_elmo.training.language_model.arguments import ModelArguments, PretrainingArguments
from hf_elmo.training.language_model.corpus import TextFiles, attached_punctuation, choose_split
from hf_elmo.training.language_model.model import SIZES, starting_config

RAW = ["I went to the river bank.", "It isn't far, is it?", "The bank was closed; we went home."]
SPLIT = ["I went to the river bank .", "It is n't far , is it ?", "The bank was closed ; we went home ."]
UNSPLIT_CLITICS = [sentence.replace(" n't", "n't") for sentence in SPLIT]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """The toy texts, and the same sentences raw and split."""
    folder = write_texts(tmp_path_factory.mktemp("texts"))
    (folder / "raw.txt").write_text("\n".join(RAW * 30) + "\n")
    (folder / "split.txt").write_text("\n".join(SPLIT * 30) + "\n")
    (folder / "half.txt").write_text("\n".join([*RAW, *SPLIT]) + "\n")
    return folder


def run_on(texts: Path, name: str, output: Path, *more: str) -> int:
    return pretrained(*command(texts, output, "--train_files", str(texts / name), "--max_steps", "1", *more))


@pytest.mark.parametrize(
    ("name", "more", "words", "split", "said"),
    first_fast(
        [
            ("raw.txt", [], SPLIT, "treebank", "is raw ('bank.'), and is split into words by the rule 'treebank'"),
            ("raw.txt", ["--split", "treebank"], SPLIT, "treebank", "by the rule 'treebank'"),
            ("raw.txt", ["--split", "whitespace"], RAW, "whitespace", "looks unsplit: 'bank.' counts as one word"),
            (
                "raw.txt",
                ["--language", "cy"],
                UNSPLIT_CLITICS,
                "punctuation",
                "'punctuation'",
            ),
            ("split.txt", [], SPLIT, "treebank", "is split into words already, and is left as it is"),
            ("split.txt", ["--split", "treebank"], SPLIT, "treebank", "by the rule 'treebank'"),
            ("half.txt", ["--split", "treebank"], SPLIT, "treebank", "by the rule 'treebank'"),
        ],
    ),
)
def test_a_text_is_split_once_and_visibly(texts, tmp_path, caplog, name, more, words, split, said):
    """The words that were learned, the rule that the tokenizer keeps, and what the run says and its card."""
    caplog.set_level(logging.INFO)
    more = [*more, "--per_device_train_batch_size", "2"]
    assert not run_on(texts, name, tmp_path / "model", *more)
    expected = {word for sentence in words for word in sentence.split()}
    vocabulary = (tmp_path / "model" / "vocab.txt").read_text().split("\n")[3:-1]
    assert set(vocabulary) == expected
    assert AutoTokenizer.from_pretrained(tmp_path / "model").split == split
    assert said in caplog.text
    assert f"The first sentence: {words[0]}" in caplog.text
    card = ModelCard.load(tmp_path / "model" / "README.md").text
    assert f"`{split}`" in card
    assert ("was split into words already" in card) == (name == "split.txt" and "--split" not in more)


def test_a_text_that_is_half_split_needs_a_rule(texts, tmp_path, capsys):
    assert run_on(texts, "half.txt", tmp_path / "model") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "of the punctuation is attached to words, as in 'bank.', the rest stands apart" in error
    assert f"--split {'|'.join(SPLITTING_RULES)}" in error
    assert run_on(texts, "half.txt", tmp_path / "model", "--split", "moses") == 2
    assert "split must be one of" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("sentence", "share"),
    [
        ("it isn't far", 1),
        ("it is n't far", 0),
        ("go home", 0),
        ("\u00ab Viens ici , dit-il . \u00bb", 0),
        ("(so?)", 0),
    ],
)
def test_what_shows_that_a_text_is_split(tmp_path, sentence, share):
    (tmp_path / "text.txt").write_text(f"{sentence}\n", encoding="utf-8")
    assert attached_punctuation(TextFiles([str(tmp_path / "text.txt")]))[0] == share


def test_splitting_again_changes_nothing(texts):
    raw, split = (TextFiles([str(texts / name)], "treebank") for name in ("raw.txt", "split.txt"))
    assert list(raw) == list(split) == [sentence.split() for sentence in SPLIT * 30]


def test_published_corpora_are_recognized_as_split(data_dir, fixtures_dir):
    corpora = [*sorted((data_dir / "lm").glob("*/valid.txt")), fixtures_dir / "bilm_checkpoint" / "heldout.txt"]
    assert len(corpora) > 10
    for path in corpora:
        corpus = TextFiles([str(path)])
        assert attached_punctuation(corpus)[0] < 0.01, path
        assert "already" in choose_split(corpus, None, "treebank")


@pytest.mark.slow
def test_held_out_text_is_split_as_the_text(texts, tmp_path):
    """Raw and split held-out text have the same perplexity, here and in the command."""
    results = []
    for held_out in ("raw.txt", "split.txt"):
        output = tmp_path / held_out
        more = ["--validation_files", str(texts / held_out), "--per_device_train_batch_size", "2"]
        assert not run_on(texts, "raw.txt", output, *more)
        results.append(json.loads((output / "all_results.json").read_text()))
    assert results[0] == results[1]
    assert results[0]["eval_tokens"] == sum(len(sentence.split()) + 1 for sentence in SPLIT * 30)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more", "tokens", "split"),
    [
        ("raw.txt", [], 27 * 30, "treebank"),
        ("split.txt", [], 27 * 30, "whitespace"),
        ("raw.txt", ["--split", "whitespace"], 21 * 30, "whitespace"),
    ],
)
def test_perplexity_of_raw_text(texts, tmp_path, capsys, name, more, tokens, split):
    assert not run_on(texts, "raw.txt", tmp_path / "model", "--per_device_train_batch_size", "2")
    capsys.readouterr()
    assert cli.main(["perplexity", str(texts / name), "--model", str(tmp_path / "model"), "--json", *more]) == 0
    results = json.loads(capsys.readouterr().out)
    assert (results["tokens"], results["split"]) == (tokens, split)


# ---- Sizes, learning rates


def parameters(size: str) -> int:
    config = starting_config(ModelArguments(size=size), torch.device("cpu"))
    with torch.device("meta"):
        model = ElmoModel(config)
    mix = sum(parameter.numel() for parameter in model.scalar_mixes.parameters())
    padding = config.char_embedding_size  # the row of the padding id, which published models do not have
    return model.num_parameters() - mix - padding


def test_sizes_are_the_published_ones(tmp_path):
    assert {size: parameters(size) for size in ("small", "medium", "original")} == {
        "small": 13_593_296,
        "medium": 28_027_728,
        "original": 93_600_848,
    }


def test_the_sizes_are_those_of_the_published_models_and_one_for_a_cpu():
    """In millions of parameters, as published."""
    models = {size: ElmoModel(ElmoConfig(**SIZES[size])) for size in ("tiny", "small", "medium")}
    millions = {size: round(model.num_parameters() / 1e6, 1) for size, model in models.items()}
    assert millions == {"tiny": 1.0, "small": 13.6, "medium": 28.0}


@pytest.mark.slow
def test_a_default_size_is_named(texts, tmp_path, caplog):
    """On a CPU it is the tiny one; before the first step the parameters and the time are named too."""
    caplog.set_level(logging.INFO)
    arguments = ["--train_files", str(texts / "a.txt"), "--output_dir", str(tmp_path), "--use_cpu", "True"]
    arguments += ["--report_to", "none", "--per_device_train_batch_size", "4", "--max_steps", "1"]
    assert not pretrained(*arguments, "--disable_tqdm", "True")
    assert "--size tiny (no accelerator is in use); the sizes are tiny, small, medium, original" in caplog.text
    words = (texts / "a.txt").read_text().split()
    assert f"120 sentences, {len(words)} words, 13 different ones; 0.00 % of the words are outside" in caplog.text
    assert "1.0 M parameters in the encoder (projection 80, cell 320)" in caplog.text
    assert "A step is 4 streams of 20 words; an epoch is 10 steps" in caplog.text
    assert "s here, and 1 steps about" in caplog.text
    assert AutoConfig.from_pretrained(tmp_path).cell_size == 320


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "huge"], "--size must be one of tiny, small, medium, original, but is 'huge'"),
        (["--size", "tiny", "--model_name_or_path", "MODEL"], "--size tiny is for a new model"),
        (["--size", "tiny", "--config_name", "MODEL"], "--size tiny is for a new model"),
        (["--model_name_or_path", "ORIGINAL"], "bilm-tf hdf5, not a saved model; type `hf-elmo convert"),
        (["--optim", "sgd"], "--optim sgd has no default learning rate here"),
        (["--lerning_rate", "1"], "did you mean --learning_rate?"),
    ],
)
def test_what_is_refused(texts, tmp_path, capsys, arguments, message):
    places = {"MODEL": "elmo", "ORIGINAL": str(Path(cli.__file__).parent / "data")}
    arguments = [places.get(argument, argument) for argument in arguments]
    assert pretrained(*command(texts, tmp_path / "model", *arguments)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_unconverted_weights_given_to_perplexity(texts, capsys):
    folder = Path(cli.__file__).parent / "data"
    assert cli.main(["perplexity", str(texts / "raw.txt"), "--model", str(folder)]) == 2
    error = capsys.readouterr().err
    assert f"`hf-elmo convert {folder} OUTPUT`" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("optimizer", "rate"), [("adagrad", 0.2), ("adamw_torch", 1e-3), ("adamw_torch_fused", 1e-3), ("adafactor", 1e-3)]
)
def test_learning_rates_by_default(tmp_path, optimizer, rate):
    args = PretrainingArguments(output_dir=str(tmp_path), optim=optimizer, use_cpu=True)
    assert args.learning_rate == rate
    args = PretrainingArguments(output_dir=str(tmp_path), optim=optimizer, learning_rate=0.5, use_cpu=True)
    assert args.learning_rate == 0.5


# ---- Divergence


def last_line(capsys) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_training_stops_when_the_loss_is_not_finite(texts, tmp_path, capsys):
    """One line; the last good checkpoint is intact, and nothing else is there."""
    arguments = command(texts, tmp_path, "--optim", "adamw_torch", "--learning_rate", "1e30")
    assert pretrained(*arguments, "--save_steps", "1", "--logging_steps", "1") == 2
    error = last_line(capsys)
    assert "training diverged in step 2: the loss is nan" in error
    assert f"{tmp_path / 'checkpoint-1'} is intact; give a lower --learning_rate (it is 1e+30)" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-1", "run.json"]
    assert all(part.isfinite().all() for part in load_file(tmp_path / "checkpoint-1" / "model.safetensors").values())


@pytest.mark.slow
def test_weights_that_are_not_finite_are_not_saved(texts, tmp_path, capsys):
    """Here of a character that does not occur, so that every loss and gradient is finite."""
    assert not pretrained(*command(texts, tmp_path / "start", "--max_steps", "1"))
    change_weight(tmp_path / "start", "elmo.char_encoder.embeddings.weight", 200)
    arguments = command(texts, tmp_path / "model", "--model_name_or_path", str(tmp_path / "start"))
    assert pretrained(*arguments, "--config_overrides", "{}") == 2
    error = last_line(capsys)
    assert "elmo.char_encoder.embeddings.weight has values that are not finite; there is no checkpoint yet" in error
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["run.json"]


def change_weight(folder: Path, name: str, row: int):
    weights = load_file(folder / "model.safetensors")
    weights[name][row] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.slow
def test_weights_that_are_damaged_have_no_perplexity(texts, tmp_path, capsys):
    assert not pretrained(*command(texts, tmp_path))
    change_weight(tmp_path, "lm_head.bias", 3)
    assert cli.main(["perplexity", str(texts / "a.txt"), "--model", str(tmp_path)]) == 2
    assert "the loss of a word is nan forward and nan backward" in capsys.readouterr().err
