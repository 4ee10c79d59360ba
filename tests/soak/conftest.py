"""The user of the live tests, and the time that their VMs get, for tests that take longer."""

from __future__ import annotations

from tests.live.conftest import (
    live_api,
    live_image_data,
    live_user,
    pytest_collection_modifyitems,
)

__all__ = ["live_api", "live_image_data", "live_user", "pytest_collection_modifyitems"]
