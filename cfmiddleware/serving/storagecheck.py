"""The look at the storage before anything is served.

A storage may come after us, as containers that start together do, and is waited for. A configuration that
is wrong ends the start at once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time

from cfmiddleware import logs
from cfmiddleware.config import Config
from cfmiddleware.errors import ConfigError, StorageNotReached, StorageUnavailable
from cfmiddleware.storage.driver import Driver

from .signals import die_with_parent, end_at_signals, signals_held

_log = logging.getLogger(__name__)

# Seconds that one look takes at the most, that lie between two of them, and between two lines of the log.
_LOOK = 10.0
_PAUSE = 1.0
_LINES = 5.0

# What a look begins its message with.
_LATER, _WRONG, _WARNED = b"?", b"!", b"~"


def check_storage(config: Config) -> None:
    """Check that the storage can be used, and wait for one that cannot be reached.

    :raises ConfigError: if the configuration is wrong.
    :raises StorageNotReached: if the storage has not come within ``server.waitforstorage`` seconds.
    """
    driver, patience = config.driver(), config.server_options().waitforstorage
    began = time.monotonic()
    pause, due = 0.0, 0.0
    while True:
        try:
            warnings = _look(driver, pause, writes=not config.is_readonly())
        except StorageNotReached as error:
            waited = time.monotonic() - began
            if waited >= patience:
                hint = f"; waited {waited:.0f} seconds (server.waitforstorage)" if patience else ""
                raise StorageNotReached(f"{config.source}: {error}{hint}") from None
            if waited >= due:
                due = waited + _LINES
                log = logs.straight(config.log_options())
                log.warning("waiting for the storage, %.0f of %d seconds: %s", waited, patience, error)
            pause = min(_PAUSE, patience - waited)
        except ConfigError as error:
            raise ConfigError(f"{config.source}: {error}") from None
        else:
            for warning in warnings:
                _log.warning("%s: %s", config.source, warning)
            return


def _look(driver: Driver, pause: float, *, writes: bool) -> list[str]:
    """Have the driver look, in a process of its own, so that no connection crosses the fork, and return what
    it warns of.

    That process waits for everything, and is ended by the kernel if it takes too long. This one, which forks
    again later, only reads what was found.

    :param pause: seconds before the look.
    :param writes: whether it is looked at writing as well.
    :raises ConfigError: with what was found.
    """
    command = os.getpid()
    source, sink = os.pipe()
    with signals_held():
        pid = os.fork()
    if pid == 0:
        end_at_signals()
        message = b""
        try:
            die_with_parent(command)
            signal.setitimer(signal.ITIMER_REAL, pause + _LOOK)
            time.sleep(pause)
            message = _found(driver, writes=writes)
        finally:
            with contextlib.suppress(OSError):  # the command has died
                os.write(sink, message[:4096])  # less than a pipe holds
            os._exit(0)
    os.close(sink)
    with open(source, "rb") as stream:
        message = stream.read()
    _, outcome = os.waitpid(pid, 0)
    text = message[1:].decode("utf-8", "replace")
    if message[:1] == _LATER:
        raise StorageNotReached(text)
    if message[:1] == _WARNED:
        return text.splitlines()
    if message:
        raise ConfigError(text)
    if os.WIFSIGNALED(outcome):
        number = os.WTERMSIG(outcome)
        if number == signal.SIGALRM:
            raise StorageNotReached(f"the storage did not answer within {_LOOK:.0f} seconds")
        raise ConfigError(f"the storage's check was ended by signal {number}")
    return []


def _found(driver: Driver, *, writes: bool) -> bytes:
    """Return what is wrong, beginning with its kind, or nothing."""
    try:
        driver.check()
        if writes and (warnings := driver.check_writes()):
            return _WARNED + "\n".join(warnings).encode()
    except (StorageNotReached, StorageUnavailable) as error:
        return _LATER + str(error).encode()
    except ConfigError as error:
        return _WRONG + str(error).encode()
    except Exception as error:  # noqa: BLE001 (no caller is left that could handle it)
        return _WRONG + f"the storage cannot be used: {error}".encode()
    return b""
