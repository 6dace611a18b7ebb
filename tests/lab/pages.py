"""Pages of the docs as a reader follows them: their blocks in order, in one clean directory.

- ``code-block:: sh`` is run; with the caption "in a terminal of its own" it goes on until the end.
- A block with a file's name as its caption is written into that file.
- ``code-block:: text`` is what the commands before it print: each of its lines, with ``...`` for anything.

A page that is read so has no block of another kind. The ports 5000, 5001, 8000 and 9090 stand for free ones.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from lab import PROJECT
from lab.servers import Server, eventually, free_ports, running

TERMINAL = "in a terminal of its own"

#: The places that a page names, each of which stands for a free port.
PORTS = (5000, 5001, 8000, 9090)

_BLOCK = re.compile(r"^( *)\.\. code-block:: (\w+)\n((?:\1   :\w+:.*\n)*)\n((?:\1   .*\n|\n)+)", re.MULTILINE)


class Block(NamedTuple):
    """A block of a page."""

    kind: str
    caption: str
    text: str


def blocks(page: str) -> list[Block]:
    """Return the blocks of `docs/PAGE.rst`, in their order."""
    text = (PROJECT / "docs" / f"{page}.rst").read_text(encoding="utf-8") + "\n"
    found = []
    for _, kind, options, body in _BLOCK.findall(text):
        caption = re.search(r":caption: (.*)", options)
        found.append(Block(kind, caption[1] if caption else "", textwrap.dedent(body).strip("\n") + "\n"))
    assert len(found) == text.count(".. code-block::"), "a block that is not understood"
    assert not re.search(r"::\n\n +", re.sub(r"^ *\.\. .*$", "", text, flags=re.MULTILINE)), (
        "a block without a kind"
    )
    return found


class Reader:
    """Who follows a page.

    :param directory: a clean one.
    :param programs: what stands in the place of programs that the reader has: a name, and a script.
    :param env: variables in place of the process's own.
    """

    def __init__(self, directory: Path, programs: Mapping[str, str], env: Mapping[str, str]) -> None:
        self.directory = directory / "work"
        self.directory.mkdir()
        self._bin = directory / "bin"
        self._bin.mkdir()
        for name, script in {**_PROGRAMS, **programs}.items():
            file = self._bin / name
            file.write_text(script)
            file.chmod(file.stat().st_mode | stat.S_IXUSR)
        path = os.pathsep.join([str(self._bin), str(Path(sys.executable).parent), os.environ["PATH"]])
        home = directory / "home"
        home.mkdir()
        self._env = {**os.environ, "PATH": path, "HOME": str(home), **env}
        self._ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self._terminals: list[Server] = []
        self._stack = contextlib.ExitStack()
        self._printed = ""

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def follow(self, page: str) -> None:
        """Do what the page says."""
        for block in blocks(page):
            text = self._with_ports(block.text)
            if block.kind == "text":
                self._compare(text)
            elif block.kind != "sh":
                (self.directory / block.caption).write_text(text)
            elif block.caption == TERMINAL:
                self._open_terminal(text)
            else:
                self._run(text)

    def _with_ports(self, text: str) -> str:
        for port, free in self._ports.items():
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free}")
        # What listens there without being told.
        both = f"--addr 127.0.0.1:{self._ports[5000]} --edge-addr 127.0.0.1:{self._ports[5001]}"
        text = re.sub(r"^(cfmiddleware serve --data .*)$", rf"\1 {both}", text, flags=re.MULTILINE)
        edge = f"--edge-addr 127.0.0.1:{self._ports[5001]}"
        return re.sub(r"^(cfmiddleware check --data .*)$", rf"\1 {edge}", text, flags=re.MULTILINE)

    def _run(self, text: str) -> None:
        done = subprocess.run(
            ["bash", "-eu", "-c", text],
            cwd=self.directory,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self._printed = done.stdout + done.stderr
        assert done.returncode == 0, f"{text}\n{done.returncode}: {self._printed}"

    def _open_terminal(self, text: str) -> None:
        words = text.replace(f"127.0.0.1:{self._ports[5001]}", "")
        listening = [port for port in self._ports.values() if f":{port}" in words] or [self._ports[5000]]
        command = ["bash", "-c", f"cd {self.directory}\nexec env {text.strip()}"]
        place = self.directory.parent / f"terminal{len(self._terminals)}"
        place.mkdir()
        server = self._stack.enter_context(running(command, place, ports=listening, env=self._env))
        self._terminals.append(server)
        self._printed = ""

    def _compare(self, text: str) -> None:
        """Wait until each line has been printed, the lines in any order."""
        wanted = [_pattern(line) for line in text.splitlines()]

        def printed() -> str:
            return self._printed or self._terminals[-1].stdout + self._terminals[-1].stderr

        def missing() -> list[str]:
            return [pattern.pattern for pattern in wanted if not pattern.search(printed())]

        assert eventually(lambda: not missing(), 1 if self._printed else 15), f"{missing()}\n{printed()}"


def _pattern(line: str) -> re.Pattern[str]:
    """Return what finds a line, each run of spaces as any, and the case of a status line as it may be."""
    parts = [r"\s+".join(map(re.escape, part.split(" "))) for part in re.split(r"\.\.\.+", line.strip())]
    return re.compile(r"[^\n]*".join(parts), re.IGNORECASE)


#: The extras are those of the package; nothing is installed, because the tests have it already.
_PIP = f"""#!{sys.executable}
import re, sys
from importlib.metadata import metadata
for word in sys.argv[2:]:
    name, _, extras = word.partition("[")
    known = set(metadata("cfmiddleware").get_all("Provides-Extra"))
    missing = set(filter(None, extras.rstrip("]").split(","))) - known
    if name == "cfmiddleware" and missing:
        sys.exit(f"no such extra: {{missing}}")
"""

#: An environment that is the tests' own: `python3 -m venv` would take seconds, and `pip` a network.
_PYTHON3 = f"""#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then
    mkdir -p "$3/bin"
    printf '' > "$3/bin/activate"
    cp "$(dirname "$0")/pip" "$3/bin/pip"
else
    exec {sys.executable} "$@"
fi
"""

_PROGRAMS = {"pip": _PIP, "python3": _PYTHON3}
