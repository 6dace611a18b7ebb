"""`cfmiddleware keys`: what it lists, and a new key in the place of the old without a pull refused."""

from __future__ import annotations

import http.client
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import yaml
from lab.cloudfront_configs import want, write_key
from lab.moto_gaps import filled_gaps
from lab.obeying import ObeyingEdge, give_alias
from lab.signing_material import ec_key, ec_pem, needs_cryptography, rsa_pem
from lab.stacks import Stack
from lab.wsgi_server import running_app
from moto import mock_aws

from cfmiddleware.cli import main
from cfmiddleware.cloudfront.asking import Answer, Asker
from cfmiddleware.cloudfront.keygroups import KeyGroups
from cfmiddleware.cloudfront.rotation import Choices, Pace, Rotation, Tools
from cfmiddleware.cloudfront.sample import own_sample
from cfmiddleware.cloudfront.template import Variant, template
from cfmiddleware.cloudfront.wanted import wanted
from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError
from cfmiddleware.signing.keyring import KeyRing
from cfmiddleware.signing.keys import load_private_key

#: Waits for a new key without wasting a test's time.
QUICK = Pace(interval=0.1, longest=20, times=2)


class Place(NamedTuple):
    """A registry in a directory, and the distribution before it."""

    directory: Path
    stack: Stack
    edge: ObeyingEdge
    config: Path
    said: list[str]

    @property
    def keys(self) -> Path:
        return self.directory / "keys"

    def files(self) -> set[str]:
        return {file.name for file in self.keys.iterdir()}

    def group(self) -> list[str]:
        """Return the ids in the key group."""
        found = self.stack.client("cloudfront").get_key_group(Id=self.stack.values["KeyGroup"])
        items: list[str] = found["KeyGroup"]["KeyGroupConfig"]["Items"]
        return items

    def signs(self) -> str:
        """Return the id of the key that the wrapper signs with."""
        found = wanted(Config.load(self.config, {}))
        return KeyRing.from_options(found.privatekey).current().id

    def rotation(self, **choices: Any) -> Rotation:
        config = Config.load(self.config, {})
        found = wanted(config)
        groups = KeyGroups(choices.pop("client", self.stack.client("cloudfront")))
        tools = Tools(groups, Asker(), own_sample(config, found), say=self.said.append)
        return Rotation(found, tools, Choices(**{"pace": QUICK, **choices}))

    def rotate(self, **choices: Any) -> bool:
        """Rotate once; what is said goes to `said`."""
        return self.rotation(**choices).run()


@pytest.fixture
def by_hand() -> bool:
    """Whether the keys in CloudFront were made by hand, and not by a template."""
    return True


@pytest.fixture
def place(tmp_path: Path, by_hand: bool) -> Iterator[Place]:
    with mock_aws(), filled_gaps():
        yield from made_place(tmp_path, by_hand)


def made_place(tmp_path: Path, by_hand: bool, lag: float = 0.3) -> Iterator[Place]:
    write_key(tmp_path / "keys" / "pk-K1.pem", age=100_000)
    text = template(want(tmp_path), Variant())
    if by_hand:
        text = text.replace("-key-", "-by-hand-")
    stack = Stack(text, "eu-west-3")
    id = stack.outputs["KeyId"]
    for end in ("pem", "pub.pem"):
        (tmp_path / "keys" / f"pk-K1.{end}").rename(tmp_path / "keys" / f"pk-{id}.{end}")
    client = stack.client("cloudfront")
    give_alias(client, stack.outputs["DistributionId"])
    (tmp_path / "registry").mkdir()
    app: list[Any] = []
    with running_app(lambda environ, start_response: app[0](environ, start_response)) as port:
        entry = {
            "name": "cloudfront",
            "options": {"baseurl": f"http://127.0.0.1:{port}", "privatekey": "keys", "duration": "10m"},
        }
        tree = {
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
            "middleware": {"storage": [entry]},
        }
        config = tmp_path / "registry.yml"
        config.write_text(yaml.safe_dump(tree))
        edge = ObeyingEdge(Config.load(config, {}).driver(), client, stack.outputs["DistributionId"], lag=lag)
        app.append(edge)
        edge.keys()
        yield Place(tmp_path, stack, edge, config, [])


# The rotation


def test_a_new_key_signs_when_cloudfront_takes_it_and_not_before(place: Place):
    old = place.signs()

    assert place.rotate()

    new = place.signs()
    assert new != old
    assert place.group() == [old, new]
    assert place.files() == {f"pk-{old}.pem", f"pk-{old}.pub.pem", f"pk-{new}.pem", f"pk-{new}.pub.pem"}
    asked = [status for id, status in place.edge.answered if id == new]
    assert asked[0] == 403, "the edge's lag shows that a proof was needed"
    assert asked[-2:] == [200, 200]


