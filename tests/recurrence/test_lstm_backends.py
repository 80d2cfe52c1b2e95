"""The selection of a backend, and workers for two directions beside threads and forks."""

import contextvars
import itertools
import multiprocessing
import subprocess
import sys
import threading

import pytest
import torch
from lstm_cases import WEIGHTS, Tagged, fast, make_case
from lstm_cases import wide_case as make_wide_case

from hf_elmo.model.lstm_elmo import Direction, last_lstm_path, lstm, lstm_path
from hf_elmo.model.lstm_packed_elmo import workers


@pytest.fixture(scope="module")
def wide_case():
    return make_wide_case()


def test_the_backend_is_selected_by_what_can_run_and_says_why():
    tensors, mask, _ = make_case((3, 4, 4, 9, 5), torch.float32, mask="right padding")
    x, *weights = (tensors[name] for name in ("x", *WEIGHTS))

    def backend(x, *weights):
        fast(x, *weights, None, mask.to(x.device))
        return last_lstm_path()

    assert backend(x, *weights) == ("packed", "plain tensors")
    assert backend(x, weights[0].as_subclass(Tagged), *weights[1:]) == ("reference", "Tagged is no plain tensor")
    assert "meta" in backend(*(t.to("meta") for t in (x, *weights))).reason
    with lstm_path("reference"):
        assert backend(x, *weights) == ("reference", "forced by lstm_path")
        with lstm_path("packed"):
            assert backend(x, *weights) == ("packed", "forced by lstm_path")
        assert backend(x, *weights).name == "reference"
    assert backend(x, *weights).name == "packed"

    gradient = torch.func.grad(lambda x: fast(x, *weights, None, mask)[0].sum())(x)
    assert last_lstm_path().name == "reference"
    assert "torch.func" in last_lstm_path().reason
    leaf = x.clone().requires_grad_()
    fast(leaf, *weights, None, mask)[0].sum().backward()
    torch.testing.assert_close(gradient, leaf.grad, rtol=1e-5, atol=1e-5)

    message = "there is no LSTM backend 'fast'; the backends are packed, triton, int8, reference"
    with pytest.raises(ValueError, match=message), lstm_path("fast"):
        pass
    with pytest.raises(ValueError, match="'packed' cannot run here: Tagged is no plain tensor"), lstm_path("packed"):
        fast(x.as_subclass(Tagged), *weights)


@pytest.mark.filterwarnings("ignore:this processor has no products of bfloat16")
@pytest.mark.parametrize("instructions", [{}, {"avx512_bf16": True}, {"amx_bf16": True}])
def test_bfloat16_without_instructions_for_it_is_said_to_be_slow(instructions, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64", **instructions})
    tensors, mask, _ = make_case((3, 4, 4, 9, 5), torch.float32, mask="right padding")
    tensors = [tensors[name] for name in ("x", *WEIGHTS)]
    for half in (False, True):
        fast(*(tensor.bfloat16() if half else tensor for tensor in tensors), None, mask)
        said = "so that float32 is faster" in last_lstm_path().reason
        assert said == (half and not instructions)
    with torch.autocast("cpu", torch.bfloat16):
        fast(*tensors, None, mask)
    assert ("so that float32 is faster" in last_lstm_path().reason) == (not instructions)


def test_a_forced_backend_stays_in_its_thread():
    tensors, _, _ = make_case((3, 4, 4, 9, 5), torch.float32)
    x, *weights = (tensors[name] for name in ("x", *WEIGHTS))
    found = []

    def elsewhere():
        found.append(last_lstm_path())
        fast(x, *weights)
        found.append(last_lstm_path().name)

    with lstm_path("reference"):
        fast(x, *weights)
        thread = threading.Thread(target=contextvars.Context().run, args=(elsewhere,))
        thread.start()
        thread.join()
        assert last_lstm_path().name == "reference"
    assert found == [None, "packed"]


def in_child(queue, tensors, mask):
    x, *weights = (tensors[name] for name in ("x", *WEIGHTS))
    with torch.no_grad():
        (outputs, _), _ = lstm([Direction(x, *weights), Direction(x, *weights, reverse=True)], mask)
    queue.put(outputs[-1, -1, :4].tolist())  # four: torch's threads for one operation do not survive a fork


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
def test_a_forked_child_starts_its_own_workers(wide_case):
    """Data loaders and `datasets.map` fork, and the parent's threads do not exist in the child."""
    tensors, mask, _ = wide_case
    queue = multiprocessing.get_context("fork").Queue()
    in_child(queue, tensors, mask)
    expected = queue.get(timeout=60)
    if torch.get_num_threads() > 1:
        assert workers.cache_info().currsize, "the case is too small for workers"
    process = multiprocessing.get_context("fork").Process(target=in_child, args=(queue, tensors, mask))
    process.start()
    try:
        assert queue.get(timeout=60) == pytest.approx(expected, abs=1e-5)
    finally:
        process.kill()
        process.join()


def test_threads_may_share_the_workers(wide_case):
    tensors, mask, _ = wide_case
    x, *weights = (tensors[name] for name in ("x", *WEIGHTS))
    results = [None] * 4

    def call(index):
        with torch.no_grad():
            results[index] = lstm([Direction(x, *weights), Direction(x, *weights, reverse=True)], mask)[1][0]

    threads = [threading.Thread(target=call, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in itertools.pairwise(results):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


LATE = """
import threading, torch
from hf_elmo.model.lstm_elmo import Direction, lstm

torch.set_num_threads(2)
weights = [torch.randn(size) / 30 for size in ((8192, 768), (8192,), (8192, 768), (768, 2048))]

def late():
    threading.main_thread().join()
    with torch.no_grad():
        x = torch.randn(4, 3, 768)
        (outputs, _), _ = lstm([Direction(x, *weights), Direction(x, *weights, reverse=True)])
    print(tuple(outputs.shape))

threading.Thread(target=late).start()
"""


@pytest.mark.slow
def test_a_thread_that_outlives_the_main_one_computes_alone():
    run = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=120)
    assert run.stdout == "(4, 3, 768)\n", run.stderr[-2000:]
