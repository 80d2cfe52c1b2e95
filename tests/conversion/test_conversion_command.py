"""`hf-elmo convert`: what it prints, its exit codes, comparison with the original's outputs, and being interrupted."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import huggingface_hub
import numpy as np
import pytest
from fresh_process import forking_python, run_python
from lanes import first_fast
from loopback_hub import running_hub
from numpy_bilm import all_layers
from small_original import OPTIONS

from hf_elmo import ElmoTokenizer
from hf_elmo.cli import main
from hf_elmo.conversion import convert
from hf_elmo.conversion.random_weights import random_weights, write_files

TENSORS = random_weights(OPTIONS)
LINES = ["The bank was closed .", "I sat on the bank", "The bank was closed .", "na\u00efve"]


@pytest.fixture
def original(tmp_path):
    write_files(tmp_path / "original", OPTIONS, TENSORS)
    return tmp_path / "original"


def run(*arguments):
    return main(["convert", *map(str, arguments)])


# ---- reports


def test_what_is_printed(original, tmp_path, capsys):
    with h5py.File(original / "weights.hdf5", "a") as file:
        file["global_step"] = 7
    assert run(original, tmp_path / "model") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{tmp_path / 'model'}: converted from bilm-tf hdf5, 2 layers, 12 wide\n")
    assert "weights.hdf5" in printed.out
    assert "note: " in printed.err
    assert "global_step ()" in printed.err


def test_one_json_object(original, tmp_path, capsys):
    assert run(original, tmp_path / "model", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["output"] == str(tmp_path / "model")
    assert set(report["files"]) == {"options.json", "weights.hdf5"}
    assert (report["hidden_size"], report["num_hidden_layers"], report["word_vocab_size"]) == (12, 2, 0)
    assert (report["notes"], report["verification"], report["url"]) == ([], None, None)


def test_errors_are_one_line_and_exit_code_2(original, tmp_path, capsys):
    (original / "weights.hdf5").write_bytes(b"")
    assert run(original, tmp_path / "model") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"hf-elmo convert: error: {original / 'weights.hdf5'}: the file is empty; expected weights in hdf5 format, "
        "download it again\n"
    )


def test_help_names_presets_and_formats(capsys):
    with pytest.raises(SystemExit) as stopped:
        run("--help")
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert "original-5.5b" in printed
    assert "AllenNLP archive" in printed


def test_source_and_output_are_needed(capsys):
    assert run() == 2
    assert "expected SOURCE and OUTPUT, or --list, or --catalogue FILE OUTPUT" in capsys.readouterr().err


def test_there_and_back(original, tmp_path):
    assert run(original, tmp_path / "model") == 0
    assert run(tmp_path / "model", tmp_path / "back", "--to", "hdf5") == 0
    assert (tmp_path / "back" / "weights.hdf5").read_bytes() == (original / "weights.hdf5").read_bytes()
    assert run(original, tmp_path / "model") == 2
    assert run(original, tmp_path / "model", "--overwrite") == 0


# ---- comparison with outputs of the original


def encode(lines):
    """Ids of every line, boundaries included, one `(1, T, W)` each."""
    return [
        ElmoTokenizer()([line.split()], is_split_into_words=True, return_tensors="np")["input_ids"] for line in lines
    ]


def npz(path, change=0.0):
    ids = encode(LINES)
    layers = [all_layers(TENSORS, OPTIONS, batch[0]) for batch in ids]
    layers[1][2, 3, 5] += change
    arrays = {f"bilm_ids/batch_{i}": batch.astype(np.uint16) for i, batch in enumerate(ids)}
    lengths = [batch.shape[1] for batch in ids]
    vectors = np.concatenate(layers, axis=1).astype(np.float32)
    np.savez(path, numpy_stateless=vectors, lengths=lengths, batch_sizes=[1] * len(ids), **arrays)
    return path


def allennlp(path, lines=LINES, index=True, change=0.0):
    with h5py.File(path, "w") as file:
        for number, ids in enumerate(encode(lines)):
            file[str(number)] = (all_layers(TENSORS, OPTIONS, ids[0])[:, 1:-1] + change).astype(np.float32)
        if index:
            numbers = json.dumps({line: str(number) for number, line in enumerate(lines)})
            file.create_dataset("sentence_to_index", (1,), dtype=h5py.string_dtype())[0] = numbers
    return path


@pytest.mark.parametrize("size", [0, -3])
def test_a_batch_has_at_least_one_sentence(original, tmp_path, capsys, size):
    expected = allennlp(tmp_path / "all.hdf5", index=False)
    assert run(original, tmp_path / "model", "--verify", expected, "--verify-batch-size", size) == 2
    assert f"--verify-batch-size must be at least 1, but is {size}" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_nothing_is_not_verified(original, tmp_path, capsys):
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    expected = allennlp(tmp_path / "all.hdf5", index=False)
    assert run(original, tmp_path / "model", "--verify", expected, "--verify-text", tmp_path / "empty.txt") == 2
    assert "there is nothing to compare" in capsys.readouterr().err


@pytest.mark.parametrize("lengths", first_fast([[7, 7], [7, 7, 7, 2], [7, 7, 7, 3, 1]]))
def test_lengths_that_do_not_fit(original, tmp_path, capsys, lengths):
    arrays = dict(np.load(npz(tmp_path / "expected.npz"))) | {"lengths": lengths}
    np.savez(tmp_path / "expected.npz", **arrays)
    assert run(original, tmp_path / "model", "--verify", tmp_path / "expected.npz") == 2
    printed = capsys.readouterr().err
    assert "numpy_stateless (3, 24, 12) must be (layers, words, width)" in printed
    assert printed.count("\n") == 1


def test_lines_of_a_text_end_with_line_ends_only(original, tmp_path):
    lines = ["a\u2028b\x85c", "The bank"]
    (tmp_path / "text.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    expected = allennlp(tmp_path / "all.hdf5", lines, index=False)
    text = tmp_path / "text.txt"
    assert run(original, tmp_path / "model", "--verify", expected, "--verify-text", text, "--verify-batch-size", 2) == 0


def test_equal_outputs_are_verified(original, tmp_path, capsys):
    assert run(original, tmp_path / "model", "--verify", npz(tmp_path / "expected.npz")) == 0
    out = capsys.readouterr().out
    assert out.count("largest difference") == 3
    assert "verified: 24 words, numpy_stateless, tolerance 5e-06" in out


@pytest.mark.parametrize("change", first_fast([1e-4, float("nan")]))
def test_other_outputs_are_exit_code_1(original, tmp_path, capsys, change):
    assert run(original, tmp_path / "model", "--json", "--verify", npz(tmp_path / "expected.npz", change)) == 1
    verification = json.loads(capsys.readouterr().out)["verification"]
    assert verification["passed"] is False
    *lower, top = verification["differences"]
    assert max(lower) <= 5e-6
    assert top is None if np.isnan(change) else top > 5e-6
    assert run(original, tmp_path / "loose", "--verify", tmp_path / "expected.npz", "--tolerance", "1e-3") == (
        change != 1e-4
    )


def test_what_to_compare_with_is_asked_for_first(original, tmp_path, capsys):
    assert run(original, tmp_path / "model", "--verify", tmp_path / "nowhere.npz") == 2
    assert "nowhere.npz: no such file" in capsys.readouterr().err
    assert run(original, tmp_path / "model", "--to", "hdf5", "--verify", npz(tmp_path / "expected.npz")) == 2
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_outputs_of_allennlps_command(original, tmp_path, capsys):
    unique = LINES[:2] + LINES[3:]
    assert run(original, tmp_path / "model", "--verify", allennlp(tmp_path / "all.hdf5", unique)) == 0
    assert "verified: 11 words" in capsys.readouterr().out
    assert run(original, tmp_path / "other", "--verify", allennlp(tmp_path / "bad.hdf5", unique, change=1e-3)) == 1


def test_a_repeated_sentence_needs_the_text(original, tmp_path, capsys):
    expected = allennlp(tmp_path / "all.hdf5")
    assert run(original, tmp_path / "model", "--verify", expected) == 2
    assert "sentence_to_index lacks the sentence of '0'" in capsys.readouterr().err
    (tmp_path / "text.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    assert run(original, tmp_path / "with", "--verify", expected, "--verify-text", tmp_path / "text.txt") == 0
    assert "verified: 16 words" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("write", "says"),
    first_fast(
        [
            (lambda path: path.write_bytes(b"abc"), "neither .npz nor .hdf5"),
            (lambda path: np.savez(path, a=np.zeros(3)), "expected bilm_ids/<batch>"),
            (lambda path: np.save(path.open("wb"), np.array([{}], dtype=object)), "neither .npz nor .hdf5"),
            (lambda path: allennlp(path, index=False), "--verify-text"),
            (
                lambda path: h5py.File(path, "w").create_dataset("0", data=np.zeros((5, 12), "f4")).file.close(),
                "--verify-text",
            ),
        ],
        2,
    ),
)
def test_outputs_of_unknown_layout(original, tmp_path, capsys, write, says):
    write(tmp_path / "expected.npz")
    assert run(original, tmp_path / "model", "--verify", tmp_path / "expected.npz") == 2
    assert says in capsys.readouterr().err


@pytest.mark.slow
def test_outputs_of_one_layer_or_another_model(original, tmp_path, capsys):
    expected = allennlp(tmp_path / "all.hdf5", LINES[:2])
    with h5py.File(expected, "a") as file:
        top = file["1"][2]
        del file["1"]
        file["1"] = top
    assert run(original, tmp_path / "model", "--verify", expected) == 2
    assert "expected (layers, words, width), from --all" in capsys.readouterr().err
    with h5py.File(expected, "a") as file:
        del file["1"]
        file["1"] = np.zeros((3, 5, 14), np.float32)
    assert run(original, tmp_path / "model", "--verify", expected, "--overwrite") == 2
    assert "vectors (3, 5, 14), but the model makes (3, 5, 12)" in capsys.readouterr().err


@pytest.mark.slow
def test_outputs_of_the_original_software(fixtures_dir, tmp_path, capsys):
    """The state is carried over batches of three lines in AllenNLP's files, of one in bilm-tf's."""
    s01, folder = fixtures_dir / "random" / "s01_tiny_relu", fixtures_dir / "elmo_module"
    text = folder / "sentences.txt"
    for number, arguments in enumerate(
        [
            [s01 / "expected.npz"],
            [folder / "elmo_command_all.hdf5", "--verify-text", text, "--verify-batch-size", 3],
            [folder / "elmo_command_all_forget_sentences.hdf5", "--verify-text", text, "--verify-batch-size", 3],
            [folder / "bilm_dump_bilm_embeddings.hdf5", "--verify-text", text],
        ]
    ):
        assert run(s01, tmp_path / f"model{number}", "--verify", *arguments) == 0, arguments
    assert run(s01, tmp_path / "wrong", "--verify", folder / "elmo_command_all.hdf5", "--verify-text", text) == 1
    capsys.readouterr()
    s02, folder = fixtures_dir / "random" / "s02_tiny_tanh_clip", fixtures_dir / "elmo_module_3_layers"
    arguments = [folder / "elmo_command_all.hdf5", "--verify-text", text, "--verify-batch-size", 3, "--tolerance", 2e-5]
    assert run(s02, tmp_path / "model", "--verify", *arguments) == 0
    assert "layer 3" in capsys.readouterr().out


# ---- pushed


@pytest.mark.slow
def test_the_folder_is_pushed_with_its_card(original, tmp_path):
    with running_hub() as hub:
        result = run_python(
            *[
                "-m",
                "hf_elmo.cli",
                "convert",
                original,
                tmp_path / "model",
                "--push-to-hub",
                "ada/elmo",
                "--license",
                "mit",
                "--json",
            ],
            home=tmp_path,
            HF_ENDPOINT=hub.url,
            HF_HUB_OFFLINE="0",
            HF_TOKEN="hf_writes",
        )
        files = hub.repositories["ada/elmo"].files
    assert json.loads(result.stdout)["url"] == f"{hub.url}/ada/elmo"
    for path in (tmp_path / "model").iterdir():
        assert files[path.name] == path.read_bytes()
    assert b'from_pretrained("ada/elmo"' in files["README.md"]
    assert b"license: mit" in files["README.md"]


def test_a_push_that_fails_leaves_the_folder(original, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert run(original, tmp_path / "model", "--push-to-hub", "ada/elmo") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "ada/elmo: offline mode is on" in error
    assert (tmp_path / "model" / "model.safetensors").is_file()


# ---- interrupted

WIDE = {
    "lstm": {**OPTIONS["lstm"], "projection_dim": 128, "dim": 2048},
    "char_cnn": {**OPTIONS["char_cnn"], "filters": [[1, 64], [2, 448]]},
}

# Converts in a fork, sends it a signal as soon as weights are being written, and prints the fork's exit code.
INTERRUPTED = """
import os, signal, sys, time
from pathlib import Path
from hf_elmo.cli import main

