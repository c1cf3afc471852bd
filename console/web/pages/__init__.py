"""The pages: one module for each view, with its ``router``."""

from typing import Final

from fastapi import APIRouter

from console.web.pages import access, enrol, home, login, settings

ROUTERS: Final[tuple[APIRouter, ...]] = (
    login.router,
    enrol.router,
    home.router,
    access.router,
    settings.router,
)
