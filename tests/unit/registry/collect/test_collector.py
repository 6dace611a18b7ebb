"""What a collection takes and what it leaves, over each driver; nothing happens beside it here."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from lab.collecting import broken_images, collect, collect_all, collector, digests_stored, stored
from lab.registry_client import DRIVERS, OCI_INDEX, OCI_MANIFEST, RegistryClient, descriptor, image_manifest

from cfmiddleware.digest import Digest
from cfmiddleware.registry.collect.lease import LeaseTaken
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.memory import MemoryDriver


@pytest.fixture(params=DRIVERS)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> RegistryClient:
    return RegistryClient(DRIVERS[request.param](tmp_path))


def index(digests: list[Digest], media_type: str) -> dict[str, object]:
    entries = [descriptor(digest, media_type) for digest in digests]
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}


def is_there(client: RegistryClient, name: str, digest: Digest) -> bool:
    return client.head(f"/v2/{name}/blobs/{digest}").status_code == 200


def pull(client: RegistryClient, name: str, reference: str | Digest) -> list[int]:
    """Pull an image or an index and all that it names; return the statuses."""
    answer = client.get(f"/v2/{name}/manifests/{reference}")
    statuses = [answer.status_code]
    if answer.status_code == 200:
        manifest = json.loads(answer.data)
        for entry in manifest.get("manifests", ()):
            statuses += pull(client, name, entry["digest"])
        for entry in (*manifest.get("layers", ()), *filter(None, [manifest.get("config")])):
            statuses.append(client.get(f"/v2/{name}/blobs/{entry['digest']}").status_code)
    return statuses


def test_what_is_referred_to_stays(client: RegistryClient) -> None:
    client.push_image("team/app", "v1")
    client.push_image("team/app/nested", "v2", b"2")
    before = stored(client.driver)

    collect_all(client.driver)

    assert stored(client.driver) == before
    assert pull(client, "team/app", "v1") == [200, 200, 200]
    assert pull(client, "team/app/nested", "v2") == [200, 200, 200]


def test_of_a_deleted_image_nothing_stays_but_what_another_one_has(client: RegistryClient) -> None:
    shared = client.push_blob("app", b"shared")
    own = client.push_blob("app", b"own")
    config = client.push_blob("app", b"{}")
    client.push_manifest("app", "keeps", image_manifest(config, [shared]))
    answer = client.push_manifest("app", "goes", image_manifest(config, [shared, own]))
    client.delete(f"/v2/app/manifests/{answer.headers['Docker-Content-Digest']}")

    collect_all(client.driver)

    assert pull(client, "app", "keeps") == [200, 200, 200]
    assert not is_there(client, "app", own)
    assert len(digests_stored(client.driver)) == 3


def test_a_blob_leaves_its_repository_first_and_the_storage_after_the_grace_period(
    client: RegistryClient,
) -> None:
    digest = client.push_blob("app", b"nobody's")

    first = collect(client.driver)
    assert (first.layers, first.deleted.count) == (1, 0)
    assert not is_there(client, "app", digest)
    assert digests_stored(client.driver) == {digest}

    second = collect(client.driver)
    assert (second.layers, second.deleted.count, second.deleted.size) == (0, 1, 8)
    assert not digests_stored(client.driver)
    assert not stored(client.driver)


@pytest.mark.parametrize("grace", [3600.0, 10.0])
def test_what_is_young_stays(client: RegistryClient, grace: float) -> None:
    digest = client.push_blob("app", b"just pushed")

    collect(client.driver, grace=grace)

    assert is_there(client, "app", digest)


def test_bytes_stay_for_the_grace_period_after_their_last_link(client: RegistryClient) -> None:
    digest = client.push_blob("app", b"nobody's")
    collect(client.driver)

    outcome = collect(client.driver, grace=3600.0)

    assert outcome.survey.waiting.count == 1
    assert digests_stored(client.driver) == {digest}


def test_a_blob_stays_in_the_repositories_that_need_it(client: RegistryClient) -> None:
    layer, config = (client.push_blob("needs", content) for content in (b"layer", b"{}"))
    client.push_manifest("needs", "v1", image_manifest(config, [layer]))
    client.push_blob("does-not", b"layer")

    collect_all(client.driver)

    assert is_there(client, "needs", layer)
    assert not is_there(client, "does-not", layer)
    assert not broken_images(client.driver)


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(
            lambda d: {"mediaType": "application/vnd.new", "parts": [{"of": descriptor(d)}]},
            id="a field that nobody knows",
        ),
        pytest.param(
            lambda d: index([d], "application/vnd.x"),
            id="an index with a blob in it",
        ),
        pytest.param(
            lambda d: {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.artifact.manifest.v1+json",
                "artifactType": "application/vnd.x",
                "blobs": [descriptor(d)],
            },
            id="an artifact manifest",
        ),
        pytest.param(
            lambda d: image_manifest(d, [], subject=descriptor(d)),
            id="a subject",
        ),
    ],
)
def test_every_descriptor_counts(client: RegistryClient, manifest) -> None:
    digest = client.push_blob("app", b"{}")
    answer = client.push_manifest("app", "v1", manifest(digest))
    assert answer.status_code == 201, answer.text

    collect_all(client.driver)

    assert is_there(client, "app", digest)


def test_a_manifest_that_cannot_be_read_keeps_everything_of_its_repository(client: RegistryClient) -> None:
    digest = client.push_blob("app", b"perhaps needed")
    other = client.push_blob("other", b"not needed")
    odd = Digest.of(b"no JSON")
    client.driver.write(paths.blob_data(odd), b"no JSON")
    client.driver.write(paths.revision_link("app", odd), str(odd).encode())

    outcome = collect(client.driver)
    collect(client.driver)

    assert outcome.survey.verdicts["app"].unreadable == [odd]
    assert is_there(client, "app", digest)
    assert digests_stored(client.driver) == {digest, odd}
    assert not is_there(client, "other", other)


def test_a_manifest_whose_bytes_are_others_keeps_everything_of_its_repository(client: RegistryClient) -> None:
    layer, config = client.push_blob("app", b"layer"), client.push_blob("app", b"{}")
    answer = client.push_manifest("app", "v1", image_manifest(config, [layer]))
    digest = Digest.parse(answer.headers["Docker-Content-Digest"])
    client.driver.write(paths.blob_data(digest), b'{"schemaVersion": 2}')

    outcome = collect(client.driver)

    assert outcome.survey.verdicts["app"].unreadable == [digest]
    assert is_there(client, "app", layer)


def test_a_manifest_of_two_repositories_is_read_once(client: RegistryClient) -> None:
    for name in ("one", "two", "three"):
        client.push_image(name, "v1")

    outcome = collect(client.driver)

    assert (outcome.survey.manifests, outcome.survey.read) == (3, 1)
    assert not outcome.survey.verdicts["two"].unreadable


def test_data_under_the_name_of_another_algorithm_stays(client: RegistryClient) -> None:
    """Distribution links sha512 names to sha256 data."""
    config = client.push_blob("app", b"{}")
    data, name = Digest.of(b"layer"), Digest.of(b"layer", "sha512")
    client.driver.write(paths.blob_data(data), b"layer")
    for link in (name, data):  # Distribution goes by the second link when it has found the first
        client.driver.write(paths.layer_link("app", link), str(data).encode())
    assert client.push_manifest("app", "v1", image_manifest(config, [name])).status_code == 201

    collect_all(client.driver)

    assert pull(client, "app", "v1") == [200, 200, 200]
    assert is_there(client, "app", data)


def test_both_links_to_data_under_the_name_of_another_algorithm_come_back(client: RegistryClient) -> None:
    config = client.push_blob("app", b"{}")
    data, name = Digest.of(b"layer"), Digest.of(b"layer", "sha512")
    client.driver.write(paths.blob_data(data), b"layer")
    for link in (name, data):
        client.driver.write(paths.layer_link("app", link), str(data).encode())
    assert collect(client.driver).layers == 3

    assert client.push_manifest("app", "v1", image_manifest(config, [name])).status_code == 201

    assert is_there(client, "app", data)
    client.delete("/v2/app/manifests/v1")
    collect_all(client.driver)
    assert is_there(client, "app", data)


def test_untagged_manifests_go_only_when_they_are_asked_for(client: RegistryClient) -> None:
    first = client.push_image("app", "v1")
    second = client.push_image("app", "v1", b"second")

    collect_all(client.driver)
    assert pull(client, "app", first) == [200, 200, 200]

    collect_all(client.driver, deleteuntagged=True)
    assert client.get(f"/v2/app/manifests/{first}").status_code == 404
    assert pull(client, "app", second) == [200, 200, 200]
    assert len(digests_stored(client.driver)) == 3


@pytest.mark.parametrize("content", [b"", b"<html>", b"sha256:123"])
def test_a_tag_that_holds_no_digest_may_have_named_any_manifest_of_its_repository(
    content: bytes, client: RegistryClient
) -> None:
    digest = client.push_image("app", "v1")
    client.push_image("other", "v1", b"first")
    client.push_image("other", "v1", b"second")
    client.driver.write(paths.tag_current("app", "v1"), content)

    verdicts = collector(client.driver, deleteuntagged=True).survey().verdicts
    assert {name: verdict.broken for name, verdict in verdicts.items()} == {"app": ["v1"], "other": []}
    collect_all(client.driver, deleteuntagged=True)
    assert pull(client, "app", digest) == [200, 200, 200]
    assert len(digests_stored(client.driver)) == 6

    client.driver.delete([paths.tag_current("app", "v1")])
    collect_all(client.driver, deleteuntagged=True)
    assert client.get(f"/v2/app/manifests/{digest}").status_code == 404


def test_young_untagged_manifests_stay(client: RegistryClient) -> None:
    first = client.push_image("app", "v1")
    client.push_image("app", "v1", b"second")

    collect_all(client.driver, deleteuntagged=True, olderthan=3600.0)

    assert pull(client, "app", first) == [200, 200, 200]


def test_children_of_a_tagged_index_and_what_is_about_them_stay(client: RegistryClient) -> None:
    child = client.push_image("app", "child")
    inner = client.push_manifest("app", "inner", index([child], OCI_MANIFEST)).headers[
        "Docker-Content-Digest"
    ]
    client.push_manifest(
        "app",
        "outer",
        index([Digest.parse(inner)], OCI_INDEX),
    )
    config = client.push_blob("app", b"{}signature")
    about_child = image_manifest(config, [], subject=descriptor(child))
    signature = client.push_manifest("app", str(Digest.of(json.dumps(about_child).encode())), about_child)
    assert signature.status_code == 201, signature.text
    for tag in ("child", "inner"):
        assert client.delete(f"/v2/app/manifests/{tag}").status_code == 202

    collect_all(client.driver, deleteuntagged=True)

    assert pull(client, "app", "outer") == [200] * 5
    assert len(client.get(f"/v2/app/referrers/{child}").json["manifests"]) == 1


def test_what_is_about_a_manifest_goes_with_it(client: RegistryClient) -> None:
    subject = client.push_image("app", "v1")
    config = client.push_blob("app", b"{}signature")
    manifest = image_manifest(config, [], subject=descriptor(subject))
    client.push_manifest("app", str(Digest.of(json.dumps(manifest).encode())), manifest)
    client.delete("/v2/app/manifests/v1")

    collect_all(client.driver, deleteuntagged=True)

    assert not digests_stored(client.driver)
    assert not any("_referrers" in path for path in stored(client.driver))


def test_each_manifest_is_read_once_in_its_life(client: RegistryClient) -> None:
    for number in range(5):
        client.push_image("app", f"v{number}", b"%d" % number)

    assert collect(client.driver).survey.read == 5
    client.push_image("app", "new", b"new")
    assert collect(client.driver).survey.read == 1
    assert collect(client.driver).survey.read == 0


def test_what_is_remembered_is_made_again_where_it_is_damaged_or_lost(client: RegistryClient) -> None:
    client.push_image("app", "v1")
    collect(client.driver)
    (kept,) = [path for path, _ in client.driver.walk(paths.REMEMBERED)]
    client.driver.write(kept, client.driver.read(kept)[:-3])

    assert collect(client.driver).survey.read == 1
    client.driver.delete_prefix(paths.REMEMBERED)
    assert collect(client.driver).survey.read == 1
    assert pull(client, "app", "v1") == [200, 200, 200]


def test_the_objects_of_what_is_remembered_stay_few(client: RegistryClient) -> None:
    for number in range(20):
        client.push_image("app", f"v{number}", b"%d" % number)
        collect(client.driver)

    assert len(client.driver.list(paths.REMEMBERED)) <= 9
    assert collect(client.driver).survey.read == 0


def test_what_was_set_aside_comes_back_when_another_program_refers_to_it(client: RegistryClient) -> None:
    layer, config = client.push_blob("app", b"layer"), client.push_blob("app", b"{}")
    collect(client.driver)
    content = json.dumps(image_manifest(config, [layer])).encode()
    digest = Digest.of(content)
    client.driver.write(paths.blob_data(digest), content)
    client.driver.write(paths.revision_link("app", digest), str(digest).encode())

    assert collect(client.driver).restored == 2

    assert pull(client, "app", digest) == [200, 200, 200]


def test_a_manifest_comes_back_with_its_type_and_its_place_among_the_referrers(
    client: RegistryClient,
) -> None:
    subject = client.push_image("app", "v1")
    config = client.push_blob("app", b"{}")
    manifest = image_manifest(config, [], subject=descriptor(subject), annotations={"is": "signed"})
    del manifest["mediaType"]
    content = json.dumps(manifest).encode()
    digest, own = Digest.of(content), "application/vnd.of.our.own+json"
    assert client.push_manifest("app", str(digest), content, own).status_code == 201
    listed = client.get(f"/v2/app/referrers/{subject}").json["manifests"]
    assert listed[0]["mediaType"] == own
    client.delete("/v2/app/manifests/v1")
    assert collect(client.driver, deleteuntagged=True).revisions == 2
    assert not client.get(f"/v2/app/referrers/{subject}").json["manifests"]

    assert client.push_manifest("app", "v2", index([digest], OCI_MANIFEST)).status_code == 201

    assert client.head(f"/v2/app/manifests/{digest}").headers["Content-Type"] == own
    assert client.get(f"/v2/app/referrers/{subject}").json["manifests"] == listed


def test_only_one_collection_runs_at_a_time(client: RegistryClient) -> None:
    with collector(client.driver)._lease.held(), pytest.raises(LeaseTaken, match="process"):
        collect(client.driver)

    collect(client.driver)


def test_a_survey_changes_nothing(client: RegistryClient) -> None:
    client.push_blob("app", b"nobody's")
    before = stored(client.driver)

    survey = collector(client.driver).survey()

    assert "lease" not in client.driver.list(paths.LEASE.removesuffix("lease"))
    assert [len(verdict.layers) for verdict in survey.verdicts.values()] == [1]
    assert survey.unlinked
    assert survey.loosened.count == 1
    assert stored(client.driver) == before


def test_nothing_of_a_collection_stays_but_what_it_remembers(client: RegistryClient) -> None:
    client.push_image("app", "v1")
    client.push_blob("app", b"nobody's")
    collect_all(client.driver)
    collect(client.driver)

    left = {path for path, _ in client.driver.walk(paths.CONDEMNED[: -len("announced/")])}
    left = {path for path in left if not path.startswith(paths.REMEMBERED)} - {paths.CLOCK}
    assert [path.rpartition("/")[2].partition("-")[0] for path in left] == ["withdrawn"]


def test_a_manifest_that_cannot_be_read_keeps_the_others(client: RegistryClient) -> None:
    child = client.push_image("app", "v1")
    assert client.delete("/v2/app/manifests/v1").status_code == 202
    unreadable = Digest.of(b"no manifest, or not here")
    client.driver.write(paths.blob_data(unreadable), b"no manifest, or not here")
    client.driver.write(paths.revision_link("app", unreadable), str(unreadable).encode())

    collect_all(client.driver, deleteuntagged=True)

    assert pull(client, "app", child) == [200, 200, 200]


def test_a_manifest_whose_bytes_are_others_counts_as_unreadable(client: RegistryClient) -> None:
    manifest = client.push_image("app", "v1")
    whole = client.driver.read(paths.blob_data(manifest))
    client.driver.write(paths.blob_data(manifest), b"{}")

    survey = collect(client.driver).survey
    assert survey.verdicts["app"].unreadable == [manifest]
    collect(client.driver)
    client.driver.write(paths.blob_data(manifest), whole)
    collect_all(client.driver)

    assert pull(client, "app", "v1") == [200, 200, 200]


def test_the_tags_of_one_repository_are_read_side_by_side() -> None:
    both = threading.Barrier(2)

    class Waiting(MemoryDriver):
        def read(self, path: str) -> bytes:
            if path.endswith("/current/link"):
                # One after the other would wait for ever.
                both.wait(20)
            return super().read(path)

    written = RegistryClient(MemoryDriver())
    for tag in ("v1", "v2"):
        written.push_image("app", tag, tag.encode())
    driver = Waiting()
    for path, _ in written.driver.walk("/"):
        driver.write(path, written.driver.read(path))

    assert not collect(driver, deleteuntagged=True).revisions
