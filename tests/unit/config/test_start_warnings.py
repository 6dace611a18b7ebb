"""What works as it is written and not as it was meant is a warning at the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lab.apps import App, key, wrap

from cfmiddleware.config import Config


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"baseurl": "https://images.s3.amazonaws.com"}, "baseurl: 'images.s3.amazonaws.com' is S3 itself"),
        ({"baseurl": "s3.eu-west-3.amazonaws.com/images"}, "baseurl: "),
        ({"baseurl": "images.s3-website.eu-west-3.amazonaws.com"}, "baseurl: "),
        ({"baseurl": "x-1.s3-accesspoint.eu-west-3.amazonaws.com"}, "baseurl: "),
        ({"baseurl": "http://minio:9000/b", "regionendpoint": "http://minio:9000"}, "baseurl: 'minio' is S3"),
        ({"duration": 60}, "duration: signed URLs live for 60 seconds"),
        ({"duration": "4m59s"}, "duration: "),
    ],
)
def test_an_option_that_is_probably_not_meant_so_is_a_warning(
    options: dict[str, Any], said: str, caplog: pytest.LogCaptureFixture
):
    wrap(App(), **options)
    (line,) = caplog.messages
    assert line.startswith(said)


@pytest.mark.parametrize(
    "options",
    [
        *({"baseurl": "d1.cloudfront.net"}, {"baseurl": "images.example.com"}, {"duration": 300}, {}),
        *({"baseurl": "s3.example.com"}, {"baseurl": "http://127.0.0.1:5001"}),
    ],
)
def test_what_is_in_order_is_not_mentioned(options: dict[str, Any], caplog: pytest.LogCaptureFixture):
    wrap(App(), **options)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("name", "other"),
    [
        *(("pk-KAAAA.pem", "KAAAA"), ("K2JCJMDEHXQW5F.pem", "K2JCJMDEHXQW5F"), ("pk-KBBBB.pem", "")),
        *(("cloudfront.pem", ""), ("KEY.pem", "")),
    ],
)
def test_an_id_that_contradicts_the_name_of_the_file_is_a_warning(
    name: str, other: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    file = tmp_path / name
    file.write_text(key(1).private_pem)
    link = tmp_path / "current"
    link.symlink_to(file)
    for path in (file, link):
        caplog.clear()
        wrap(App(), privatekey=path, keypairid="KBBBB")
        assert [line.partition(";")[0] for line in caplog.messages] == (
            [f"keypairid: is 'KBBBB', and the name of the private key's file says {other!r}"] if other else []
        )


@pytest.mark.parametrize("storage", ["filesystem", "inmemory"])
@pytest.mark.parametrize(
    ("host", "warned"),
    [("d1.cloudfront.net", True), ("http://127.0.0.1:5001", False), ("images.example.com", False)],
)
def test_cloudfront_over_a_storage_that_it_cannot_reach_is_a_warning(
    directory: Path, storage: str, host: str, warned: bool, caplog: pytest.LogCaptureFixture
):
    options = {"baseurl": host, "privatekey": "keys"}
    section = {"rootdirectory": str(directory)} if storage == "filesystem" else {}
    tree = {
        "version": 0.1,
        "storage": {storage: section},
        "middleware": {"storage": [{"name": "cloudfront", "options": options}]},
    }
    Config(tree, "config.yml", directory).app()
    said = [line for line in caplog.messages if line.startswith(f"baseurl: {host!r} is CloudFront")]
    assert len(said) == warned
    assert len(caplog.messages) == warned
