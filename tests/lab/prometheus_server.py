"""A real Prometheus, from Debian's package, and its promtool."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import yaml

from lab.required import cannot_run
from lab.servers import free_port, running
from lab.serving import ask

PROGRAM, TOOL = "prometheus", "promtool"


def require_prometheus() -> None:
    """Return where there is a Prometheus; skip the test, or fail it, where there is none."""
    for program in (PROGRAM, TOOL):
        if shutil.which(program) is None:
            cannot_run(f"{program}: not installed; Debian has it in the package prometheus")


class Series(NamedTuple):
    """The values of one time series, by their Unix seconds."""

    labels: dict[str, str]
    values: list[tuple[float, float]]

    @property
    def numbers(self) -> list[float]:
        """The values that are numbers: nothing divided by nothing is none."""
        return [value for _, value in self.values if math.isfinite(value)]


class Prometheus(NamedTuple):
    """A Prometheus that runs."""

    url: str

    def query(self, expression: str) -> list[Series]:
        """Return what an expression is now."""
        found = self._ask("query", query=expression)
        return [Series(each["metric"], [_number(each["value"])]) for each in found["result"]]

    def over_time(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        """Return what an expression was between two Unix times, every *step* seconds."""
        found = self._ask("query_range", query=expression, start=start, end=end, step=step)
        return [Series(each["metric"], list(map(_number, each["values"]))) for each in found["result"]]

    def rules(self) -> dict[str, dict[str, Any]]:
        """Return the alerts that it knows, by their names."""
        (group,) = self._ask("rules")["groups"]
        return {rule["name"]: rule for rule in group["rules"]}

    def is_scraping(self) -> bool:
        """Whether it has begun, and every target has answered."""
        if ask("GET", f"{self.url}/-/ready").status != 200:
            return False
        targets = self._ask("targets")["activeTargets"]
        return bool(targets) and all(target["health"] == "up" for target in targets)

    def _ask(self, what: str, **query: object) -> Any:
        answer = ask("GET", f"{self.url}/api/v1/{what}?{urlencode(query)}")
        found = json.loads(answer.body)
        assert found["status"] == "success", found
        return found["data"]


def _number(pair: tuple[float, str]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


@contextlib.contextmanager
def running_prometheus(
    directory: Path, ports: Sequence[int], rules: Path, job: str = "cfmiddleware", interval: str = "1s"
) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes ports of 127.0.0.1, until the block is left.

    :param rules: a file with alerts.
    """
    require_prometheus()
    port = free_port()
    directory.mkdir(parents=True, exist_ok=True)
    scraped = [{"targets": [f"127.0.0.1:{each}" for each in ports]}]
    configuration = {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": job, "static_configs": scraped}],
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"]
    command = [PROGRAM, *options, f"--web.listen-address=127.0.0.1:{port}"]
    with running(command, directory, ports=[port]):
        yield Prometheus(f"http://127.0.0.1:{port}")


def promtool(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run promtool, and return how it ended."""
    require_prometheus()
    return subprocess.run([TOOL, *arguments], input=given, capture_output=True, check=False, timeout=60)
