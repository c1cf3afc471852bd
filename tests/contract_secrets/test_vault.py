"""What only a vault does: roles, policies, tokens that end, on a real OpenBao."""

import time
from collections.abc import Callable

import pytest
from pydantic import SecretStr

from security.secrets.errors import SecretMalformed, SecretsRefused, SecretsUnreachable
from security.secrets.reader import SecretReader
from security.secrets.vault import RENEW_AT, VaultSettings, VaultSource
from tests.contract_secrets.conftest import vault_source
from tests.contract_secrets.test_sources import PAIR, PATH
from tests.servers.vault import Engine
from tests.unit.broker_server import http, serving


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def by_token(engine: Engine, token: str, monotonic: Callable[[], float] = time.monotonic) -> VaultSource:
    settings = VaultSettings(engine.vault.url, engine.mount, credential=lambda: SecretStr(token))
    return VaultSource(settings, monotonic=monotonic)


def held(source: VaultSource) -> str:
    """The token it asks with."""
    token: str = source._client.token
    return token


def test_a_policy_for_something_else_is_refused_by_path(engine: Engine) -> None:
    engine.put(PATH, **PAIR)
    engine.put("t/other", **PAIR)
    with pytest.raises(SecretsRefused, match=f"{engine.mount}/t/other: not allowed"):
        vault_source(engine).read("t/other")
    with pytest.raises(SecretsRefused, match="not allowed"):
        by_token(engine, engine.token("t/other")).read(PATH)


@pytest.mark.parametrize("by_role", [True, False])
@pytest.mark.parametrize(
    "answer",
    [
        http(b"", 302, Location="https://elsewhere.example/"),
        http(b"<html>"),
        http([]),
        http({"auth": None}),
        http({"auth": {"client_token": "t"}}),
    ],
    ids=["redirect", "page", "list", "nothing", "half"],
)
async def test_what_answers_and_is_no_vault_is_unreachable(answer: bytes, by_role: bool) -> None:
    async with serving() as server:
        server.always(answer)
        role = "role" if by_role else None
        settings = VaultSettings(server.url, "m", role_id=role, credential=lambda: SecretStr("a-credential"))
        reader = SecretReader(VaultSource(settings))
        with pytest.raises(SecretsUnreachable):
            await reader.read(PATH)
        await reader.close()


@pytest.mark.parametrize("wrong", ["role", "secret", "token", "none"])
def test_who_is_not_known_is_refused_and_nothing_of_it_is_told(engine: Engine, wrong: str) -> None:
    role_id, secret_id = engine.role(PATH)
    url, mount, bad = engine.vault.url, engine.mount, "wrong-id"
    made = {
        "role": VaultSettings(url, mount, role_id="none", credential=lambda: SecretStr(secret_id)),
        "secret": VaultSettings(url, mount, role_id=role_id, credential=lambda: SecretStr(bad)),
        "token": VaultSettings(url, mount, credential=lambda: SecretStr(bad)),
        "none": VaultSettings(url, mount, role_id=role_id),
    }
    with pytest.raises(SecretsRefused) as refused:
        VaultSource(made[wrong]).read(PATH)
    assert bad not in str(refused.value)
    assert secret_id not in str(refused.value)


def test_a_token_is_renewed_before_it_ends_and_a_role_fetches_the_next(engine: Engine) -> None:
    """How: the source's own clock is moved; the vault's word about the token's life is real."""
    engine.put(PATH, **PAIR)
    clock, (role_id, secret_id) = Clock(), engine.role(PATH, token_ttl="100s", token_max_ttl="1000s")
    source = VaultSource(
        VaultSettings(
            engine.vault.url, engine.mount, role_id=role_id, credential=lambda: SecretStr(secret_id)
        ),
        monotonic=clock,
    )
    source.read(PATH)
    first = held(source)
    clock.seconds = 100 * RENEW_AT + 1
    source.read(PATH)
    assert held(source) == first, "renewed, not replaced"
    clock.seconds += 100 * RENEW_AT + 1
    source.read(PATH)
    assert held(source) == first
    clock.seconds += 101
    source.read(PATH)
    assert held(source) != first, "it has ended by its own word"


def test_a_token_that_was_revoked_is_replaced_by_the_role_and_not_without_one(engine: Engine) -> None:
    engine.put(PATH, **PAIR)
    source = vault_source(engine)
    source.read(PATH)
    engine.vault.client().auth.token.revoke(held(source))
    source.read(PATH)
    token = engine.token(PATH)
    alone = by_token(engine, token)
    alone.read(PATH)
    engine.vault.client().auth.token.revoke(token)
    with pytest.raises(SecretsRefused):
        alone.read(PATH)


def test_near_the_end_of_what_a_role_may_have_the_next_token_is_fetched(engine: Engine) -> None:
    """How: the most a token may live is little more than its first life, so a renewal adds next to nothing."""
    engine.put(PATH, **PAIR)
    clock, (role_id, secret_id) = Clock(), engine.role(PATH, token_ttl="3s", token_max_ttl="3s")
    source = VaultSource(
        VaultSettings(
            engine.vault.url, engine.mount, role_id=role_id, credential=lambda: SecretStr(secret_id)
        ),
        monotonic=clock,
    )
    source.read(PATH)
    first = held(source)
    deadline = time.monotonic() + 10
    while held(source) == first:
        assert time.monotonic() < deadline, "the vault ends it after 3 s"
        clock.seconds += 3 * RENEW_AT
        source.read(PATH)


def test_a_token_given_back_is_worth_nothing(engine: Engine) -> None:
    engine.put(PATH, **PAIR)
    source = vault_source(engine)
    source.read(PATH)
    token = held(source)
    source.close()
    with pytest.raises(SecretsRefused):
        by_token(engine, token).read(PATH)


def test_a_field_that_is_no_text_is_malformed(engine: Engine) -> None:
    kv = engine.vault.client().secrets.kv.v2
    kv.create_or_update_secret(path=PATH, secret={"broker_key": {"a": "hidden"}}, mount_point=engine.mount)
    with pytest.raises(SecretMalformed, match="broker_key") as malformed:
        vault_source(engine).read(PATH)
    assert "hidden" not in str(malformed.value)
    kv.create_or_update_secret(path=PATH, secret={"a secret as a name": "x"}, mount_point=engine.mount)
    with pytest.raises(SecretMalformed) as malformed:
        vault_source(engine).read(PATH)
    assert "a secret as a name" not in str(malformed.value)


async def test_a_store_that_hangs_is_left_after_the_deadline(hanging: str) -> None:
    reader = SecretReader(
        VaultSource(VaultSettings(hanging, credential=lambda: SecretStr("x"))), deadline_seconds=0.2
    )
    with pytest.raises(SecretsUnreachable, match="no answer within"):
        await reader.read(PATH)
    await reader.close()
