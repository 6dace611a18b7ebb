"""WSGI servers that other people's registries run under, each with the options that a registry needs.

`docs/servers.rst` says what the options are for, and a test that it names each of them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import site
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from cfmiddleware.signing.keys import generate
from lab import TESTS
from lab.gunicorn_command import OWN
from lab.servers import Server, free_port, running

PROJECT = TESTS.parent
EDGE = "https://edge.cloudfront.net"

_BIN = Path(sys.executable).parent
_APACHE = "/usr/sbin/apache2"
_MOD_WSGI = "/usr/lib/apache2/modules/mod_wsgi.so"

#: One app at `served:application`. All of it is our registry at the top, the same behind the wrapper at
#: /wrapped, and at /flask a wrapped registry that knows nothing of the wrapper.
_SERVED = """
import site, sys
for directory in {site_packages!r}:
    site.addsitedir(directory)
sys.path[:0] = [{project!r}, {tests!r}]

from pathlib import Path
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from cfmiddleware import CloudFrontMiddleware
from cfmiddleware.server import app, registry
from lab.flask_registry import flask_registry

here = Path({here!r})
flask = CloudFrontMiddleware(
    flask_registry(here / "flask"), baseurl={edge!r}, privatekey=str(here / "pk-KSERVERS.pem")
)
own = app(here / "config.yml")
application = {application}
"""

ALL = 'DispatcherMiddleware(registry(here / "config.yml"), {"/wrapped": own, "/flask": flask})'

_CONFIG = f"""
storage:
  filesystem: {{rootdirectory: objects}}
  cache: {{blobdescriptor: inmemory}}
middleware:
  storage:
    - name: cloudfront
      options: {{baseurl: "{EDGE}", privatekey: pk-KSERVERS.pem}}
"""

_HTTPD = """
ServerRoot "{here}"
ServerName localhost
PidFile httpd.pid
Listen 127.0.0.1:{port}
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule wsgi_module {mod_wsgi}
ErrorLog /dev/stderr
LogLevel warn
LimitRequestFieldSize 65536
LimitRequestLine 16384
KeepAliveTimeout 75
MaxKeepAliveRequests 0
AllowEncodedSlashes NoDecode
WSGIDaemonProcess registry processes=2 threads=16
WSGIProcessGroup registry
WSGIApplicationGroup %{{GLOBAL}}
WSGIChunkedRequest On
WSGIPassAuthorization On
WSGIScriptAlias / {here}/served.py
<Directory {here}>
    Require all granted
