"""The keys of approvals: which are trusted for what, how they change, and how a wrong one is told."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from console.main import run
from schemas.approvals import ApprovalDocument, ApprovalFault, ApprovalRefused, ApprovedLeg, SignedApproval
from schemas.wire import Leg
from security import approval_files
from security.approval_files import PUBLIC_KEYS, SIGNING_KEY, ensure_files, read_files, retire, revoke, rotate
from security.approvals import ApprovalKeyError, ApprovalKeys, ApprovalSigner, KeyState, signed_bytes
from tests.servers.approvals import PUBLIC
from workers.datadir import DataDir
from workers.embedded import DatabaseRefused, read_secrets
from workers.parts import build_risk
from workers.settings import RiskSettings

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def document() -> ApprovalDocument:
    leg = {
        "ticker": "AAPL", "action": "SELL_TO_CLOSE", "order_type": "STOP", "time_in_force": "GTC",
        "quantity_max": "10", "stop_price": "95",
    }  # fmt: skip
    entry = {
        "internal_order_id": "i", "client_order_id": "ti-1", "ticker": "AAPL", "action": "BUY_TO_OPEN",
        "order_type": "LIMIT", "time_in_force": "DAY", "quantity": "10", "limit_price": "100.50",
    }  # fmt: skip
    return ApprovalDocument.model_validate(
        {
            "approval_id": "0b0e7d7e-6f5c-4a6c-9f4e-000000000001", "account": "A1", "mode": "paper",
            "installation": "0b0e7d7e-6f5c-4a6c-9f4e-000000000002", "signal_id": "s1", "signal_hash": "0",
            "entry": entry, "worst_price": "100.50", "hard_stop_loss": "95", "stop": leg, "exit": None,
            "limits_version": 1, "kill_epoch": 0, "approved_at": NOW, "expires_at": NOW, "nonce": "n",
        }
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The two files of a first start."""
    ensure_files(tmp_path, now=NOW)
    return tmp_path


def test_what_is_signed_is_read_back_as_it_was(folder: Path) -> None:
    signer, keys = read_files(folder)
    signed = signer.sign(document())
    found = keys.verify(signed, Leg.ENTRY)
    assert found == document().model_copy(update={"key_id": signer.key_id})
    assert isinstance(found.stop, ApprovedLeg)


def test_one_more_character_is_another_document(folder: Path) -> None:
    signer, keys = read_files(folder)
    signed = signer.sign(document())
    for text in (signed.document + " ", signed.document.replace("100.5", "100.50"), "{}", ""):
        with pytest.raises(ApprovalRefused) as refused:
            keys.verify(signed.model_copy(update={"document": text}), Leg.ENTRY)
        assert refused.value.fault is ApprovalFault.FORGED


def test_a_field_that_nobody_knows_is_refused_though_it_is_signed(folder: Path) -> None:
    signer, keys = read_files(folder)
    signed = signer.sign(document())
    more = {**json.loads(signed.document), "order_class_of_a_later_release": "bracket"}
    text = json.dumps(more, sort_keys=True, separators=(",", ":"))
    again = SignedApproval(
        document=text, signature=signer._private.sign(signed_bytes(text)).hex(), key_id=signer.key_id
    )
    with pytest.raises(ApprovalRefused):
        keys.verify(again, Leg.ENTRY)


def test_a_former_key_is_trusted_until_it_is_retired_and_its_stops_until_it_is_revoked(folder: Path) -> None:
    former, _ = read_files(folder)
    signed = former.sign(document())
    assert rotate(folder).verify(signed, Leg.ENTRY)
    signer, keys = read_files(folder)
    assert signer.key_id != former.key_id
    keys.require_current(signer)

    assert retire(folder, former.key_id).verify(signed, Leg.STOP)
    with pytest.raises(ApprovalRefused) as refused:
        read_files(folder)[1].verify(signed, Leg.ENTRY)
    assert (refused.value.fault, refused.value.is_ours) == (ApprovalFault.KEY_RETIRED, True)

    keys = revoke(folder, former.key_id)
    with pytest.raises(ApprovalRefused) as refused:
        keys.verify(signed, Leg.STOP)
    assert refused.value.fault is ApprovalFault.KEY_UNKNOWN


def test_the_key_that_is_signed_with_is_neither_retired_nor_revoked(folder: Path) -> None:
    signer, _ = read_files(folder)
    for change in (retire, revoke):
        with pytest.raises(ApprovalKeyError, match="first `trading keys rotate`"):
            change(folder, signer.key_id)
        with pytest.raises(ApprovalKeyError, match="no key"):
            change(folder, "0" * 16)


def test_files_are_made_once_and_a_lost_one_is_made_again(folder: Path) -> None:
    first = {name: (folder / name).read_text() for name in (SIGNING_KEY, PUBLIC_KEYS)}
    assert all((folder / name).stat().st_mode & 0o777 == 0o600 for name in first)
    ensure_files(folder, now=NOW)
    assert {name: (folder / name).read_text() for name in first} == first
    (folder / PUBLIC_KEYS).unlink()
    ensure_files(folder, now=NOW)
    assert {name: (folder / name).read_text() for name in first} == first
    (folder / SIGNING_KEY).unlink()
    with pytest.raises(ApprovalKeyError, match="trading keys rotate"):
        ensure_files(folder, now=NOW)
    rotate(folder)
    signer, keys = read_files(folder)
    keys.require_current(signer)
    assert len(keys.states) == 2


