"""Static files: small, ours, named in their addresses by their content, so that browsers keep them for ever."""

import mimetypes
from functools import cache
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from console.web.problems import Code, WebError
from console.web.rendering import STATIC, static_url

FOR_EVER: Final = "public, max-age=31536000, immutable"
FOR_NOW: Final = "no-cache"
SERVED: Final = frozenset({".css", ".ico", ".js", ".png", ".svg", ".txt", ".woff2"})

router = APIRouter()


@cache
def _file(name: str) -> bytes | None:
    """A file of the folder, which `_names` knows; nothing beside it."""
    path = STATIC / name
    if path.suffix not in SERVED or not path.is_file():
        return None
    return path.read_bytes()


@router.get("/static/{name:path}")
async def static(name: str, request: Request) -> Response:
    """One file."""
    if name not in _names() or (content := _file(name)) is None:
        raise WebError(404, Code.NOT_FOUND, "no such file")
    known = static_url(name).partition("?v=")[2]
    kept = FOR_EVER if request.query_params.get("v") == known else FOR_NOW
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(content, media_type=kind, headers={"Cache-Control": kept})


@cache
def _names() -> frozenset[str]:
    """Bounds what `_file` remembers."""
    return frozenset(file.relative_to(STATIC).as_posix() for file in STATIC.rglob("*"))


@router.get("/favicon.ico", status_code=204)
async def favicon() -> Response:
    """None: the page names its own."""
    return Response(status_code=204)
