"""Commands without the seconds that imports take: a process that has everything imported forks for each of them.

    python command_server.py FOLDER    writes `hf-elmo` and `python` to FOLDER, and serves them until its input ends

Both hand their arguments, environment, folder and streams to the server, and end with the code of its fork. `python`
does so for modules of hf_elmo, and is the interpreter of the server otherwise.
"""

import atexit
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import traceback
from pathlib import Path

CLIENT = """#!{python} -IS
import json, os, socket, sys
arguments = sys.argv[1:]
if {name!r} == "python" and (arguments[:1] != ["-m"] or not arguments[1].startswith("hf_elmo.")):
    os.execv({python!r}, [{python!r}, *arguments])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    request = [{name!r}, arguments, os.getcwd(), dict(os.environ)]
    socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2])
    server.shutdown(socket.SHUT_WR)
    sys.exit((server.recv(1) or b"\\1")[0])
"""


def import_everything() -> None:
    """Import the package, but leave the scripts of training to be run as if for the first time."""
    import hf_elmo

    for module in pkgutil.walk_packages(hf_elmo.__path__, "hf_elmo."):
        if not module.name.startswith(("hf_elmo.integrations", "hf_elmo.compat", "hf_elmo.model.lstm_elmo_triton")):
            importlib.import_module(module.name)
    for name in [name for name in sys.modules if name.startswith("hf_elmo.training.")]:
        if hasattr(sys.modules[name], "main"):
            del sys.modules[name]


def serve(folder: Path) -> None:
    """Write the commands, say so with a line, and fork for each call until standard input ends."""
    import_everything()
    address = str(folder / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        for name in ("hf-elmo", "python"):
            (folder / name).write_text(CLIENT.format(python=sys.executable, name=name, address=address))
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


def run_and_exit(call: socket.socket, streams: list[int], name: str, arguments: list[str], folder: str, env: dict):
    """Run a command in this fork as in a process of its own."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    code = 1
    try:
        if name == "hf-elmo":
            from hf_elmo.cli import main

            code = main(arguments)
        else:
            sys.argv = arguments[1:]
            code = 0
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
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


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
