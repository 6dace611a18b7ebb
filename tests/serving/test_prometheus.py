"""A real Prometheus scrapes a registry to which things happen; the dashboard and the alerts see them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from lab import dashboard
from lab.observed import Day, observed
from lab.prometheus_server import promtool, require_prometheus
from lab.servers import S3Server, eventually
from lab.watched_s3 import WatchedS3

pytest.importorskip("prometheus_client")

pytestmark = pytest.mark.servers

#: Seconds that each thing lasts, and over which rates are: all of it has happened in that time.
UNIT, WINDOW = 2.0, "2m"


@pytest.fixture(scope="module")
def day(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """A registry whose day is over; it still runs, and is still scraped."""
    require_prometheus()
    with (
        contextlib.closing(WatchedS3(s3_server)) as s3,
        observed(tmp_path_factory.mktemp("observed"), s3) as lived,
    ):
        lived.live(UNIT)
        yield lived


def test_promtool_takes_what_is_scraped(day: Day):
    checked = promtool("check", "metrics", given=day.metrics())
    complaints = (checked.stdout + checked.stderr).decode().splitlines()
    # Distribution's own name of it, which its dashboards ask for.
    theirs = "registry_notifications_pending_total non-counter metrics should not have"
    assert [line for line in complaints if not line.startswith(theirs)] == []


@pytest.mark.parametrize("panel", dashboard.panels(), ids=lambda panel: panel.title)
def test_every_query_of_the_dashboard_returns_data(day: Day, panel: dashboard.Panel):
    for target in panel.targets:
        expression = target.asked("cfmiddleware", WINDOW)

        def numbers(expression: str = expression) -> list[float]:
            return [number for series in day.prometheus.query(expression) for number in series.numbers]

        assert eventually(lambda: bool(numbers())), expression


@pytest.mark.parametrize("rule", dashboard.rules(), ids=lambda rule: rule["alert"])
def test_what_every_alert_looks_at_returns_data(day: Day, rule: dict[str, str]):
    for expression in dashboard.without_thresholds(rule["expr"]):
        assert expression != rule["expr"]

        def numbers(expression: str = expression) -> list[float]:
            return [number for series in day.prometheus.query(expression) for number in series.numbers]

        assert eventually(lambda: bool(numbers())), expression


def test_what_has_happened_is_seen(day: Day):
    """The panels show other than zeros where something was made to happen."""
    seen: dict[str, float] = {}
    for panel in dashboard.panels():
        for target in panel.targets:
            for series in day.prometheus.query(target.asked("cfmiddleware", WINDOW)):
                for number in series.numbers:
                    name = f"{panel.title}: {target.named(series.labels)}"
                    seen[name] = max(seen.get(name, 0.0), number)
    happened = {
        *("Pulls by where they were sent: " + sent for sent in ("edge", "s3", "app")),
        *("Bytes by where they were sent: " + sent for sent in ("edge", "s3", "app")),
        *("Requests per second by outcome: " + outcome for outcome in ("2xx", "3xx", "4xx", "5xx")),
        *("Signatures: " + outcome for outcome in ("made", "reused")),
        *("New keys: " + outcome for outcome in ("taken", "refused")),
        *("Requests to S3 by outcome: " + o for o in ("ok", "not_found", "refused", "failed", "unanswered")),
        *("Authentication: " + outcome for outcome in ("granted", "challenged", "refused")),
        *("Events: " + outcome for outcome in ("Events", "Successes", "Failures", "Errors")),
        "Events that wait: gone",
        "Answers of endpoints: 200 OK",
        "Events that did not arrive: audit, dead",
        "Pulls that were not redirected: small",
        "Redirects of unknown size: edge",
        "Repositories that are pulled most: team/api",
        "Retries of requests to S3: GetObject",
        "Redis failures: failures",
        "Uploads that were refused: refused",
        "Connections that a deadline ended: head",
        "Answers that were remembered: probecache",
        "Answers that were remembered: descriptors",
        "Fetches of AWS's address ranges: ok",
        "Time that the app is asked: p99",
    }
    assert {name for name in happened if not seen.get(name)} == set()
    assert 0.5 < seen["Pulls through the edge: edge"] < 1
    assert 3 * 86400 <= seen["Age of AWS's address ranges: age"] < 3 * 86400 + 600


def test_faults_set_alerts_off(day: Day):
    def active() -> set[str]:
        return {name for name, rule in day.prometheus.rules().items() if rule["alerts"]}

    expected = {"RegistryErrors", "RedisFails", "SigningKeyRefused", "NotificationsDead"}
    assert eventually(lambda: expected <= active()), active()
    assert day.prometheus.rules()["SigningKeyRefused"]["state"] == "firing"
    assert all(rule["health"] == "ok" for rule in day.prometheus.rules().values())
    (check,) = day.prometheus.query("max_over_time(cfmiddleware_health_check_failing[2m])")
    assert check.labels["check"] == "storagedriver_s3"
    assert check.numbers == [1.0]


def test_promtool_takes_the_alerts_and_each_fires_when_it_should():
    checked = promtool("check", "rules", str(dashboard.RULES))
    assert checked.returncode == 0, checked.stderr.decode()
    tested = promtool("test", "rules", *map(str, dashboard.RULE_TESTS))
    assert tested.returncode == 0, (tested.stdout + tested.stderr).decode()
