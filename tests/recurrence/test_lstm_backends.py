"""The selection of a backend, and workers for two directions beside threads and forks."""

import contextvars
import itertools
import multiprocessing
import subprocess
import threading

import pytest
import torch
from fresh_process import forking_python
from lstm_cases import WEIGHTS, Tagged, fast, make_case

from hf_elmo.model import lstm_packed_elmo
from hf_elmo.model.lstm_elmo import Direction, last_lstm_path, lstm, lstm_path


@pytest.fixture
def workers(monkeypatch):
    """The workers of two threads, which have a task each however small it is."""
    monkeypatch.setattr(lstm_packed_elmo, "WORKER_THRESHOLD", 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    lstm_packed_elmo.workers.cache_clear()
    yield lstm_packed_elmo.workers
    torch.set_num_threads(threads)


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
def test_a_forked_child_starts_its_own_workers(workers):
    """Data loaders and `datasets.map` fork, and the parent's threads do not exist in the child."""
    tensors, mask, _ = make_case((3, 7, 4, 9, 5), torch.float32, mask="right padding")
    mask[-1] = True
    queue = multiprocessing.get_context("fork").Queue()
    in_child(queue, tensors, mask)
    expected = queue.get(timeout=60)
    assert workers.cache_info().currsize == 1
    process = multiprocessing.get_context("fork").Process(target=in_child, args=(queue, tensors, mask))
    process.start()
    try:
        assert queue.get(timeout=60) == pytest.approx(expected, abs=1e-5)
    finally:
        process.kill()
        process.join()


def test_threads_may_share_the_workers(workers):
    tensors, mask, _ = make_case((17, 21, 64, 96, 64), torch.float32, mask="right padding")
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
    assert workers.cache_info().currsize == 1
    for a, b in itertools.pairwise(results):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


LATE = """
import threading, torch
from hf_elmo.model import lstm_packed_elmo
from hf_elmo.model.lstm_elmo import Direction, lstm

lstm_packed_elmo.WORKER_THRESHOLD = 0
torch.set_num_threads(2)
weights = [torch.randn(size) / 30 for size in ((64, 8), (64,), (64, 8), (8, 16))]

def late():
    threading.main_thread().join()
    with torch.no_grad():
        x = torch.randn(4, 3, 8)
        (outputs, _), _ = lstm([Direction(x, *weights), Direction(x, *weights, reverse=True)])
    print(tuple(outputs.shape))

threading.Thread(target=late).start()
threading._shutdown()  # which an interpreter calls at its end, and a fork does not reach
"""


@pytest.mark.slow
def test_a_thread_that_outlives_the_main_one_computes_alone():
    run = subprocess.run([forking_python("everything"), "-c", LATE], capture_output=True, text=True, timeout=120)
    assert run.stdout == "(4, 3, 8)\n", run.stderr[-2000:]
