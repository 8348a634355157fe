"""The request rate of each identity over all processes that share a Redis: the token bucket of `rate`, kept there.

A check waits at most `TIMEOUT_SECONDS`; one that failed or took longer allows its request. After `MAX_FAILURES` in a
row none goes to Redis for `PAUSE_SECONDS`. The rate of each process, which the caller counts first, holds in any case.
"""

from __future__ import annotations

import asyncio
import time
from hashlib import blake2b
from typing import Final

from serving.common import logs

TIMEOUT_SECONDS: Final = 0.05
MAX_FAILURES: Final = 3
PAUSE_SECONDS: Final = 5.0
# Of a connection and of an answer that nobody waits for any more: a slow first connection serves the checks after it.
SOCKET_SECONDS: Final = 1.0
# The clock is that of Redis, the same for every process. A bucket that is full again is the same as none: it expires.
_SCRIPT: Final = """
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local bucket = redis.call('HMGET', KEYS[1], 'level', 'at')
local level = math.min(burst, (tonumber(bucket[1]) or burst) + math.max(0, now - (tonumber(bucket[2]) or now)) * rate)
local wait = 0
if level >= 1 then level = level - 1 else wait = (1 - level) / rate end
redis.call('HSET', KEYS[1], 'level', string.format('%.9f', level), 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil((burst - level) / rate * 1000) + 1000)
return string.format('%.6f', wait)
"""


class SharedRate:
    """Allows each identity `rate` requests per second and `burst` at once, for all processes with the same `url`.

    Args:
        url: redis:// or rediss://, with user, password and database where it needs them.
    """

    def __init__(self, url: str, rate: float, burst: int) -> None:
        from redis.asyncio import Redis  # here, not in the first request, of which it would take the time

        self._client = Redis.from_url(url, socket_timeout=SOCKET_SECONDS, socket_connect_timeout=SOCKET_SECONDS)
        self._script = self._client.register_script(_SCRIPT)
        self._arguments = (rate, burst)
        self._asks_again = 0.0
        self._failures = 0
        self._late: set[asyncio.Task[float]] = set()
        self._log = logs.get("rates")

    @property
    def problem(self) -> str | None:
        """Why rates hold for each process alone at present."""
        return "Redis does not respond; rates hold for each process" if self._failures >= MAX_FAILURES else None

    async def acquire(self, identity: str) -> float:
        """Count one request; returns 0.0 if it is allowed or Redis is away, else the seconds until a retry succeeds."""
        if time.monotonic() < self._asks_again:
            return 0.0
        # Names and addresses are of no use in Redis, and a key must not depend on what they contain.
        key = f"accident_reco:rate:{blake2b(identity.encode(), digest_size=16).hexdigest()}"
        check = asyncio.ensure_future(self._ask(key))
        self._late.add(check)
        check.add_done_callback(self._forget)
        done, _ = await asyncio.wait({check}, timeout=TIMEOUT_SECONDS)
        error = check.exception() if done else TimeoutError()
        if error is not None:
            self._fail(error)
            return 0.0
        if self.problem:
            self._log.info("rates are shared again")
        self._failures = 0
        return check.result()

    async def close(self) -> None:
        """Close the connections; a later check opens new ones."""
        for check in self._late:
            check.cancel()
        await self._client.aclose()

    async def _ask(self, key: str) -> float:
        return float(await self._script(keys=[key], args=self._arguments))

    def _forget(self, check: asyncio.Task[float]) -> None:
        self._late.discard(check)
        if not check.cancelled():
            check.exception()  # was handled as late; asyncio would report it as never retrieved

    def _fail(self, error: BaseException) -> None:
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            self._asks_again = time.monotonic() + PAUSE_SECONDS
        if self._failures == MAX_FAILURES:
            self._log.warning("rates hold for each process", error=type(error).__name__)
