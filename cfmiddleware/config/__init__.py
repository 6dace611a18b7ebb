"""From a ``config.yml`` to frozen settings, and from settings to running parts."""

from .configuration import Config

__all__ = ["Config"]
