"""Commands without the seconds that imports take: a process that has libraries imported forks for each of them.

    python command_server.py FOLDER package      writes `hf-elmo` and `python` to FOLDER, serves them until its input
                                                 ends, and removes FOLDER; the package is imported, the scripts of
                                                 training are not
    python command_server.py FOLDER libraries    `python` only, with what is below Hugging Face's libraries imported:
                                                 a fork still reads their settings from its own environment
    python command_server.py FOLDER transformers the same, and transformers with the settings of this process
    python command_server.py FOLDER everything   `python` only, with the package imported as by the first, for whatever
                                                 shares the settings of this process

All hand their arguments, environment, folder and streams to the server, and end with the code of its fork, or killed if
that was. `python` does so for scripts, code and modules, and is the interpreter of the server where it has options of
its own, or where it stands beside `hf-elmo` and something else than a module of the package is to run.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import shutil
import signal
import socket
import sys
import tempfile
import traceback
import types
from contextlib import suppress
from pathlib import Path

CLIENT = """#!{python} -IS
import json, os, socket, sys
arguments = sys.argv[2 if sys.argv[1:2] == ["-u"] else 1 :]
is_ours = arguments[:1] == ["-m"] and arguments[1].startswith("hf_elmo.")
is_plain = arguments[:1] in (["-c"], ["-m"]) or not arguments[0].startswith("-")
if {name!r} == "python" and not (is_ours if {package!r} else is_plain):
    os.execv({python!r}, [{python!r}, *arguments])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    request = [{name!r}, arguments, os.getcwd(), dict(os.environ)]
    socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2])
    server.shutdown(socket.SHUT_WR)
    answer = server.recv(1)
    if not answer:
        os.kill(os.getpid(), 9)
    sys.exit(answer[0])
"""


LIBRARIES = """torch torch._dynamo torch.distributed.checkpoint torch.distributed.fsdp torch.distributed.tensor
torch.export h5py httpx jinja2 numpy pandas pyarrow.dataset pyarrow.parquet regex safetensors.torch scipy.optimize
sklearn.metrics yaml"""


def import_libraries() -> None:
    """Import what takes most of the time of an import of the package and reads no setting of Hugging Face's."""
    for name in LIBRARIES.split():
        with suppress(ImportError):
            importlib.import_module(name)
    assert not sys.modules.keys() & {"huggingface_hub", "transformers", "datasets", "accelerate", "hf_elmo"}


def import_transformers() -> None:
    """Import what most processes use of transformers."""
    import_libraries()
    for name in ("modeling_utils", "models.auto", "models.auto.tokenization_auto", "pipelines"):
        importlib.import_module(f"transformers.{name}")


def import_package() -> None:
    """Import the package, but leave the scripts of training to be run as if for the first time."""
    import hf_elmo

    for module in pkgutil.walk_packages(hf_elmo.__path__, "hf_elmo."):
        if not module.name.startswith(("hf_elmo.integrations", "hf_elmo.compat", "hf_elmo.model.lstm_elmo_triton")):
            importlib.import_module(module.name)
    # What runs import when they draw plots, and score texts
    for name in ("matplotlib.backends.backend_agg", "rouge_score.rouge_scorer", "sacrebleu"):
        with suppress(ImportError):
            importlib.import_module(name)
    for name in [name for name in sys.modules if name.startswith("hf_elmo.training.")]:
        if hasattr(sys.modules[name], "main"):
            del sys.modules[name]
    open_a_model()


def open_a_model() -> None:
    """Open a small model, for which transformers compiles some thousand patterns that it keeps for the next one."""
    import hf_elmo

    sizes = {"char_embedding_size": 2, "char_cnn_filters": [[1, 2]], "projection_size": 2, "cell_size": 2}
    with tempfile.TemporaryDirectory() as folder:
        hf_elmo.ElmoModel(hf_elmo.ElmoConfig(**sizes)).save_pretrained(folder)
        hf_elmo.ElmoModel.from_pretrained(folder)


def serve(folder: Path, what: str) -> None:
    """Write the commands, say so with a line, and fork for each call until standard input ends; remove the folder."""
    package = what == "package"
    {"libraries": import_libraries, "transformers": import_transformers}.get(what, import_package)()
    gc.collect()
    gc.freeze()  # a fork that collects garbage, as each training does, need not look at all that was imported
    address = str(folder / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        for name in ("hf-elmo", "python") if package else ("python",):
            text = CLIENT.format(python=sys.executable, name=name, address=address, package=package)
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that nobody has to wait for forks
        print("ready", flush=True)
        while sys.stdin not in (ready := select.select([server, sys.stdin], [], [])[0]):
            call, _ = ready[0].accept()
            with call:
                content, streams, *_ = socket.recv_fds(call, 1 << 16, 3)
                while more := call.recv(1 << 16):
                    content += more
                if not os.fork():
                    run_and_exit(call, streams, *json.loads(content))
            for stream in streams:
                os.close(stream)
    shutil.rmtree(folder)


def run_and_exit(call: socket.socket, streams: list[int], name: str, arguments: list[str], folder: str, env: dict):
    """Run a command in this fork as in a process of its own."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    code = 1
    try:
        if name == "hf-elmo":
            from hf_elmo.cli import main

            code = main(arguments)
        else:
            code = 0
            run_python(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        code = 1
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        call.sendall(bytes([code]))
        os._exit(code)


def run_python(arguments: list[str]) -> None:
    """Run a script, code or a module as the interpreter would."""
    first, *rest = arguments
    if first in ("-c", "-m"):
        code, *rest = rest
    path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [str(Path(first).resolve().parent) if first not in ("-c", "-m") else "", *filter(None, path)]
    sys.argv = [first, *rest]
    if first == "-c":
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(code, "<string>", "exec"), main.__dict__)
    elif first == "-m":
        sys.argv = [code, *rest]
        runpy.run_module(code, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    del sys.path[0]  # this file's folder, which no fork asked for
    serve(Path(sys.argv[1]), sys.argv[2])
