"""django-oci behind the wrapper, as `docs/django-oci.rst` says: who gets a redirect, and what is there."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import pytest
from lab.servers import free_port, running
from lab.serving import Answer, ask
from lab.wrapped import DISTRIBUTION, KEY_PAIR_ID, block, call, edge_of_directory, environment_of

_SETTINGS = """
SECRET_KEY = "not-secret-at-all-and-fifty-letters-long-for-tests-"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django_oci", "rest_framework",
                  "rest_framework.authtoken"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "project.urls"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "{here}/db.sqlite3"}}}}
DJANGO_OCI = {{"MEDIA_ROOT": "images", "JWT_SERVER_SECRET": "a-secret-of-tests-that-is-long-enough",
              "DOMAIN_URL": "http://127.0.0.1:{port}", "VIEW_RATE_LIMIT": "100000/1d"}}
USE_TZ = True
"""

_URLS = """
from django.urls import include, path
urlpatterns = [path("", include("django_oci.urls", namespace="django_oci"))]
"""

_PREPARE = """
import django
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
call_command("migrate", run_syncdb=True, verbosity=0)
from rest_framework.authtoken.models import Token
for name in ("ann", "bob"):
    print(name, Token.objects.get_or_create(user=User.objects.create_user(name, password="secret"))[0].key)
"""

LAYER = b"a layer" * 1000
DIGEST = "sha256:" + hashlib.sha256(LAYER).hexdigest()


class Registry(NamedTuple):
    """django-oci, running.

    :param users: the secrets of users, by their names.
    """

    port: int
    edge: str
    users: dict[str, str]

    def token(self, challenge: str, user: str) -> str:
        """Return what the challenge of a 401 leads a user to. Any token has to allow pushes, too."""
        asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        asked["scope"] = asked["scope"].rpartition(":")[0] + ":push,pull"
        basic = base64.b64encode(f"{user}:{self.users[user]}".encode()).decode()
        query = urlencode({name: asked[name] for name in ("service", "scope")})
        url = f"{asked['realm'].rstrip('/')}/?{query}"
        token: str = json.loads(ask("GET", url, headers={"Authorization": f"Basic {basic}"}).body)["token"]
        return token

    def ask(self, method: str, target: str, user: str | None = "ann") -> Answer:
        """Ask as a client does: without a token first, then with the one that the challenge leads to."""
        url = f"http://127.0.0.1:{self.port}{target}"
        answer = ask(method, url)
        if answer.status != 401 or user is None:
            return answer
        token = self.token(answer.headers["Www-Authenticate"], user)
        return ask(method, url, headers={"Authorization": f"Bearer {token}"})

    def push(self, repository: str, layer: bytes = LAYER) -> None:
        """Push as Ann, with one token: a PUT without one would end the upload."""
        url = f"http://127.0.0.1:{self.port}/v2/{repository}/blobs/uploads/"
        token = self.token(ask("POST", url).headers["Www-Authenticate"], "ann")
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}
        begun = ask("POST", url, headers=headers)
        assert begun.status == 202, begun
        digest = "sha256:" + hashlib.sha256(layer).hexdigest()
        ended = ask("PUT", urljoin(url, begun.headers["Location"]) + f"?digest={digest}", layer, headers)
        assert ended.status == 201, ended


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    programs = environment_of("django-oci")
    here, port = tmp_path_factory.mktemp("django-oci"), free_port()
    for name in ("project", "images"):
        (here / name).mkdir()
    (here / "project/settings.py").write_text(_SETTINGS.format(here=here, port=port))
    (here / "project/urls.py").write_text(_URLS)
    env = {"DJANGO_SETTINGS_MODULE": "project.settings", "PYTHONPATH": str(here)}
    prepared = call(str(programs / "python"), "-c", _PREPARE, cwd=here, env=env)
    users = dict(line.split() for line in prepared.splitlines()[-2:])
    with edge_of_directory(here, here / "images") as url:
        recipe = block("django-oci", "from django").replace("/etc/registry", str(here))
        (here / "project/wsgi.py").write_text(recipe.replace(DISTRIBUTION, url))
        command = [str(programs / "gunicorn"), "-k", "gthread", "--threads", "64", "project.wsgi"]
        command += [
            "--chdir",
            str(here),
            "--bind",
            f"127.0.0.1:{port}",
            "--graceful-timeout",
            "1",
            "--no-control-socket",
        ]
        with running(command, here / "gunicorn", ports=[port], env=env):
            yield Registry(port, url, users)


def test_a_pull_is_redirected_to_cloudfront_which_has_its_bytes(registry: Registry):
    registry.push("ann/app")

    answer = registry.ask("GET", f"/v2/ann/app/blobs/{DIGEST}")

    assert answer.status == 307
    location = answer.headers["Location"]
    assert location.startswith(f"{registry.edge}/blobs/ann/app/sha256%3A")
    assert parse_qs(urlsplit(location).query)["Key-Pair-Id"] == [KEY_PAIR_ID]
    assert ask("GET", location).body == LAYER


def test_what_django_oci_refuses_is_handed_on(registry: Registry):
    registry.push("ann/refused")

    for user in (None, "bob"):
        answer = registry.ask("GET", f"/v2/ann/refused/blobs/{DIGEST}", user)
        assert answer.status in {401, 403}
        assert "Location" not in answer.headers
    assert registry.ask("GET", f"/v2/ann/refused/blobs/sha256:{'0' * 64}").status == 404


def test_a_blob_of_another_repository_is_served_by_django_oci(registry: Registry):
    registry.push("ann/source")
    registry.push("ann/target", b"other")

    answer = registry.ask("GET", f"/v2/ann/target/blobs/{DIGEST}")

    assert (answer.status, answer.body) == (200, LAYER)
