"""`hf-elmo embed`: the model's own vectors in every format, the original's bytes in HDF5, and bad input."""

import io
import json
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from datasets import Dataset, load_dataset
from filelock import FileLock
from fresh_process import REPOSITORY, run_python
from lanes import first_fast
from safetensors.torch import load_file
from torch.testing import assert_close

from hf_elmo import ElmoForTokenClassification, ElmoModel, ElmoTokenizer
from hf_elmo.cli import main
from hf_elmo.conversion import convert
from hf_elmo.embed import survey_sentences
from hf_elmo.embedding import embed_sentences
from hf_elmo.embedding_files import write_datasets, write_file
from hf_elmo.embedding_run import Part, Sentence, part_path, write_part
from hf_elmo.training.run_record import LOCK_FILE

TEXT = ["The bank was closed.", "", "I didn't go there, did I?", "One."]
EXACT = {"rtol": 0, "atol": 1e-6}


@pytest.fixture
def model(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path / "model")
    ElmoTokenizer().save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def embed(model, tmp_path):
    """Run the command on a text, or on a file in the folder; return the path of what it wrote."""

    def run(source: str | list[str] | None, *options: str, to: str = "out.h5", code: int = 0):
        if isinstance(source, list):
            (tmp_path / "text.txt").write_text("\n".join(source), encoding="utf-8")
            source = "text.txt"
        source = "-" if source is None else str(tmp_path / source)
        assert main(["embed", source, str(tmp_path / to), "--model", model, *options]) == code
        return tmp_path / to

    return run


def expected(model: str, sentences: list, layers: str | int = "mix") -> list[torch.Tensor]:
    vectors = embed_sentences(
        ElmoModel.from_pretrained(model), ElmoTokenizer.from_pretrained(model), sentences, layers=layers
    )
    return [one.transpose(0, 1) if layers == "all" else one for one in vectors]


def stored(path) -> dict[str, torch.Tensor]:
    with h5py.File(path) as file:
        names = sorted((name for name in file if name != "sentence_to_index"), key=int)
        return {name: torch.from_numpy(file[name][:]) for name in names}


def assert_vectors(found: dict, wanted: list[torch.Tensor]):
    assert list(found) == [str(number) for number in range(len(wanted))]
    for mine, other in zip(found.values(), wanted):
        assert_close(mine, other, **EXACT)


# ---- Vectors


@pytest.mark.parametrize(
    ("options", "layers"),
    first_fast(
        [
            ((), "mix"),
            (("--layers", "all"), "all"),
            (("--all",), "all"),
            (("--average",), "mean"),
            (("--layers", "average"), "mean"),
            (("--top",), "top"),
            (("--layers", "0"), 0),
        ],
        2,
    ),
    ids=str,
)
def test_vectors_are_the_models_own(embed, model, options, layers):
    assert_vectors(stored(embed(TEXT, *options)), expected(model, TEXT, layers))


def test_the_encoder_of_a_task_model(embed, model, tiny_config, tiny_model):
    head = ElmoForTokenClassification(tiny_config)
    head.elmo.load_state_dict(tiny_model.state_dict())
    head.save_pretrained(model)
    assert_vectors(stored(embed(TEXT)), expected(model, TEXT))


def test_hdf5_keeps_the_number_of_the_last_of_equal_sentences(embed):
    with h5py.File(embed(["a b", "c", "a b"])) as file:
        assert json.loads(file["sentence_to_index"][0]) == {"a b": "2", "c": "1"}
        assert list(json.loads(file["sentence_to_index"][0])) == ["a b", "c"]


def test_parquet_has_numbers_words_and_vectors(embed, model, tmp_path):
    path = embed(TEXT, "--layers", "all", to="out.parquet")
    rows = load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path / "cache"))["train"]
    assert rows["line"][:] == [0, 1, 2, 3]
    assert rows["words"][2] == ["I", "did", "n't", "go", "there", ",", "did", "I", "?"]
    for row, wanted in zip(rows, expected(model, TEXT, "all")):
        assert_close(torch.tensor(row["vectors"]).reshape(-1, 3, 12), wanted.transpose(0, 1), **EXACT)