</Directory>
"""


class WSGIServer(NamedTuple):
    """A server, and what it makes of what a registry's clients send.

    :param name: what it is called in the documentation.
    :param command: makes the command from a directory with `served.py` and a port.
    :param missing: says what is missing to run it here, or nothing.
    :param chunked: whether it hands chunked bodies over.
    :param empty: whether it sends a response that has no chunk at all.
    :param tells_broken: whether an app can tell a chunked body that broke off from a whole one.
    :param debian: whether it is one of Debian's packages.
    :param keeps: whether it keeps connections for further requests.
    :param line: how long a request line it takes, in bytes.
    :param authorization: how long an `Authorization` it takes, in bytes.
    """

    name: str
    command: Callable[[Path, int], Sequence[str]]
    missing: Callable[[], str]
    chunked: bool = True
    empty: bool = True
    tells_broken: bool = True
    debian: bool = False
    keeps: bool = True
    line: int = 8_000
    authorization: int = 65_000

    def __str__(self) -> str:
        return self.name


def _gunicorn(worker: str, *arguments: str) -> Callable[[Path, int], Sequence[str]]:
    def command(here: Path, port: int) -> Sequence[str]:
        return [
            *(f"{_BIN}/gunicorn", "--worker-class", worker, "--workers", "2", *arguments),
            *("--limit-request-field_size", "65792", "--limit-request-line", "8190"),
            *("--keep-alive", "75", "--forwarder-headers", ""),
            *(*OWN, "--graceful-timeout", "1"),
            *("--bind", f"127.0.0.1:{port}", "served:application"),
        ]

    return command


def _granian(here: Path, port: int) -> Sequence[str]:
    command = [f"{_BIN}/granian", "--interface", "wsgi", "--workers", "2", "--blocking-threads", "16"]
    command += ["--http1-header-read-timeout", "60000"]
    return [*command, "--host", "127.0.0.1", "--port", str(port), "served:application"]


def _uwsgi(here: Path, port: int) -> Sequence[str]:
    return [
        *("uwsgi", "--plugin", "python3", "--master", "--processes", "2", "--threads", "16"),
        *("--need-app", "--lazy-apps", "--die-on-term", "--disable-logging", "--buffer-size", "65535"),
        *("--socket-timeout", "75", "--http11-socket", f"127.0.0.1:{port}", "--wsgi-file", "served.py"),
    ]


def _waitress(here: Path, port: int) -> Sequence[str]:
    command = [f"{_BIN}/waitress-serve", "--threads", "16", "--max-request-body-size", str(1 << 40)]
    return [*command, "--listen", f"127.0.0.1:{port}", "served:application"]


def _mod_wsgi(here: Path, port: int) -> Sequence[str]:
    (here / "httpd.conf").write_text(_HTTPD.format(here=here, port=port, mod_wsgi=_MOD_WSGI))
    command = [_APACHE, "-f", f"{here}/httpd.conf", "-DFOREGROUND"]
    # It does not run as root. So root becomes another user, in its own eyes, who has the same files.
    as_another = ["unshare", "--map-user=1000", "--map-group=1000"]
    return [*as_another, *command] if os.getuid() == 0 else command


def _hypercorn(here: Path, port: int) -> Sequence[str]:
    return [f"{_BIN}/hypercorn", "--bind", f"127.0.0.1:{port}", "wsgi:served:application"]


def _nothing_missing() -> str:
    return ""


def _from_pip(name: str) -> Callable[[], str]:
    return lambda: "" if find_spec(name) else f"{name}: not installed; cfmiddleware[test] brings it"


def _from_debian(program: str, packages: str, file: str = "") -> Callable[[], str]:
    def missing() -> str:
        if not shutil.which(program) or (file and not Path(file).exists()):
            return f"{program}: not installed; Debian has it in {packages}"
        asked = ["/usr/bin/python3", "-c", "import sys; print(*sys.version_info[:2])"]
        theirs = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
        ours = [str(number) for number in sys.version_info[:2]]
        return "" if theirs == ours else f"{program}: has Python {'.'.join(theirs)}, not {'.'.join(ours)}"

    return missing


_UWSGI_PLUGIN = "/usr/lib/uwsgi/plugins/python3_plugin.so"

SERVERS = (
    WSGIServer("gunicorn sync", _gunicorn("sync"), _nothing_missing, keeps=False),
    WSGIServer("gunicorn gthread", _gunicorn("gthread", "--threads", "16"), _nothing_missing),
    WSGIServer("gunicorn gevent", _gunicorn("gevent"), _nothing_missing),
    WSGIServer("gunicorn gevent_pywsgi", _gunicorn("gevent_pywsgi"), _nothing_missing),
    WSGIServer("Granian", _granian, _from_pip("granian"), tells_broken=False, line=16_000),
    WSGIServer(
        "uWSGI",
        _uwsgi,
        _from_debian("uwsgi", "uwsgi-core and uwsgi-plugin-python3", _UWSGI_PLUGIN),
        debian=True,
        chunked=False,
        line=16_000,
        authorization=60_000,
    ),
    WSGIServer("waitress", _waitress, _from_pip("waitress"), line=16_000),
    WSGIServer(
        "mod_wsgi",
        _mod_wsgi,
        _from_debian(_APACHE, "apache2 and libapache2-mod-wsgi-py3", _MOD_WSGI),
        debian=True,
        line=16_000,
    ),
)

HYPERCORN = WSGIServer("hypercorn", _hypercorn, _from_pip("hypercorn"), chunked=False, empty=False)


def write_app(here: Path, application: str = ALL) -> None:
    """Write what the servers serve into a directory.

    :param application: the app, as an expression of `own`, our registry behind the wrapper, and `flask`.
    """
    here.mkdir(parents=True, exist_ok=True)
    (here / "config.yml").write_text(_CONFIG)
    (here / "pk-KSERVERS.pem").write_text(generate("ecdsa").private_pem)
    names = {
        "application": application,
        "project": str(PROJECT),
        "tests": str(TESTS),
        "here": str(here),
        "edge": EDGE,
    }
    (here / "served.py").write_text(_SERVED.format(site_packages=site.getsitepackages(), **names))


@contextlib.contextmanager
def serving(server: WSGIServer, here: Path, application: str = ALL) -> Iterator[tuple[Server, int]]:
    """Run a server until the block is left, and give its process and its port."""
    write_app(here, application)
    port = free_port()
    with running(server.command(here, port), here, ports=[port]) as process:
        yield process, port
