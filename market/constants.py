"""Timeouts and sizes of talking to a market-data provider."""

from typing import Final

CONNECT_SECONDS: Final = 2.0
READ_SECONDS: Final = 3.0
"""Between two pieces of an answer."""
TOTAL_SECONDS: Final = 5.0
"""For one HTTP request, the last byte of the body included. A third of the age at which a quote is stale."""
CALL_SECONDS: Final = TOTAL_SECONDS + 1.0
"""Until the caller is told, also when the thread hangs where no timeout of ours reaches."""
BODY_MAX_BYTES: Final = 4 * 1024 * 1024
BODY_PIECE_BYTES: Final = 64 * 1024
HTTP_THREADS: Final = 4
"""For each provider; one client and one connection each."""
TICKERS_PER_REQUEST: Final = 200
"""Keeps the address well below the 8 KiB that servers take."""

STREAM_OPEN_SECONDS: Final = 5.0
"""For the handshake, and again for each answer of the login."""
STREAM_CLOSE_SECONDS: Final = 1.0
STREAM_PING_EVERY_SECONDS: Final = 5.0
STREAM_PONG_WITHIN_SECONDS: Final = 5.0
"""A dead peer is noticed after both together, before its quotes are stale."""
STREAM_FRAME_MAX_BYTES: Final = 1024 * 1024
STREAM_FRAMES_QUEUED_MAX: Final = 1024