def test_safetensors_has_offsets(embed, model):
    tensors = load_file(embed(TEXT, "--words-per-part", "5", to="out.safetensors"))
    assert tensors["lines"].tolist() == [0, 1, 2, 3]
    offsets = tensors["offsets"].tolist()
    for number, wanted in enumerate(expected(model, TEXT)):
        assert_close(tensors["vectors"][offsets[number] : offsets[number + 1]], wanted, **EXACT)


@pytest.mark.parametrize("kind", first_fast(["h5", "parquet", "safetensors"]))
def test_sentence_vectors_are_means_of_words_and_zero_without_any(embed, model, tmp_path, kind):
    path = embed(TEXT, "--vectors", "sentences", "--dtype", "float16", to=f"out.{kind}")
    wanted = torch.stack([one.mean(0) if len(one) else one.new_zeros(12) for one in expected(model, TEXT)])
    if kind == "h5":
        found = torch.stack(list(stored(path).values()))
    elif kind == "parquet":
        rows = load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path / "cache"))["train"]
        found = rows.with_format("torch")["vector"][:].half()
    else:
        found = load_file(path)["vectors"]
    assert found.dtype == torch.float16
    assert torch.equal(found, wanted.half())


@pytest.mark.slow
@torch.no_grad()
def test_sentence_vectors_are_pooled_as_the_model_does_or_as_asked(embed, model, tiny_config, capsys):
    tokenizer = ElmoTokenizer.from_pretrained(model)
    batch = tokenizer(TEXT, padding=True, return_tensors="pt")
    trained = ElmoModel(type(tiny_config)(**{**tiny_config.to_dict(), "sentence_pooling": "attention"})).eval()
    trained.save_pretrained(model)
    embed(["a"], "--vectors", "sentences", "--pooling", "attention", code=2)  # all of its weights are 0
    assert "has no weights that were trained for it; give mean or max" in capsys.readouterr().err
    trained.sentence_pooling.attention.score.weight.normal_(std=3.0)
    trained.save_pretrained(model)
    for number, options in enumerate([(), ("--pooling", "attention"), ("--pooling", "max"), ("--pooling", "mean")]):
        found = load_file(embed(TEXT, "--vectors", "sentences", *options, to=f"{number}.safetensors"))["vectors"]
        pooling = options[1] if options else "attention"
        own = ElmoModel.from_pretrained(model, sentence_pooling=pooling)
        torch.testing.assert_close(found, own.sentence_vectors(**batch), rtol=1e-5, atol=1e-6)
    embed(["a"], "--vectors", "sentences", "--layers", "top", code=2)
    assert "attention was trained on --layers mix" in capsys.readouterr().err


def test_float16_that_is_too_small_for_a_value_is_refused(embed, model, tiny_model, capsys):
    with torch.no_grad():
        tiny_model.scalar_mixes[0].gamma.fill_(1e6)
    tiny_model.save_pretrained(model)
    embed(["a", "b"], "--dtype", "float16", code=2)
    assert "sentence 0 has a vector that is not finite in float16" in capsys.readouterr().err


# ---- The original's files


def without_values(path) -> tuple[bytes, dict[str, np.ndarray]]:
    """Return the bytes of an HDF5 file with zeros in the place of all vectors, and these."""
    content, values = bytearray(path.read_bytes()), {}
    with h5py.File(path) as file:
        for name, dataset in file.items():
            if dataset.dtype == np.float32:
                start = dataset.id.get_offset()
                content[start : start + dataset.nbytes] = bytes(dataset.nbytes)
                values[name] = dataset[:]
    return bytes(content), values


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "weights"), [("elmo_module", "s01_tiny_relu"), ("elmo_module_3_layers", "s02_tiny_tanh_clip")]
)
def test_files_of_allennlp_have_the_same_bytes_but_for_rounding(folder, weights, fixtures_dir, tmp_path):
    convert(fixtures_dir / "random" / weights / "weights.hdf5", tmp_path / "model")
    sentences = fixtures_dir / folder / "sentences.txt"
    (tmp_path / "six.txt").write_text("".join(sentences.read_text().splitlines(keepends=True)[:6]))
    carried = ["--model", str(tmp_path / "model"), "--carry-state", "--batch-size", "3", "--overwrite"]
    for name, *options in (
        ("all", "--all"),
        ("top", "--top"),
        ("average", "--average"),
        ("all_forget_sentences", "--all", "--forget-sentences"),
        ("all_sentence_keys", "--all", "--use-sentence-keys"),
    ):
        source, mine = tmp_path / "six.txt" if "keys" in name else sentences, tmp_path / f"{name}.h5"
        assert main(["embed", str(source), str(mine), *carried, *options]) == 0
        layout, found = without_values(mine)
        wanted_layout, wanted = without_values(fixtures_dir / folder / f"elmo_command_{name}.hdf5")
        assert layout == wanted_layout
        for key in wanted:
            np.testing.assert_allclose(found[key], wanted[key], rtol=0, atol=5e-6)


