"""Sequence to sequence: what is read, learned, written and scored, and that the pair opens anywhere."""

import json
import sys

import pytest
import torch
from fresh_process import run_python
from toy_finetuning import QUIET, write_encoder
from toy_scripts import DECODER, SCRIPTS, write_parallel
from transformers import AutoTokenizer, EncoderDecoderModel, GPT2Config, GPT2LMHeadModel

from hf_elmo import ElmoForSeq2SeqLM, ElmoModel, ElmoTokenizer
from hf_elmo.training import seq2seq
from hf_elmo.training.arguments import ParallelArguments
from hf_elmo.training.data.parallel_texts import read_parallel_texts
from hf_elmo.training.data.splits import values
from hf_elmo.training.target_texts import score_texts, train_tokenizer

pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")


def read(**options):
    splits = read_parallel_texts(ParallelArguments(**options))
    return [list(zip(values(part, "text"), values(part, "references"))) for _, part in splits.items()]


# ---- Data


def test_parallel_lines(tmp_path):
    (tmp_path / "en.train.en").write_text("a dog\n\n two cats \n", encoding="utf-8")
    (tmp_path / "en.train.de").write_text("ein Hund\nnichts\nzwei\u00a0Katzen\n", encoding="utf-8")
    (tmp_path / "test.en").write_text("one\n")
    files = {"train_file": str(tmp_path / "en.train.en"), "test_file": str(tmp_path / "test.en")}
    train, test = read(**files, source_language="en", target_language="de")
    assert train == [("a dog", ["ein Hund"]), ("two cats", ["zwei\u00a0Katzen"])]
    assert test == [("one", [])]


def test_tables_with_sentences_references_and_languages(tmp_path):
    rows = [
        {"source": ["A b.", "C."], "target": ["x", "y"], "title": "t"},
        {"source": ["D"], "target": [], "title": ""},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "b.jsonl").write_text(json.dumps({"translation": {"en": "a", "de": "b"}}) + "\n")
    (tmp_path / "c.csv").write_text("question,answer\nWho?,Ada\n")
    assert read(train_file=str(tmp_path / "a.jsonl")) == [[("A b. C.", ["x", "y"])]]
    assert read(train_file=str(tmp_path / "a.jsonl"), target_column="title") == [[("A b. C.", ["t"])]]
    assert read(test_file=str(tmp_path / "b.jsonl"), source_language="de", target_language="en") == [[("b", ["a"])]]
    assert read(train_file=str(tmp_path / "c.csv")) == [[("Who?", ["Ada"])]]


@pytest.mark.parametrize(
    ("files", "options", "complaint"),
    [
        ({"t.en": "a\n", "t.de": "b\nc\n"}, {}, "t.de, line 2: "),
        ({"t.en": "a\nb\n", "t.de": "b\n"}, {}, "t.de has no such line, and the lines are to match"),
        ({"t.en": "a\n"}, {}, "t.de: no such file"),
        ({"t.txt": "a\n"}, {}, "expected a file of the source language, as t.en"),
        ({"t.en": "a\n"}, {"source_language": None}, "name the languages of parallel files, --source_language en"),
        ({"t.jsonl": '{"source": 3, "target": "b"}\n'}, {}, "source must be a text or a list of texts, but holds 3"),
        ({"t.jsonl": '{"translation": null}\n'}, {}, "translation must be an object with en and de, but is None"),
        (
            {"t.jsonl": '{"translation": {"en": "a", "fr": "b"}}\n'},
            {},
            "t.jsonl, line 1: translation must be an object with en and de, but is {'en': 'a', 'fr': 'b'}",
        ),
        ({"t.en": "a\n"}, {"target_language": "en"}, "train: sources and targets are both read from en"),
        ({"t.jsonl": '{"a": "b"}\n'}, {}, "there is no column 'source' or 'src'"),
        ({"t.jsonl": '{"source": "", "target": "b"}\n'}, {}, "1 left out: pairs with an empty text"),
    ],
)
def test_data_that_cannot_be(tmp_path, files, options, complaint):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    options = {"source_language": "en", "target_language": "de", **options}
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared below)
        read(train_file=str(tmp_path / next(iter(files))), **options)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- Scores and the tokenizer of the targets


