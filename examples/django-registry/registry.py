"""A container registry in Django: blobs in S3, tokens for its users, pulls by CloudFront.

A user pulls and pushes below a name of their own: alice has ``alice/app``. The registry redirects the pull
of a blob to S3; ``CloudFrontMiddleware`` at the end of the file makes redirects to CloudFront of these.
"""

import base64
import functools
import hashlib
import json
import os
import re
import tempfile
import uuid
from pathlib import Path

import boto3
import django
from botocore.exceptions import ClientError
from django.conf import settings
from django.core import signing

from cfmiddleware import CloudFrontMiddleware

SERVICE, LIFETIME = "django-registry", 300
ROOT = "docker/registry/v2"
ANY_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
HERE = Path(__file__).parent
UPLOADS = Path(tempfile.gettempdir(), "django-registry")  # where every worker finds an upload
UPLOADS.mkdir(exist_ok=True)

settings.configure(
    SECRET_KEY=os.environ["SECRET"],
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": HERE / "users.sqlite3"}},
    DATA_UPLOAD_MAX_MEMORY_SIZE=4 << 20,  # manifests; blobs are streamed
)
django.setup()

from django.contrib.auth import authenticate  # noqa: E402 (Django wants its settings first)
from django.core.management import execute_from_command_line  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse  # noqa: E402
from django.urls import re_path  # noqa: E402

bucket = boto3.resource("s3").Bucket(os.environ["BUCKET"])


class Refused(Exception):
    """The request is answered with an error."""


def error(status, code, **headers):
    body = {"errors": [{"code": code, "message": code.lower(), "detail": None}]}
    return JsonResponse(body, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})


# --- who may do what: a token names repositories and actions, and is signed with the secret key


def token(request):
    kind, _, sent = request.headers.get("Authorization", "").partition(" ")
    try:
        pair = base64.b64decode(sent if kind.lower() == "basic" else "").decode()
    except ValueError:
        pair = ""
    name, _, password = pair.partition(":")
    if authenticate(username=name, password=password) is None:
        return error(401, "UNAUTHORIZED", WWW_Authenticate=f'Basic realm="{SERVICE}"')
    allowed = {}
    for scope in " ".join(request.GET.getlist("scope")).split():
        kind, _, rest = scope.partition(":")
        repository, _, actions = rest.rpartition(":")
        if kind == "repository" and repository.startswith(f"{name}/"):
            allowed[repository] = sorted({"pull", "push"} & set(actions.split(",")))
    return JsonResponse({"token": signing.dumps(allowed, salt=SERVICE), "expires_in": LIFETIME})


def protected(view):
    """Let *view* answer only where a token allows it."""

    @functools.wraps(view)
    def answer(request, name=None, **found):
        action = "pull" if request.method in ("GET", "HEAD") else "push"
        kind, _, sent = request.headers.get("Authorization", "").partition(" ")
        try:
            allowed = (
                signing.loads(sent, salt=SERVICE, max_age=LIFETIME) if kind.lower() == "bearer" else None
            )
        except signing.BadSignature:
            allowed = None
        if allowed is None or (name is not None and action not in allowed.get(name, ())):
            challenge = f'Bearer realm="{request.build_absolute_uri("/token")}",service="{SERVICE}"'
            if name is not None:
                challenge += f',scope="repository:{name}:{"pull" if action == "pull" else "pull,push"}"'
            return error(401, "UNAUTHORIZED", WWW_Authenticate=challenge)
        try:
            return view(request, **found) if name is None else view(request, name, **found)
        except Refused as refused:
            return error(*refused.args)

    return answer


# --- what is in the bucket: a blob's bytes once, and links that say which repository has it


def blob_key(digest):
    if not re.fullmatch("sha256:[0-9a-f]{64}", digest):
        raise Refused(400, "DIGEST_INVALID")
    return f"{ROOT}/blobs/sha256/{digest[7:9]}/{digest[7:]}/data"


def link_key(name, kind, reference):
    folder = f"{ROOT}/repositories/{name}/"
    if kind == "tag":
        return f"{folder}_manifests/tags/{reference}/current/link"
    return f"{folder}{kind}/{reference.replace(':', '/')}/link"


