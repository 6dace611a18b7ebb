"""Pull an image's blobs through a registry's redirects, so that CloudFront has them before a client asks.

    python warm.py registry.example.com/team/app:1 --platform linux/arm64 --user ci

It needs Python alone. A password is read from the variable REGISTRY_PASSWORD. The bytes are read to their
end, because CloudFront keeps no object of which only the head was asked for, compared with the digest, and
thrown away. A line tells of each blob. Exit status: 0 if all of them came, 1 if one did not, 2 if the image
cannot be asked for.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


class _Stay(HTTPRedirectHandler):
    """Follows nothing: where a blob is must be seen, and the token must not go there."""

    def redirect_request(self, *_):
        return None


_OPENER = build_opener(_Stay)


def fetch(url, headers=None):
    """Return a response that may be of any status."""
    try:
        return _OPENER.open(Request(url, headers=headers or {}), timeout=60)  # noqa: S310 (the user's own URL)
    except HTTPError as answer:
        return answer


class Registry:
    """A registry, asked with a token or a password where it wants one."""

    def __init__(self, url, repository, user):
        self.url, self.repository = url, repository
        self._basic = {}
        if user:
            pair = f"{user}:{os.environ.get('REGISTRY_PASSWORD', '')}"
            self._basic = {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
        self._headers = {}

    def get(self, path):
        """Return the response to a GET below the repository, after having proven who asks."""
        url = f"{self.url}/v2/{self.repository}/{path}"
        accept = {"Accept": ", ".join(MANIFESTS)}
        answer = fetch(url, {**accept, **self._headers})
        if answer.status != 401:
            return answer
        answer.close()
        self._headers = self._credential(answer.headers.get("WWW-Authenticate", ""))
        return fetch(url, {**accept, **self._headers})

    def _credential(self, challenge):
        kind, _, rest = challenge.partition(" ")
        if kind.lower() != "bearer":
            return self._basic
        asked = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        query = urlencode({name: asked[name] for name in ("service", "scope") if name in asked})
        with fetch(f"{asked['realm']}?{query}", self._basic) as answer:
            if answer.status != 200:
                raise OSError(f"no token: {answer.status} from {asked['realm']}")
            told = json.load(answer)
        return {"Authorization": f"Bearer {told.get('token') or told['access_token']}"}

    def manifest(self, reference):
        with self.get(f"manifests/{reference}") as answer:
            if answer.status != 200:
                raise OSError(f"no manifest {reference}: {answer.status}")
            return json.load(answer)


def blobs(registry, reference, platform):
    """Yield the descriptor of each blob of an image, of all platforms or of one."""
    manifest = registry.manifest(reference)
    if "manifests" not in manifest:
        yield from [manifest["config"], *manifest["layers"]]
        return
    chosen = [each for each in manifest["manifests"] if not platform or platform == platform_of(each)]
    if not chosen:
        there = ", ".join(platform_of(each) for each in manifest["manifests"])
        raise OSError(f"no image for {platform}; there are {there}")
    for each in chosen:
        yield from blobs(registry, each["digest"], platform)


def platform_of(descriptor):
    told = descriptor.get("platform", {})
    return "/".join(told[name] for name in ("os", "architecture", "variant") if name in told)


def warm(registry, digest):
    """Pull a blob; return whether all of it came, and what there is to say."""
    started, size, found = time.monotonic(), 0, hashlib.new(digest.partition(":")[0])
    try:
        answer = registry.get(f"blobs/{digest}")
        place = "not redirected"
        if answer.status in (302, 303, 307, 308):
            target = urljoin(registry.url, answer.headers["Location"])
            answer.close()
            answer = fetch(target)
            place = f"{urlsplit(target).netloc}: {answer.headers.get('X-Cache', 'no X-Cache')}"
        with answer:
            if answer.status != 200:
                return False, f"{answer.status} {answer.reason}, {place}"
            while chunk := answer.read(1 << 20):
                size += len(chunk)
                found.update(chunk)
    except (OSError, ValueError) as error:
        return False, str(error)
    if found.hexdigest() != digest.partition(":")[2]:
        return False, f"{size} bytes that are not the blob's, {place}"
    return True, f"{size} bytes, {place}, {time.monotonic() - started:.1f} s"


def main():
    parser = argparse.ArgumentParser(description="Pull an image's blobs, so that CloudFront has them.")
    parser.add_argument("image", help="HOST[:PORT]/NAME[:TAG|@DIGEST]")
    parser.add_argument("--platform", help="such as linux/arm64; all by default")
    parser.add_argument("--parallel", type=int, default=4, help="blobs at a time (default: 4)")
    parser.add_argument("--user", help="its password is in REGISTRY_PASSWORD")
    parser.add_argument("--http", action="store_true", help="no TLS, for a registry on this machine")
    given = parser.parse_args()
    parts = re.fullmatch(r"([^/]+)/([^:@]+)(?::([^/:@]+)|@(\w+:\w+))?", given.image)
    if parts is None or given.parallel < 1:
        parser.error(f"{given.image!r} is no image, or --parallel is below 1")
    host, repository, tag, digest = parts.groups()
    registry = Registry(f"{'http' if given.http else 'https'}://{host}", repository, given.user)
    try:
        digests = list(
            dict.fromkeys(
                each["digest"] for each in blobs(registry, digest or tag or "latest", given.platform)
            )
        )
    except (OSError, ValueError, KeyError) as error:
        print(f"warm.py: {given.image}: {error}", file=sys.stderr)
        return 2
    failed = 0
    with ThreadPoolExecutor(given.parallel) as pool:
        for each, (came, line) in zip(
            digests, pool.map(lambda each: warm(registry, each), digests), strict=True
        ):
            failed += not came
            print(f"{'ok    ' if came else 'FAILED'} {each} {line}", flush=True)
    print(f"{len(digests) - failed} of {len(digests)} blobs")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
