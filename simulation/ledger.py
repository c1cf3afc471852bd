"""The ledger: an append-only JSON-lines file, fsynced in groups, that outlives any kill of the process.

One record a line, ``{"seq":N,"kind":"...",...}``, ``seq`` growing by one. A record may be spoken of
(answered, published) only after ``durable(seq)`` has returned.
"""

import asyncio
import fcntl
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

LEDGER_FILE = "ledger.jsonl"


class LedgerCorrupt(ValueError):
    """A line before the last one is unreadable: somebody edited the ledger; restore it from a copy."""


class LedgerInUse(RuntimeError):
    """Another exchange runs on this data folder; stop it or choose another folder."""


class LedgerFailed(RuntimeError):
    """The ledger could not be written; nothing may be answered any more."""


class Ledger:
    """Appends records in order; many appends share one fsync."""

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self.path = data_dir / LEDGER_FILE
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise LedgerInUse(f"{self.path} is in use by another exchange") from error
        self._buffer: list[bytes] = []
        self._last_seq = 0
        self._durable_seq = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._flushing = False
        self._failure: BaseException | None = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._released = False

    @property
    def last_seq(self) -> int:
        return self._last_seq

    @property
    def durable_seq(self) -> int:
        return self._durable_seq

    def read(self) -> Iterator[dict[str, Any]]:
        """Every whole record, oldest first; a torn last line is cut off the file.

        Raises LedgerCorrupt.
        """
        whole = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                record = _parse(line)
                if record is None:
                    if lines.readline():
                        raise LedgerCorrupt(f"{self.path}, line {number}: not a record")
                    break
                if record["seq"] != self._last_seq + 1:
                    raise LedgerCorrupt(
                        f"{self.path}, line {number}: seq {record['seq']} after {self._last_seq}"
                    )
                whole += len(line)
                self._last_seq = self._durable_seq = record["seq"]
                yield record
        os.ftruncate(self._fd, whole)

    def append(self, body: bytes) -> int:
        """Queue a record, given as the bytes of a JSON object with its ``kind``; returns its ``seq``."""
        if self._failure is not None:
            raise LedgerFailed(str(self._failure))
        self._last_seq += 1
        self._buffer.append(b'{"seq":%d,%b\n' % (self._last_seq, body[1:]))
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)
        return self._last_seq

    async def durable(self, seq: int) -> None:
        """Return once the record with that ``seq``, and all before it, are on disk. Raises LedgerFailed."""
        if seq <= self._durable_seq:
            return
        if self._failure is not None:
            raise LedgerFailed(str(self._failure))
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((seq, waiter))
        await waiter

    def _flush(self) -> None:
        data, upto = b"".join(self._buffer), self._last_seq
        self._buffer.clear()
        writing = asyncio.get_running_loop().run_in_executor(self._executor, self._write, data)
        writing.add_done_callback(lambda done: self._flushed(done, upto))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        os.fdatasync(self._fd)

    def _flushed(self, done: asyncio.Future[None], upto: int) -> None:
        error = done.exception()
        if error is not None:
            self._failure = error
        else:
            self._durable_seq = upto
        waiting = self._waiters
        self._waiters = []
        for seq, waiter in waiting:
            if waiter.done():
                continue
            if self._failure is not None:
                waiter.set_exception(LedgerFailed(str(self._failure)))
            elif seq <= upto:
                waiter.set_result(None)
            else:
                self._waiters.append((seq, waiter))
        if self._buffer and self._failure is None:
            self._flush()
        else:
            self._flushing = False

    async def close(self) -> None:
        """Write what is queued and release the file."""
        if self._failure is None:
            await self.durable(self._last_seq)
        self.release()

    def release(self) -> None:
        """Let go of the file without writing what is queued."""
        if not self._released:
            self._released = True
            self._executor.shutdown(wait=True)
            os.close(self._fd)


def _parse(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("seq"), int) else None