def read(key):
    try:
        return bucket.Object(key).get()["Body"].read()
    except ClientError as failure:
        if failure.response["Error"]["Code"] not in ("NoSuchKey", "404"):
            raise
        raise Refused(404, "BLOB_UNKNOWN") from None


def linked(name, kind, reference):
    return read(link_key(name, kind, reference)).decode()


def link(name, kind, reference, digest):
    bucket.put_object(Key=link_key(name, kind, reference), Body=digest.encode())


# --- the protocol (OCI Distribution Specification)


def blob(request, name, digest):
    place = {"Bucket": bucket.name, "Key": blob_key(linked(name, "_layers", digest))}
    if request.method == "HEAD":
        size = bucket.Object(place["Key"]).content_length
        return HttpResponse(headers={"Content-Length": size, "Docker-Content-Digest": digest})
    return HttpResponseRedirect(bucket.meta.client.generate_presigned_url("get_object", place, 300))


def begin(request, name):
    upload = uuid.uuid4().hex
    (UPLOADS / upload).touch()
    return HttpResponse(
        status=202, headers={"Location": f"/v2/{name}/blobs/uploads/{upload}", "Range": "0-0"}
    )


def upload(request, name, upload):
    """Append the request's body to an upload, and end it if that is asked for (PUT)."""
    path = UPLOADS / upload
    if not path.exists():
        raise Refused(404, "BLOB_UPLOAD_UNKNOWN")
    with path.open("ab") as file:
        while chunk := request.environ["wsgi.input"].read(1 << 18):  # also of a chunked body
            file.write(chunk)
    if request.method == "PATCH":
        reach = f"0-{max(path.stat().st_size - 1, 0)}"
        return HttpResponse(status=202, headers={"Location": request.path, "Range": reach})
    digest = request.GET.get("digest", "")
    key = blob_key(digest)
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest[7:]:
            raise Refused(400, "DIGEST_INVALID")
    bucket.upload_file(str(path), key)
    link(name, "_layers", digest, digest)
    path.unlink()
    return created(f"/v2/{name}/blobs/{digest}", digest)


def created(location, digest):
    return HttpResponse(status=201, headers={"Location": location, "Docker-Content-Digest": digest})


def manifest(request, name, reference):
    if request.method == "PUT":
        content = request.body
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if ":" in reference and reference != digest:
            raise Refused(400, "DIGEST_INVALID")
        bucket.put_object(Key=blob_key(digest), Body=content)
        link(name, "_manifests/revisions", digest, digest)
        if reference != digest:
            link(name, "tag", reference, digest)
        return created(f"/v2/{name}/manifests/{digest}", digest)
    digest = reference if ":" in reference else linked(name, "tag", reference)
    content = read(blob_key(linked(name, "_manifests/revisions", digest)))
    kind = json.loads(content).get("mediaType", ANY_MANIFEST)
    return HttpResponse(content, content_type=kind, headers={"Docker-Content-Digest": digest})


NAME = "v2/(?P<name>.+)"
urlpatterns = [
    re_path(r"^token$", token),
    re_path(r"^v2/$", protected(lambda request: JsonResponse({}))),
    re_path(rf"^{NAME}/blobs/uploads/$", protected(begin)),
    re_path(rf"^{NAME}/blobs/uploads/(?P<upload>[0-9a-f]{{32}})$", protected(upload)),
    re_path(rf"^{NAME}/blobs/(?P<digest>[^/]+)$", protected(blob)),
    re_path(rf"^{NAME}/manifests/(?P<reference>[^/]+)$", protected(manifest)),
]

# --- and this is all that CloudFront takes
application = CloudFrontMiddleware(
    get_wsgi_application(),
    baseurl=os.environ["CLOUDFRONT"],
    privatekey=str(HERE / "keys"),
    bucket=bucket.name,
    regionendpoint=os.environ.get("AWS_ENDPOINT_URL"),
)

if __name__ == "__main__":
    execute_from_command_line()
