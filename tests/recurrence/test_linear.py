"""Products of matrices with any number of rows, of which only few different ones reach oneDNN."""

import os
import subprocess
import threading

import pytest
import torch
from fresh_process import forking_python
from torch.testing import assert_close

from hf_elmo.model import linear_elmo
from hf_elmo.model.linear_elmo import (
    MANY_ROWS,
    MANY_ROWS_OF_LONG_SUMS,
    StepWeight,
    add_product_,
    differentiable_linear,
    linear,
    onednn_is_faster,
    round_up_rows,
)
from hf_elmo.model.lstm_packed_elmo import workers

ROWS = [1, 2, 33, 129, 600]
EXACT = {"rtol": 0, "atol": 1e-5}  # sums of some hundred products, of about 1 in all


@pytest.fixture(autouse=True, scope="module")
def small_weights_repay():
    """Multiply with small weights on every processor as with large ones, which would take long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_elmo, "SMALLEST_WEIGHT", 0)
        yield


def random(*sizes):
    return torch.randn(sizes, generator=torch.Generator().manual_seed(sum(sizes))) / 6


def test_few_numbers_of_rows():
    numbers = [round_up_rows(rows) for rows in range(1, 4097)]
    assert all(rows <= number <= rows + rows / 16 for rows, number in enumerate(numbers, 1))
    assert numbers == sorted(numbers)
    assert len(set(numbers)) < 150
    assert round_up_rows(0) == 0


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("reordered", [False, True])
def test_linear(rows, reordered):
    x, weight, bias, total = random(rows, 1024), random(1100, 1024), random(1100), random(rows, 1100)
    exact = (x.double() @ weight.double().T).float()
    steps = StepWeight(weight, rows, 100 if reordered else 1)
    if reordered:
        weight = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    assert onednn_is_faster(rows, weight) == (1 < rows < MANY_ROWS or reordered)
    assert_close(linear(x, weight, bias), exact + bias, **EXACT)
    assert_close(steps.product_(torch.full_like(exact, torch.nan), x), exact, **EXACT)
    assert_close(steps.product_(total.clone(), x, beta=1), total + exact, **EXACT)


@pytest.mark.parametrize("rows", [1, 63, 64, 130])
def test_steps_of_long_sums(rows):
    x, weight = random(rows, 1024), random(250, 1024)
    steps = StepWeight(weight, rows, 100)
    assert steps.weight.is_mkldnn == (4 < rows < MANY_ROWS_OF_LONG_SUMS)
    for part in (x, x[:2], x[: rows // 2]):  # later steps have fewer rows
        out = part.new_empty(len(part), 250)
        assert_close(steps.product_(out, part), (part.double() @ weight.double().T).float(), **EXACT)


@pytest.mark.parametrize("rows", [2, 8, 40])
@pytest.mark.parametrize("steps", [1, 100])
def test_small_weights_are_left_to_torch(monkeypatch, rows, steps):
    """As with AVX2. Many steps read a transposed copy of the weight of long sums."""
    monkeypatch.setattr(linear_elmo, "ONEDNN_SUMS", False)
    monkeypatch.setattr(linear_elmo, "SMALLEST_WEIGHT", 1 << 20)
    x, weight = random(rows, 2048), random(128, 2048)
    step_weight = StepWeight(weight, rows, steps)
    assert not onednn_is_faster(rows, weight)
    assert not step_weight.weight.is_mkldnn
    assert step_weight.transposed.is_contiguous() == (steps == 100 and rows >= linear_elmo.TRANSPOSED_ROWS)
    assert onednn_is_faster(rows, random(1024, 1024))
    assert not onednn_is_faster(rows, random(512, 2048))
    exact = (x.double() @ weight.double().T).float()
    assert_close(step_weight.product_(torch.full_like(exact, torch.nan), x), exact, **EXACT)


@pytest.mark.parametrize("rows", range(1, 12))
def test_steps_multiply_with_onednn_from_as_many_rows_on_as_single_products(rows):
    weight = random(300, 700)
    assert (rows >= StepWeight(weight, 12, 1).onednn_rows) == onednn_is_faster(rows, weight)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("bias", [True, False])
def test_all_gradients(rows, bias):
    exact = [random(rows, 1024).double(), random(1100, 1024).double(), random(1100).double() if bias else None]
    floats = [None if part is None else part.float().requires_grad_() for part in exact]
    exact = [None if part is None else part.requires_grad_() for part in exact]
    weights = random(rows, 1100)
    output, expected = differentiable_linear(*floats), torch.nn.functional.linear(*exact)
    assert (type(output.grad_fn).__name__ == "OneDnnLinearBackward") == (1 < rows < MANY_ROWS)
    (output * weights).sum().backward()
    (expected * weights).sum().backward()
    assert_close(output, expected.float(), **EXACT)
    for actual, wanted in zip(floats, exact):
        assert (
            actual is wanted is None or (actual.grad - wanted.grad.float()).abs().max() < 1e-4 * wanted.grad.abs().max()
        )


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("shape", [(1100, 1024), (1024, 1100)])
def test_the_gradient_of_a_weight(shape, rows):
    left, right, total = random(rows, shape[0]), random(rows, shape[1]), random(*shape)
    expected = total + (left.double().T @ right.double()).float()
    assert onednn_is_faster(rows, total) == (1 < rows < MANY_ROWS)
    add_product_(total, left, right)
    assert_close(total, expected, **EXACT)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_gradient_of_a_weight_in_float32_from_factors_of_half_precision(dtype):
    """Whether or not the processor has such products."""
    left, right, total = random(70, 1100).to(dtype), random(70, 1024).to(dtype), random(1100, 1024)
    expected = total.double() + left.double().T @ right.double()
    add_product_(total, left, right)
    assert (total - expected).abs().max() < 0.01 * expected.abs().max()


def test_small_products_and_none():
    weight = random(3, 4)
    for rows in (0, 5):
        x = random(rows, 4)
        assert not onednn_is_faster(rows, weight)
        assert_close(linear(x, weight), x @ weight.T, **EXACT)


@pytest.mark.parametrize(("threads", "count"), [(2, 2), (4, 2), (4, 4), (7, 2)])
def test_workers_share_the_threads(threads, count):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = threading.Barrier(count)

        def own_threads(_):
            together.wait()  # so that no worker answers for another
            return torch.get_num_threads()

        assert set(workers(os.getpid(), threads, count).map(own_threads, range(count))) == {threads // count}
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


BATCHES = """
import torch
from hf_elmo.model.lstm_elmo import Direction, lstm

torch.manual_seed(0)
weights = torch.randn(8192, 256), torch.randn(8192), torch.randn(8192, 256), torch.randn(256, 2048)
with torch.no_grad():
    for rows in range(40, 168):
        lstm([Direction(torch.randn(rows, 2, 256), *weights)])
"""


@pytest.mark.slow
@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
def test_batches_of_all_sizes_need_few_kernels():
    """With `ONEDNN_VERBOSE`, which it reads before its first product, oneDNN prints a line for each kernel that it
    compiles."""
    environment = {**os.environ, "ONEDNN_VERBOSE": "2"}
    run = subprocess.run(
        [forking_python("everything"), "-c", BATCHES], capture_output=True, text=True, env=environment, timeout=300
    )
    assert run.returncode == 0, run.stderr[-2000:]
    compiled = [line for line in run.stdout.splitlines() if "create:cache_miss" in line]
    assert 20 < len(compiled) < 128, "as many as batches" if compiled else "oneDNN printed nothing"
