"""A source that blocks, asked from an event loop: one thread, and a deadline whatever the library does."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from security.secrets.errors import SecretsUnreachable
from security.secrets.port import SecretSource, StoredSecret

READ_DEADLINE_SECONDS: Final = 12.0
"""Above connect and read limits of a login, a renewal and a read; name resolution knows no limit of its own."""


class SecretReader:
    """``read`` for async code. Close it."""

    def __init__(self, source: SecretSource, *, deadline_seconds: float = READ_DEADLINE_SECONDS) -> None:
        self._source = source
        self._deadline_seconds = deadline_seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="secrets")

    @property
    def name(self) -> str:
        return self._source.name

    def place(self, path: str) -> str:
        return self._source.place(path)

    async def read(self, path: str) -> StoredSecret:
        """What stands at ``path`` now.

        Raises:
            SecretError: SecretsUnreachable also where no answer came in time.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await loop.run_in_executor(self._thread, self._source.read, path)
        except TimeoutError:
            raise SecretsUnreachable(
                f"{self.place(path)}: no answer within {self._deadline_seconds:g} s"
            ) from None

    async def close(self) -> None:
        """Give back the store's token, unless the thread hangs."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._deadline_seconds):
                await loop.run_in_executor(self._thread, self._source.close)
        except TimeoutError:
            pass
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)
