"""The door of a worker: ready only while all that it needs answers."""

import httpx2

from activities.starter import TemporalUnavailable
from observability.metrics import Metrics
from workers.health import health_served
from workers.healthy import main, problem
from workers.settings import HealthSettings


async def well() -> None:
    """Nothing is wrong."""


async def away() -> None:
    raise TemporalUnavailable("secret detail")


async def test_one_that_does_not_answer_makes_it_unready_and_nothing_is_told() -> None:
    checks = {"database": well, "temporal": away}
    async with (
        health_served(HealthSettings(), Metrics(), checks) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        assert (await http.get("/healthz")).status_code == 200
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()) == (
            503,
            {
                "ready": False,
                "checks": {"database": "ok", "temporal": "does not answer: TemporalUnavailable"},
            },
        )
        checks["temporal"] = well
        assert (await http.get("/readyz")).json()["ready"] is True
        metrics = await http.get("/metrics")
        assert "order_posts_total" in metrics.text
        assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_the_container_check_tells_what_is_wrong() -> None:
    assert "127.0.0.1:9" in (problem("http://127.0.0.1:9/readyz", 1.0) or "")
    assert main(["http://127.0.0.1:9/readyz"]) == 1
    assert main(["ftp://127.0.0.1/"]) == main([]) == 2
