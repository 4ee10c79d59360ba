from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.live.conftest import User


@pytest.mark.live_qemu
def test_the_demo_proves_its_claims_and_leaves_nothing(live_user: User) -> None:
    told = live_user.run("demo", "--json", deadline_s=280).json["data"]
    assert told["proved"]
    assert [check["claim"] for check in told["checks"] if not check["holds"]] == []
    assert "Add a note from inside the VM" in json.dumps(told["checks"][0]["evidence"])
    assert not (live_user.home / ".cache/tachikoma/demo").exists()
    # The user's own credential and settings had no part in it.
    assert live_user.api_requests() == []
    assert not Path(live_user.home, ".config/tachikoma/state.json").exists()
