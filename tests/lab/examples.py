"""How many examples hypothesis tries, and how many orders of the steps of several actors.

By default a fifth of what `pytest --hypothesis-profile=thorough` tries, so that the tests of a room take
seconds. No example has a deadline: other programs on the machine would decide whether a test passes.
"""

from __future__ import annotations

from hypothesis import settings

#: How many examples a test without a number of its own tries, by the profile. The one of `.ci/run`
#: tries more values than the default, and no more orders, each of which takes as long as many values.
PROFILES = {"quick": 20, "ci": 50, "thorough": 100}


def register_profiles() -> None:
    """Make the profiles known, and choose the quick one."""
    for name, number in PROFILES.items():
        settings.register_profile(name, max_examples=number, deadline=None)
    settings.load_profile("quick")


def examples(number: int) -> int:
    """Return how many examples a test tries.

    :param number: how many it tries with the profile `thorough`.
    """
    return max(1, number * settings.default.max_examples // PROFILES["thorough"])


def tried(number: int) -> int:
    """Return how many orders of steps a test tries.

    :param number: how many it tries with the profile `thorough`.
    """
    is_thorough = settings.default.max_examples >= PROFILES["thorough"]
    return number if is_thorough else max(1, number * PROFILES["quick"] // PROFILES["thorough"])
