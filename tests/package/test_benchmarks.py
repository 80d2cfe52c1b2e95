"""The speed benchmarks run. How fast anything is, no test says: the machine may be busy."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from fresh_process import forking_python

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
