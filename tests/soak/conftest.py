"""The user of the live tests, who spawns a lot."""

from __future__ import annotations

from tests.live.conftest import live_api, live_image_data, live_user

__all__ = ["live_api", "live_image_data", "live_user"]