number, source, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
child = os.fork()
if not child:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background ignore it
    code = main(["convert", source, str(folder / "model")])
    sys.stdout.flush()
    os._exit(code)
ended = status = 0
while not ended and not list(folder.glob(".model.*.partial/model.safetensors*")):
    time.sleep(0.001)
    ended, status = os.waitpid(child, os.WNOHANG)
if not ended:
    os.kill(child, number)
    _, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
"""


def convert_until(number: signal.Signals, source: Path, folder: Path) -> tuple[int, str, str]:
    """Exit code and output of a conversion that gets a signal while it writes; another one if it was done before."""
    for _ in range(5):
        command = [forking_python("everything"), "-c", INTERRUPTED, str(int(number)), source, folder]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60)
        *out, code = run.stdout.splitlines()
        if int(code):
            return int(code), "".join(out), run.stderr
        shutil.rmtree(folder)
    raise AssertionError("no conversion could be interrupted")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals as on POSIX")
def test_an_interruption_leaves_nothing_under_the_name(tmp_path):
    write_files(tmp_path / "original", WIDE, random_weights(WIDE))
    code, out, errors = convert_until(signal.SIGINT, tmp_path / "original", tmp_path / "interrupted")
    assert (code, out) == (130, "")
    assert errors.splitlines()[-1] == "hf-elmo convert: interrupted"
    assert "Traceback" not in errors
    assert list((tmp_path / "interrupted").iterdir()) == []

    code, out, _ = convert_until(signal.SIGKILL, tmp_path / "original", tmp_path / "killed")
    assert (code, out) == (-signal.SIGKILL, "")
    assert not (tmp_path / "killed" / "model").exists()
    convert(tmp_path / "original", tmp_path / "killed" / "model")  # what was left there is in nobody's way


def test_a_failure_while_writing_leaves_nothing(original, tmp_path, monkeypatch):
    """A full disk, say, after the weights."""

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ElmoTokenizer, "save_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        convert(original, tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["original"]
