from __future__ import annotations

import sys

import pytest

from tachikoma.host import process

ASK = """
import ctypes, resource
from tachikoma.proxy.hardening import keep_memory_private
keep_memory_private()
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


@pytest.mark.live
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux by prctl(2)")
async def test_memory_is_neither_dumped_nor_read_by_others() -> None:
    told = await process.run([sys.executable, "-c", ASK], deadline_s=15)
    assert told.text == "(0, 0) 0"