@pytest.mark.slow
def test_an_index_of_any_length_has_the_bytes_that_hdf5_writes(tmp_path):
    for length in (0, *range(4010, 4070), 50_000):  # HDF5 makes 4096 bytes for what is shorter
        texts = ["x" * length, "\ud800\u00e9", "", "x" * length]
        arrays = [(text, number, np.full((number, 3), number, np.float32)) for number, text in enumerate(texts)]
        with h5py.File(tmp_path / "whole.h5", "w") as file:
            for _, number, vectors in arrays:
                file.create_dataset(str(number), vectors.shape, vectors.dtype, vectors)
            index = json.dumps({text: str(number) for text, number, _ in arrays})
            file.create_dataset("sentence_to_index", (1,), dtype=h5py.string_dtype())[0] = index
        write_datasets(tmp_path / "mine.h5", arrays, False, True)
        assert (tmp_path / "mine.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
        assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
def test_state_is_carried_over_parts_and_resumed(embed, model, monkeypatch, tmp_path):
    text, options = [f"word{n} and more" for n in range(11)], ("--carry-state", "--batch-size", "2", "--all")
    whole = embed(text, *options).read_bytes()
    options += "--words-per-part", "12"
    assert embed(text, *options, to="parts.h5").read_bytes() == whole
    interrupt_after(monkeypatch, 1)
    embed(text, *options, to="cut.h5", code=130)
    monkeypatch.undo()
    assert embed(text, *options, to="cut.h5").read_bytes() == whole
    assert not torch.equal(stored(tmp_path / "cut.h5")["10"], expected(model, text, "all")[10])


# ---- Input


INPUTS = {
    "a.txt": "EU rejects it .\nPeter\n",
    "a.conll": "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\nit PRP O\n. . O\n\nPeter NNP B-PER\n",
    "a.conllu": "# id = 1\n"
    + "".join(f"{n}\t{word}\t_\tX\t_\t_\t_\t_\t_\t_\n" for n, word in enumerate(["EU", "rejects", "it", "."], 1))
    + "\n1\tPeter\t_\tX\t_\t_\t_\t_\t_\t_\n\n",
    "a.jsonl": '{"tokens": ["EU", "rejects", "it", "."]}\n\n{"tokens": ["Peter"]}\n',
    "a.json": '[{"text": "EU rejects it ."},\n {"text": "Peter"}]',
    "a.csv": 'id,text\n1,"EU rejects it ."\n2,Peter\n',
    "a.tsv": "text\tlabel\nEU rejects it .\t1\nPeter\t0\n",
}


@pytest.mark.parametrize("name", first_fast(INPUTS, 2))
def test_formats_of_input(embed, model, tmp_path, name):
    (tmp_path / name).write_text(INPUTS[name], encoding="utf-8")
    assert_vectors(stored(embed(name)), expected(model, [["EU", "rejects", "it", "."], ["Peter"]]))


@pytest.mark.parametrize(
    ("format", "name"), first_fast([("text", "a.txt"), ("conll", "a.conll"), ("jsonl", "a.jsonl")])
)
def test_standard_input(embed, model, monkeypatch, format, name):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(INPUTS[name].encode())))
    assert_vectors(stored(embed(None, "--format", format)), expected(model, [["EU", "rejects", "it", "."], ["Peter"]]))


