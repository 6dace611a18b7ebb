"""Those who listen to what becomes of a client's requests, with boto3's names, where there is no boto3."""

from __future__ import annotations

from collections.abc import Callable


class PlainEvents:
    """What boto3 calls a client's events, as far as they are listened to here.

    :attr:`listeners` are the names that were asked for, with what hears of them.
    """

    def __init__(self) -> None:
        self.listeners: list[tuple[str, Callable[..., None]]] = []

    def register(self, name: str, listener: Callable[..., None]) -> None:
        """Have *listener* told of events of that name, and of those whose names begin with it and a dot."""
        self.listeners.append((name, listener))

    def emit(self, event: str, **about: object) -> None:
        """Tell those who listen."""
        for name, listener in self.listeners:
            if event == name or event.startswith(f"{name}."):
                listener(event_name=event, **about)
