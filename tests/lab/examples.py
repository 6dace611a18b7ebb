"""How many examples hypothesis tries.

By default a fifth of what `pytest --hypothesis-profile=ci` tries, so that the tests of a room take seconds.
No example has a deadline: other programs on the machine would decide whether a test passes.
"""

from __future__ import annotations

from hypothesis import settings

#: How many examples a test without a number of its own tries, by the name of the profile.
PROFILES = {"quick": 20, "ci": 100}


def register_profiles() -> None:
    """Make the profiles known, and choose the quick one."""
    for name, number in PROFILES.items():
        settings.register_profile(name, max_examples=number, deadline=None)
    settings.load_profile("quick")


def examples(number: int) -> int:
    """Return how many examples a test tries.

    :param number: how many it tries with the profile `ci`.
    """
    return max(1, number * settings.default.max_examples // PROFILES["ci"])