@pytest.mark.slow
def test_datasets_and_parquet(embed, model, tmp_path):
    rows = load_dataset(
        "json", data_files=str(write(tmp_path / "a.jsonl", INPUTS["a.jsonl"])), cache_dir=str(tmp_path / "c")
    )
    rows.save_to_disk(tmp_path / "data")
    rows["train"].to_parquet(tmp_path / "a.parquet")
    for source, options in (("data", ("--dataset-split", "train", "--column", "tokens")), ("a.parquet", ())):
        wanted = expected(model, [["EU", "rejects", "it", "."], ["Peter"]])
        assert_vectors(stored(embed(source, *options, to=f"{source}.h5")), wanted)


def write(path, text: str):
    path.write_text(text, encoding="utf-8")
    return path


def test_bad_sentences_are_named_and_lose_no_others(embed, model, tmp_path, capsys):
    (tmp_path / "bad.txt").write_bytes(b"one two\n\ncaf\xe9 noir\n" + b"x " * 30 + b"\nthree\n")
    found = stored(embed("bad.txt", "--max-words", "20", code=1))
    errors = capsys.readouterr().err
    assert "bad.txt, line 3: not UTF-8, but the byte 0xe9 after 'caf'" in errors
    assert "bad.txt, line 4: 30 words, and --max-words is 20" in errors
    assert "sentences without a word: 1, the first is sentence 1 (from 0)" in errors
    assert list(found) == ["0", "1", "4"]
    for vectors, wanted in zip(found.values(), expected(model, [["one", "two"], [], ["three"]])):
        assert_close(vectors, wanted, **EXACT)


def test_bad_rows_are_named_and_lose_no_others(embed, tmp_path, capsys):
    write(tmp_path / "bad.jsonl", '{"text": "one"}\n{"text": 5}\n{text}\n{"body": "x"}\n[1]\n{"text": "two"}\n')
    assert list(stored(embed("bad.jsonl", code=1))) == ["0", "5"]
    errors = capsys.readouterr().err
    assert "line 2: column 'text' must have a text or a list of words, but has 5" in errors
    assert "line 3: not JSON" in errors
    assert "line 4: there is nothing in column 'text'" in errors
    assert "line 5: a line must be an object" in errors


