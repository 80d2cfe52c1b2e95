"""The Triton kernels: their results, in a process of its own, and their compilation for GPUs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hf_elmo.model.lstm_elmo import Direction, lstm, lstm_path

triton = pytest.importorskip("triton", reason="triton is not installed: pip install triton (Linux)")


def in_fresh_process(*arguments, **environment):
    command = [sys.executable, *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
@pytest.mark.parametrize("interpreted", [True, False], ids=["interpreter", "GPU"])
def test_the_kernels_are_the_reference(interpreted):
    if not interpreted and not torch.cuda.is_available():
        pytest.skip("no GPU: here the kernels run by Triton's interpreter only")
    cases = Path(__file__).parents[1] / "helpers" / "triton_cases.py"
    arguments = "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore::RuntimeWarning", cases
    run = in_fresh_process(*arguments, TRITON_INTERPRET=str(int(interpreted)))
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]


def test_without_a_gpu_they_are_refused_in_a_line():
    tensors = [torch.ones(size) for size in ((1, 1, 2), (8, 2), (8,), (8, 2))]
    with pytest.raises(ValueError, match="'triton' cannot run here: it needs a GPU"), lstm_path("triton"):
        lstm([Direction(*tensors)])


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "precision"), [("bfloat16", "ieee"), ("float32", "ieee"), ("float32", "tf32")])
def test_they_compile_to_machine_code(dtype, precision, tmp_path, monkeypatch):
    """For compute capability 8.0, by the assembler that comes with triton: no GPU is needed for that."""
    from hf_elmo.model import lstm_elmo_triton as kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    types = {"table": "*i64", "progress": "*i32", "cell_clip": "fp32", "projection_clip": "fp32"}
    rows, columns = kernels.tile_of_outputs(32)
    line = 128 // getattr(torch, dtype).itemsize
    tiles = {
        "forward_cells": {"ROWS": 32, "CELLS": 32, "INNER": line},
        "forward_outputs": {"ROWS": rows, "COLUMNS": columns, "INNER": line, "SLICES": 128 // columns},
        "backward_outputs": {"ROWS": 8, "COLUMNS": 64},
        "backward_cells": {"ROWS": 32, "CELLS": 32, "INNER": 32},
        "backward_hidden": {"ROWS": 32, "COLUMNS": 64, "INNER": 32},
    }
    constants = {"B": 32, "C": 1024, "P": 128, "PARTS": kernels.SPLITS, "KEEP": True, "PROJECTED": True}
    constants |= {"DTYPE": getattr(triton.language, dtype), "FACTOR": getattr(triton.language, dtype)}
    constants |= {"PRECISION": precision, "TRANSPOSED": kernels.exact(getattr(torch, dtype), precision)}
    for name, tile in tiles.items():
        kernel = getattr(kernels, name)
        signature = {argument: types.get(argument, "constexpr") for argument in kernel.arg_names}
        known = constants | tile
        values = {(i,): known[argument] for i, argument in enumerate(kernel.arg_names) if argument in known}
        source = triton.compiler.ASTSource(kernel, signature, values)
        compiled = triton.compile(source, target=triton.backends.compiler.GPUTarget("cuda", 80, 32))
        assert compiled.asm["cubin"], name
