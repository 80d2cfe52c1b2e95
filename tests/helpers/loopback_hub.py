"""A small Hub on the loopback interface: as much of the Hub's HTTP interface as pushing and opening models takes.

Every file is a "regular" one, so that neither LFS nor Xet is needed. What is kept is only in memory.
"""

import base64
import hashlib
import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

import yaml

TOKENS = {"hf_writes": "write", "hf_reads": "read"}  # of one user, "ada"
LICENSES = {
    "apache-2.0",
    "mit",
    "cc-by-4.0",
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "bsd-2-clause",
    "bsd-3-clause",
    "other",
    "unknown",
}
TASKS = {"feature-extraction", "token-classification", "text-classification", "question-answering", "fill-mask"}
TASKS |= {"text-generation", "text2text-generation", "multiple-choice", "other"}


class Repository:
    def __init__(self, private: bool = False):
        self.private, self.commits = private, []  # [(sha, {path: bytes})], the last is main
        self.commit({".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"})

    def commit(self, changes: dict[str, bytes]):
        files = {**(self.commits[-1][1] if self.commits else {}), **changes}
        sha = hashlib.sha1(f"{len(self.commits)} {sorted(files)}".encode()).hexdigest()
        self.commits.append((sha, files))

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        return next((commit for commit in reversed(self.commits) if revision in ("main", commit[0])), None)

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1][1]


class Hub:
    """What the server knows, and where it is."""

    def __init__(self):
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.url = ""


def card_errors(content: str) -> list[str]:
    """What the Hub would have against a card's front matter, as far as models go."""
    found = re.match(r"---\n(.*?)\n---\n", content, flags=re.DOTALL)
    if not found:
        return ["no front matter"]
    data = yaml.safe_load(found[1])
    languages = [data["language"]] if isinstance(data.get("language"), str) else data.get("language", [])
    errors = [f"language {code!r}" for code in languages if not re.fullmatch(r"[a-z]{2,3}", code)]
    if data.get("license", "unknown") not in LICENSES:
        errors.append(f"license {data['license']!r}")
    if data.get("pipeline_tag", "feature-extraction") not in TASKS:
        errors.append(f"pipeline_tag {data['pipeline_tag']!r}")
    for model in data.get("model-index", []):
        if not model.get("name"):
            errors.append("model-index without name")
        for result in model["results"]:
            needed = [result["task"].get("type"), result["dataset"].get("name"), result["dataset"].get("type")]
            needed += [metric.get(key) for metric in result["metrics"] for key in ("type", "value")]
            errors += ["model-index incomplete"] if None in needed or not result["metrics"] else []
    return errors


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def answer(self, status: int, content: dict | list | bytes = b"", error: str | None = None, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        if error:
            self.send_header("X-Error-Code", error)
            self.send_header("X-Error-Message", error)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    @property
    def right(self) -> str | None:
        return TOKENS.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def do_POST(self):
        body, path = self.read(), urlsplit(self.path).path
        self.hub.requests.append(f"POST {path}")
        if path == "/api/validate-yaml":
            errors = [{"message": error} for error in card_errors(json.loads(body)["content"])]
            return self.answer(400 if errors else 200, {"errors": errors, "warnings": []})
        if self.right is None:
            return self.answer(401, {"error": "Invalid username or password."})
        if self.right == "read":
            return self.answer(403, {"error": "you must use a write token"})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'ada'}/{asked['name']}"
            exists = name in self.hub.repositories
            self.hub.repositories.setdefault(
                name, Repository(asked.get("private") or asked.get("visibility") == "private")
            )
            return self.answer(409 if exists else 200, {"url": f"{self.hub.url}/{name}", "name": name})
        name, action = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path).groups()
        repository = self.hub.repositories[name]
        if action == "preupload":
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": files})
        lines = [json.loads(line) for line in body.splitlines()]
        files = [line["value"] for line in lines if line["key"] == "file"]
        repository.commit({file["path"]: base64.b64decode(file["content"]) for file in files})
        sha = repository.commits[-1][0]
        return self.answer(200, {"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{name}/commit/{sha}"})

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if path == "/api/whoami-v2":
            return self.answer(200, {"name": "ada", "type": "user", "orgs": []})
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?(?:/.*)?", path)
        resolve = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if not (api or resolve):
            return self.answer(404)
        name = (api or resolve)[1]
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and self.right is None):
            return self.answer(404 if self.right else 401, error="RepoNotFound")
        commit = repository.at((api[3] if api else resolve[2]) or "main")
        if commit is None:
            return self.answer(404, error="RevisionNotFound")
        sha, files = commit
        if api and api[2] == "tree":
            listing = [(path, hashlib.sha1(content).hexdigest(), len(content)) for path, content in files.items()]
            return self.answer(
                200, [{"type": "file", "path": path, "oid": oid, "size": size} for path, oid, size in listing]
            )
        if api:
            card = re.match(r"---\n(.*?)\n---\n", files.get("README.md", b"").decode(), flags=re.DOTALL)
            data = yaml.safe_load(card[1]) if card else {}
            siblings = [{"rfilename": path} for path in files]
            about = {"id": name, "modelId": name, "sha": sha, "private": repository.private, "siblings": siblings}
            told = {key: data.get(key) for key in ("pipeline_tag", "library_name")}
            return self.answer(200, {**about, **told, "tags": [], "downloads": 0})
        if resolve[3] not in files:
            return self.answer(404, error="EntryNotFound", X_Repo_Commit=sha)
        content = files[resolve[3]]
        headers = {"X_Repo_Commit": sha, "ETag": f'"{hashlib.sha1(content).hexdigest()}"', "Accept_Ranges": "bytes"}
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if part:
            first, last = int(part[1]), int(part[2] or len(content) - 1)
            headers["Content_Range"] = f"bytes {first}-{last}/{len(content)}"
            return self.answer(206, content[first : last + 1], **headers)
        return self.answer(200, content, **headers)

    do_HEAD = do_GET

    def log_message(self, *arguments):
        """Say nothing: `hub.requests` has it."""


@contextmanager
def running_hub():
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
