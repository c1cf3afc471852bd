"""The codec server, put together: beside the product where that is one process, else a process of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from console.codec_audit import PayloadReads
from console.codec_server import CodecDeps, bearer, build_codec, signed_in
from gateway.server import listening
from security.payloads import KeyRing, PayloadKeyError
from storage.database import Database
from workers.settings import CodecSettings, WorkerSettings


@asynccontextmanager
async def codec_served(
    settings: CodecSettings | WorkerSettings, ring: KeyRing, database: Database
) -> AsyncIterator[int]:
    """Decode payloads for who may read them until the block ends; yields the port.

    Raises:
        PayloadKeyError: the token can be guessed.
        OSError: the port is taken.
    """
    doorkeepers = [signed_in(database)]
    if settings.codec_token is not None:
        try:
            doorkeepers.append(bearer(settings.codec_token.get_secret_value()))
        except ValueError as error:
            raise PayloadKeyError(str(error)) from error
    deps = CodecDeps(
        ring=ring,
        reads=PayloadReads(database),
        namespace=settings.temporal_namespace,
        doorkeepers=doorkeepers,
        origins=settings.codec_page_origins,
        encodes=settings.codec_encodes,
    )
    async with listening(build_codec(deps), host=settings.codec_host, port=settings.codec_port) as port:
        yield port