def test_scores_are_those_of_the_packages_in_percent():
    assert score_texts([]) == {}
    same = score_texts([("the cat sat down", ["the cat sat down"]), ("a dog ran off", ["x", "a dog ran off"])])
    assert all(value == pytest.approx(100) for value in same.values())
    # One of three words, in order: precision 1/3, recall 1/2; of two references the better one counts.
    scores = score_texts([("the old dog", ["a dog", "nothing here"])])
    assert scores["rouge1"] == pytest.approx(100 * 2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))
    assert (scores["rouge2"], scores["rougeL"]) == (0, scores["rouge1"])


def test_the_target_tokenizer_writes_every_text():
    tokenizer = train_tokenizer(["Ein Hund l\u00e4uft .", "Zwei Hunde laufen ."] * 5, 300)
    texts = ["Hunde!", "\u6c49\u5b57 \U0001f600", " two  spaces"]
    assert tokenizer.batch_decode(tokenizer(texts)["input_ids"], skip_special_tokens=True) == texts
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 1, 2)


# ---- Training


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seq2seq")
    (folder / "seq2seq").mkdir()
    write_parallel(folder / "seq2seq")
    return folder


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    script, command = SCRIPTS["seq2seq"]
    assert script(command(data, folder)) == 0
    return folder


@torch.no_grad()
def written(model, folder, **more):
    """Ids that a pair writes for two sources, of different lengths."""
    tokenizer = ElmoTokenizer.from_pretrained(folder)
    batch = tokenizer(["Ada sees Rome", "Rome"], padding=True, return_tensors="pt")
    return model.generate(**batch, max_length=8, **{name: make(batch) for name, make in more.items()})


def test_the_pair_is_saved_with_both_tokenizers_results_and_card(trained):
    results = json.loads((trained / "all_results.json").read_text())["runs"][0]
    assert {"eval_chrf", "eval_bleu", "test_rougeL", "eval_loss"} <= results.keys()
    assert len((trained / "test_predictions.txt").read_text().splitlines()) == 8
    target = AutoTokenizer.from_pretrained(trained, subfolder="target")
    assert target.decode(target("ADA SEES")["input_ids"]) == "ADA SEES"
    model = ElmoForSeq2SeqLM.from_pretrained(trained)
    assert isinstance(model, EncoderDecoderModel)
    assert isinstance(model.encoder, ElmoModel)
    assert model.generation_config.num_beams == 4
    assert model.generation_config.eos_token_id in (target.eos_token_id, [target.eos_token_id])  # a list in older ones
    stock = EncoderDecoderModel.from_pretrained(trained)
    assert torch.equal(written(model, trained), written(stock, trained))
    card = (trained / "README.md").read_text(encoding="utf-8")
    assert 'AutoTokenizer.from_pretrained("' in card
    assert 'subfolder="target"' in card
    assert "AutoModelForSeq2SeqLM" in card


def test_layers_computed_before_give_the_same_text(trained):
    model = ElmoForSeq2SeqLM.from_pretrained(trained).eval()
    assert torch.equal(
        written(model, trained), written(model, trained, layers=lambda batch: model.compute_layers(**batch))
    )


def test_a_trained_pair_writes_without_training(data, trained, tmp_path):
    folder, languages = data / "seq2seq", DECODER[8:12]
    command = ["--model_name_or_path", str(trained), "--test_file", str(folder / "test.low"), *languages, *QUIET]
    assert seq2seq.main([*command, "--output_dir", str(tmp_path)]) == 0
    before, after = ((place / "test_predictions.txt").read_text() for place in (trained, tmp_path))
    assert before == after


@pytest.mark.slow
def test_an_encoder_that_is_tuned_changes_and_a_frozen_one_does_not(data, trained, tmp_path):
    script, command = SCRIPTS["seq2seq"]
    assert script(command(data, tmp_path, "--freeze_encoder", "False", "--num_train_epochs", "1")) == 0
    name = "layers.0.forward_lstm.input_gates.weight"
    encoders = [ElmoForSeq2SeqLM.from_pretrained(folder).encoder for folder in (trained, tmp_path)]
    start, frozen, tuned = (
        encoder.state_dict()[name] for encoder in (ElmoModel.from_pretrained(data / "seq2seq" / "encoder"), *encoders)
    )
    assert torch.equal(start, frozen)
    assert not torch.equal(start, tuned)