@pytest.mark.parametrize(
    ("text", "options", "to", "message"),
    first_fast(
        [
            (["a"], ("--layers", "9"), "o.h5", "--layers 9: the layers of {model} are 0 to 2"),
            (["a"], ("--device", "gpu"), "o.h5", "there is no device 'gpu' here"),
            (["a"], (), "o.txt", "the name must end in .h5, .hdf5, .parquet, .safetensors"),
            (["a"], (), "no/o.h5", "there is no folder"),
            (["a"], ("--pooling", "max"), "o.h5", "--pooling max is for --vectors sentences"),
            (
                ["a"],
                ("--vectors", "sentences", "--pooling", "attention"),
                "o.h5",
                "{model} has no weights that were trained",
            ),
            (["a"], ("--batch-size", "3"), "o.h5", "--batch-size is for --carry-state"),
            (["a"], ("--carry-state", "--num-processes", "2"), "o.h5", "--carry-state needs one process"),
            (["a"], ("--forget-sentences",), "o.parquet", "are for .h5 and .hdf5, not for .parquet"),
            (["a"], ("--column", "text"), "o.h5", "--column is for tables"),
            (["a"], ("--dataset-split", "train"), "o.h5", "--dataset-split is for datasets"),
            (["a"], ("--format", "csv"), "o.h5", "needs a file whose name ends in .csv"),
            (
                ["a", "b", "a"],
                ("--use-sentence-keys",),
                "o.h5",
                "sentence 2 (the first is 0) must differ from all others, but",
            ),
            (["a/b", "a"], ("--use-sentence-keys",), "o.h5", "cannot both name datasets"),
            (["a", "", "b"], ("--use-sentence-keys",), "o.h5", "sentence 1 (the first is 0), '', can name no dataset"),
            ([], (), "o.h5", "there is no sentence in it"),
            ("absent.txt", (), "o.h5", "absent.txt: no such file"),
            (["a bank, once", "and a bank , again"] * 2, (), "o.h5", "give the rule that splits the text, --split"),
        ],
        9,
    ),
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_be_done_is_said_in_one_line(embed, model, tmp_path, capsys, text, options, to, message):
    embed(text, *options, to=to, code=2)
    errors = capsys.readouterr().err
    assert message.format(model=model) in errors
    assert len(errors.splitlines()) == 1
    assert not list(tmp_path.glob("o.*"))


def test_a_launcher_is_refused_in_one_line(embed, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")  # as torchrun and accelerate launch set it
    embed(["a"], code=2)
    assert "use --num-processes N in place of a launcher" in capsys.readouterr().err


def test_an_input_is_not_replaced(embed, tmp_path, capsys):
    rows = Dataset.from_dict({"text": ["a b", "c"]})
    rows.to_parquet(tmp_path / "in.parquet")
    before = (tmp_path / "in.parquet").read_bytes()
    embed("in.parquet", "--overwrite", to="in.parquet", code=2)
    assert "in.parquet: this is the input; give another file" in capsys.readouterr().err
    assert (tmp_path / "in.parquet").read_bytes() == before


def test_json_reports_what_was_done(embed, capsys):
    embed(TEXT, "--json")
    report = json.loads(capsys.readouterr().out)
    assert (report["sentences"], report["words"], report["empty"], report["left_out"]) == (4, 16, 1, 0)


def peak_of(function: Callable, *arguments: object) -> int:
    """Return the most memory that Python takes while a function runs, in bytes."""
    tracemalloc.start()
    try:
        function(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def long_sentences(first: int, count: int) -> list[Sentence]:
    words = [[*["long"] * 40, str(number)] for number in range(first, first + count)]
    return [Sentence(number, one, " ".join(one)) for number, one in enumerate(words, first)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hdf5", "parquet", "safetensors"])
def test_memory_to_write_does_not_grow_with_the_number_of_sentences(tmp_path, kind):
    for number in range(20):
        write_part(tmp_path, Part(number, long_sentences(50 * number, 50)), torch.zeros(50 * 41, 4), None)
    paths = [part_path(tmp_path, number) for number in range(20)]
    few, many = (peak_of(write_file, tmp_path / "out", kind, paths[:count]) for count in (4, 20))
    assert many - few < 800 * 50  # a sentence has 200 characters, and as words it takes more


def test_memory_to_read_does_not_grow_with_the_number_of_sentences():
    few, many = (
        peak_of(survey_sentences, (long_sentences(number, 1)[0] for number in range(count)), "text", False)
        for count in (100, 1100)
    )
    assert many - few < 1000 * 50


def test_an_index_above_the_limit_of_hdf5_is_refused_before_the_run(embed, monkeypatch, tmp_path, capsys):
    from hf_elmo import embed as command

    monkeypatch.setattr(command, "LONGEST_TEXT", 23)
    embed(["a b", "c d"], code=2)
    assert "sentence_to_index would have 24 bytes, but a text in HDF5 has at most 23" in capsys.readouterr().err
    embed(["a b", "c d"], "--forget-sentences")
    monkeypatch.setattr(command, "LONGEST_TEXT", 24)
    with h5py.File(embed(["a b", "c d"], "--overwrite")) as file:
        assert len(file["sentence_to_index"][0]) == 24


# ---- Runs that end early


def interrupt_after(monkeypatch, parts: int):
    """Let the next run be interrupted when it has written so many parts."""
    from hf_elmo import embedding_run

    write_part, left = embedding_run.write_part, [parts]

    def write_or_stop(*arguments):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        write_part(*arguments)

    monkeypatch.setattr(embedding_run, "write_part", write_or_stop)


SENTENCES = [" ".join(f"word{n % 7}" for n in range(start, start + start % 9)) for start in range(30)]


@pytest.mark.parametrize("kind", first_fast(["h5", "parquet", "safetensors"]))
def test_an_interrupted_run_is_continued_to_the_same_bytes(embed, monkeypatch, tmp_path, capsys, kind):
    options = "--words-per-part", "20", "--words-per-batch", "12"
    whole = embed(SENTENCES, *options, to=f"whole.{kind}").read_bytes()
    for parts in (0, 1, 3):
        interrupt_after(monkeypatch, parts)
        embed(SENTENCES, *options, to=f"cut.{kind}", code=130)
        monkeypatch.undo()
        assert not (tmp_path / f"cut.{kind}").exists()
    capsys.readouterr()
    path = embed(SENTENCES, *options, "--json", to=f"cut.{kind}")
    assert path.read_bytes() == whole
    assert json.loads(capsys.readouterr().out)["words_of_earlier_runs"] > 40
    assert not (tmp_path / f"cut.{kind}.partial").exists()


def test_an_empty_folder_of_a_run_that_has_ended_goes(embed, tmp_path, capsys):
    """It is left by a kill between the removal of the last part and that of the folder."""
    whole = embed(["a b"], to="out.h5").read_bytes()
    (tmp_path / "out.h5.partial").mkdir()
    embed(["a b"], to="out.h5", code=2)
    assert "out.h5" in capsys.readouterr().err
    assert not (tmp_path / "out.h5.partial").exists()
    assert (tmp_path / "out.h5").read_bytes() == whole


def test_two_processes_do_not_write_one_output(embed, tmp_path, capsys):
    folder = tmp_path / "out.h5.partial"
    folder.mkdir()
    with FileLock(folder / LOCK_FILE):
        embed(["a b"], to="out.h5", code=2)
    assert (
        f"{folder}: another process writes there; wait for its end, or give another OUTPUT" in capsys.readouterr().err
    )
    embed(["a b"], to="out.h5")
    assert not folder.exists()


@pytest.mark.slow
def test_what_another_run_left_is_refused_or_replaced(embed, monkeypatch, capsys):
    options = "--words-per-part", "20"
    interrupt_after(monkeypatch, 1)
    embed(SENTENCES, *options, code=130)
    monkeypatch.undo()
    capsys.readouterr()
    for changed, message in (
        ((SENTENCES[:-1], *options), "the input has other content"),
        ((SENTENCES, *options, "--top"), "--layers was mix, and is top"),
    ):
        embed(*changed, code=2)
        errors = capsys.readouterr().err
        assert message in errors
        assert "--overwrite to replace what is unfinished" in errors
    whole = embed(SENTENCES, *options, "--top", to="whole.h5").read_bytes()
    assert embed(SENTENCES, *options, "--top", "--overwrite").read_bytes() == whole


@pytest.mark.slow
def test_a_damaged_part_is_computed_again(embed, monkeypatch, tmp_path):
    options = "--words-per-part", "20"
    whole = embed(SENTENCES, *options, to="whole.h5").read_bytes()
    interrupt_after(monkeypatch, 2)
    embed(SENTENCES, *options, code=130)
    monkeypatch.undo()
    part = tmp_path / "out.h5.partial" / "part-000001.safetensors"
    part.write_bytes(part.read_bytes()[:-10])
    assert embed(SENTENCES, *options).read_bytes() == whole


def test_a_run_that_ended_between_its_last_two_steps_is_ended(embed, monkeypatch, tmp_path):
    from hf_elmo import embed as command

    def stop(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "remove_partial", stop)
    path = embed(SENTENCES, code=130)
    monkeypatch.undo()
    written = path.stat().st_mtime_ns
    embed(SENTENCES)
    assert path.stat().st_mtime_ns == written
    assert not (tmp_path / "out.h5.partial").exists()
    embed(SENTENCES, code=2)
    assert path.stat().st_mtime_ns == written


@pytest.mark.slow
def test_runs_that_are_killed_end_with_the_same_bytes(tmp_path):
    """In processes of their own, killed by the system: `python tests/helpers/killed_embedding.py` for more of them."""
    helper = str(Path(__file__).parents[1] / "helpers" / "killed_embedding.py")
    ended = run_python(helper, str(tmp_path / "runs"), "--kills", "2", home=tmp_path, PYTHONPATH=str(REPOSITORY))
    assert json.loads(ended.stdout)["kills"] >= 2


@pytest.mark.slow
def test_processes_share_the_parts(embed):
    """Threads are shared, too, so that the last bits may differ."""
    options = "--words-per-part", "20"
    one = stored(embed(SENTENCES, *options, to="one.h5"))
    two = stored(embed(SENTENCES, *options, "--num-processes", "2", to="two.h5"))
    assert_vectors(two, list(one.values()))
