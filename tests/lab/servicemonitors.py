"""What the Prometheus operator's own schema says of a ServiceMonitor.

    python servicemonitors.py FILE

It is a program of its own, for an environment of its own: the package that brings the schema brings a plugin
of pytest's too, which every run of the tests would load.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import yaml
from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor

#: What the operator would not read as it is written.
_WRONG = ({"intervall": "30s"}, {"interval": "30 seconds"}, {"path": 5})


def mistake(monitor: Any) -> str:
    """Return what is wrong with a ServiceMonitor, or nothing."""
    try:
        read = ServiceMonitor.model_validate(monitor)
    except ValueError as error:
        return str(error)
    # What it does not know it leaves out.
    known = read.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return "" if known == monitor else f"of it, the operator knows {known}"


def main() -> int:
    """Validate a file, and show that mistakes in it would be found."""
    monitor = yaml.safe_load(Path(sys.argv[1]).read_text())
    if found := mistake(monitor):
        print(f"{sys.argv[1]}: {found}")
        return 1
    for wrong in _WRONG:
        other = copy.deepcopy(monitor)
        other["spec"]["endpoints"][0] |= wrong
        if not mistake(other):
            print(f"{sys.argv[1]}: {wrong} would not be found")
            return 1
    print(f"{sys.argv[1]}: valid")
    return 0


if __name__ == "__main__":
    sys.exit(main())