def test_only_where_an_earlier_release_has_been_are_unsigned_stops_known_of(tmp_path: Path) -> None:
    fresh, older = tmp_path / "fresh", tmp_path / "older"
    for folder in (fresh, older):
        folder.mkdir()
    (older / "trading_broker_key").touch()
    for folder, wanted in ((fresh, None), (older, NOW)):
        ensure_files(folder, now=NOW)
        assert read_files(folder)[1].unsigned_before == wanted
        rotate(folder)
        assert read_files(folder)[1].unsigned_before == wanted


def test_a_first_start_that_is_cut_off_forgets_no_earlier_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trading_broker_key").touch()
    written: list[str] = []

    def write(path: Path, text: str, mode: int) -> None:
        if written:
            raise OSError("no space left")
        written.append(path.name)
        path.write_text(text)

    with monkeypatch.context() as patched:
        patched.setattr(approval_files, "_write", write)
        with pytest.raises(OSError, match="no space"):
            ensure_files(tmp_path, now=NOW)
    with pytest.raises(ApprovalKeyError, match="trading keys rotate"):
        ensure_files(tmp_path, now=NOW)
    rotate(tmp_path)
    ensure_files(tmp_path, now=NOW + timedelta(days=1))
    assert read_files(tmp_path)[1].unsigned_before == NOW


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        "0" * 63,
        f"{'0' * 64} current",
        f"{'0' * 64} retired",
        "unsigned-before=now",
        "unsigned-before=",
    ],
)
def test_a_file_that_cannot_be_meant_stops_the_start(text: str) -> None:
    with pytest.raises(ApprovalKeyError, match="TRADING_APPROVAL_PUBLIC_KEYS"):
        ApprovalKeys.parse(text)


@pytest.mark.parametrize("text", ["", "0" * 63, "z" * 64])
def test_a_signing_key_that_is_none_is_told_without_its_value(text: str) -> None:
    with pytest.raises(ApprovalKeyError, match="TRADING_APPROVAL_SIGNING_KEY") as told:
        ApprovalSigner.from_hex(text)
    assert not text or text not in str(told.value)


def test_keys_that_do_not_belong_together_stop_the_start() -> None:
    signer, _ = ApprovalSigner.generate()
    other, _ = ApprovalSigner.generate()
    with pytest.raises(ApprovalKeyError, match="does not name"):
        ApprovalKeys({other.public_key: KeyState.CURRENT}).require_current(signer)
    states = {other.public_key: KeyState.CURRENT, signer.public_key: KeyState.RETIRED}
    with pytest.raises(ApprovalKeyError, match="has retired"):
        ApprovalKeys(states).require_current(signer)


def test_the_command_line_changes_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def keys(*arguments: str) -> dict[str, object]:
        given = [*arguments, "--folder", str(folder), "--data-dir", str(folder), "--json"]
        assert run(["keys", *given, *([] if arguments == ("list",) else ["--unrecorded"])]) == 0
        found: dict[str, object] = json.loads(capsys.readouterr().out)
        return found

    former = keys("list")["keys"][0]["key_id"]  # type: ignore[index]
    assert [each["signs"] for each in keys("rotate")["keys"]] == [True, False]  # type: ignore[attr-defined]
    assert [each["state"] for each in keys("retire", former)["keys"]] == ["current", "retired"]  # type: ignore[attr-defined]
    assert len(keys("revoke", former)["keys"]) == 1  # type: ignore[arg-type]
    assert (
        run(["keys", "revoke", former, "--folder", str(folder), "--data-dir", str(folder), "--unrecorded"])
        == 1
    )


def test_a_first_start_makes_them_and_a_start_after_an_upgrade_knows_of_it(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    data_dir.prepare()
    read_secrets(data_dir)
    assert read_files(data_dir.keys)[1].unsigned_before is None
    for name in (SIGNING_KEY, PUBLIC_KEYS):
        (data_dir.keys / name).unlink()
    read_secrets(data_dir)
    assert read_files(data_dir.keys)[1].unsigned_before is not None
    (data_dir.keys / PUBLIC_KEYS).write_text("nonsense")
    with pytest.raises(DatabaseRefused, match="TRADING_APPROVAL_PUBLIC_KEYS, line 1"):
        read_secrets(data_dir)


async def test_risk_does_not_start_with_a_key_that_execution_would_refuse() -> None:
    other, secret = ApprovalSigner.generate()
    settings = RiskSettings(
        database_url=SecretStr("postgresql://ti_risk@127.0.0.1:1/trading"),
        temporal_address="127.0.0.1:1",
        approval_signing_key=SecretStr(secret),
        **PUBLIC,
    )
    with pytest.raises(ApprovalKeyError, match=f"key {other.key_id}, which .* does not name"):
        async with build_risk(settings):
            pass
