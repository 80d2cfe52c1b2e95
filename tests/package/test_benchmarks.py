"""The benchmarks of speed and senses run. How fast anything is, no test says: the machine may be busy."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import torch
from fresh_process import forking_python
from torch.nn.functional import cosine_similarity

from hf_elmo import ElmoConfig, ElmoModel, ElmoTokenizer

SPEED = Path(__file__).resolve().parents[2] / "benchmarks" / "speed.py"


def speed(*arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [forking_python("everything"), str(SPEED), *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


@pytest.mark.slow
def test_every_table_is_printed():
    machine, *tables = speed("--quick", "--device", "cpu").split("\n\n")
    assert "threads, torch" in machine
    assert all(name in machine for name in ("avx2", "avx512f", "vnni", "bf16", "amx"))
    titles, rows = tables[::2], [table.strip().splitlines() for table in tables[1::2]]
    assert [title.split(",")[0].split(" on")[0] for title in titles] == [
        "One layer",
        "The whole model",
        "A corpus",
        "Memory of a corpus",
    ]
    assert [len(table) - 2 for table in rows] == [3, 3, 3, 2]
    for header, _, *body in rows:
        assert all(row.count("|") == header.count("|") for row in body)
    shares = [row.split("|")[header.split("|").index(" of peak, GFLOP/s ")] for header, _, row, *_ in rows[:3]]
    assert all(re.fullmatch(r" \d+% of [\d,]+ ", share) for share in shares)
    contestants = [row.split("|")[3].strip() for row in rows[0][2:]]
    assert contestants == ["float32", "int8", "float32"]


@pytest.mark.slow
def test_memory_is_measured_in_a_process_of_its_own():
    assert float(speed("--memory-of", '["layer", "ours", "tiny", 3, false, "cpu", "float32"]')) >= 0


@pytest.mark.slow
def test_the_gpu_benchmark_runs_its_layers_on_a_cpu(tmp_path):
    script, output = SPEED.with_name("gpu.py"), tmp_path / "gpu.json"
    options = ["--device", "cpu", "--size", "tiny", "--batches", "3", "--rounds", "1", "--skip", "tests", "pretraining"]
    command = [forking_python("everything"), str(script), *options, "--output", str(output)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-3000:]
    rows = json.loads(output.read_text(encoding="utf-8"))["layer"]["rows"]
    assert {(row["pass"], row["numbers"]) for row in rows} == {
        (way, numbers) for way in ("forward", "forward, backward") for numbers in ("float32", "tf32", "bfloat16")
    }
    assert all(row["backend"] == "packed" and row["words_per_second"] > 0 for row in rows)


@pytest.mark.slow
def test_the_pretraining_benchmark_runs_all_contestants():
    options = ["--rows", "2", "--rounds", "1", "--vocabulary", "100", "--negatives", "10", "--lines", "500"]
    options += ["--product", "256"]
    command = [forking_python("everything"), str(SPEED.with_name("pretraining.py")), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert run.returncode == 0, run.stderr[-3000:]
    report = json.loads(run.stdout[run.stdout.index("{") :])
    assert all(report[f"{name}_words_per_second"] > 0 for name in ("step", "nn_lstm_step", "loader"))
    assert {"softmax", "softmax, backward", "recurrence", "recurrence, backward", "optimizer"} <= report["parts"].keys()
    assert report["words_of_the_softmax"] == 100


def test_the_senses_are_those_of_the_layers(tmp_path):
    """Of a model without training: the cosines of two words are found again, and the nearest ones are counted."""
    torch.manual_seed(0)
    sizes = {"char_cnn_filters": [[1, 8], [3, 16]], "char_embedding_size": 8, "projection_size": 8, "cell_size": 16}
    ElmoModel(ElmoConfig(**sizes)).save_pretrained(tmp_path)
    ElmoTokenizer().save_pretrained(tmp_path)
    script = SPEED.with_name("senses.py")
    command = [forking_python("everything"), str(script), "--model", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-3000:]
    _, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in run.stdout.splitlines())
    words = ["bank", *sorted(path.stem for path in SPEED.with_name("senses").glob("*.tsv")), "all"]
    assert [row[0] for row in rows] == words
    assert len(words) == 12
    lines = SPEED.with_name("senses").joinpath("plant.tsv").read_text(encoding="utf-8").splitlines()[1:]
    places, sentences = zip(*(line.split("\t")[:2] for line in lines))
    layers = ElmoModel.from_pretrained(tmp_path).eval()
    batch = ElmoTokenizer()([line.split() for line in sentences], is_split_into_words=True, padding=True)
    with torch.no_grad():
        output = layers(**batch.convert_to_tensors("pt"), output_hidden_states=True)
    for number, layer in enumerate(output.hidden_states[1:]):
        one, two, three, four = (layer[row, int(place) + 1] for row, place in enumerate(places))
        across = max(cosine_similarity(a, b, dim=0) for a in (one, two) for b in (three, four))
        same = [cosine_similarity(one, two, dim=0), cosine_similarity(three, four, dim=0)]
        found = rows[words.index("plant")][1 + 3 * number : 3 + 3 * number]
        assert found == [f"{same[0]:.2f}, {same[1]:.2f}", f"{across:.2f}"]
        counts = [int(row[3 + 3 * number].split()[0]) for row in rows]
        assert counts[-1] == sum(counts[:-1])
        assert rows[-1][3 + 3 * number].endswith("of 44")
