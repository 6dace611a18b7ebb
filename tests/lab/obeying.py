"""An edge that obeys CloudFront's control plane: it takes the keys of the groups that a distribution trusts.

What is changed there reaches it later, as it reaches the real one's places.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cfmiddleware.edge import Edge
from cfmiddleware.signing.keys import PublicKey, load_public_key
from cfmiddleware.storage.driver import Driver

_ADDRESS = "127.0.0.1"


class ObeyingEdge:
    """The app.

    :param client: boto3's client for CloudFront.
    :param distribution: the distribution's id.
    :param lag: after how many seconds a change counts here.
    :param clock: seconds that never go backwards.
    """

    def __init__(
        self,
        driver: Driver,
        client: Any,
        distribution: str,
        *,
        originpath: str = "",
        rootdirectory: str = "",
        lag: float = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._distribution = distribution
        self._lag, self._clock = lag, clock
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._seen: list[tuple[float, frozenset[str]]] = []
        self._loaded: dict[str, PublicKey] = {}
        #: The key ids of all requests, with the status of the answer.
        self.answered: list[tuple[str, int]] = []
        self._edge = Edge(driver, publickeys=self.keys, originpath=originpath, rootdirectory=rootdirectory)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        query = environ.get("QUERY_STRING", "")
        id = query.partition("Key-Pair-Id=")[2].partition("&")[0]

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            self.answered.append((id, int(status[:3])))
            return start_response(status, headers, exc_info)

        return self._edge(environ, start)

    def keys(self) -> Mapping[str, PublicKey]:
        """Return the keys that count here by now."""
        with self._lock:
            now = self._clock()
            if now - self._looked >= 0.05:
                self._looked = now
                ids = self._ids()
                if not self._seen:
                    self._seen.append((float("-inf"), ids))
                if ids != self._seen[-1][1]:
                    self._seen.append((now, ids))
            counts = [ids for since, ids in self._seen if now - since >= self._lag][-1]
            return {id: self._loaded[id] for id in counts}

    def _ids(self) -> frozenset[str]:
        config = self._client.get_distribution_config(Id=self._distribution)["DistributionConfig"]
        ids: set[str] = set()
        for group in config["DefaultCacheBehavior"]["TrustedKeyGroups"].get("Items", ()):
            ids.update(self._client.get_key_group(Id=group)["KeyGroup"]["KeyGroupConfig"]["Items"])
        for id in ids - self._loaded.keys():
            key = self._client.get_public_key(Id=id)["PublicKey"]["PublicKeyConfig"]
            self._loaded[id] = load_public_key(key["EncodedKey"], id)
        return frozenset(ids)


def give_alias(client: Any, distribution: str, name: str = _ADDRESS) -> None:
    """Let a distribution have a name at which a test can serve it."""
    answer = client.get_distribution_config(Id=distribution)
    config = {**answer["DistributionConfig"], "Aliases": {"Quantity": 1, "Items": [name]}}
    client.update_distribution(Id=distribution, IfMatch=answer["ETag"], DistributionConfig=config)
