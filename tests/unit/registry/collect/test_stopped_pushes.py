"""A push is stopped before one of its steps until two collections have ended, and goes on then.

It may be refused: what it had looked for was deleted meanwhile. Then no tag names what it could not finish.
"""

from __future__ import annotations

import pytest
from lab.actors import FOREVER
from lab.collectscenes import SCENES, Scene, prepare

PUSHES = ("push of a manifest alone", "push of everything", "mount", "tag of an untagged manifest")


def play(name: str, stops: int) -> int:
    """Return how many steps the push takes."""
    with pytest.MonkeyPatch.context() as patch:
        scene = Scene(patch, [(0, stops), (1, FOREVER)])
        prepare(scene, name)
        push = scene.world.add("a push", lambda: SCENES[name][1](scene, scene.pusher()))

        def twice() -> list[str]:
            done = [scene.collect()]
            scene.world.sleep(1000)
            return [*done, scene.collect()]

        collections = scene.world.add("two collections", twice)
        scene.world.run()
        assert collections.result == ["collected", "collected"]
        assert not isinstance(push.result, Exception)
        try:
            scene.check()
        except AssertionError as error:
            raise AssertionError(f"{name}, stopped before step {stops}: {error}") from None
        return push.steps


@pytest.mark.parametrize("name", PUSHES)
def test_no_tag_names_what_a_push_could_not_finish(name: str) -> None:
    for stops in range(play(name, 0)):
        play(name, stops)