@pytest.mark.slow
def test_a_tokenizer_without_begin_and_end_gets_those_it_has(data, trained, tmp_path):
    given = AutoTokenizer.from_pretrained(trained, subfolder="target")
    given.cls_token, given.sep_token, given.bos_token, given.eos_token = "<s>", "</s>", None, None
    given.save_pretrained(tmp_path / "given")
    script, command = SCRIPTS["seq2seq"]
    options = ["--target_tokenizer", str(tmp_path / "given"), "--num_train_epochs", "1"]
    assert script(command(data, tmp_path / "run", *options)) == 0
    assert ElmoForSeq2SeqLM.from_pretrained(tmp_path / "run").config.decoder_start_token_id == 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--decoder_size", "10", "--decoder_heads", "4"], "--decoder_size must be a multiple of --decoder_heads (4)"),
        (["--decoder_dropout", "1"], "--decoder_dropout must be from 0 to below 1"),
        (["--target_vocab_size", "20"], "--target_vocab_size must be at least 300"),
        (["--max_target_length", "2"], "--max_target_length must be at least 4"),
        (["--word_vectors", "glove.txt"], "--word_vectors are read by task heads"),
        (["--metric_for_best_model", "meteor"], "the metrics are loss, bleu, chrf"),
        (["--target_tokenizer", "/nowhere"], "/nowhere"),
    ],
)
def test_settings_that_cannot_be(data, tmp_path, capsys, options, complaint):
    script, command = SCRIPTS["seq2seq"]
    assert script(command(data, tmp_path / "run", *options)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("seq2seq: error:")]
    assert complaint in line
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_an_encoder_cannot_write_without_training(data, tmp_path, capsys):
    folder = data / "seq2seq"
    command = ["--model_name_or_path", str(folder / "encoder"), "--test_file", str(folder / "test.low"), *DECODER[8:12]]
    assert seq2seq.main([*command, "--output_dir", str(tmp_path / "run"), *QUIET]) == 2
    assert "is no pair of encoder and decoder, which could write without training" in capsys.readouterr().err


def test_packages_of_the_metrics_are_asked_for(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    script, command = SCRIPTS["seq2seq"]
    assert script(command(data, tmp_path)) == 2
    assert "sacrebleu is not installed: pip install 'hf-elmo[generation]'" in capsys.readouterr().err


def test_any_pair_of_the_library_takes_elmo_as_its_encoder(tmp_path):
    """Without the script: as its documentation joins two models."""
    write_encoder(tmp_path / "encoder")
    decoder = GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2, n_positions=12, bos_token_id=1, eos_token_id=2)
    GPT2LMHeadModel(decoder).save_pretrained(tmp_path / "decoder")
    pair = EncoderDecoderModel.from_encoder_decoder_pretrained(tmp_path / "encoder", tmp_path / "decoder")
    pair.config.decoder_start_token_id, pair.config.pad_token_id = 1, 0
    batch = ElmoTokenizer.from_pretrained(tmp_path / "encoder")("Ada sees Rome", return_tensors="pt")
    output = pair(**batch, labels=torch.tensor([[5, 6, 2]]))
    output.loss.backward()
    assert output.encoder_attentions is None
    pair.save_pretrained(tmp_path / "pair")
    again = EncoderDecoderModel.from_pretrained(tmp_path / "pair")
    ids = [model.eval().generate(**batch, max_length=6, decoder_start_token_id=1) for model in (pair, again)]
    assert torch.equal(*ids)


STRANGER = """
import sys
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hf_elmo":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NotInstalled())
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("trained", trust_remote_code=True)
model = AutoModelForSeq2SeqLM.from_pretrained("trained", trust_remote_code=True)
batch = tokenizer(["Ada sees Rome", "Rome"], padding=True, return_tensors="pt")
model.save_pretrained("again")
again = AutoModelForSeq2SeqLM.from_pretrained("again", trust_remote_code=True)
print([one.generate(**batch, max_length=8).tolist() for one in (model, again)])
"""


@pytest.mark.slow
def test_the_pair_opens_and_is_saved_where_the_package_is_not_installed(trained, tmp_path):
    (tmp_path / "trained").symlink_to(trained)
    result = run_python("-c", STRANGER, home=tmp_path)
    expected = written(ElmoForSeq2SeqLM.from_pretrained(trained), trained).tolist()
    assert json.loads(result.stdout.splitlines()[-1]) == [expected, expected]
