"""`cfmiddleware check` as an operator runs it."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.edges import configuration
from lab.servers import CFMIDDLEWARE, free_port
from lab.serving import Service, serving


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([CFMIDDLEWARE, "check", *arguments], capture_output=True, text=True, env=env)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, list[str]]]:
    directory = tmp_path_factory.mktemp("quickstart")
    data = str(directory / "data")
    with serving(directory, "--data", data) as running:
        yield running, ["--data", data, "--edge-addr", f"127.0.0.1:{running.edge_port}"]


def test_the_quick_start_is_all_ticks(service: tuple[Service, list[str]]):
    running, place = service
    running.push("team/app", b"a layer")

    done = run(*place, "--url", running.url)

    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    steps = [line for line in lines if line[0].isdecimal()]
    assert [step[:3] for step in steps] == ["1. ", "2. ", "3. "]
    assert [step for step in steps if step.endswith(": nothing to look at here")] == [steps[1]]
    assert lines[-1].endswith("all is right")
    marks = [line[2] for line in lines if re.match("  . [a-z]", line)]
    assert len(marks) > 15
    assert set(marks) == {"\N{CHECK MARK}"}
    assert "\033" not in done.stdout
    files = [file for file in Path(place[1]).rglob("*") if file.is_file() and "check" in file.name]
    assert files == []


def test_json_is_for_programs(service: tuple[Service, list[str]]):
    done = run(*service[1], "--json")

    said = json.loads(done.stdout)
    assert (done.returncode, said["ok"]) == (0, True)
    assert {"step": 1, "check": "unsigned", "mark": "ok"}.items() <= said["findings"][4].items()


def test_a_cross_is_status_1_and_what_mends_it(tmp_path: Path):
    configuration(tmp_path, f"http://127.0.0.1:{free_port()}", {})

    done = run(str(tmp_path / "config.yml"))

    assert done.returncode == 1
    line = next(i for i, line in enumerate(done.stdout.splitlines()) if "\N{BALLOT X}" in line)
    assert "cannot be reached" in done.stdout.splitlines()[line]
    assert done.stdout.splitlines()[line + 1].startswith("      \N{RIGHTWARDS ARROW} ")


def test_a_terminal_without_unicode_is_written_to_in_ascii(tmp_path: Path):
    configuration(tmp_path, f"http://127.0.0.1:{free_port()}", {})

    done = run(str(tmp_path / "config.yml"), env={"PYTHONIOENCODING": "ascii", "HOME": str(tmp_path)})

    assert done.returncode == 1
    assert done.stdout.isascii()
    assert "\n  x host: " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such.yml"], "no-such.yml"),
        (["--data", "no-such-directory"], "there is no key pair"),
        (["{config}", "--digest", "sha256:12"], "--digest: 'sha256:12' is not a digest"),
        (["{config}", "--repository", "Team"], "is not a repository's name"),
        (["{config}", "--url", "registry.example.com"], "--url: 'registry.example.com' is not a URL"),
        (["{config}", "--url", "http://[::1"], "--url: 'http://[::1' is not a URL"),
        (["{config}", "--url", "http://a:99999/"], "--url: 'http://a:99999/' is not a URL"),
        (["{config}", "--url", "https://a/b c"], "is not a URL"),
        (["{config}", "--url", "https://a/?n=secret"], "--url: ends with the registry's host"),
        (["{config}", "--url", "https://me:secret@registry.example.com"], "use --login FILE"),
        (["{config}", "--url", "me:secret@registry.example.com"], "use --login FILE"),
        (["{config}", "--login", "no-such-file"], "--login: no-such-file: cannot be read"),
        (["{nothing}"], "baseurl: this option is required"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line(tmp_path: Path, arguments: list[str], said: str):
    configuration(tmp_path, "", {})
    nothing = tmp_path / "config.yml"
    nothing.rename(tmp_path / "nothing.yml")
    configuration(tmp_path, "http://127.0.0.1:1", {})
    names = {"config": str(nothing), "nothing": str(tmp_path / "nothing.yml")}

    done = run(*(argument.format(**names) for argument in arguments))

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "secret" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_colours_are_for_terminals_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    from cfmiddleware.cli.findinglines import print_lines
    from cfmiddleware.cloudfront.findings import cross, tick

    found = [(1, tick("a", "right")), (1, cross("b", "wrong", "mend it"))]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert print_lines("config.yml", {1: "one"}, found) == 1
    assert "\033[31;1m" in capsys.readouterr().out

    monkeypatch.setenv("NO_COLOR", "1")
    print_lines("config.yml", {1: "one"}, found)
    assert "\033" not in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_behind_where_it_is_interrupted(tmp_path: Path, number: int):
    """The edge takes the connection, and does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        configuration(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}", {})
        command = [CFMIDDLEWARE, "check", str(tmp_path / "config.yml")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        silent.settimeout(30)
        connection, _ = silent.accept()
        with connection:
            assert [path for path in (tmp_path / "registry").rglob("check-*") if path.is_file()]
            process.send_signal(number)
            _, errors = process.communicate(timeout=30)

    assert (process.returncode, errors) == (130, "")
    assert not [path for path in (tmp_path / "registry").rglob("check-*") if path.is_file()]
