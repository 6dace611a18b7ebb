"""What ``cfmiddleware serve`` says when all is ready: where things are, and what to try.

The lines are for people, who copy them: they name the registry as its clients do.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from cfmiddleware.config import Config
from cfmiddleware.registry.auth.schemeoptions import TokenOptions
from cfmiddleware.serving.services import DEBUG, Service
from cfmiddleware.version import __version__

_SOCKET = "unix:"

# The manifest's last digest is that of a layer.
_DIGEST = "grep -o 'sha256:[0-9a-f]*' | tail -n 1"
_OF_JSON = """grep -o '"token": *"[^"]*' | cut -d '"' -f 4"""


def in_one_line(text: str) -> str:
    """Return what a greeting says before what to try, as one line of a log."""
    facts = text.partition("\nTry:\n")[0].splitlines()
    return "; ".join(" ".join(fact.split()) for fact in facts)


class _Reached(NamedTuple):
    """How clients reach the registry.

    :param url: its URL, with the prefix.
    :param name: what clients of images write in front of a repository; empty if they cannot reach it.
    :param curl: ``curl``, with what it needs to reach *url*.
    """

    url: str
    name: str
    curl: str = "curl"

    @property
    def is_plain(self) -> bool:
        """Whether clients have to be told that it does not speak TLS."""
        return self.url.startswith("http://")


def greeting(config: Config, services: Sequence[Service]) -> str:
    """Return the text.

    :param services: the registry, and the edge if there is one, both listening.
    """
    registry = services[0]
    reached = _reached(config, registry)
    shown = registry.url if registry.url.startswith(_SOCKET) else reached.url
    lines = [f"cfmiddleware {__version__}", f"  registry  {shown}"]
    labels = {DEBUG: "debug"}
    lines += [f"  {labels.get(other.name, other.name):<8}  {other.url}" for other in services[1:]]
    lines.append(f"  data      {config.data()}")
    if not config.has_auth():
        may = "push and delete" if config.allows_deletes() else "push"
        may = "pull" if config.is_readonly() else may
        lines.append(f"There is no authentication: anyone who reaches the port may {may}.")
    elif reached.name:
        option = " --tls-verify=false" if reached.is_plain else ""
        lines.append(f"Clients must log in first: skopeo login{option} {reached.name}")
    else:
        lines.append("Clients must log in first.")
    if not reached.name:
        lines.append("Clients of images need a proxy in front of it, and http.host says how they reach that.")
    return "\n".join([*lines, "Try:", *_tries(config, reached)]) + "\n"


def _reached(config: Config, registry: Service) -> _Reached:
    http = config.settings.http
    if http.host:
        url = http.host.rstrip("/") + http.prefix
        return _Reached(url, urlsplit(url).netloc)
    if registry.url.startswith(_SOCKET):
        path = shlex.quote(registry.url.removeprefix(_SOCKET))
        return _Reached(f"http://localhost{http.prefix}", "", f"curl --unix-socket {path}")
    # Clients ask for /v2/ at the root of a host.
    name = "" if http.prefix else registry.url.partition("://")[2]
    return _Reached(registry.url + http.prefix, name)


def _tries(config: Config, reached: _Reached) -> Iterator[str]:
    option = "--tls-verify=false " if reached.is_plain else ""
    if reached.name:
        to = f"{'--dest-tls-verify=false ' if option else ''}docker://docker.io/library/busybox"
        yield f"  push  skopeo copy {to} docker://{reached.name}/busybox"
        yield f"  pull  podman pull {option}{reached.name}/busybox"
    login = ""
    if config.has_auth():
        ask = _token_request(config)
        if ask:
            yield f"  login TOKEN=$(curl -s -u USER:PASSWORD {ask} | {_OF_JSON})"
        login = ' -H "Authorization: Bearer $TOKEN"' if ask else " -u USER:PASSWORD"
    ask = f"{reached.curl}{{}}{login} "
    manifest = f"{ask.format(' -s')}{reached.url}/v2/busybox/manifests/latest"
    yield f'  look  {ask.format(" -i")}"{reached.url}/v2/busybox/blobs/$({manifest} | {_DIGEST})"'


def _token_request(config: Config) -> str:
    """Return the URL that a token to pull is asked for at, in quotes; empty where there are no tokens."""
    scheme = config.settings.auth
    if scheme is None or not isinstance(scheme.options, TokenOptions):
        return ""
    realm, service = scheme.options.realm, quote(scheme.options.service, safe="")
    joint = "&" if "?" in realm else "?"
    return shlex.quote(f"{realm}{joint}service={service}&scope=repository:busybox:pull")