def test_it_says_when_the_old_key_may_go(place: Place):
    old = place.signs()
    place.rotate()
    told = place.said[-1]

    at = time.mktime(time.strptime(told.split("until ")[1][:19], "%Y-%m-%d %H:%M:%S"))
    assert 600 <= at - time.time() + 1 <= 620
    assert f"pk-{old}.pem" in told


def test_nothing_is_left_in_the_storage(place: Place):
    place.rotate()
    assert [file for file in (place.directory / "registry").rglob("*") if file.is_file()] == []


def test_the_private_half_belongs_to_whom_the_old_one_did(place: Place):
    old = place.keys / f"pk-{place.signs()}.pem"
    old.chmod(0o640)

    place.rotate()

    new = (place.keys / f"pk-{place.signs()}.pem").stat()
    assert (new.st_mode & 0o777, new.st_uid, new.st_gid) == (0o640, old.stat().st_uid, old.stat().st_gid)


STOPS = {
    "after the private half is written": "_write_public",
    "after the pair is made": "_known_to_cloudfront",
    "after CloudFront has the key": "_in_groups",
    "after the group has it": "_proved",
    "after the proof": "_put",
    "before the end is said": "_say_what_is_left",
}


class Stopped(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("stop", STOPS)
def test_a_second_run_goes_on_where_the_first_was_stopped(
    place: Place, monkeypatch: pytest.MonkeyPatch, stop: str
):
    old = place.signs()
    run = place.rotation()

    def stopped(*arguments: Any) -> None:
        raise Stopped

    monkeypatch.setattr(run, STOPS[stop], stopped)
    with pytest.raises(Stopped):
        run.run()
    if stop != "before the end is said":
        assert place.signs() == old

    assert place.rotate()

    new = place.signs()
    assert place.group() == [old, new]
    assert len(place.stack.client("cloudfront").list_public_keys()["PublicKeyList"]["Items"]) == 2
    assert place.files() == {f"pk-{old}.pem", f"pk-{old}.pub.pem", f"pk-{new}.pem", f"pk-{new}.pub.pem"}
    assert "good until" in place.said[-1]


@pytest.mark.parametrize(
    ("linked", "target"),
    [
        (False, "os.utime"),
        (False, "pathlib.Path.replace"),
        (True, "os.link"),
        (True, "cfmiddleware.cloudfront.rotation._switch"),
        (True, "pathlib.Path.unlink"),
    ],
)
def test_a_run_that_was_stopped_in_its_last_step_is_gone_on_with(
    place: Place, monkeypatch: pytest.MonkeyPatch, linked: bool, target: str
):
    """The process ends before each of the calls that put the new key into its place."""
    old = place.signs()
    if linked:
        link = place.directory / "signing.pem"
        link.symlink_to(place.keys / f"pk-{old}.pem")
        place.config.write_text(
            place.config.read_text().replace("privatekey: keys", "privatekey: signing.pem")
        )
    run = place.rotation()
    put = run._put

    def stopped(*arguments: Any, **_: Any) -> None:
        is_public = str(arguments[0]).endswith(".pub.pem")
        if target.endswith("replace") and is_public:
            Path.rename(arguments[0], arguments[1])
            return
        raise Stopped

    def putting(*arguments: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(target, stopped)
            put(*arguments)

    monkeypatch.setattr(run, "_put", putting)
    with pytest.raises(Stopped):
        run.run()

    assert place.rotate()

    new = place.signs()
    assert new != old
    assert place.group() == [old, new]
    assert place.files() == {f"pk-{old}.pem", f"pk-{old}.pub.pem", f"pk-{new}.pem", f"pk-{new}.pub.pem"}


def test_a_run_after_the_last_one_s_end_makes_no_further_key(place: Place):
    place.rotate()
    new, files = place.signs(), place.files()

    assert place.rotate()

    assert (place.signs(), place.files()) == (new, files)
    assert "was put in its place" in "".join(place.said)


def test_a_link_is_switched_in_one_step(place: Place):
    old = place.signs()
    link = place.directory / "current.pem"
    link.symlink_to(f"keys/pk-{old}.pem")
    tree = yaml.safe_load(place.config.read_text())
    tree["middleware"]["storage"][0]["options"]["privatekey"] = "current.pem"
    place.config.write_text(yaml.safe_dump(tree))

    assert place.rotate()

    assert os.readlink(link).startswith("keys/pk-")
    assert place.signs() == place.group()[1] != old
    assert "next.pem" not in place.files()


def test_a_key_whose_clock_was_ahead_does_not_keep_the_new_one_from_signing(place: Place):
    old = place.keys / f"pk-{place.signs()}.pem"
    os.utime(old, (time.time() + 9999, time.time() + 9999))

    place.rotate()

    assert place.signs() == place.group()[1]


def test_a_key_that_keygen_left_in_the_directory_is_the_new_one(place: Place):
    write_key(place.keys / "cloudfront.pem", 2)

    assert place.rotate()

    assert "cloudfront.pem" not in place.files()
    assert (place.keys / f"pk-{place.signs()}.pem").read_text() == rsa_pem(2)


@pytest.mark.parametrize("by_hand", [True, False])
def test_the_first_key_gets_its_name_from_the_stack_that_holds_it(place: Place, by_hand: bool):
    id = place.signs()
    for end in ("pem", "pub.pem"):
        (place.keys / f"pk-{id}.{end}").rename(place.keys / f"cloudfront.{end}")

    assert place.rotate()

    assert place.signs() == id
    assert place.files() == {f"pk-{id}.pem", f"pk-{id}.pub.pem"}
    assert place.group() == [id]


def test_where_cloudfront_cannot_be_asked_for_the_first_key_s_id_the_stack_s_output_is_named(place: Place):
    id = place.signs()
    (place.keys / f"pk-{id}.pem").rename(place.keys / "cloudfront.pem")
    (place.keys / f"pk-{id}.pub.pem").rename(place.keys / "cloudfront.pub.pem")

    assert not place.rotate(client=Refusing(place.stack.client("cloudfront"), "list_public_keys"))

    assert "--id with the stack's output KeyId.\n" in place.said[-1]
    assert place.rotate(client=Refusing(place.stack.client("cloudfront"), "list_public_keys"), id=id)
    assert place.signs() == id


@needs_cryptography
def test_a_new_key_is_of_the_same_kind(place: Place):
    write_ecdsa(place.keys / "next.pem")
    place.rotate()
    os.utime(place.keys / f"pk-{place.signs()}.pem", (time.time() - 100, time.time() - 100))
    for file in place.keys.iterdir():
        if place.signs() not in file.name and file.name.endswith(".pem"):
            os.utime(file, (1, 1))
    second = place.signs()
    tree = yaml.safe_load(place.config.read_text())
    tree["middleware"]["storage"][0]["options"]["duration"] = "30s"  # so that the first rotation is over
    place.config.write_text(yaml.safe_dump(tree))

    place.rotate()

    assert place.signs() not in (second, place.group()[0])
    key = load_private_key((place.keys / f"pk-{place.signs()}.pem").read_text(), "test")
    assert key.algorithm == "ecdsa"


def test_the_command_rotates(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr("cfmiddleware.cli.managekeys.Pace", lambda longest: QUICK)

    assert main(["keys", "rotate", str(place.config), "--wait", "1m"]) == 0

    assert f"{place.signs()} signs within a second" in capsys.readouterr().out
    assert len(place.group()) == 2


def test_a_terminal_shows_how_long_the_command_has_waited(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("cfmiddleware.cli.managekeys.Pace", lambda longest: Pace(0.05, 0.3))
    monkeypatch.setattr(place.edge, "_lag", 10_000)

    assert main(["keys", "rotate", str(place.config)]) == 1

    shown = capsys.readouterr().err.split("\r\033[K")
    assert shown[1] == "waiting for CloudFront: 0 s of 0 s at the most"
    assert shown[-1] == ""


def test_the_command_proves_it_with_a_blob_that_is_there(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr("cfmiddleware.cli.managekeys.Pace", lambda longest: QUICK)
    digest = Digest.of(b"layer")
    driver = Config.load(place.config, {}).driver()
    driver.write(f"/docker/registry/v2/blobs/sha256/{digest.hex[:2]}/{digest.hex}/data", b"layer")

    assert main(["keys", "rotate", str(place.config), "--digest", str(digest)]) == 0
    assert main(["keys", "rotate", str(place.config), "--digest", str(Digest.of(b"none"))]) == 2
    assert main(["keys", "rotate", str(place.config), "--digest", "sha256:x"]) == 2

    said = capsys.readouterr()
    assert "takes what" in said.out
    assert len(said.err.splitlines()) == 2


def test_a_command_that_is_ended_leaves_nothing_in_the_storage(place: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    there = []

    def ended(asker: Asker, url: str, **more: Any) -> Answer:
        there.extend(file for file in (place.directory / "registry").rglob("check-*"))
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        raise AssertionError("it goes on")

    monkeypatch.setattr(Asker, "ask", ended)
    old = place.signs()

    assert main(["keys", "rotate", str(place.config)]) == 130

    assert there
    assert not any(file.exists() for file in there)
    assert place.signs() == old


# Where it cannot go on


def test_a_key_that_cloudfront_does_not_take_never_signs(place: Place, monkeypatch: pytest.MonkeyPatch):
    old = place.signs()
    monkeypatch.setattr(place.edge, "_lag", 10_000)

    assert not place.rotate(pace=Pace(interval=0.05, longest=0.5))

    assert place.signs() == old
    assert "next.pem" in place.files()
    assert "CloudFront says 403 InvalidKey" in place.said[-1]
    assert "goes on signing" in place.said[-1]


def test_an_open_distribution_proves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch):
    old = place.signs()

    class Open(Asker):
        def ask(self, url: str, **more: Any) -> Answer:
            return Answer(200, {}, own.start, 0.0)

    config = Config.load(place.config, {})
    own = own_sample(config, wanted(config))
    tools = Tools(KeyGroups(place.stack.client("cloudfront")), Open(), own, say=place.said.append)

    with pytest.raises(ConfigError, match="serves the object without a signature too"):
        Rotation(wanted(config), tools, Choices(pace=QUICK)).run()

    assert place.signs() == old


class Refusing:
    """A client that may not do some things."""

    def __init__(self, client: Any, *names: str) -> None:
        self._client, self._names = client, names

    def __getattr__(self, name: str) -> Any:
        if name not in self._names:
            return getattr(self._client, name)
        from botocore.exceptions import ClientError

        def refuse(**arguments: Any) -> None:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, name)

        return refuse


@pytest.mark.parametrize(
    "names",
    [
        ("list_distributions",),
        ("list_public_keys",),
        ("create_public_key",),
        ("update_key_group",),
        ("get_key_group",),
        ("get_distribution",),
    ],
)
def test_without_a_permission_it_says_what_to_deploy(place: Place, names: tuple[str, ...]):
    old = place.signs()
    refusing = Refusing(place.stack.client("cloudfront"), *names)

    assert not place.rotate(client=refusing)

    assert place.signs() == old
    assert "AccessDenied" in place.said[-1]
    assert "AWS::CloudFront::PublicKey" in place.said[-1]
    assert f"cfmiddleware keys rotate {place.config}" in place.said[-1]


@pytest.mark.parametrize("by_hand", [False])
@pytest.mark.parametrize("may_read", [True, False])
def test_a_key_group_of_a_template_is_changed_by_the_template_alone(
    place: Place, by_hand: bool, may_read: bool
):
    old = place.signs()
    client = place.stack.client("cloudfront")
    given: Any = client if may_read else Refusing(client, "list_distributions", "list_public_keys")

    assert not place.rotate(client=given)
    assert place.group() == [old]
    # What is said is what the template then has.
    text = template(want(place.directory, {"privatekey": "keys"}), Variant())
    changed = place.said[-1].split("line more:\n")[1].split("Then go on")[0]
    for part in changed.split("          - !Ref "):
        assert part.strip() in text
    assert place.signs() == old

    place.stack.update(text)
    (new,) = set(place.group()) - {old}
    id = None if may_read else new
    assert place.rotate(client=given, id=id)
    assert place.signs() == new


def test_a_group_that_is_full_is_a_line(place: Place):
    for number in range(2, 6):
        write_key(place.keys / f"pk-KX{number}.pem", number, age=200_000)

    with pytest.raises(ConfigError, match="there are 5 keys, and a key group takes 5"):
        place.rotate()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"privatekey": "keys/pk-{}.pem"}, "key and id must change in one step"),
        ({"privatekey": rsa_pem(), "keypairid": "K1"}, "key and id must change in one step"),
        ({"privatekey": "keys", "baseurl": None}, "baseurl: is missing"),
    ],
)
def test_where_the_wrapper_could_not_be_given_a_key_it_is_said(
    place: Place, options: dict[str, Any], line: str
):
    tree = yaml.safe_load(place.config.read_text())
    for name, value in options.items():
        tree["middleware"]["storage"][0]["options"][name] = value and value.replace("{}", place.signs())
    place.config.write_text(yaml.safe_dump(tree))

    with pytest.raises(ConfigError, match=line):
        place.rotate()


