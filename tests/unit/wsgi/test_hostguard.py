"""No web page uses a registry that is there for its own machine."""

from __future__ import annotations

import pytest
from lab.apps import App, ask, request

from cfmiddleware.wsgi.hostguard import HostGuard

EVIL = [
    *(
        "rebind.evil:7230",
        "rebind.evil",
        "localhost.evil",
        "127.0.0.1.evil",
        "evil-localhost",
        "10.0.0.1:5000",
    ),
    *(
        "0.0.0.0:5000",
        "[::]:5000",
        "[2001:db8::1]:5000",
        "localhost:5000@evil",
        "localhost, evil",
        "a b",
        "[",
    ),
    *("localhost:x", "127.0.0.1/evil", "::1", "2130706433", "0x7f.1"),
]
OURS = [
    *(
        "localhost",
        "LOCALHOST:5000",
        "registry.localhost:5000",
        "localhost.:5000",
        "127.0.0.1",
        "127.0.0.1:5000",
    ),
    *("127.8.9.1:80", "[::1]", "[::1]:5000", "[::ffff:127.0.0.1]:5000"),
]
METHODS = ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("host", EVIL)
def test_a_name_that_leads_here_from_elsewhere_is_refused(host: str, method: str):
    app = App()
    answer = ask(HostGuard(app), request(method=method, HTTP_HOST=host))
    assert (answer.code, app.environs) == (403, [])
    assert b"DENIED" in answer.body


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("host", OURS)
def test_the_names_of_the_machine_are_answered(host: str, method: str):
    assert ask(HostGuard(App()), request(method=method, HTTP_HOST=host)).code == 200


def test_a_request_without_a_host_is_no_browsers():
    assert ask(HostGuard(App()), request()).code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://evil:5000", "null", "", "http://[", "localhost"]
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
def test_a_page_of_elsewhere_changes_nothing_by_our_own_name(origin: str, method: str):
    environ = request(method=method, HTTP_HOST="127.0.0.1:5000", HTTP_ORIGIN=origin)
    assert ask(HostGuard(App()), environ).code == 403


@pytest.mark.parametrize("origin", ["http://localhost:8080", "http://127.0.0.1", "http://[::1]:8080"])
def test_a_page_of_this_machine_may_change_something(origin: str):
    environ = request(method="DELETE", HTTP_HOST="127.0.0.1:5000", HTTP_ORIGIN=origin)
    assert ask(HostGuard(App()), environ).code == 200


def test_a_further_host_is_answered():
    guard = HostGuard(App(), "registry.lan")
    assert ask(guard, request(HTTP_HOST="Registry.LAN:5000")).code == 200
    assert ask(guard, request(HTTP_HOST="other.lan:5000")).code == 403
