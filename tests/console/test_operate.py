"""Kill, release, status and doctor: the row first, Temporal second, and honest when either is away."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from schemas.kill import KillCommand
from security.grants import make_key_file
from storage.database import Database
from storage.placement import FENCE_KEY
from storage.switches import engage, read_state, save_operator_key
from tests.console.commands import Trading, environment, of_stack
from tests.servers.stack import Stack, StackFactory, signal

NOWHERE = "127.0.0.1:1"
SEEN_WITHIN_SECONDS = 30
POLL_SECONDS = 0.05


async def known_key(dsn: str, folder: Path) -> Path:
    """An operator key file whose public half the database knows."""
    path = folder / "operator.json"
    key_id, public = make_key_file(path, "Ada")
    database = await Database.connect(dsn)
    async with database.transaction("test") as connection:
        await save_operator_key(
            connection, key_id=key_id, public_key=public, person="Ada", now=datetime.now(UTC)
        )
    await database.close()
    return path


async def test_kill_cancels_blocks_and_is_released_by_the_key(
    stack: Stack, tmp_path: Path, unique: Callable[[str], str]
) -> None:
    trading = of_stack(stack)
    healthy = await trading("doctor", "--json")
    states = {check["name"]: check["state"] for check in healthy.json}
    assert not {"wrong", "down"} & set(states.values()), healthy.out
    assert healthy.code == 0
    assert {"database", "schema", "limits", "market clock", "Temporal", "queue trading", "gateway"} <= set(
        states
    )

    key = await known_key(stack.dsn, tmp_path)
    resting, blocked = unique("cli"), unique("cli")
    await stack.submit(signal(resting, order_type="LIMIT", limit_price="100.00"))
    order = await stack.until(resting, lambda found: found["status"] == "ACKNOWLEDGED")

    killed = await trading("kill", "--reason", "drill", "--json")
    assert killed.code == 0, killed
    told = ("confirmed", "signalled", "sweep_confirmed", "fenced")
    assert [killed.json[each] for each in told] == [True] * len(told)
    assert killed.json["fates"] == {order["client_order_id"]: "cancelled"}
    posts = (await stack.ledger())["posts_total"]

    status = await trading("status")
    assert "ENGAGED" in status.out
    assert "drill" in status.out
    assert "epoch 1" in status.out
    await stack.submit(signal(blocked))
    assert (await stack.settled(blocked))["reason"] == "KILL_SWITCH"
    assert (await stack.ledger())["posts_total"] == posts

    key.chmod(0o644)
    refused = await trading("release", "--reason", "all checked", "--key-file", str(key))
    assert refused.code == 1
    assert "chmod 600" in refused.err
    key.chmod(0o600)
    stranger, _ = make_key_file(tmp_path / "stranger.json", "Mallory")
    unknown = await trading("release", "--reason", "let me", "--key-file", str(tmp_path / "stranger.json"))
    assert unknown.code == 1
    assert stranger in unknown.err
    released = await trading("release", "--reason", "all checked", "--key-file", str(key), "--json")
    assert (released.code, released.json["released"]) == (0, True), released
    assert "released" in (await trading("status")).out


async def test_kill_does_not_reassure_about_an_installation_it_does_not_know() -> None:
    done = await Trading(environment())("kill", "--reason", "stop")
    assert done.code == 3
    assert "--data-dir" in done.err
    assert "ENGAGED" not in done.out


async def test_doctor_asks_the_queues_of_the_topology_that_runs(stack_factory: StackFactory) -> None:
    """How: as in a container, where no folder says which one it is."""
    looked = await of_stack(await stack_factory(topology="isolated"))("doctor", "--json")
    states = {check["name"]: check["state"] for check in looked.json}
    queues = ("orders", "risk", "execution", "operations", "kill-switch")
    assert {name: states[name] for name in states if name.startswith("queue ")} == {
        f"queue {queue}": "ok" for queue in queues
    }


async def test_doctor_names_what_is_down(database: str) -> None:
    trading = Trading(
        environment(
            TRADING_DATABASE_URL=database,
            TRADING_TEMPORAL_ADDRESS=NOWHERE,
            TRADING_GATEWAY_URL=f"http://{NOWHERE}",
        )
    )
    done = await trading("doctor", "--json")
    assert done.code == 3
    states = {check["name"]: check["state"] for check in done.json}
    assert (states["database"], states["Temporal"], states["gateway"]) == ("ok", "down", "down")
    assert states["limits"] == "wrong"


async def test_doctor_finds_an_unmigrated_database(empty_database: str) -> None:
    done = await Trading(environment(TRADING_DATABASE_URL=empty_database))("doctor")
    assert done.code == 3
    assert "trading migrate" in done.out


async def test_kill_without_temporal_still_engages(database: str) -> None:
    trading = Trading(environment(TRADING_DATABASE_URL=database, TRADING_TEMPORAL_ADDRESS=NOWHERE))
    done = await trading("kill", "--reason", "drill", "--wait-seconds", "0", "--json")
    assert done.code == 0
    assert (done.json["engaged"], done.json["signalled"]) == (True, False)
    pool = await Database.connect(database)
    async with pool.connection() as connection:
        state = await read_state(connection)
    await pool.close()
    assert (state.engaged, state.reason) == (True, "drill")

    holder = await asyncpg.connect(database, server_settings={"application_name": "somebody"})
    async with holder.transaction():
        await holder.execute("select pg_advisory_xact_lock($1::bigint)", FENCE_KEY)
        assert "held alone by somebody" in (await trading("status")).out
    await holder.close()


async def test_kill_engages_though_the_keys_of_payloads_cannot_be_read(database: str, tmp_path: Path) -> None:
    keys = tmp_path / "payload_keys"
    keys.write_text("no keys")
    trading = Trading(
        environment(
            TRADING_DATABASE_URL=database,
            TRADING_TEMPORAL_ADDRESS=NOWHERE,
            TRADING_PAYLOAD_KEYS_FILE=str(keys),
        )
    )
    done = await trading("kill", "--wait-seconds", "0", "--json")
    assert done.code == 0, done
    assert (done.json["engaged"], done.json["signalled"], done.json["fenced"]) == (True, False, True)


async def test_kill_without_the_database_is_not_confirmed(stack: Stack) -> None:
    dead = f"postgresql://nobody@{NOWHERE}/none"
    done = await of_stack(stack)("kill", "--json", TRADING_DATABASE_URL=dead)
    assert done.code == 3
    assert (done.json["confirmed"], done.json["signalled"]) == (False, True)
    assert done.json["message"].startswith("NOT CONFIRMED")
    # The signal reached the workflow, whose own database lives: it engages the row.
    async with stack.parts.database.connection() as connection, asyncio.timeout(SEEN_WITHIN_SECONDS):
        engaged = False
        while not engaged:
            await asyncio.sleep(POLL_SECONDS)
            engaged = (await read_state(connection)).engaged


async def test_kill_without_anything_says_not_engaged() -> None:
    dead = {
        "TRADING_DATABASE_URL": f"postgresql://nobody@{NOWHERE}/none",
        "TRADING_TEMPORAL_ADDRESS": NOWHERE,
    }
    done = await Trading(environment(**dead))("kill")
    assert done.code == 3
    assert "NOT ENGAGED" in done.out


async def test_release_without_workers_stays_engaged(database: str, tmp_path: Path) -> None:
    key = await known_key(database, tmp_path)
    pool = await Database.connect(database)
    async with pool.transaction("test") as connection:
        command = KillCommand(reason="drill", triggered_by="test")
        await engage(connection, command, request_id="1", now=datetime.now(UTC), component="test")
    await pool.close()
    trading = Trading(environment(TRADING_DATABASE_URL=database, TRADING_TEMPORAL_ADDRESS=NOWHERE))
    done = await trading("release", "--reason", "checked", "--key-file", str(key))
    assert done.code == 3
    assert "ENGAGED" in (await trading("status")).out


async def test_release_of_a_released_switch_changes_nothing(database: str) -> None:
    done = await Trading(environment(TRADING_DATABASE_URL=database))("release", "--reason", "checked")
    assert (done.code, done.out) == (0, "it was not engaged\n")
