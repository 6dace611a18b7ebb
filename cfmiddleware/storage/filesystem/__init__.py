"""A directory as the storage."""

from .filesystemdriver import FilesystemDriver

__all__ = ["FilesystemDriver"]
