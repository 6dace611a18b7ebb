"""The list of what refers to a manifest (OCI Distribution, "Listing Referrers", "Referrers Tag Schema")."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lab.registry_client import (
    CONFIG,
    DRIVERS,
    OCI_INDEX,
    OCI_MANIFEST,
    ROOT,
    RegistryClient,
    descriptor,
    error_code,
    image_manifest,
)

from cfmiddleware.cli import main
from cfmiddleware.digest import Digest
from cfmiddleware.errors import StorageUnavailable
from cfmiddleware.registry import referrers as resource
from cfmiddleware.registry.auth.access import Grant, needed
from cfmiddleware.registry.errors import RegistryError
from cfmiddleware.registry.referrers import Referrers
from cfmiddleware.registry.store import manifest as parser
from cfmiddleware.registry.tags import Tags
from cfmiddleware.storage.filesystem.filesystemdriver import FilesystemDriver
from cfmiddleware.storage.memory import MemoryDriver

SUBJECT = Digest.of(b"a manifest that nobody pushed")
SUBJECT_512 = Digest.of(b"a manifest that nobody pushed", "sha512")
SBOM, SIGNATURE = "application/vnd.example.sbom.v1", "application/vnd.example.signature.v1"


@pytest.fixture(params=DRIVERS)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> RegistryClient:
    return RegistryClient(DRIVERS[request.param](tmp_path))


def attach(client, subject, reference=None, algorithm="sha256", **more):
    """Push a manifest about *subject* and return the descriptor that the list must have."""
    config = client.push_blob("app", b"{}")
    manifest = image_manifest(config, [], subject=descriptor(subject, OCI_MANIFEST), **more)
    content = json.dumps(manifest).encode()
    digest = Digest.of(content, algorithm)
    answer = client.push_manifest("app", reference or str(digest), content, OCI_MANIFEST)
    assert (answer.status_code, answer.headers["OCI-Subject"]) == (201, str(subject))
    expected = {"mediaType": OCI_MANIFEST, "size": len(content), "digest": str(digest)}
    expected["artifactType"] = more.get("artifactType") or CONFIG
    if "annotations" in more:
        expected["annotations"] = more["annotations"]
    return expected


def referrers(client, subject, query=""):
    answer = client.get(f"/v2/app/referrers/{subject}{query}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, OCI_INDEX)
    assert (answer.json["schemaVersion"], answer.json["mediaType"]) == (2, OCI_INDEX)
    return answer.json["manifests"]


def in_order(*entries):
    return sorted(entries, key=lambda entry: entry["digest"])


def links(client):
    return {path for path in client.objects(ROOT) if "/_referrers/" in path}


def as_distribution_has_it(client, subject, *entries):
    """Take away what Distribution does not write, and put the index under the fallback tag."""
    client.driver.delete(ROOT + path for path in links(client))
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}
    answer = client.push_manifest("app", f"{subject.algorithm}-{subject.hex[:64]}", index, OCI_INDEX)
    assert answer.status_code == 201


def test_what_nobody_refers_to_has_an_empty_list_even_in_no_repository(client):
    assert referrers(client, SUBJECT) == []
    client.push_image("app", "latest")
    assert referrers(client, SUBJECT) == []
    assert referrers(client, SUBJECT_512, "?artifactType=x") == []


@pytest.mark.parametrize("bad", ["sha256:1", "latest", "md5:d41d8cd98f00b204e9800998ecf8427e"])
def test_a_digest_that_is_none_is_refused(client, bad):
    answer = client.get(f"/v2/app/referrers/{bad}")
    assert (answer.status_code, error_code(answer)) == (400, "DIGEST_INVALID")


def test_head_is_get_without_the_body(client):
    attach(client, SUBJECT)
    path = f"/v2/app/referrers/{SUBJECT}?artifactType=x"
    head = client.head(path)
    assert (head.status_code, head.headers, head.data) == (200, client.get(path).headers, b"")


@pytest.mark.parametrize("subject", [SUBJECT, SUBJECT_512])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_manifest_is_listed_under_its_subject_which_need_not_exist(client, subject, algorithm):
    expected = attach(client, subject, algorithm=algorithm, artifactType=SBOM, annotations={"a": "b"})
    assert referrers(client, subject) == [expected]
    assert referrers(client, Digest.of(b"another")) == []
    assert client.get(f"/v2/other/referrers/{subject}").json["manifests"] == []


def test_the_type_of_an_image_without_one_is_that_of_its_config(client):
    assert attach(client, SUBJECT, artifactType="") == referrers(client, SUBJECT)[0]
    assert referrers(client, SUBJECT)[0]["artifactType"] == CONFIG


def test_an_index_without_a_type_has_none(client):
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    for more in ({}, {"artifactType": SBOM}):
        client.push_manifest("app", "x", {**index, "subject": descriptor(SUBJECT), **more}, OCI_INDEX)
    found = {entry.get("artifactType") for entry in referrers(client, SUBJECT)}
    assert found == {None, SBOM}


def test_only_referrers_of_the_type_that_is_asked_for_are_listed(client):
    sbom = attach(client, SUBJECT, artifactType=SBOM)
    signature = attach(client, SUBJECT, "signed", artifactType=SIGNATURE)
    assert referrers(client, SUBJECT) == in_order(sbom, signature)
    answer = client.get(f"/v2/app/referrers/{SUBJECT}?artifactType={SBOM}")
    assert answer.json["manifests"] == [sbom]
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    assert "OCI-Filters-Applied" not in client.get(f"/v2/app/referrers/{SUBJECT}").headers


class Tokens:
    """Knows what a client may do, as if its token said so."""

    def __init__(self, *names):
        self._grant = Grant("someone", {("repository", name): frozenset(("pull",)) for name in names})

    def authorize(self, request):
        (access,) = needed(request.route, request.method)
        if not self._grant.allows(access):
            raise RegistryError("UNAUTHORIZED", 401, f"needs {access}")
        return self._grant


def test_who_may_pull_may_see_what_refers_to_what(client):
    expected = attach(client, SUBJECT)
    assert referrers(RegistryClient(client.driver, auth=Tokens("app")), SUBJECT) == [expected]
    answer = RegistryClient(client.driver, auth=Tokens("other")).get(f"/v2/app/referrers/{SUBJECT}")
    assert (answer.status_code, error_code(answer)) == (401, "UNAUTHORIZED")


def test_a_referrer_that_is_pushed_again_is_listed_once(client):
    expected = attach(client, SUBJECT)
    attach(client, SUBJECT, "again")
    assert referrers(client, SUBJECT) == [expected]


def test_a_deleted_referrer_is_listed_no_more_and_leaves_nothing(client):
    gone, stays = attach(client, SUBJECT), attach(client, SUBJECT, artifactType=SBOM)
    assert client.delete(f"/v2/app/manifests/{gone['digest']}").status_code == 202
    assert referrers(client, SUBJECT) == [stays]
    client.delete(f"/v2/app/manifests/{stays['digest']}")
    assert referrers(client, SUBJECT) == []
    assert links(client) == set()


def test_a_referrer_that_distribution_deleted_is_listed_no_more(client):
    gone = Digest.parse(attach(client, SUBJECT)["digest"])
    client.driver.delete([f"{ROOT}repositories/app/_manifests/revisions/sha256/{gone.hex}/link"])
    assert referrers(client, SUBJECT) == []


def test_pushes_at_the_same_time_lose_no_referrer(client):
    client.push_blob("app", b"{}")
    with ThreadPoolExecutor(8) as pool:
        pushed = list(pool.map(lambda n: attach(client, SUBJECT, artifactType=f"a/b{n}"), range(24)))
    assert referrers(client, SUBJECT) == in_order(*pushed)


def pages(client, url):
    while url:
        answer = client.get(url)
        yield answer
        link = answer.headers.get("Link")
        assert link is None or link.endswith('>; rel="next"')
        url = link.partition(">")[0][1:] if link else None


def test_more_than_4_mib_come_in_pages(client):
    large = {"text": "x" * 1_500_000}
    pushed = [attach(client, SUBJECT, artifactType=f"a/b{n % 2}", annotations=large) for n in range(2)]
    pushed += [
        attach(client, SUBJECT, artifactType="a/b0", annotations={**large, "n": str(n)}) for n in range(2)
    ]
    found = list(pages(client, f"/v2/app/referrers/{SUBJECT}"))
    assert [len(page.json["manifests"]) for page in found] == [2, 2]
    assert all(len(page.data) <= 4 << 20 for page in found)
    assert [entry for page in found for entry in page.json["manifests"]] == in_order(*pushed)
    chosen = list(pages(client, f"/v2/app/referrers/{SUBJECT}?artifactType=a/b0"))
    assert all(page.headers["OCI-Filters-Applied"] == "artifactType" for page in chosen)
    assert [entry for page in chosen for entry in page.json["manifests"]] == [
        entry for entry in in_order(*pushed) if entry["artifactType"] == "a/b0"
    ]


class ReadingDriver(MemoryDriver):
    """A driver that counts the bytes that were read."""

    taken = 0

    def read(self, path):
        content = super().read(path)
        self.taken += len(content)
        return content


@pytest.fixture
def parsed(monkeypatch):
    """The sizes of the manifests and descriptors that were parsed."""
    sizes, loads = [], json.loads
    for module in (parser, resource):
        monkeypatch.setattr(
            module.json, "loads", lambda content, **more: sizes.append(len(content)) or loads(content, **more)
        )
    return sizes


def test_a_filter_reads_no_more_bytes_than_a_page_has_and_another_process_begins_anew(parsed):
    pushing = RegistryClient(ReadingDriver())
    large = {"text": "x" * 3_000_000}
    pushed = [
        attach(pushing, SUBJECT, artifactType=SBOM, annotations={**large, "n": str(n)}) for n in range(5)
    ]
    small = attach(pushing, SUBJECT, artifactType=SIGNATURE)
    parsed.clear()
    url = f"/v2/app/referrers/{SUBJECT}?artifactType={SIGNATURE}"
    for client, count in ((pushing, 1), (RegistryClient(pushing.driver), 3)):
        found = []
        following = pages(client, url)
        while True:
            pushing.driver.taken = 0
            page = next(following, None)
            if page is None:
                break
            assert pushing.driver.taken < 7_000_000
            found.append(page)
        assert len(found) == count
        assert max(parsed, default=0) < 2000
        assert [entry for page in found for entry in page.json["manifests"]] == [small]
        parsed.clear()
        (page,) = pages(client, url)
        assert page.json["manifests"] == [small]
        # Now that the types are known, nothing large is read. Large annotations are never parsed.
        assert (pushing.driver.taken < 2000, max(parsed, default=0) < 2000) == (True, True)
    everything = [entry for page in pages(pushing, url.partition("?")[0]) for entry in page.json["manifests"]]
    assert everything == in_order(small, *pushed)


def test_a_type_that_looks_like_annotations_is_told_from_them(client):
    odd = 'a/b,"annotations":{\\,\\"annotations\\":{}}'
    pushed = attach(client, SUBJECT, artifactType=odd, annotations={'"annotations":{': "}}"})
    other = attach(client, SUBJECT, artifactType=odd)
    assert referrers(RegistryClient(client.driver), SUBJECT) == in_order(pushed, other)
    answer = RegistryClient(client.driver).get(
        f"/v2/app/referrers/{SUBJECT}", query_string={"artifactType": odd}
    )
    assert answer.json["manifests"] == in_order(pushed, other)


def test_the_referrers_of_a_fallback_tag_are_parsed_once(client, parsed):
    old = [attach(client, SUBJECT, artifactType=kind, annotations={"a": "b"}) for kind in (SBOM, SIGNATURE)]
    image = client.push_image("app", "latest")
    digests = [*(Digest.parse(entry["digest"]) for entry in old), image]
    as_distribution_has_it(client, SUBJECT, *(descriptor(digest, OCI_MANIFEST) for digest in digests))
    pulling = RegistryClient(client.driver)
    for times in (1, 0):
        parsed.clear()
        assert referrers(pulling, SUBJECT) == in_order(*old)
        assert referrers(pulling, SUBJECT, f"?artifactType={SBOM}") == [old[0]]
        assert len(parsed) == 4 * times + 6  # and both answers here, three times each
    client.driver.delete([f"{ROOT}repositories/app/_manifests/revisions/sha256/{digests[0].hex}/link"])
    assert referrers(pulling, SUBJECT) == [old[1]]


def test_nothing_is_written_for_a_manifest_without_a_subject(client):
    client.push_image("app", "latest")
    assert links(client) == set()


# What clients of Distribution keep themselves


@pytest.mark.parametrize("subject", [SUBJECT, SUBJECT_512])
def test_what_the_fallback_tag_lists_is_joined(client, subject):
    old = attach(client, subject, artifactType=SBOM, annotations={"a": "b"})
    as_distribution_has_it(client, subject, descriptor(Digest.parse(old["digest"]), OCI_MANIFEST))
    assert referrers(client, subject) == [old]
    new = attach(client, subject, artifactType=SIGNATURE)
    assert referrers(client, subject) == in_order(old, new)
    assert referrers(client, subject, f"?artifactType={SBOM}") == [old]


def test_a_fallback_tag_that_two_digests_of_sha512_share_is_told_apart(client):
    twin = Digest("sha512", SUBJECT_512.hex[:64] + "0" * 64)
    ours, other = attach(client, SUBJECT_512), attach(client, twin)
    as_distribution_has_it(
        client,
        SUBJECT_512,
        *(descriptor(Digest.parse(entry["digest"]), OCI_MANIFEST) for entry in (ours, other)),
    )
    assert referrers(client, SUBJECT_512) == [ours]
    assert referrers(client, twin) == [other]


def test_what_the_fallback_tag_lists_wrongly_is_left_out(client):
    image = client.push_image("app", "latest")
    gone = Digest.parse(attach(client, SUBJECT)["digest"])
    as_distribution_has_it(client, SUBJECT, descriptor(image, OCI_MANIFEST), descriptor(gone, OCI_MANIFEST))
    client.driver.delete([f"{ROOT}repositories/app/_manifests/revisions/sha256/{gone.hex}/link"])
    assert referrers(client, SUBJECT) == []


def test_a_fallback_tag_that_names_no_index_is_none(client):
    client.push_image("app", f"sha256-{SUBJECT.hex}")
    assert referrers(client, SUBJECT) == []


# The command


@pytest.fixture
def stored(tmp_path):
    """A registry in files, and the configuration file for it."""
    config = tmp_path / "config.yml"
    config.write_text("version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\n")
    return RegistryClient(FilesystemDriver(tmp_path / "data")), config


def test_the_command_writes_the_links_that_are_missing_and_says_so(stored, capsys):
    client, config = stored
    client.push_image("app", "latest")
    expected = attach(client, SUBJECT, artifactType=SBOM)
    before = links(client)
    client.driver.delete(ROOT + path for path in before)
    assert referrers(client, SUBJECT) == []
    assert main(["referrers", "--dry-run", str(config)]) == 0
    assert links(client) == set()
    assert main(["referrers", str(config)]) == 0
    said = capsys.readouterr().out
    assert f"app: {expected['digest']} refers to {SUBJECT}: added" in said
    assert links(client) == before
    assert referrers(client, SUBJECT) == [expected]
    assert main(["referrers", str(config)]) == 0
    assert "1 manifest with a subject, 0 added" in capsys.readouterr().out


def test_the_command_leaves_alone_what_a_fallback_tag_lists(stored, capsys):
    client, config = stored
    old = attach(client, SUBJECT)
    as_distribution_has_it(client, SUBJECT, descriptor(Digest.parse(old["digest"]), OCI_MANIFEST))
    assert main(["referrers", str(config)]) == 0
    assert links(client) == set()


def test_the_command_says_in_one_line_that_the_storage_failed(stored, capsys, monkeypatch):
    client, config = stored
    attach(client, SUBJECT)

    def broken(driver, prefix):
        raise StorageUnavailable("the disk is gone")

    monkeypatch.setattr(FilesystemDriver, "walk", broken)
    assert main(["referrers", str(config)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the storage failed after 0 manifests" in line


def test_a_page_looks_at_a_bounded_number_of_manifests(client, monkeypatch):
    pushed = [attach(client, SUBJECT, artifactType=f"a/b{n}") for n in range(5)]
    monkeypatch.setattr("cfmiddleware.registry.referrers._MAX_LOOKS", 2)
    found = list(pages(client, f"/v2/app/referrers/{SUBJECT}?artifactType=a/b3"))
    assert len(found) == 3
    assert [entry for page in found for entry in page.json["manifests"]] == [pushed[3]]


def test_scanning_finds_nothing_twice(client):
    attach(client, SUBJECT)
    (found,) = Referrers(client.driver, Tags(client.driver)).scan()
    assert (found.subject, found.written) == (SUBJECT, False)