# The list


def test_the_list_says_which_key_signs_and_what_cloudfront_holds(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    old = place.signs()
    write_key(place.keys / "pk-KX2.pem", 2, age=200_000)
    write_key(place.keys / "next.pem", 3)

    assert main(["keys", str(place.config)]) == 0

    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        ["KEY", "ID", "FILE", "AGE", "KEY", "GROUP"],
        [old, f"pk-{old}.pem", "1", "day", "yes", "signs"],
        ["KX2", "pk-KX2.pem", "2", "days", "no", "older"],
        ["-", "next.pem", "under", "a", "minute", "no", "waits", "for", "'keys", "rotate'"],
    ]


def test_a_key_that_signs_and_is_in_no_group_is_status_1(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    write_key(place.keys / "pk-KX2.pem", 2)

    assert main(["keys", "list", str(place.config)]) == 1

    assert "KX2 signs and is not in the key group" in capsys.readouterr().out


def test_without_credentials_the_list_is_that_of_the_files(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        "cfmiddleware.cli.managekeys.KeyGroups.connected",
        lambda region: KeyGroups(Refusing(place.stack.client("cloudfront"), "list_distributions")),
    )

    assert main(["keys", str(place.config)]) == 0

    said = capsys.readouterr().out
    assert f"pk-{place.signs()}.pem" in said
    assert "CloudFront was not asked (cloudfront:ListDistributions: AccessDenied)" in said


# Pulls meanwhile


def write_ecdsa(file: Path) -> None:
    file.write_text(ec_pem())
    file.with_name("next.pub.pem").write_text(ec_key().public_pem)


def pull(registry: int, path: str) -> int:
    """Pull a blob through its redirect, and return the status in the end."""
    connection = http.client.HTTPConnection("127.0.0.1", registry, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status != 307:
        return answer.status
    url = urlsplit(answer.headers["Location"])
    connection = http.client.HTTPConnection(url.netloc, timeout=30)
    connection.request("GET", f"{url.path}?{url.query}")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def rotate_under_pulls(place: Place, pulls: int, rate: float, blobs: int = 20) -> Counter[int]:
    """Rotate in the middle of *pulls* pulls, *rate* in a second, and return how they ended."""
    config = Config.load(place.config, {})
    registry = config.app()
    driver = config.driver()
    paths = []
    for number in range(blobs):
        content = str(number).encode()
        digest = Digest.of(content)
        driver.write(f"/docker/registry/v2/blobs/sha256/{digest.hex[:2]}/{digest.hex}/data", content)
        link = f"/docker/registry/v2/repositories/app/_layers/sha256/{digest.hex}/link"
        driver.write(link, str(digest).encode())
        paths.append(f"/v2/app/blobs/{digest}")
    ended: list[int] = []

    def one(port: int, number: int) -> None:
        ended.append(pull(port, paths[number % blobs]))

    with running_app(registry) as port:
        rotated: list[bool] = []
        pace = replace(QUICK, longest=120)  # the pulls keep the machine busy
        rotating = threading.Thread(target=lambda: rotated.append(place.rotate(pace=pace)))
        began, threads = time.monotonic(), []
        for number in range(pulls):
            if number == pulls // 4:
                rotating.start()
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            threads.append(threading.Thread(target=one, args=(port, number)))
            threads[-1].start()
        rotating.join()
        for number in range(blobs):  # whatever the machine's speed, some come after the change
            time.sleep(1.1 / blobs)
            one(port, number)
        for thread in threads:
            thread.join()
    assert rotated == [True]
    return Counter(ended)


def test_no_pull_is_refused_while_keys_are_rotated(place: Place):
    old = place.signs()

    ended = rotate_under_pulls(place, 300, 100)

    assert ended == {200: 320}
    served = Counter(id for id, status in place.edge.answered if status == 200)
    assert served.keys() == {old, place.signs()}


@pytest.mark.long
def test_no_pull_of_2000_at_100_a_second_is_refused(tmp_path: Path):
    with mock_aws(), filled_gaps():
        for place in made_place(tmp_path, by_hand=True, lag=5):
            old = place.signs()
            ended = rotate_under_pulls(place, 2000, 100, blobs=100)
            assert ended == {200: 2100}
            served = Counter(id for id, status in place.edge.answered if status == 200)
            assert served.keys() == {old, place.signs()}


def test_a_new_key_that_signed_at_once_would_be_refused(place: Place, monkeypatch: pytest.MonkeyPatch):
    """The pulls above show something: the edge does refuse a key that it does not know yet."""
    monkeypatch.setattr(Rotation, "_proved", lambda self, key, id: None)
    monkeypatch.setattr(place.edge, "_lag", 10_000)

    ended = rotate_under_pulls(place, 100, 100)

    assert ended[403] > 0
