"""OCI Distribution Specification, "API": what every endpoint has in common."""

from __future__ import annotations

import pytest
from lab.spec_client import EMPTY

from cfmiddleware.digest import Digest

ABSENT = Digest.of(b"never pushed")


class TestDeterminingSupport:
    """Section "Determining Support" (end-1)."""

    def test_the_base_says_200(self, client):
        answer = client.ask("GET", "/v2/")
        assert (answer.status, answer.json()) == (200, {})

    def test_the_base_names_the_version_that_docker_looks_for(self, client):
        """Section "Legacy Docker support HTTP headers"."""
        assert client.ask("GET", "/v2/").headers["Docker-Distribution-API-Version"] == "registry/2.0"

    def test_a_path_that_is_none_is_404(self, client):
        assert client.ask("GET", "/v2/nothing-here/else").status == 404


class TestNames:
    """Section "Pulling manifests": the grammar of a repository's name."""

    @pytest.mark.parametrize(
        "name",
        [
            "a",
            "0",
            "a.b_c__d-e---f",
            "a/b/c/d/e",
            "blobs/uploads",
            "manifests",
            "tags/list",
            "referrers/a",
            "v2",
            "a" * 200,
        ],
    )
    def test_every_name_of_the_grammar_works(self, client, name):
        repo = client.repository(name)
        digest = repo.push_blob(EMPTY)
        assert repo.blob(digest).body == EMPTY
        repo.push_image("names")
        assert repo.manifest("names").status == 200
        assert repo.tags().json() == {"name": name, "tags": ["names"]}

    @pytest.mark.parametrize(
        "name", ["A", "a_", "-a", "a..b", "a___b", "a//b", "a/_b", "a%20b", "a/%2E%2E/b", "a" * 256]
    )
    @pytest.mark.parametrize(
        "tail", [f"blobs/{ABSENT}", "manifests/latest", "tags/list", f"referrers/{ABSENT}"]
    )
    def test_a_name_outside_the_grammar_is_refused(self, client, name, tail):
        answer = client.ask("GET", f"/v2/{name}/{tail}")
        assert (answer.status, answer.code()) in ((400, "NAME_INVALID"), (404, "UNSUPPORTED"))


class TestErrorCodes:
    """Section "Error Codes"."""

    @pytest.mark.parametrize(
        ("method", "path", "status", "code"),
        [
            ("GET", f"blobs/{ABSENT}", 404, "BLOB_UNKNOWN"),
            ("GET", "blobs/sha256:0", 400, "DIGEST_INVALID"),
            ("POST", "blobs/uploads/?digest=sha256:0", 400, "DIGEST_INVALID"),
            ("GET", "blobs/uploads/none", 404, "BLOB_UPLOAD_UNKNOWN"),
            ("PATCH", "blobs/uploads/none", 404, "BLOB_UPLOAD_UNKNOWN"),
            ("PUT", f"blobs/uploads/none?digest={ABSENT}", 404, "BLOB_UPLOAD_UNKNOWN"),
            ("DELETE", "blobs/uploads/none", 404, "BLOB_UPLOAD_UNKNOWN"),
            ("GET", "manifests/none", 404, "MANIFEST_UNKNOWN"),
            ("GET", f"manifests/{ABSENT}", 404, "MANIFEST_UNKNOWN"),
            ("PUT", "manifests/none", 400, "MANIFEST_INVALID"),
            ("DELETE", f"manifests/{ABSENT}", 404, "MANIFEST_UNKNOWN"),
            ("DELETE", f"blobs/{ABSENT}", 404, "BLOB_UNKNOWN"),
            ("GET", "tags/list", 404, "NAME_UNKNOWN"),
            ("PUT", f"blobs/{ABSENT}", 405, "UNSUPPORTED"),
            ("POST", "tags/list", 405, "UNSUPPORTED"),
            ("GET", "blobs/uploads/", 405, "UNSUPPORTED"),
        ],
    )
    def test_what_is_wrong_is_said_in_the_form_of_the_specification(self, repo, method, path, status, code):
        answer = repo.ask(method, f"{repo.path}/{path}")
        assert (answer.status, answer.code()) == (status, code)

    def test_a_method_that_is_not_allowed_is_answered_with_those_that_are(self, repo):
        """RFC 9110, section 15.5.6."""
        answer = repo.ask("POST", f"{repo.path}/tags/list")
        assert {"GET", "HEAD"} <= {method.strip() for method in answer.headers["Allow"].split(",")}
