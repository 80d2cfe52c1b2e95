"""Training a model further: its encoder, softmax and accumulators with the same words, new words, or none.

With a learning rate of 0, a run saves the weights that it started from.
"""

import json
from pathlib import Path

import pytest
import torch
from fresh_process import REPOSITORY, run_python
from huggingface_hub import ModelCard
from loopback_hub import card_errors, running_hub
from safetensors.torch import load_file
from toy_pretraining import SIZES, command, pretrained, write_texts

from hf_elmo import ElmoConfig, ElmoForPreTraining, ElmoModel, ElmoTokenizer
from hf_elmo.cli import main as hf_elmo_command
from hf_elmo.training.language_model.model import change_vocabulary

pytestmark = pytest.mark.slow  # each test trains

STILL = ["--learning_rate", "0", "--max_steps", "2"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def trained(texts, tmp_path_factory):
    """A language model of this script, and its vocabulary."""
    folder = tmp_path_factory.mktemp("trained")
    assert not pretrained(*command(texts, folder))
    return folder


def words_of(folder: Path) -> list[str]:
    return (folder / "vocab.txt").read_text().split()


def encoder_of(folder: Path) -> dict[str, torch.Tensor]:
    tensors = load_file(folder / "model.safetensors")
    return {name.removeprefix("elmo."): tensor for name, tensor in tensors.items() if "lm_head" not in name}


def assert_same_encoder(one: Path, other: Path):
    tensors, others = encoder_of(one), encoder_of(other)
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, others[name]), name


def going_on(texts: Path, model: Path, output: Path, *more: str) -> list[str]:
    """Return the arguments of `command` with a model to start from in place of sizes."""
    arguments = command(texts, output, "--model_name_or_path", str(model), *STILL, *more)
    place = arguments.index("--config_overrides")
    return arguments[:place] + arguments[place + 2 :]


def test_with_its_softmax(texts, trained, tmp_path):
    assert not pretrained(*going_on(texts, trained, tmp_path))
    assert words_of(tmp_path) == words_of(trained)
    tensors, others = (load_file(folder / "model.safetensors") for folder in (trained, tmp_path))
    assert tensors.keys() == others.keys()
    assert all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())


def test_with_new_words(texts, trained, tmp_path):
    """Each word keeps its row under its new id, and a new word gets a row of its own."""
    old = words_of(trained)
    new = ["<S>", "</S>", "<UNK>", "wolf", *reversed(old[5:]), "howls"]
    (tmp_path / "words.txt").write_text("\n".join(new) + "\n")
    assert not pretrained(
        *going_on(texts, trained, tmp_path / "on", "--vocab_file", str(tmp_path / "words.txt")),
    )
    assert words_of(tmp_path / "on") == new
    assert json.loads((tmp_path / "on" / "config.json").read_text())["word_vocab_size"] == len(new)
    assert_same_encoder(trained, tmp_path / "on")
    before, after = (load_file(folder / "model.safetensors") for folder in (trained, tmp_path / "on"))
    for name in ("lm_head.weight", "lm_head.bias"):
        assert after[name].shape[0] == len(new)
        for place, word in enumerate(new):
            if word in old:
                assert torch.equal(after[name][place], before[name][old.index(word)]), word
    for word in ("wolf", "howls"):
        row = after["lm_head.weight"][new.index(word)]
        assert 0 < row.norm() < 4
        assert after["lm_head.bias"][new.index(word)] == 0


def test_accumulators_go_with_their_words():
    model = ElmoForPreTraining(ElmoConfig(**SIZES, word_vocab_size=4))
    sums = {"lm_head.weight": torch.rand(4, 6), "lm_head.bias": torch.rand(4), "elmo.other": torch.rand(3)}
    carried = change_vocabulary(model, sums, ["<S>", "</S>", "<UNK>", "a"], ["b", "a", "<S>", "</S>", "<UNK>"])
    for name in ("lm_head.weight", "lm_head.bias"):
        assert torch.equal(carried[name], torch.cat([torch.ones_like(sums[name][:1]), sums[name][[3, 0, 1, 2]]]))
    assert carried["elmo.other"] is sums["elmo.other"]


def test_with_a_fresh_softmax(texts, trained, tmp_path):
    """From an encoder alone, as converted from published weights: the vocabulary is that of the text."""
    ElmoModel.from_pretrained(trained, word_vocab_size=0).save_pretrained(tmp_path / "encoder")
    ElmoTokenizer().save_pretrained(tmp_path / "encoder")
    assert not pretrained(*going_on(texts, tmp_path / "encoder", tmp_path / "on"))
    assert_same_encoder(trained, tmp_path / "on")
    assert words_of(tmp_path / "on") == words_of(trained)
    before, after = (load_file(folder / "model.safetensors") for folder in (trained, tmp_path / "on"))
    assert after["lm_head.weight"].shape == before["lm_head.weight"].shape
    assert not torch.equal(after["lm_head.weight"], before["lm_head.weight"])


@pytest.mark.parametrize("negatives", ["6", "0"])
def test_a_frozen_encoder_stays_and_the_softmax_learns(texts, trained, tmp_path, negatives):
    ElmoModel.from_pretrained(trained, word_vocab_size=0).save_pretrained(tmp_path / "encoder")
    ElmoTokenizer().save_pretrained(tmp_path / "encoder")
    learn = ["--freeze_encoder", "True", "--learning_rate", "0.2", "--num_negative_samples", negatives]
    arguments = going_on(texts, tmp_path / "encoder", tmp_path / "on", *learn, "--max_steps", "60")
    assert not pretrained(*arguments, "--logging_steps", "20")
    assert_same_encoder(trained, tmp_path / "on")
    logs = json.loads((tmp_path / "on" / "trainer_state.json").read_text())["log_history"]
    losses = [log["loss"] for log in logs if "loss" in log]
    assert losses[-1] < 0.95 * losses[0]


