"""A small registry in Flask, as somebody else would write one: it knows nothing of the wrapper."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import Any

import flask


def flask_registry(directory: Path) -> flask.Flask:
    """Return a registry that keeps its blobs in *directory*. It has no manifests."""
    app = flask.Flask("registry")
    (directory / "uploads").mkdir(parents=True, exist_ok=True)

    def place(digest: str) -> Path:
        return directory / digest.replace(":", "-")

    def taken(name: str, upload: str) -> Path:
        """Add the request's body to an upload."""
        path = directory / "uploads" / upload
        with path.open("ab") as file:
            while chunk := flask.request.stream.read(1 << 18):
                file.write(chunk)
        return path

    @app.get("/v2/")
    def base() -> Any:
        return {}

    @app.get("/v2/<path:name>/blobs/<digest>")
    def blob(name: str, digest: str) -> Any:
        if not place(digest).is_file():
            return flask.jsonify(errors=[{"code": "BLOB_UNKNOWN"}]), 404
        response = flask.send_file(place(digest), "application/octet-stream", conditional=True, etag=digest)
        response.headers["Docker-Content-Digest"] = digest
        return response

    @app.post("/v2/<path:name>/blobs/uploads/")
    def start(name: str) -> Any:
        upload = str(uuid.uuid4())
        (directory / "uploads" / upload).touch()
        return "", 202, {"Location": flask.request.script_root + f"/v2/{name}/blobs/uploads/{upload}"}

    @app.patch("/v2/<path:name>/blobs/uploads/<upload>")
    def patch(name: str, upload: str) -> Any:
        size = taken(name, upload).stat().st_size
        location = flask.request.script_root + flask.request.path
        return "", 202, {"Location": location, "Range": f"0-{max(size - 1, 0)}"}

    @app.put("/v2/<path:name>/blobs/uploads/<upload>")
    def put(name: str, upload: str) -> Any:
        path, digest = taken(name, upload), flask.request.args["digest"]
        with path.open("rb") as file:
            found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        if found != digest:
            path.unlink()
            return flask.jsonify(errors=[{"code": "DIGEST_INVALID"}]), 400
        path.rename(place(digest))
        return "", 201, {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}

    return app
