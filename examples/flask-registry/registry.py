"""A container registry in Flask: blobs in S3, tokens for passwords, pulls by CloudFront.

A user pulls and pushes below a name of their own: alice has ``alice/app``. The registry itself would serve
every byte; ``CloudFrontMiddleware`` at the end of the file makes redirects of the pulls that it allows.
"""

import hashlib
import json
import os
import tempfile
import uuid
from pathlib import Path

import boto3
import flask
from botocore.exceptions import ClientError
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.security import check_password_hash, generate_password_hash

from cfmiddleware import CloudFrontMiddleware

SERVICE, LIFETIME = "flask-registry", 300
ROOT = "docker/registry/v2"
ANY_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
HERE = Path(__file__).parent
USERS = HERE / "users.json"
UPLOADS = Path(tempfile.gettempdir(), "flask-registry")  # where every worker finds an upload
UPLOADS.mkdir(exist_ok=True)

app = flask.Flask(__name__)
bucket = boto3.resource("s3").Bucket(os.environ["BUCKET"])
tokens = URLSafeTimedSerializer(os.environ["SECRET"])


@app.cli.command("add-user")
@flask.cli.click.argument("name")
@flask.cli.click.argument("password")
def add_user(name, password):
    """Let somebody in."""
    USERS.write_text(json.dumps({**known_users(), name: generate_password_hash(password)}))


def known_users():
    return json.loads(USERS.read_text()) if USERS.exists() else {}


# --- who may do what: a token names repositories and actions, and is signed with the secret


@app.get("/token")
def token():
    asked, users = flask.request.authorization, known_users()
    if not asked or not check_password_hash(users.get(asked.username, ""), asked.password or ""):
        return error(401, "UNAUTHORIZED", {"WWW-Authenticate": f'Basic realm="{SERVICE}"'})
    allowed = {}
    for scope in " ".join(flask.request.args.getlist("scope")).split():
        kind, _, rest = scope.partition(":")
        repository, _, actions = rest.rpartition(":")
        if kind == "repository" and repository.startswith(f"{asked.username}/"):
            allowed[repository] = sorted({"pull", "push"} & set(actions.split(",")))
    return {"token": tokens.dumps(allowed), "expires_in": LIFETIME}


@app.before_request
def authorize():
    if flask.request.endpoint in (None, "token"):
        return None
    repository = (flask.request.view_args or {}).get("name")
    action = "pull" if flask.request.method in ("GET", "HEAD") else "push"
    scheme, _, sent = flask.request.headers.get("Authorization", "").partition(" ")
    try:
        allowed = tokens.loads(sent, max_age=LIFETIME) if scheme.lower() == "bearer" else None
    except BadData:
        allowed = None
    if allowed is not None and (repository is None or action in allowed.get(repository, ())):
        return None
    challenge = f'Bearer realm="{flask.request.host_url}token",service="{SERVICE}"'
    if repository:
        challenge += f',scope="repository:{repository}:{"pull" if action == "pull" else "pull,push"}"'
    return error(401, "UNAUTHORIZED", {"WWW-Authenticate": challenge})


def error(status, code, headers=None):
    return {"errors": [{"code": code, "message": code.lower(), "detail": None}]}, status, headers or {}


# --- what is in the bucket: a blob's bytes once, and links that say which repository has it


def blob_key(digest):
    algorithm, _, text = digest.partition(":")
    if algorithm != "sha256" or len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        flask.abort(flask.make_response(error(400, "DIGEST_INVALID")))
    return f"{ROOT}/blobs/sha256/{text[:2]}/{text}/data"


def link_key(name, kind, reference):
    folder = f"{ROOT}/repositories/{name}/"
    if kind == "tag":
        return f"{folder}_manifests/tags/{reference}/current/link"
    return f"{folder}{kind}/{reference.replace(':', '/')}/link"


def read(key):
    try:
        return bucket.Object(key).get()
    except ClientError as failure:
        if failure.response["Error"]["Code"] not in ("NoSuchKey", "404"):
            raise
        flask.abort(flask.make_response(error(404, "BLOB_UNKNOWN")))


def linked(name, kind, reference):
    return read(link_key(name, kind, reference))["Body"].read().decode()


def link(name, kind, reference, digest):
    bucket.put_object(Key=link_key(name, kind, reference), Body=digest.encode())


# --- the protocol (OCI Distribution Specification)


@app.get("/v2/")
def base():
    return {}


@app.get("/v2/<path:name>/blobs/<digest>")
def blob(name, digest):
    found = read(blob_key(linked(name, "_layers", digest)))
    response = flask.Response(found["Body"].iter_chunks(1 << 16), mimetype="application/octet-stream")
    response.content_length = found["ContentLength"]
    response.headers["Docker-Content-Digest"] = digest
    return response


@app.post("/v2/<path:name>/blobs/uploads/")
def begin(name):
    upload = str(uuid.uuid4())
    (UPLOADS / upload).touch()
    return "", 202, {"Location": f"/v2/{name}/blobs/uploads/{upload}", "Range": "0-0"}


def take(upload):
    """Append the request's body to an upload."""
    path = UPLOADS / str(upload)
    if not path.exists():
        flask.abort(flask.make_response(error(404, "BLOB_UPLOAD_UNKNOWN")))
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        while chunk := flask.request.stream.read(1 << 18):
            file.write(chunk)
    return path


@app.patch("/v2/<path:name>/blobs/uploads/<uuid:upload>")
def more(name, upload):
    size = take(upload).stat().st_size
    return "", 202, {"Location": flask.request.path, "Range": f"0-{max(size - 1, 0)}"}


@app.put("/v2/<path:name>/blobs/uploads/<uuid:upload>")
def end(name, upload):
    path, digest = take(upload), flask.request.args["digest"]
    key = blob_key(digest)
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest.partition(":")[2]:
            return error(400, "DIGEST_INVALID")
    bucket.upload_file(str(path), key)
    link(name, "_layers", digest, digest)
    path.unlink()
    location = f"/v2/{name}/blobs/{digest}"
    return "", 201, {"Location": location, "Docker-Content-Digest": digest}


@app.put("/v2/<path:name>/manifests/<reference>")
def put_manifest(name, reference):
    content = flask.request.get_data()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if ":" in reference and reference != digest:
        return error(400, "DIGEST_INVALID")
    bucket.put_object(Key=blob_key(digest), Body=content)
    link(name, "_manifests/revisions", digest, digest)
    if reference != digest:
        link(name, "tag", reference, digest)
    return "", 201, {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": digest}


@app.get("/v2/<path:name>/manifests/<reference>")
def get_manifest(name, reference):
    digest = reference if ":" in reference else linked(name, "tag", reference)
    content = read(blob_key(linked(name, "_manifests/revisions", digest)))["Body"].read()
    kind = json.loads(content).get("mediaType", ANY_MANIFEST)
    return flask.Response(content, mimetype=kind, headers={"Docker-Content-Digest": digest})


# --- and this is all that CloudFront takes
app.wsgi_app = CloudFrontMiddleware(
    app.wsgi_app, baseurl=os.environ["CLOUDFRONT"], privatekey=str(HERE / "keys")
)