def test_from_the_originals_checkpoint(texts, fixtures_dir, tmp_path):
    """A converted TensorFlow checkpoint keeps its encoder and softmax."""
    checkpoint, folder = fixtures_dir / "bilm_checkpoint", tmp_path / "converted"
    arguments = ["convert", str(checkpoint / "checkpoint"), str(folder), "--vocab", str(checkpoint / "vocab.txt")]
    assert hf_elmo_command(arguments) == 0
    assert not pretrained(*going_on(texts, folder, tmp_path / "on"))
    assert words_of(tmp_path / "on") == words_of(folder)
    before, after = (load_file(place / "model.safetensors") for place in (folder, tmp_path / "on"))
    for name in ("lm_head.weight", "lm_head.bias"):
        assert torch.equal(before[name], after[name])
    assert_same_encoder(folder, tmp_path / "on")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: (folder / "vocab.txt").unlink(), "softmax is over 16 words, and vocab.txt is missing"),
        (
            lambda folder: (folder / "vocab.txt").write_text("<S>\n</S>\n<UNK>\nthe\n"),
            "softmax is over 16 words, and vocab.txt has 4",
        ),
    ],
)
def test_a_vocabulary_that_does_not_fit_the_model(texts, trained, tmp_path, capsys, make, message):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"):
        (folder / name).write_bytes((trained / name).read_bytes())
    make(folder)
    assert pretrained(*going_on(texts, folder, tmp_path / "on")) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    assert not (tmp_path / "on" / "vocab.txt").exists()


def test_what_is_pushed_has_the_card_of_the_run(texts, tmp_path):
    """`--push_to_hub` uploads the trained model, its vocabulary, its code and a card with its results."""
    with running_hub() as hub:
        arguments = command(texts, tmp_path / "model", "--validation_files", str(texts / "held_out.txt"))
        arguments += ["--push_to_hub", "True", "--hub_model_id", "ada/elmo", "--hub_token", "hf_writes"]
        environment = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(REPOSITORY)}
        run_python("-m", "hf_elmo.training.pretrain", *arguments, home=tmp_path, **environment)
        files = hub.repositories["ada/elmo"].files
    assert {"model.safetensors", "config.json", "vocab.txt", "language_model_elmo.py", "pipelines_elmo.py"} <= {*files}
    assert not [name for name in files if name.startswith(("checkpoint-", "_")) or name.endswith(".bin")]
    card = ModelCard(files["README.md"].decode())
    assert card_errors(card.content) == []
    assert len(card.data.eval_results) == 3
    assert "12 steps of 4 streams of 5 words" in card.text
    assert "hf_writes" not in card.content


@pytest.mark.parametrize("words", [{}, {"word_embedding_size": 3, "word_embedding_count": 1}])
def test_code_points_are_pretrained_continued_and_written_as_their_original_has_them(tmp_path, words):
    (tmp_path / "a.txt").write_text("der \u00e9ch\u00e9ance \u6c49\u5b57 \U0001f600 .\n" * 60, encoding="utf-8")
    scheme = {"character_scheme": "codepoints", **words}
    assert not pretrained(*command(tmp_path, tmp_path / "model", **scheme))
    model = ElmoForPreTraining.from_pretrained(tmp_path / "model").eval()
    tokenizer = ElmoTokenizer.from_pretrained(tmp_path / "model")
    characters = tokenizer.dictionaries["characters"]
    special = {"<oov>", "<pad>", "<bos>", "<eos>", "<bow>", "<eow>"}
    assert set(characters) == special | set("der\u00e9chan\u6c49\u5b57\U0001f600.")
    assert (model.config.vocab_size, model.config.ids_per_token) == (len(characters) + 1, 51 if words else 50)
    row = tokenizer(["\u6c49z"], is_split_into_words=True)["input_ids"][1]
    expected = [characters[name] + 1 for name in ("<eow>", "\u6c49", "<oov>", "<bow>", "<pad>")]
    assert row[:5] == expected
    before = ElmoForPreTraining(model.config).eval()
    batch = tokenizer(["der", "\u6c49\u5b57", "."], is_split_into_words=True, return_tensors="pt")
    labels = torch.tensor([[-100, *tokenizer.convert_words_to_labels(["der", "\u6c49\u5b57", "."]), -100]])
    assert model(**batch, labels=labels).loss < before(**batch, labels=labels).loss

    again = command(tmp_path, tmp_path / "again", "--model_name_or_path", str(tmp_path / "model"), *STILL)
    place = again.index("--config_overrides")
    assert not pretrained(*again[:place], *again[place + 2 :])
    assert_same_encoder(tmp_path / "model", tmp_path / "again")
    assert ElmoTokenizer.from_pretrained(tmp_path / "again").dictionaries == tokenizer.dictionaries
    assert (
        hf_elmo_command(["convert", str(tmp_path / "model"), str(tmp_path / "back"), "--to", "elmoformanylangs"]) == 0
    )
    assert hf_elmo_command(["convert", str(tmp_path / "back"), str(tmp_path / "there")]) == 0
    (ids, vectors), (other_ids, other_vectors) = (represent(tmp_path / name) for name in ("model", "there"))
    assert torch.equal(ids, other_ids)
    torch.testing.assert_close(vectors, other_vectors)


def represent(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and vectors of a sentence."""
    batch = ElmoTokenizer.from_pretrained(folder)(["der", "."], is_split_into_words=True, return_tensors="pt")
    return batch["input_ids"], ElmoModel.from_pretrained(folder).eval()(**batch).last_hidden_state
