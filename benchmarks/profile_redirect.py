"""Where the time of a warm redirect goes: the registry over S3, wrapped, asked in this process, no server.

Run it as ``python benchmarks/profile_redirect.py``. It prints what a redirect takes without the profiler, and
then the functions that take the most of it, by their own time. S3 is not asked: descriptors are remembered.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
from pathlib import Path

import redirect_apps
import redirect_inprocess
import redirect_servers
import redirect_store
import yaml
from redirect_servers import Place, Setting

_NOWHERE = "http://127.0.0.1:9"


def main() -> None:
    """Measure, profile and print."""
    parser = argparse.ArgumentParser(prog="profile_redirect", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--blobs", type=int, default=1000, help="distinct blobs (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=100_000, help="(default: %(default)s)")
    parser.add_argument("--lines", type=int, default=25, help="functions to show (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="profile-") as directory:
        home = Path(directory)
        place = Place(home, _NOWHERE, "benchmark")
        file = home / "config.yml"
        file.write_text(yaml.safe_dump(redirect_servers.configuration(place, Setting(), 0, home)))
        app = redirect_apps.knowing(str(file), arguments.blobs)
        paths = [redirect_store.path(number) for number in range(arguments.blobs)]
        environs = [redirect_inprocess.gunicorn_environ("GET", path) for path in paths]
        for environ in environs:
            redirect_inprocess.check_redirect(app, environ)  # and sign
        cost = redirect_inprocess.microseconds(app, environs * (arguments.requests // len(environs)))
        print(f"{cost:.1f} µs for a redirect, copying the environ included")
        profile = cProfile.Profile()
        profile.enable()
        redirect_inprocess.microseconds(app, environs * (arguments.requests // len(environs)))
        profile.disable()
    pstats.Stats(profile).strip_dirs().sort_stats("tottime").print_stats(arguments.lines)


if __name__ == "__main__":
    main()
