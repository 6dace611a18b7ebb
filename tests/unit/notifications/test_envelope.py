"""The JSON of events, as Go writes it."""

from __future__ import annotations

import json

from cfmiddleware.notifications.envelope import (
    Requester,
    Source,
    Target,
    envelope,
    event,
    references,
    timestamp,
)

REQUESTER = Requester("r1", "192.0.2.1:4000", "registry.example.com", "GET", "a&b<c>")
SOURCE = Source("host:5000", "i1").text()


def test_an_envelope_is_written_as_go_writes_it():
    text = event("pull", Target("team/app", "a/b", 3, "sha256:00", url="http://r/"), REQUESTER, "ann", SOURCE)
    made = json.loads(text)
    assert envelope([text]).decode() == (
        "{\n"
        '   "events": [\n'
        "      {\n"
        f'         "id": "{made["id"]}",\n'
        f'         "timestamp": "{made["timestamp"]}",\n'
        '         "action": "pull",\n'
        '         "target": {\n'
        '            "mediaType": "a/b",\n'
        '            "size": 3,\n'
        '            "digest": "sha256:00",\n'
        '            "length": 3,\n'
        '            "repository": "team/app",\n'
        '            "url": "http://r/"\n'
        "         },\n"
        '         "request": {\n'
        '            "id": "r1",\n'
        '            "addr": "192.0.2.1:4000",\n'
        '            "host": "registry.example.com",\n'
        '            "method": "GET",\n'
        '            "useragent": "a\\u0026b\\u003cc\\u003e"\n'
        "         },\n"
        '         "actor": {\n'
        '            "name": "ann"\n'
        "         },\n"
        '         "source": {\n'
        '            "addr": "host:5000",\n'
        '            "instanceID": "i1"\n'
        "         }\n"
        "      }\n"
        "   ]\n"
        "}"
    )


def test_what_is_empty_is_left_out_as_in_distribution():
    made = json.loads(event("delete", Target("app", tag="v1"), Requester("r", "", "", "PUT", ""), "", SOURCE))
    assert made["target"] == {"repository": "app", "tag": "v1"}
    assert made["request"] == {"id": "r", "method": "PUT", "useragent": ""}
    assert made["actor"] == {}


def test_a_time_has_no_zeros_at_its_end():
    assert timestamp(1_700_000_000_120_000_000) == "2023-11-14T22:13:20.12Z"
    assert timestamp(1_700_000_000_000_000_001) == "2023-11-14T22:13:20.000000001Z"
    assert timestamp(1_700_000_000_000_000_000) == "2023-11-14T22:13:20Z"


def test_references_are_the_config_and_the_layers_or_the_entries_of_an_index():
    config = {"digest": "sha256:1", "size": 1, "mediaType": "c", "data": "e30="}
    layer = {"mediaType": "l", "annotations": {"b": "1", "a": "2"}, "size": 2, "digest": "sha256:2"}
    entry = {"mediaType": "m", "size": 3, "digest": "sha256:3", "platform": {"os": "linux"}}

    image = json.loads(references({"config": config, "layers": [layer]}))
    assert [list(each) for each in image] == [
        ["mediaType", "size", "digest"],
        ["mediaType", "size", "digest", "annotations"],
    ]
    assert list(image[1]["annotations"]) == ["a", "b"]
    assert references({"manifests": [entry]}) == '[{"mediaType":"m","size":3,"digest":"sha256:3"}]'
    assert references([]) == references({"layers": 1, "config": "x"}) == references({"manifests": []}) == ""


def test_references_come_last_in_the_target():
    target = Target("app", "m", 1, "sha256:1", tag="v1", references=references({"config": {"size": 2}}))
    made = json.loads(event("push", target, REQUESTER, "", SOURCE))["target"]
    assert list(made) == ["mediaType", "size", "digest", "length", "repository", "tag", "references"]
    assert made["references"] == [{"size": 2}]


def test_what_no_utf8_has_does_not_stop_an_event():
    said = references({"config": {"annotations": {"a": "\ud800"}}})
    made = event("push", Target("app", references=said), REQUESTER, "", SOURCE)
    assert "\ufffd".encode() in envelope([made])
