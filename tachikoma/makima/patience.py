"""How much of one who connects is borne: how fast he talks, how often his key is wrong (pure)."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

FREE_FAILURES = 3
"""So many wrong keys cost nothing: people mistype."""
FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 8.0
MOST_WAITING = 8
"""So many of one address may wait for the answer that their key is wrong; the rest is turned away
before it has shown a key.
"""
FORGOTTEN_AFTER_S = 600.0
MOST_ADDRESSES = 4096
_HOME_NETWORK = 64


class Bucket:
    """Lets ``rate`` through each second, and ``burst`` at once after a quiet time."""

    def __init__(self, *, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = now
        self._short_since: float | None = None

    def take(self, cost: float, now: float) -> float:
        """Take ``cost`` out, and tell for how many seconds to wait before anything more."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left >= self._burst / 2:
            self._short_since = None
        self._left -= cost
        if self._left >= 0:
            return 0.0
        if self._short_since is None:
            self._short_since = now
        return -self._left / self._rate

    def has(self, cost: float, now: float) -> bool:
        """Tell whether ``cost`` could be taken without a wait."""
        return min(self._burst, self._left + (now - self._at) * self._rate) >= cost

    def short_for(self, now: float) -> float:
        """Tell for how many seconds it has been asked for more than it lets through."""
        return 0.0 if self._short_since is None else now - self._short_since


@dataclass(slots=True)
class _Address:
    failures: int = 0
    last: float = 0.0
    waiting: int = 0


class Patience:
    """Slows down who tries keys; who brings a right one is never slowed down by it, unless
    `MOST_WAITING` others of his address are waiting just now.
    """

    def __init__(self) -> None:
        self._addresses: OrderedDict[str, _Address] = OrderedDict()

    def is_at_an_end(self, address: str) -> bool:
        """Tell whether nobody more from there is heard for now."""
        known = self._addresses.get(network_of(address))
        return known is not None and known.waiting >= MOST_WAITING

    def failed(self, address: str, now: float) -> float:
        """Note a wrong key; tell for how many seconds the answer is to wait. Then comes
        `answered`.
        """
        network = network_of(address)
        known = self._addresses.setdefault(network, _Address())
        self._addresses.move_to_end(network)
        if now - known.last > FORGOTTEN_AFTER_S:
            known.failures = 0
        known.failures += 1
        known.last = now
        known.waiting += 1
        self._forget()
        beyond = known.failures - FREE_FAILURES
        return min(FIRST_WAIT_S * 2.0 ** min(beyond - 1, 16), LONGEST_WAIT_S) if beyond > 0 else 0.0

    def answered(self, address: str) -> None:
        """Note that one who waited has his answer, or has left."""
        known = self._addresses.get(network_of(address))
        if known is not None:
            known.waiting = max(known.waiting - 1, 0)

    def _forget(self) -> None:
        """Forget the addresses that were quiet the longest, if there are too many."""
        for network in list(self._addresses)[: max(len(self._addresses) - MOST_ADDRESSES, 0)]:
            if not self._addresses[network].waiting:
                del self._addresses[network]


def network_of(address: str) -> str:
    """Give what counts as one address: of IPv6 the network, as one host has all of it."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, _HOME_NETWORK), strict=False))
