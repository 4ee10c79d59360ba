from __future__ import annotations

import ipaddress

import pytest

from tachikoma.proxy.egress import Address, Egress, rules
from tachikoma.proxy.outside import ForbiddenError, connect


async def nobody(host: str) -> list[Address]:
    raise AssertionError(f"{host} is looked up")


async def inside(host: str) -> list[Address]:
    del host
    return [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("10.0.0.1")]


async def test_a_name_that_means_an_inner_address_is_not_connected_to() -> None:
    with pytest.raises(ForbiddenError, match=r"intern\.example may not be reached: 127\.0\.0\.1"):
        await connect("intern.example", 443, Egress(rules(["intern.example"])), inside)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254"])
async def test_an_address_is_judged_without_looking_anything_up(host: str) -> None:
    with pytest.raises(ForbiddenError):
        await connect(host, 443, Egress(), nobody)
