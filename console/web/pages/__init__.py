"""The pages: one module for each view, with its ``router``."""

from typing import Final

from fastapi import APIRouter

from console.web.pages import (
    access,
    alerts,
    audit,
    charts,
    controls,
    enrol,
    home,
    live,
    login,
    order,
    orders,
    positions,
    reconciliation,
    settings,
    signals,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    login.router,
    enrol.router,
    live.router,
    home.router,
    orders.router,
    order.router,
    signals.router,
    positions.router,
    reconciliation.router,
    controls.router,
    alerts.router,
    audit.router,
    charts.router,
    access.router,
    settings.router,
)
