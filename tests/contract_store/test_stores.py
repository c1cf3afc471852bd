"""What every store promises, and what only one of them does."""

import asyncio
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr

from audit.store.directory import ABANDONED_AFTER_SECONDS, UNFINISHED, DirectoryStore
from audit.store.port import ObjectDiffers, ObjectStore, StoreRefused, StoreUnavailable
from audit.store.s3 import S3Settings, S3Store
from tests.servers.amazon import ACCESS_KEY, REGION, SECRET_KEY, Amazon, Bucket
from workers.datadir import free_port

LATER = datetime.now(UTC) + timedelta(days=3650)
NOT_NAMES = ("", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a/.b", "a b", "a\nb")


class TestEveryStore:
    async def test_what_is_put_is_there_and_nothing_else(self, store: ObjectStore) -> None:
        content = bytes(range(256)) * 1000
        await store.put("checkpoints/00000000000000000007", content, keep_until=LATER)
        assert await store.get("checkpoints/00000000000000000007") == content
        assert await store.get("checkpoints/0000000000000000000") is None, "a prefix of it is another name"
        assert await store.get("checkpoints") is None
        await store.put("key", b"")
        assert await store.get("key") == b""

    async def test_the_same_again_is_harmless_and_another_content_is_refused(
        self, store: ObjectStore
    ) -> None:
        for _ in range(2):
            await store.put("audit/0-9.jsonl.zst", b"one", keep_until=LATER)
        with pytest.raises(ObjectDiffers):
            await store.put("audit/0-9.jsonl.zst", b"two", keep_until=LATER)
        assert await store.get("audit/0-9.jsonl.zst") == b"one"

    async def test_of_many_at_once_one_content_stands(self, store: ObjectStore) -> None:
        contents = [b"%d" % (number % 3) for number in range(9)]
        tries = (store.put("key", content) for content in contents)
        answers = await asyncio.gather(*tries, return_exceptions=True)
        found = await store.get("key")
        for content, answer in zip(contents, answers, strict=True):
            assert (answer is None) is (content == found), answer
            assert answer is None or isinstance(answer, ObjectDiffers)

    async def test_of_many_who_write_the_same_all_succeed(self, store: ObjectStore) -> None:
        await asyncio.gather(*(store.put("leaves/0-1", bytes(32)) for _ in range(5)))
        assert await store.names("leaves/") == ["leaves/0-1"]

    async def test_names_come_in_order_by_their_beginning(self, store: ObjectStore) -> None:
        assert await store.names() == []
        assert await store.names("leaves/") == []
        for name in ("leaves/10", "leaves/2", "leaves/100", "leaf", "events/1-2.jsonl.zst"):
            await store.put(name, name.encode())
        assert await store.names("leaves/") == ["leaves/10", "leaves/100", "leaves/2"]
        assert await store.names("leaves/10") == ["leaves/10", "leaves/100"]
        assert await store.names("leaves/", after="leaves/10") == ["leaves/100", "leaves/2"]
        assert await store.names("leaves/", after="leaves/") == ["leaves/10", "leaves/100", "leaves/2"]
        assert await store.names() == ["events/1-2.jsonl.zst", "leaf", "leaves/10", "leaves/100", "leaves/2"]

    async def test_a_name_that_leads_elsewhere_is_none(self, store: ObjectStore) -> None:
        for name in NOT_NAMES:
            with pytest.raises(ValueError):
                await store.put(name, b"x")
            with pytest.raises(ValueError):
                await store.get(name)
        with pytest.raises(ValueError):
            await store.names("../")
        assert await store.names() == []

    async def test_its_place_is_told_without_a_secret(self, store: ObjectStore) -> None:
        assert store.place
        assert SECRET_KEY not in store.place + repr(store)


class TestADirectory:
    async def test_whoever_is_killed_while_writing_leaves_nothing_under_the_name(
        self, tmp_path: Path
    ) -> None:
        killed = (
            "import asyncio, os, signal, sys\nfrom pathlib import Path\n"
            "from audit.store.directory import DirectoryStore\n"
            "os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
            "asyncio.run(DirectoryStore(Path(sys.argv[1])).put('audit/1', b'half'))\n"
        )
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", killed, str(tmp_path))
        assert await child.wait() == -9
        store = DirectoryStore(tmp_path)
        assert await store.names() == []
        assert await store.get("audit/1") is None
        [left] = (tmp_path / UNFINISHED).iterdir()
        long_ago = left.stat().st_mtime - ABANDONED_AFTER_SECONDS - 1
        os.utime(left, (long_ago, long_ago))
        await store.put("audit/1", b"whole")
        assert await store.get("audit/1") == b"whole"
        assert list((tmp_path / UNFINISHED).iterdir()) == []

    async def test_a_folder_that_cannot_be_used_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("no folder")
        with pytest.raises(StoreUnavailable):
            await DirectoryStore(tmp_path / "file").put("key", b"x")


class TestABucket:
    async def test_what_is_locked_cannot_be_deleted_and_not_be_hidden(self, bucket: Bucket) -> None:
        store, client = bucket.store(), bucket.amazon.client()
        await store.put("audit/1", b"kept", keep_until=LATER)
        [version] = client.list_object_versions(Bucket=bucket.name)["Versions"]
        held = client.head_object(Bucket=bucket.name, Key="audit/1")
        assert held["ObjectLockMode"] == "COMPLIANCE"
        assert abs(held["ObjectLockRetainUntilDate"] - LATER) < timedelta(seconds=1)
        for bypass in (False, True):
            with pytest.raises(ClientError, match="AccessDenied"):
                client.delete_object(
                    Bucket=bucket.name, Key="audit/1", VersionId=version["VersionId"],
                    BypassGovernanceRetention=bypass,
                )  # fmt: skip
        client.put_object(Bucket=bucket.name, Key="audit/1", Body=b"another in its place")
        client.delete_object(Bucket=bucket.name, Key="audit/1")
        assert client.list_objects_v2(Bucket=bucket.name)["KeyCount"] == 0, "hidden from others"
        assert await store.get("audit/1") == b"kept"
        assert await store.names("audit/") == ["audit/1"]

    async def test_what_says_nothing_of_it_is_locked_as_the_store_is_told(self, bucket: Bucket) -> None:
        locked = S3Store(replace(bucket.settings(), locked_for=timedelta(days=100)))
        await locked.put("checkpoints/7", b"signed")
        held = bucket.amazon.client().head_object(Bucket=bucket.name, Key="checkpoints/7")
        wanted = datetime.now(UTC) + timedelta(days=100)
        assert abs(held["ObjectLockRetainUntilDate"] - wanted) < timedelta(minutes=5)

    async def test_what_is_not_locked_can_be_deleted(self, bucket: Bucket) -> None:
        """Else the refusal above would prove nothing."""
        store, client = bucket.store(), bucket.amazon.client()
        await store.put("audit/1", b"not kept")
        [version] = client.list_object_versions(Bucket=bucket.name)["Versions"]
        client.delete_object(Bucket=bucket.name, Key="audit/1", VersionId=version["VersionId"])
        assert await store.get("audit/1") is None

    async def test_a_bucket_without_object_lock_is_refused(self, amazon: Amazon) -> None:
        amazon.client().create_bucket(
            Bucket="unlocked", CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        store = Bucket(amazon, "unlocked").store()
        await store.put("key", b"may go")
        with pytest.raises(StoreRefused):
            await store.put("audit/1", b"must stay", keep_until=LATER)
        assert await store.get("audit/1") is None

    async def test_names_go_on_over_pages(self, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
        store = bucket.store()
        for number in range(5):
            await store.put(f"leaves/{number}", b"x")
        await store.put("leaves/4/1", b"x")
        paginate = store._client().get_paginator("list_object_versions").paginate
        pages = []

        def small(**options: Any) -> Iterator[Any]:
            for page in paginate(**options, PaginationConfig={"PageSize": 2}):
                pages.append(page)
                yield page

        paginator = SimpleNamespace(paginate=small)
        monkeypatch.setattr(store._client(), "get_paginator", lambda _: paginator)
        assert await store.names("leaves/") == [*(f"leaves/{number}" for number in range(5)), "leaves/4/1"]
        assert len(pages) == 3

    async def test_a_bucket_that_is_not_there_is_refused_and_a_service_that_is_not_is_unavailable(
        self, bucket: Bucket
    ) -> None:
        here = bucket.settings()
        gone = replace(here, bucket="nobodys-bucket")
        with pytest.raises(StoreRefused, match="NoSuchBucket"):
            await S3Store(gone).put("key", b"x")
        down = replace(here, endpoint_url=f"http://127.0.0.1:{free_port()}")
        with pytest.raises(StoreUnavailable):
            await S3Store(down).get("key")

    def test_no_secret_is_shown(self) -> None:
        settings = S3Settings(
            bucket="b", region=REGION, access_key=SecretStr(ACCESS_KEY), secret_key=SecretStr(SECRET_KEY)
        )
        assert SECRET_KEY not in repr(settings) + repr(S3Store(settings))
