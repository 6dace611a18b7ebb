"""What moto's CloudFront leaves out and a rotation of keys needs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest


@contextlib.contextmanager
def filled_gaps() -> Iterator[None]:
    """Let moto, in this process and in servers of it here, know `UpdateKeyGroup` until the block is left."""
    from moto.cloudfront.exceptions import InvalidIfMatchVersion
    from moto.cloudfront.models import random_id
    from moto.cloudfront.responses import CloudFrontResponse
    from moto.core.responses import ActionResult

    def update_key_group(response: Any) -> Any:
        group = response.backend.get_key_group(response._get_param("Id"))
        if response._get_param("IfMatch") != group.etag:
            raise InvalidIfMatchVersion
        group.items = response._get_param("KeyGroupConfig.Items", [])
        group.etag = random_id(length=14)
        return ActionResult({"KeyGroup": group, "ETag": group.etag})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CloudFrontResponse, "update_key_group", update_key_group, raising=False)
        yield
