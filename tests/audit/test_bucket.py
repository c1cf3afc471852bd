"""``trading audit verify`` reads from a bucket what is outside."""

from pathlib import Path

import pytest

from audit.store.s3 import S3Store
from tests.audit.made import make_log
from tests.console.commands import Trading, environment
from tests.servers.amazon import ACCESS_KEY, SECRET_KEY, Bucket


@pytest.mark.slow
async def test_an_export_is_checked_against_a_bucket(bucket: Bucket, tmp_path: Path) -> None:
    """How: a real S3 server; then the same without its keys, and with other keys' bucket missing."""
    log = make_log(30, [10, 20, 30])
    outside = log.put_outside(tmp_path / "outside")
    store = S3Store(bucket.settings("trading/"))
    for file in outside.rglob("*"):
        if file.is_file():
            await store.put(file.relative_to(outside).as_posix(), file.read_bytes())
    export = tmp_path / "export.jsonl"
    export.write_bytes(b"".join(line + b"\n" for line in log.lines))
    settings = {
        "TRADING_AUDIT_TARGET": f"s3://{bucket.name}/trading", "TRADING_AUDIT_S3_REGION": "eu-central-1",
        "TRADING_AUDIT_S3_ENDPOINT": bucket.amazon.url,
    }  # fmt: skip
    keys = {"TRADING_AUDIT_S3_KEY": ACCESS_KEY, "TRADING_AUDIT_S3_SECRET": SECRET_KEY}
    verify = ("audit", "verify", "--export", str(export), "--key", log.signer.vkey, "--json")
    good = await Trading(environment(**settings, **keys))(*verify)
    assert good.code == 0, good.out
    assert (good.code, good.json["rows"], good.json["checkpoints"]) == (0, 30, 3), good.err
    keyless = await Trading(environment(**settings))(*verify)
    assert (keyless.code, keyless.json["error"]["code"]) == (2, "BAD_USAGE")
    elsewhere = settings | {"TRADING_AUDIT_TARGET": "s3://no-such-bucket"}
    missing = await Trading(environment(**elsewhere, **keys))(*verify)
    assert (missing.code, missing.json["error"]["code"]) == (3, "DEPENDENCY_DOWN")
    assert SECRET_KEY not in good.out + keyless.out + missing.out
