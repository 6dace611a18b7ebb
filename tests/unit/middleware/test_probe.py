"""How an app is asked, stopped, handed on and closed (PEP 3333)."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import pytest
from lab.apps import Body, Exchange, request

from cfmiddleware.middleware.probe import Probe, respond_or_redirect

YES = ("200 OK", [("X-Answer", "yes")])
NO = ("403 Forbidden", [("X-Answer", "no")])


class Asked:
    """A wrapper that redirects whatever the app answers with 200, and remembers what it was asked.

    :param signs: whether the redirect can be made at all.
    """

    def __init__(self, app: Any, signs: bool = True) -> None:
        self._app = app
        self._signs = signs
        self.judged: list[str] = []
        self.redirects = 0
        self.probe = Probe()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        response = respond_or_redirect(
            self._app, environ, start_response, self.probe, self._judge, self._redirect
        )
        if response is None:
            start_response("307 Temporary Redirect", [("Content-Length", "0")])
            return []
        return response

    def _judge(self, status: str, headers: Any) -> bool:
        self.judged.append(status)
        return status.startswith("200") and not self.probe.declined

    def _redirect(self) -> bool:
        self.redirects += 1
        return self._signs


def run(app: Any, signs: bool = True) -> tuple[Exchange, bytes]:
    exchange = Exchange(Asked(app, signs), request())
    return exchange, exchange.read()


def refuse(start_response: Any) -> None:
    """Replace the status by a 403, as an app does that has run into an error."""
    try:
        raise PermissionError
    except PermissionError:
        start_response(*NO, sys.exc_info())


def test_a_yes_is_redirected_and_closed_once_unread():
    body = Body([b"one", b"two", b"three"])

    def app(environ, start_response):
        start_response(*YES)
        return body

    exchange, sent = run(app)
    assert (exchange.code, sent) == (307, b"")
    assert (body.taken, body.closed) == (1, 1)


def test_a_probe_that_nobody_listens_to_promises_nothing():
    probe = Probe()
    probe.located("key")
    assert (probe.needs_size, probe.redirects()) == (True, False)


def test_what_is_declined_is_not_redirected():
    probe = Probe(needs_size=False, ready=lambda: True)
    assert probe.redirects()
    probe.decline()
    assert not probe.redirects()


def test_empty_chunks_do_not_make_a_status_final():
    def app(environ, start_response):
        start_response(*YES)
        yield b""
        yield b""
        refuse(start_response)
        yield b"no"

    exchange, sent = run(app)
    assert (exchange.code, sent) == (403, b"no")


def test_a_status_replaced_before_the_iterable_is_returned_counts_as_the_last_one():
    def app(environ, start_response):
        start_response(*YES)
        refuse(start_response)
        return [b"no"]

    assert run(app)[0].code == 403


def test_a_no_that_becomes_a_yes_is_handed_on_all_the_same():
    """The no was given to the server at once; what the app does then is between the two."""
    body = Body([b"found"])

    def app(environ, start_response):
        start_response(*NO)

        def late():
            try:
                raise LookupError
            except LookupError:
                start_response(*YES, sys.exc_info())
            return b"found"

        body._chunks = iter([late])
        return body

    exchange, sent = run(app)
    assert (exchange.code, sent, body.closed) == (200, b"found", 1)


def test_a_body_that_ends_without_a_chunk_makes_the_status_final():
    body = Body([b"", b""])

    def app(environ, start_response):
        start_response(*YES)
        return body

    assert run(app)[0].code == 307
    assert body.closed == 1


@pytest.mark.parametrize("empty", [[], (), [b""]])
def test_a_list_is_judged_without_being_read(empty):
    def app(environ, start_response):
        start_response(*YES)
        return empty

    assert run(app)[0].code == 307


def test_a_list_of_a_kind_of_its_own_is_read_before_it_is_trusted():
    def app(environ, start_response):
        class Late(list):
            def __iter__(self):
                refuse(start_response)
                return super().__iter__()

        start_response(*YES)
        return Late([b"no"])

    assert run(app)[0].code == 403


def test_a_no_is_the_very_object_that_the_app_returned():
    body = Body(itertools.repeat(b"endless"))

    def app(environ, start_response):
        start_response(*NO)
        return body

    exchange = Exchange(Asked(app), request())
    assert exchange.response is body
    assert body.taken == 0


def test_what_could_not_be_redirected_is_streamed_whole_and_closed_once():
    body = Body([b"", b"one ", b"two ", b"three"])

    def app(environ, start_response):
        start_response(*YES)
        return body

    exchange = Exchange(Asked(app, signs=False), request())
    assert (exchange.code, exchange.headers, body.taken, body.closed) == (200, YES[1], 2, 0)
    assert exchange.read() == b"one two three"
    assert body.closed == 1


def test_a_body_without_an_end_is_not_collected():
    body = Body(itertools.repeat(b"x"))

    def app(environ, start_response):
        start_response(*YES)
        return body

    exchange = Exchange(Asked(app, signs=False), request())
    assert [next(iter(exchange.response)) for _ in range(3)] == [b"x"] * 3
    assert body.taken == 3
    exchange.response.close()
    assert body.closed == 1


def test_write_after_a_no_reaches_the_server_in_order_and_before_the_body():
    def app(environ, start_response):
        write = start_response(*NO)
        write(b"one ")
        write(b"two ")
        return [b"three"]

    exchange, sent = run(app)
    assert (exchange.code, sent) == (403, b"one two three")


@pytest.mark.parametrize("signs", [True, False])
def test_write_after_a_yes_is_stopped_or_sent_whole(signs):
    seen = []

    def app(environ, start_response):
        write = start_response(*YES)
        try:
            write(b"one ")
        except Exception:
            seen.append("caught as an error")
        finally:
            seen.append("unwound")
        seen.append("went on")
        return [b"two"]

    exchange, sent = run(app, signs)
    assert (exchange.code, sent) == ((307, b"") if signs else (200, b"one two"))
    assert seen == (["unwound"] if signs else ["unwound", "went on"])


def test_an_app_that_swallows_the_stop_gets_nothing_through():
    body = Body([b"more"])
    accepted = []

    def app(environ, start_response):
        write = start_response(*YES)
        for _ in range(100):
            try:
                write(b"x")
                accepted.append(1)
            except BaseException:
                continue
        return body

    exchange, sent = run(app)
    assert (exchange.code, sent, accepted, body.taken, body.closed) == (307, b"", [], 0, 1)


def test_an_app_that_answers_its_stop_with_an_error_is_overruled(caplog):
    went_on = []

    def app(environ, start_response):
        write = start_response(*YES)
        try:
            write(b"x")
        except BaseException:
            refuse(start_response)
        went_on.append(1)
        return [b"no"]

    assert (run(app)[0].code, went_on) == (307, [])

    def other(environ, start_response):
        write = start_response(*YES)
        try:
            write(b"x")
        except BaseException as stop:
            raise RuntimeError("of the app") from stop
        return []

    assert run(other)[0].code == 307
    assert "of the app" in caplog.text


def test_write_from_within_the_iterable_is_stopped_as_well():
    body = Body([])

    def app(environ, start_response):
        write = start_response(*YES)
        body._chunks = iter([lambda: write(b"x") and b"", b"more"])
        return body

    exchange, sent = run(app)
    assert (exchange.code, sent, body.taken, body.closed) == (307, b"", 1, 1)


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_an_error_at_the_first_chunk_goes_to_the_server_after_one_close(error):
    def fail():
        raise error

    body = Body([b"", fail])

    def app(environ, start_response):
        start_response(*YES)
        return body

    with pytest.raises(error):
        run(app)
    assert body.closed == 1


def test_an_error_of_the_app_itself_goes_to_the_server():
    def app(environ, start_response):
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        run(app)


def test_an_error_while_the_redirect_is_made_goes_to_the_server_after_one_close():
    body = Body([b"x"])

    def app(environ, start_response):
        start_response(*YES)
        return body

    asked = Asked(app)
    asked._redirect = lambda: sys.exit(1)  # type: ignore[method-assign]  # as a worker is told to end
    with pytest.raises(SystemExit):
        Exchange(asked, request())
    assert body.closed == 1


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_an_error_of_close_is_not_answered_with_a_second_close(error):
    closed = []

    class Failing(Body):
        def close(self):
            closed.append(1)
            raise error

    def app(environ, start_response):
        start_response(*YES)
        return Failing([b"x"])

    if error is SystemExit:  # a worker's end, and no business of ours
        with pytest.raises(SystemExit):
            run(app)
    else:
        assert run(app)[0].code == 307
    assert closed == [1]


@pytest.mark.parametrize("late", ["write", "start_response"])
def test_an_app_that_speaks_while_it_is_closed_is_not_listened_to(late):
    """As a generator does whose handler of errors catches its own GeneratorExit."""

    def app(environ, start_response):
        write = start_response(*YES)
        try:
            yield b"x"
        finally:
            if late == "write":
                write(b"and another thing")
            else:
                refuse(start_response)

    exchange, sent = run(app)
    assert (exchange.code, sent) == (307, b"")


def test_a_client_that_goes_away_closes_the_response_once():
    body = Body([b"one", b"two", b"three"])

    def app(environ, start_response):
        start_response(*YES)
        return body

    exchange = Exchange(Asked(app, signs=False), request())
    next(iter(exchange.response))
    exchange.response.close()
    assert (body.taken, body.closed) == (1, 1)


@pytest.mark.parametrize("body", [[b"x"], iter([b"x"]), Body([b"x"]), []])
def test_a_body_before_any_status_is_the_apps_error(body):
    with pytest.raises(AssertionError, match="before it called start_response"):
        run(lambda environ, start_response: body)
    assert getattr(body, "closed", 1) == 1


def test_a_second_status_without_exc_info_is_the_apps_error():
    def app(environ, start_response):
        start_response(*YES)
        start_response(*NO)
        return []

    with pytest.raises(AssertionError, match="twice"):
        run(app)


@pytest.mark.parametrize("say", [lambda probe: probe.settled(), lambda probe: probe.located("key", 3)])
def test_a_body_need_not_be_begun_once_the_app_says_that_its_status_is_final(say):
    body = Body([lambda: pytest.fail("the body was begun")])

    def app(environ, start_response):
        say(environ["cfmiddleware.probe"])
        start_response(*YES)
        return body

    exchange, _ = run(app)
    assert (exchange.code, body.taken, body.closed) == (307, 0, 1)


def test_an_app_can_decline():
    def app(environ, start_response):
        environ["cfmiddleware.probe"].decline()
        start_response(*YES)
        return [b"mine"]

    exchange, sent = run(app)
    assert (exchange.code, sent) == (200, b"mine")


def test_each_status_is_judged_once_and_the_redirect_is_asked_for_once():
    def app(environ, start_response):
        start_response(*NO)
        try:
            raise LookupError
        except LookupError:
            start_response(*YES, sys.exc_info())
        return Body([b"x"])

    asked = Asked(app)
    Exchange(asked, request()).read()
    assert (asked.judged, asked.redirects) == (["200 OK"], 1)
