"""Passwords: argon2id, worked out in threads, the same for names that nobody has."""

import asyncio
from collections.abc import Callable
from functools import cached_property
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from schemas.people import password_text

TIME_COST: Final = 3
"""Passes over the memory."""
MEMORY_COST_KIB: Final = 64 * 1024
PARALLELISM: Final = 4
"""RFC 9106's second recommendation, with 64 MiB."""
AT_ONCE_MAX: Final = 2
"""Hashes worked out at the same time, so that guesses cannot take the machine."""
WAITING_MAX: Final = 30
"""Beyond so many waiting nobody else is taken: whoever floods the door keeps it shut, and nothing worse."""


_T = TypeVar("_T")


class TooManyAtOnce(Exception):
    """The door is crowded: try again in a moment. Nothing was compared."""


class Passwords:
    """Makes and checks password hashes; ``time_cost`` and ``memory_kib`` say how dear one is."""

    def __init__(
        self,
        time_cost: int = TIME_COST,
        memory_kib: int = MEMORY_COST_KIB,
        parallelism: int = PARALLELISM,
    ) -> None:
        self._hasher = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=parallelism)
        self._slots = asyncio.Semaphore(AT_ONCE_MAX)
        self._waiting = 0

    @cached_property
    def _nobodys(self) -> str:
        """What a password of nobody is compared with, at the same cost."""
        return self._hasher.hash("the password of nobody at all")

    async def hash(self, password: str) -> str:
        """Raises TooManyAtOnce."""
        return await self._work(lambda: self._hasher.hash(password_text(password)))

    async def check(self, stored: str | None, password: str) -> bool:
        """Whether it is the password; None stands for somebody who has none, and costs the same.

        Raises:
            TooManyAtOnce: nothing was compared.
        """
        return await self._work(lambda: self._check(stored, password))

    def needs_rehash(self, stored: str) -> bool:
        """Whether it was made at another cost than today's."""
        return self._hasher.check_needs_rehash(stored)

    def _check(self, stored: str | None, password: str) -> bool:
        try:
            self._hasher.verify(stored or self._nobodys, password_text(password))
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None

    async def _work(self, job: Callable[[], _T]) -> _T:
        if self._waiting >= WAITING_MAX:
            raise TooManyAtOnce
        self._waiting += 1
        try:
            async with self._slots:
                return await asyncio.to_thread(job)
        finally:
            self._waiting -= 1
