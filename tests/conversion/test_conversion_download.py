"""Downloads against a real HTTP server on this machine: resumed, complete or not there, and never fetched twice."""

import re
import threading
import time
import types
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
from versions import continued_downloads

from hf_elmo.conversion import convert, download
from hf_elmo.conversion.download import download as fetch
from hf_elmo.conversion.presets import Preset
from hf_elmo.conversion.random_weights import OPTIONS, random_weights, write_files

CHUNK = huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE  # parts are kept in multiples of it
CONTENT = (bytes(range(256)) * (CHUNK // 100))[: 2 * CHUNK + 5000]
MONDAY, TUESDAY = "Mon, 02 Jan 2023 10:00:00 GMT", "Tue, 03 Jan 2023 10:00:00 GMT"


class Server:
    """Files by their paths, and how badly they are served."""

    def __init__(self):
        self.files, self.requests = {"/weights.hdf5": CONTENT}, []
        self.cut_after = []  # how many bytes each of the next answers may send before the connection breaks
        self.statuses = []  # of the next answers, in place of 200
        self.ranges, self.etag, self.date, self.false_length = True, '"1"', None, 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.answer(self)

            def do_HEAD(self):
                outer.describe(self)

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def describe(self, request):
        content = self.files.get(request.path)
        request.send_response(404 if content is None else 200)
        if content is not None:
            request.send_header("Content-Length", str(len(content) + self.false_length))
            self.send_version(request)
        request.end_headers()

    def send_version(self, request):
        for name, value in (("ETag", self.etag), ("Last-Modified", self.date)):
            if value:
                request.send_header(name, value)

    def answer(self, request):
        self.requests.append((request.path, request.headers.get("Range")))
        content = self.files.get(request.path)
        status = self.statuses.pop(0) if self.statuses else 200 if content is not None else 404
        if status != 200:
            request.send_error(status)
            return
        start, asked = 0, re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        version = self.date if not self.etag or self.etag.startswith("W/") else self.etag
        fresh = request.headers.get("If-Range", version) == version
        if asked and self.ranges and fresh:
            start = int(asked[1])
            if start >= len(content):
                request.send_error(416)
                return
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            request.send_response(200)
        request.send_header("Content-Length", str(len(content) - start + self.false_length))
        self.send_version(request)
        request.end_headers()
        limit = self.cut_after.pop(0) if self.cut_after else len(content)
        request.wfile.write(content[start : start + limit])
        request.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    hasty = types.SimpleNamespace(**{**vars(time), "sleep": lambda seconds: time.sleep(min(seconds, 0.01))})
    for module in (huggingface_hub.file_download, huggingface_hub.utils._http):  # which wait before they ask again
        monkeypatch.setattr(module, "time", hasty)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def names(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_a_file_is_fetched_once(server, tmp_path):
    path = fetch(f"{server.url}/weights.hdf5", tmp_path)
    assert path.read_bytes() == CONTENT
    assert path.name == "weights.hdf5"
    assert fetch(f"{server.url}/weights.hdf5", tmp_path) == path
    assert server.requests == [("/weights.hdf5", None)]
    assert names(tmp_path) == ["weights.hdf5"]


@continued_downloads
def test_a_cut_connection_is_resumed(server, tmp_path):
    server.cut_after = [CHUNK + 1000, CHUNK + 2000]
    assert fetch(f"{server.url}/weights.hdf5", tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, f"bytes={CHUNK}-", f"bytes={2 * CHUNK}-"]


def leave_a_part(server, cache):
    """Break the first download after one chunk, and refuse to continue it."""
    server.cut_after, server.statuses = [CHUNK + 1000], [200, 503]
    with pytest.raises(ValueError, match=r"the server answers 503 .*; try again later") as caught:
        fetch(f"{server.url}/weights.hdf5", cache)
    assert "\n" not in str(caught.value)
    (partial,) = cache.rglob("*.partial")
    assert partial.stat().st_size == CHUNK


@continued_downloads
def test_a_later_call_goes_on_where_an_earlier_one_failed(server, tmp_path):
    leave_a_part(server, tmp_path)
    server.requests.clear()
    assert fetch(f"{server.url}/weights.hdf5", tmp_path).read_bytes() == CONTENT
    assert server.requests == [("/weights.hdf5", f"bytes={CHUNK}-")]
    assert names(tmp_path) == ["weights.hdf5"]


@continued_downloads
def test_a_server_that_sends_no_parts(server, tmp_path):
    server.ranges, server.cut_after = False, [300_000]
    assert fetch(f"{server.url}/weights.hdf5", tmp_path).read_bytes() == CONTENT


@continued_downloads
@pytest.mark.parametrize("versions", [("etag", '"1"', '"2"'), ("date", MONDAY, TUESDAY)], ids=["etag", "date"])
def test_parts_of_two_versions_are_not_joined(server, tmp_path, versions):
    name, before, after = versions
    server.etag = 'W/"1"'  # a weak one, which does not promise the same bytes
    setattr(server, name, before)
    leave_a_part(server, tmp_path)
    server.files["/weights.hdf5"] = CONTENT[::-1]
    setattr(server, name, after)
    assert fetch(f"{server.url}/weights.hdf5", tmp_path).read_bytes() == CONTENT[::-1]


@continued_downloads
def test_a_server_that_tells_no_versions_is_resumed(server, tmp_path):
    server.etag, server.cut_after = None, [CHUNK + 1000]
    assert fetch(f"{server.url}/weights.hdf5", tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == ("/weights.hdf5", f"bytes={CHUNK}-")


@continued_downloads
def test_a_partial_file_that_is_too_long_is_dropped(server, tmp_path):
    leave_a_part(server, tmp_path)
    server.files["/weights.hdf5"] = CONTENT[:1000]
    assert fetch(f"{server.url}/weights.hdf5", tmp_path).read_bytes() == CONTENT[:1000]


def test_a_wrong_length_is_no_complete_file(server, tmp_path):
    server.false_length = 5
    with pytest.raises(ValueError, match="cannot be downloaded"):
        fetch(f"{server.url}/weights.hdf5", tmp_path)
    assert "weights.hdf5" not in names(tmp_path)


@continued_downloads
def test_busy_servers_are_asked_again(server, tmp_path):
    server.statuses = [429, 408]
    assert fetch(f"{server.url}/weights.hdf5", tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_what_is_not_there_is_told_at_once(server, tmp_path, status):
    server.statuses = [status]
    with pytest.raises(
        ValueError, match=f"/weights.hdf5: the server answers {status} .*is the address right"
    ) as caught:
        fetch(f"{server.url}/weights.hdf5", tmp_path)
    assert "\n" not in str(caught.value)
    assert len(server.requests) == 1
    assert names(tmp_path) == []


def test_no_server_at_all(server, tmp_path):
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(ValueError, match=r"cannot be downloaded .*refused"):
        fetch(f"{server.url}/weights.hdf5", tmp_path)


def test_no_such_host(tmp_path):
    with pytest.raises(ValueError, match=r"http://host\.invalid/weights\.hdf5: cannot be downloaded"):
        fetch("http://host.invalid/weights.hdf5", tmp_path)


@continued_downloads
def test_two_processes_do_not_write_to_one_file(server, tmp_path):
    server.cut_after = [1000, CHUNK + 2000, 3000, 4000]
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch(f"{server.url}/weights.hdf5", tmp_path).read_bytes()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [CONTENT] * 4
    assert len(server.requests) == 5


# ---- sources


@pytest.fixture
def published(server, tmp_path, monkeypatch):
    """A server with a model as AllenNLP publishes them, and a cache of its own."""
    monkeypatch.setattr(download, "HF_HOME", str(tmp_path / "cache"))
    write_files(tmp_path / "original", OPTIONS, random_weights(OPTIONS, words=4))
    for name in ("weights.hdf5", "options.json"):
        server.files[f"/elmo_2x_{name}"] = (tmp_path / "original" / name).read_bytes()
    server.files["/vocab.txt"] = b"<S>\n</S>\n<UNK>\nbank\n"
    return server


def test_the_address_of_a_weight_file(published, tmp_path):
    """The options have their address by custom."""
    conversion = convert(f"{published.url}/elmo_2x_weights.hdf5", tmp_path / "model")
    assert set(conversion.files) == {"elmo_2x_weights.hdf5", "elmo_2x_options.json"}
    convert(f"{published.url}/elmo_2x_weights.hdf5", tmp_path / "again")
    assert len(published.requests) == 2
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert f"`{published.url}/elmo_2x_weights.hdf5`" in card


def test_the_addresses_of_a_pair_of_files(published, tmp_path):
    published.files["/w"] = published.files["/elmo_2x_weights.hdf5"]
    published.files["/o"] = published.files["/elmo_2x_options.json"]
    convert(f"{published.url}/w", tmp_path / "model", options=f"{published.url}/o", vocab=f"{published.url}/vocab.txt")
    assert (tmp_path / "model" / "vocab.txt").read_bytes() == b"<S>\n</S>\n<UNK>\nbank\n"
    with pytest.raises(ValueError, match=r"/w: where are its options.*--options"):
        convert(f"{published.url}/w", tmp_path / "another")


def test_a_preset(published, tmp_path):
    """The first source that answers is used, and the softmax and words of the preset only on request."""
    address = {"weights": f"{published.url}/elmo_2x_weights.hdf5", "options": f"{published.url}/elmo_2x_options.json"}
    gone = {"archive": f"{published.url}/gone.zip"}
    preset = Preset(
        "slovenian",
        "sl",
        "bilm-tf hdf5",
        "a test",
        license="mit",
        citation="Nobody et al. 2020",
        sources=[gone, address],
        vocabulary=f"{published.url}/vocab.txt",
    )
    conversion = convert(preset, tmp_path / "model", vocab="published")
    assert set(conversion.files) == {"elmo_2x_weights.hdf5", "elmo_2x_options.json"}
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    for text in ("language: sl\n", "license: mit\n", "slovenian (a test)", "Nobody et al. 2020"):
        assert text in card
    with pytest.raises(ValueError, match="slovenian: no published softmax is known"):
        convert(preset, tmp_path / "another", softmax="published")
    with pytest.raises(ValueError, match=r"slovenian: no source answers: .*/gone\.zip: the server answers 404"):
        convert(replace(preset, sources=[gone]), tmp_path / "another")
    with pytest.raises(ValueError, match=r"SHA-256 is .*, but the catalogue has 00; the file has changed"):
        convert(replace(preset, sha256={"elmo_2x_options.json": "00"}), tmp_path / "another")


def test_the_address_of_an_archive(published, tmp_path):
    with zipfile.ZipFile(tmp_path / "elmo.zip", "w") as file:
        for name in ("weights.hdf5", "options.json"):
            file.write(tmp_path / "original" / name, name)
    published.files["/elmo.zip"] = (tmp_path / "elmo.zip").read_bytes()
    assert convert(f"{published.url}/elmo.zip", tmp_path / "model").files.keys() == {"elmo.zip"}


def test_local_files_win_over_names_and_are_never_fetched(published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path / "small", OPTIONS, random_weights(OPTIONS))
    convert("small", tmp_path / "model")
    assert published.requests == []


def test_a_download_that_is_no_model(published, tmp_path):
    published.files["/elmo_2x_weights.hdf5"] = b"<!DOCTYPE html><html>Sorry</html>"
    with pytest.raises(ValueError, match="web page"):
        convert(f"{published.url}/elmo_2x_weights.hdf5", tmp_path / "model")
    assert not (tmp_path / "model").exists()
