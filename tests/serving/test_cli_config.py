"""``cfmiddleware config``, as an operator runs it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from lab.configurations import WRAPPED
from lab.servers import CFMIDDLEWARE


def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CFMIDDLEWARE, "config", *map(str, arguments)],
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_each_value_is_on_a_line_with_its_source(tmp_path: Path):
    file = tmp_path / "config.yml"
    file.write_text(WRAPPED)
    done = run(file, REGISTRY_HTTP_PREFIX="/other")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == f"# {file}: it can be used"
    assert "http.prefix /other # REGISTRY_HTTP_PREFIX" in lines
    assert "http.addr 127.0.0.1:5055 # line 7" in lines
    assert "server.workers 1 # default" in lines  # of a storage in memory
    assert not any("# default" in line for line in run(file, "--written").stdout.splitlines())


def test_programs_get_an_object(tmp_path: Path):
    file = tmp_path / "config.yml"
    file.write_text(WRAPPED)
    told = json.loads(run(file, "--json").stdout)
    assert told["options"]["log.level"] == {"value": "debug", "source": "line 3"}


def test_a_mistake_is_one_line_and_status_2(tmp_path: Path):
    file = tmp_path / "config.yml"
    file.write_text("version: 0.1\nstorage: {inmemory: }\nserver: {wrkers: 2}\n")
    done = run(file)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"cfmiddleware: {file}: server.wrkers: there is no such option (did you mean 'workers'?)\n"
    )


def test_without_a_file_it_asks_for_one():
    done = run()
    assert done.returncode == 2
    assert done.stderr == "cfmiddleware: config: which one? cfmiddleware config config.yml, or --schema\n"


def test_the_schema_is_printed_without_a_file():
    assert json.loads(run("--schema").stdout)["$schema"].endswith("2020-12/schema")
