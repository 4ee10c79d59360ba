from __future__ import annotations

import signal

import pytest

from tachikoma.cli.door import Terminated
from tachikoma.cli.makima.ending import quiet_end


@pytest.mark.parametrize("how", [KeyboardInterrupt(), Terminated(signal.SIGTERM)])
def test_being_told_to_stop_is_how_a_service_ends(how: BaseException) -> None:
    with quiet_end():
        raise how


def test_a_hang_up_is_told() -> None:
    with pytest.raises(Terminated), quiet_end():
        raise Terminated(signal.SIGHUP)
