"""The contracts are also run against the real things, which need the image of the live tests."""

from __future__ import annotations

from tests.live.conftest import live_image_data

__all__ = ["live_image_data"]
