"""The pages: one module for each view, with its ``router``."""

from typing import Final

from fastapi import APIRouter

from console.web.pages import (
    access,
    act_alerts,
    act_approvals,
    act_checks,
    act_closing,
    act_index,
    act_kill,
    act_limits,
    act_locks,
    act_orders,
    act_strategies,
    enrol,
    home,
    login,
    settings,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    login.router,
    enrol.router,
    home.router,
    access.router,
    settings.router,
    act_index.router,
    act_kill.router,
    act_orders.router,
    act_locks.router,
    act_closing.router,
    act_limits.router,
    act_approvals.router,
    act_strategies.router,
    act_alerts.router,
    act_checks.router,
)
