"""What the wrapper takes, refuses and says when it starts."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lab.apps import EDGE, KEY_PAIR_ID, App, ask, key, wrap

from cfmiddleware.errors import ConfigError
from cfmiddleware.middleware.options import WrapperKeywords, WrapperOptions
from cfmiddleware.middleware.wrapper import CloudFrontMiddleware


@pytest.mark.parametrize(
    ("baseurl", "front"),
    [
        ("d1.cloudfront.net", "https://d1.cloudfront.net/docker/"),
        ("https://d1.cloudfront.net/", "https://d1.cloudfront.net/docker/"),
        ("HTTPS://D1.CloudFront.net", "https://d1.cloudfront.net/docker/"),
        ("https://d1.cloudfront.net:443", "https://d1.cloudfront.net/docker/"),
        ("http://localhost:5001", "http://localhost:5001/docker/"),
        ("d1.cloudfront.net/images/", "https://d1.cloudfront.net/images/docker/"),
        (" d1.cloudfront.net/a%20b ", "https://d1.cloudfront.net/a%20b/docker/"),
        ("http://[::1]:5001", "http://[::1]:5001/docker/"),
    ],
)
def test_a_base_url_is_kept_as_clients_will_repeat_it(baseurl: str, front: str):
    assert str(ask(wrap(App(), baseurl=baseurl)).location).startswith(front)


@pytest.mark.parametrize(
    "baseurl",
    [
        "ftp://d1.cloudfront.net",
        "https://",
        "https://user@d1.cloudfront.net",
        "https://d1.cloudfront.net?x=1",
        "https://d1.cloudfront.net?",
        "https://d1.cloudfront.net/#a",
        "https://d1.cloudfront.net/*",
        "https://d1.cloudfront.net/a b",
        "https://d1.cloudfront.net/ä",
        "https://d1.cloudfront.net/..",
        "https://d1.cloudfront.net/a/../b",
        "https://d1.cloudfront.net/%2E%2E/b",
        "https://d1.cloudfront.net//a",
        "https://d1.cloudfront.net/a//b",
        "https://d1.cloudfront.net/a\nb",
        "https://d1.cloudfront.net:port",
        "https://d1.cloudfront.net:99999",
        "https://[::1",
        "https://*.cloudfront.net",
        "https://d1.cloudfront.net\\evil",
    ],
)
def test_what_is_no_base_url_is_refused(baseurl: str):
    with pytest.raises(ConfigError, match=r"^baseurl: .*write it like https://") as caught:
        wrap(App(), baseurl=baseurl)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("option", ["baseurl", "privatekey"])
@pytest.mark.parametrize("value", ["", None])
def test_what_is_required_is_named_when_it_is_missing(option: str, value: str | None):
    with pytest.raises(ConfigError, match=f"^{option}: this option is required$"):
        wrap(App(), **{option: value})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rootdirectory": "/a//b"}, "rootdirectory: "),
        ({"originpath": "/team/../x", "rootdirectory": "/team"}, "originpath: "),
        (
            {"originpath": "/team/pro", "rootdirectory": "/team/prod"},
            "originpath: no key can start with '/team/pro'",
        ),
        ({"originpath": "/team"}, "originpath: no key can start with '/team'"),
        ({"originpath": "/team", "bucket": "images", "probe": "none"}, "originpath: no key can start with"),
        ({"maximumsize": "10kB", "minimumsize": "10kB"}, "maximumsize: must be more than minimumsize"),
        ({"maximumsize": "many"}, "maximumsize: "),
        ({"keepheaders": "a b"}, "keepheaders: 'a b' is not a name of a header"),
        ({"keepheaders": "*"}, "keepheaders: '*' is not a name of a header"),
        ({"keepheaders": "X*"}, "keepheaders: 'x*' is not a name of a header"),
        ({"keepheaders": ["Set-Cookie"]}, "keepheaders: 'set-cookie' cannot be kept"),
        ({"keepheaders": "Content-*"}, "keepheaders: 'content-*' cannot be kept"),
        ({"prefix": "/../x"}, "prefix: "),
        ({"layout": "distributon"}, "did you mean 'distribution'?"),
        ({"layout": ""}, "layout: "),
        ({"probe": "haed"}, "did you mean 'head'?"),
        ({"probe": None}, "probe: "),
        ({"probe": ""}, "probe: "),
        ({"hash": "md5"}, "hash: "),
        ({"hash": 256}, "hash: "),
        ({"duration": "soon"}, "duration: "),
        ({"duration": 1}, "duration: "),
        ({"duration": "20m", "window": "11m"}, "window: must be from 1 second to half of duration"),
        ({"window": 0}, "window: "),
        ({"bindip": "maybe"}, "bindip: "),
        ({"trustedproxies": -1}, "trustedproxies: "),
        ({"trustedproxies": "one"}, "trustedproxies: "),
        ({"requiredigest": 2}, "requiredigest: "),
        ({"minimumsize": "10XB"}, "minimumsize: "),
        ({"bucket": "a/b"}, "bucket: "),
        ({"bucket": "images", "regionendpoint": "ftp://s3"}, "regionendpoint: "),
        ({"bucket": ["images"]}, "bucket: "),
        ({"rootdirectory": 1.5}, "rootdirectory: "),
        ({"baseurl": ["x"]}, "baseurl: "),
        ({"keypairid": "a b"}, "keypairid: "),
        ({"keypairid": None}, "keypairid: "),
        ({"privatekey": 5}, "privatekey: "),
        ({"privatekey": b"-----BEGIN PRIVATE KEY-----"}, "privatekey: "),
        ({"privatekey": "/no/such/file"}, "privatekey: /no/such/file"),
        ({"privatekey": "not a key"}, "privatekey: "),
        ({"baseurls": "x"}, "baseurls: there is no such option (did you mean 'baseurl'?)"),
        ({"orginpath": "x"}, "did you mean 'originpath'?"),
    ],
)
def test_an_option_that_cannot_work_is_named_in_one_line(options: dict[str, object], said: str):
    with pytest.raises(ConfigError) as caught:
        wrap(App(), **options)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("broken", ["-----BEGIN", "\n-----END PRIVATE KEY-----\n"])
def test_an_error_about_a_key_never_shows_it(broken: str):
    pem = key(1).private_pem
    secret = pem.splitlines()[5]
    with pytest.raises(ConfigError) as caught:
        wrap(App(), privatekey=pem.replace(broken, ""))
    assert secret[:20] not in str(caught.value)


def test_a_key_put_under_the_id_is_not_shown_either():
    with pytest.raises(ConfigError) as caught:
        wrap(App(), keypairid=key(1).private_pem)
    assert key(1).private_pem.splitlines()[1][:20] not in str(caught.value)


def test_a_key_may_be_a_file_whose_name_says_its_id(tmp_path: Path):
    file = tmp_path / "pk-KTEST.pem"
    file.write_text(key(1).private_pem)
    for privatekey in (file, str(file), tmp_path):
        wrapped = wrap(App(), privatekey=privatekey, keypairid=None)
        assert "Key-Pair-Id=KTEST" in str(ask(wrapped).location)


def test_an_id_without_quotes_in_yaml_is_a_number_and_good_enough():
    assert "Key-Pair-Id=123" in str(ask(wrap(App(), keypairid=123)).location)


def test_values_may_be_the_strings_of_an_ini_file():
    strings = {
        "duration": "1h",
        "window": "5m",
        "bindip": "false",
        "trustedproxies": "0",
        "requiredigest": "true",
        "minimumsize": "1MiB",
        "originpath": "",
        "rootdirectory": "",
        "bucket": "",
        "regionendpoint": "",
        "prefix": "/",
    }
    assert ask(wrap(App(), **strings)).code == 307


class TestStartSays:
    def said(self, caplog: pytest.LogCaptureFixture, **options: object) -> list[str]:
        caplog.set_level(logging.INFO, "cfmiddleware")
        wrap(App(), **options)
        return [record.getMessage() for record in caplog.records]

    def test_nothing_where_there_is_no_root_directory(self, caplog):
        assert self.said(caplog) == []

    def test_which_origin_path_cloudfront_must_have_and_what_to_do_if_it_is_blank(self, caplog):
        (line,) = self.said(caplog, rootdirectory="/team/prod")
        assert "must be '/team/prod'" in line
        assert 'set originpath: ""' in line

    def test_which_origin_path_was_chosen(self, caplog):
        (line,) = self.said(caplog, rootdirectory="/team/prod", originpath="")
        assert "must be ''" in line
        assert "originpath" not in line

    def test_that_everything_is_public_without_a_probe(self, caplog):
        (line,) = self.said(caplog, probe="none")
        assert "everybody" in line

    def test_nothing_of_options_that_ask_for_what_is_done_anyway(self, caplog):
        assert self.said(caplog, ipfilteredby="none", probecache="none") == []


class TestEachOptionIsSaidOnce:
    """The fields, the parsers, the keywords and the texts name the same options in the same order."""

    NAMES = [field.name for field in dataclasses.fields(WrapperOptions)]

    def test_in_the_parsers(self):
        assert list(WrapperOptions.PARSERS) == self.NAMES

    def test_in_the_keywords(self):
        assert list(WrapperKeywords.__annotations__) == self.NAMES

    def test_in_the_texts(self):
        assert re.findall(r":param (\w+):", inspect.getdoc(WrapperOptions) or "") == self.NAMES

    def test_paths_and_aliases_name_options(self):
        assert set(WrapperOptions.PATHS) <= set(self.NAMES)
        assert set(WrapperOptions.ALIASES.values()) <= set(self.NAMES)
        assert not set(WrapperOptions.ALIASES) & set(self.NAMES)


class TestReadFromAFile:
    GIVEN: dict[str, object] = {"baseurl": EDGE, "privatekey": "keys", "rootdirectory": "team"}

    def test_values_are_parsed(self):
        options = WrapperOptions.read({**self.GIVEN, "duration": "1h", "bindip": "yes", "window": ""})
        assert (options.duration, options.bindip, options.window) == (3600, True, None)
        assert (options.rootdirectory, options.cloudfront_originpath) == ("/team", "/team")

    @pytest.mark.parametrize("blank", [None, ""])
    def test_an_origin_path_without_a_value_is_blank(self, blank: str | None):
        options = WrapperOptions.read({**self.GIVEN, "originpath": blank})
        assert options.cloudfront_originpath == ""

    def test_any_other_option_without_a_value_is_absent(self):
        nothing = dict.fromkeys(WrapperOptions.PARSERS.keys() - {"originpath"})
        assert WrapperOptions.read({**nothing, **self.GIVEN}) == WrapperOptions.read(self.GIVEN)

    @pytest.mark.parametrize("value", ["keys", Path("keys")])
    def test_paths_are_relative_to_the_file(self, value: object):
        given = {**self.GIVEN, "privatekey": value, "iprangesfile": "ranges.json"}
        options = WrapperOptions.read(given, here=Path("/etc/registry"))
        assert options.privatekey == "/etc/registry/keys"
        assert options.iprangesfile == "/etc/registry/ranges.json"

    def test_a_path_that_is_absolute_stays_and_pem_text_is_not_a_path(self):
        pem = "-----BEGIN PRIVATE KEY-----\n"
        given = {**self.GIVEN, "privatekey": pem, "iprangesfile": "/srv/ranges.json"}
        options = WrapperOptions.read(given, here=Path("/etc/registry"))
        assert (options.privatekey, options.iprangesfile) == (pem, "/srv/ranges.json")

    @pytest.mark.parametrize(
        ("given", "line"),
        [
            ({"durration": 1}, "a.b.durration: there is no such option (did you mean 'duration'?)"),
            ({"duration": 1}, "a.b.duration: "),
            ({"window": "19m"}, "a.b.window: must be from 1 second to half of duration"),
            ({"probe": "none", "probecache": "1m"}, "a.b.probecache: "),
        ],
    )
    def test_an_error_says_where_the_option_stands(self, given: dict[str, object], line: str):
        with pytest.raises(ConfigError) as caught:
            WrapperOptions.read({**self.GIVEN, **given}, "a.b.")
        assert str(caught.value).startswith(line)

    def test_the_right_spelling_takes_the_place_of_the_wrong_one(self, caplog: pytest.LogCaptureFixture):
        both = {"updatefrenquency": "1h", "updatefrequency": "2h"}
        for given in (both, dict(reversed(both.items()))):
            assert WrapperOptions.read({**self.GIVEN, **given}).updatefrequency == 7200
            assert "updatefrenquency: is taken for updatefrequency" in caplog.text
            caplog.clear()
        assert WrapperOptions.read({**self.GIVEN, "updatefrenquency": "1h"}).updatefrequency == 3600

    def test_the_key_is_not_shown(self):
        assert "keys" not in repr(WrapperOptions.read(self.GIVEN))


def test_options_that_were_read_and_keywords_do_not_go_together():
    options = WrapperOptions.read(TestReadFromAFile.GIVEN)
    with pytest.raises(TypeError, match="given twice"):
        CloudFrontMiddleware(App(), options, bindip=True)


def test_the_wrapper_stands_alone():
    """It must wrap apps that have neither our registry nor our storage."""
    program = (
        "import sys, cfmiddleware.middleware;"
        "print(*[m for m in sys.modules if m.startswith(('cfmiddleware.registry', 'cfmiddleware.storage',"
        " 'cfmiddleware.edge', 'cfmiddleware.config', 'boto'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_asking_nobody_gives_the_url_that_a_pull_gets():
    from lab.apps import DIGEST

    wrapped = wrap(App(), clock=lambda: 1_700_000_000)
    assert wrapped.signed_blob("team/app", DIGEST) == ask(wrapped).location
    assert wrapped.signed_blob("team/app", DIGEST).startswith(EDGE)
    assert f"Key-Pair-Id={KEY_PAIR_ID}" in wrapped.signed(f"{EDGE}/x?y=1")
