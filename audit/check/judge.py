"""Holds rows against the leaves outside and the signed roots, batch by batch, and names what is wrong.

A good batch costs a few comparisons of bytes. Where one differs, rows and leaves are laid side by side: the next
two neighbours that stand together in both end what differs, and its lengths say what happened.
"""

from collections import deque
from typing import Final

from audit.check.alignment import rejoin, split_hashes
from audit.check.checkpoints import Checkpoints, Published, Seen
from audit.check.digests import NO_LEAF, Digest, Named
from audit.check.findings import Finding, Report, Wrong
from audit.check.leaves import OutsideLeaves
from audit.check.tree import HASH_BYTES, Tree
from audit.check.verified import Verified

CARRIED_MAX: Final = 20_000
"""Rows kept until it is seen where what differs ends."""
LOOK_AHEAD: Final = 100_000
"""Rows beyond a batch whose leaves are searched: so many missing in a row are still seen as missing."""
SKIP: Final = 65_536
"""Leaves read at once where there are no rows."""
SEARCHES_MAX: Final = 20
"""Times that all leaves outside are searched for one."""


class Judge:
    """Takes rows from ``start`` on in the order of their numbers, and then `finish`."""

    def __init__(
        self,
        published: Published,
        checkpoints: Checkpoints,
        leaves: OutsideLeaves,
        report: Report,
        tree: Tree,
    ) -> None:
        self._published = published
        self._checkpoints = checkpoints
        self._leaves = leaves
        self._report = report
        self.tree = tree
        self.at = tree.size
        """The number of the next row."""
        self._shift = 0
        """What numbers are off by, since rows went missing or came in and the rest was renumbered."""
        self._carried: Digest | None = None
        self._due = deque(each for each in checkpoints.found if each.size > tree.size)
        self._roots_differ = False
        self._signed = (tree.size, tree.root(), tree.frontier())
        self._searches = 0
        self._beyond = Named(None, None)
        """The first row that no leaf outside covers."""
        report.first = self.at

    # Good rows -------------------------------------------------------------------------------------------------

    async def take(self, digest: Digest) -> None:
        """Judge the next rows."""
        gone = sum(leaf == NO_LEAF for leaf in digest.leaves) if digest.wrong else 0
        self._report.rows += len(digest) - gone - digest.dropped
        self._report.dropped += digest.dropped
        self._report.payloads += digest.payloads
        self._report.payloads_elsewhere += digest.elsewhere
        if self._carried is not None:
            digest, self._carried = self._carried.followed_by(digest), None
        truth = await self._leaves.read(self.at, len(digest))
        if self.at <= self._leaves.covered < self.at + len(digest):
            self._beyond = digest.name(self._leaves.covered - self.at)
        if self._all_good(digest, truth) and await self._all_published(digest):
            await self._grow(digest.leaves)
        else:
            await self._compare(digest, last=False)

    def _all_good(self, digest: Digest, truth: bytes) -> bool:
        first = self.at + self._shift
        leaves = b"".join(digest.leaves)
        return (
            not digest.wrong
            and leaves.startswith(truth)
            and (digest.stored is digest.leaves or leaves == b"".join(digest.stored))
            and (digest.sequences == range(first, first + len(digest)))
            and len(leaves) == len(digest) * HASH_BYTES
        )

    async def _all_published(self, digest: Digest) -> bool:
        for reference in set(digest.previous):
            if not await self._published.may_be_named(reference, self.at + digest.previous.index(reference)):
                return False
        return True

    # The tree --------------------------------------------------------------------------------------------------

    async def _grow(self, leaves: list[bytes]) -> None:
        """Go on by rows whose leaves are these, and hold the root against each checkpoint on the way."""
        end = self.at + len(leaves)
        while self._due and self._due[0].size <= end:
            checkpoint = self._due.popleft()
            count = checkpoint.size - self.at
            self.tree.extend(leaves[:count])
            leaves, self.at = leaves[count:], checkpoint.size
            self._check_root(checkpoint)
        self.tree.extend(leaves)
        self.at = end

    def _check_root(self, checkpoint: Seen) -> None:
        if self._roots_differ:
            return
        if self.tree.root() == checkpoint.root:
            self._signed = (checkpoint.size, checkpoint.root, self.tree.frontier())
            return
        self._roots_differ = True
        before = max(
            (each.size for each in self._checkpoints.found if each.size < checkpoint.size), default=0
        )
        if checkpoint.size <= self._leaves.covered:
            text = (
                f"the leaf hashes outside do not give the signed root of {checkpoint.size} rows: from row {before} "
                "on, a row that differs from them may be right"
            )
            self._report.add(Finding(kind=Wrong.OUTSIDE_DAMAGED, sequence=before, text=text))
        else:
            text = f"the rows do not give the signed root of {checkpoint.size} rows; one from {before} on differs"
            rows = checkpoint.size - before
            self._report.add(Finding(kind=Wrong.REWRITTEN, sequence=before, text=text, rows=rows))

    async def skip_to(self, row: int) -> None:
        """Go on to a row by the leaves outside alone: nobody says that the rows before it are here."""
        while self.at < min(row, self._leaves.covered):
            chunk = await self._leaves.read(self.at, min(SKIP, row - self.at))
            await self._grow(split_hashes(chunk))

    # What differs ----------------------------------------------------------------------------------------------

    async def _compare(self, digest: Digest, *, last: bool) -> None:
        """Row by row. What differs up to the end is carried into the next batch, unless this is the last one."""
        truth = split_hashes(await self._leaves.read(self.at, len(digest) + LOOK_AHEAD))
        places: dict[bytes, int] = {}
        passed: list[bytes] = []
        """Leaves of the tree up to the row that is looked at."""
        at = 0
        while at < len(digest):
            here = len(passed)
            if here >= len(truth) or digest.leaves[at] == truth[here]:
                if here >= len(truth):
                    self._tell_hole(digest.sequences[at], self.at + here)
                passed.append(truth[here] if here < len(truth) else digest.leaves[at] or digest.stored[at])
                await self._judge_alone(digest, at, self.at + here, covered=here < len(truth))
                at += 1
                continue
            places = places or {leaf: place for place, leaf in enumerate(truth)}
            joint = rejoin(digest.leaves, at, truth, here, places)
            if joint is None and not last and len(digest) - at < CARRIED_MAX:
                self._carried = digest.tail(at)
                break
            end, until = joint or (len(digest), min(len(truth), here + len(digest) - at))
            await self._tell(digest, at, end, truth[here:until], self.at + here)
            passed.extend(truth[here:until])
            if joint is not None and end - at != until - here:
                self._shift = (digest.sequences[end] or 0) - (self.at + until)
            at = end
        await self._grow(passed)

    def _tell_hole(self, number: int | None, row: int) -> None:
        """Beyond the leaves outside, missing rows are seen by a hole in the numbers only."""
        missing = 0 if number is None else number - (row + self._shift)
        if missing > 0:
            text = "numbers are left out, and no checkpoint says what was there"
            self._report.add(Finding(kind=Wrong.MISSING, sequence=row, text=text, rows=missing))
            self._shift += missing

    async def _judge_alone(self, digest: Digest, place: int, row: int, *, covered: bool) -> None:
        """A row in its place: whatever else it shows."""
        leaf, stored, reference = digest.leaves[place], digest.stored[place], digest.previous[place]
        if place in digest.wrong:
            kind, text = digest.wrong[place]
            self._add(digest, place, row, kind, text)
        elif stored != leaf:
            kind = Wrong.LEAF_CHANGED if covered else Wrong.EDITED
            self._add(digest, place, row, kind, "the leaf kept with the row is not the row's")
        if digest.sequences[place] not in (None, row + self._shift):
            number = digest.sequences[place]
            self._add(
                digest, place, row, Wrong.RENUMBERED, f"the row that was number {row} says it is {number}"
            )
        if not await self._published.may_be_named(reference, row):
            text = f"it names {reference} as the newest checkpoint before it, and that was never published"
            self._add(digest, place, row, Wrong.PREVIOUS_UNKNOWN, text)

    async def _tell(self, digest: Digest, at: int, end: int, expected: list[bytes], row: int) -> None:
        """Rows [at, end) stand where the leaves ``expected`` should; the first of them is number ``row``."""
        found, count = digest.leaves[at:end], end - at
        if count < len(expected):
            text = "the leaf outside has no row"
            self._report.add(Finding(kind=Wrong.MISSING, sequence=row, text=text, rows=len(expected) - count))
        elif count > len(expected):
            text = "a row without a leaf outside stands between sealed ones"
            self._add(digest, at, row, Wrong.INSERTED, text, rows=count - len(expected))
        elif set(found) == set(expected):
            self._add(digest, at, row, Wrong.SWAPPED, "rows stand in each other's place", rows=count)
        elif at in digest.wrong and found[0] == NO_LEAF:
            kind, text = digest.wrong[at]
            self._add(digest, at, row, kind, text, rows=count)
        else:
            elsewhere = await self._search(found[0])
            if elsewhere is not None:
                text = f"row {elsewhere} stands in its place"
                self._add(digest, at, row, Wrong.SWAPPED, text, rows=count)
            elif digest.stored[at] == found[0]:
                text = "row and kept leaf agree with each other, and not with the leaf outside"
                self._add(digest, at, row, Wrong.REWRITTEN, text, rows=count)
            else:
                self._add(digest, at, row, Wrong.EDITED, "the row no longer gives its leaf", rows=count)

    def _add(self, digest: Digest, place: int, row: int, kind: Wrong, text: str, *, rows: int = 1) -> None:
        audit_id, correlation_id = digest.name(place)
        self._report.add(
            Finding(
                kind=kind,
                text=text,
                sequence=row,
                audit_id=audit_id,
                correlation_id=correlation_id,
                rows=rows,
            )
        )

    async def _search(self, leaf: bytes) -> int | None:
        self._searches += 1
        if leaf == NO_LEAF or self._searches > SEARCHES_MAX:
            return None
        return await self._leaves.find_leaf(leaf)

    def verified(self, origin: str) -> Verified:
        """Where a later check may go on: rows beyond the newest signed root are nobody's word yet."""
        size, root, frontier = self._signed
        return Verified(origin, size, root.hex(), tuple(frontier))

    # The end ---------------------------------------------------------------------------------------------------

    async def finish(self, *, whole: bool, proved: bool = False, head: int | None = None) -> None:
        """No more rows come.

        Args:
            whole: all rows to the newest checkpoint should have come.
            proved: and none beyond it.
            head: how many rows the log itself says that it has.
        """
        if self._carried is not None:
            digest, self._carried = self._carried, None
            await self._compare(digest, last=True)
        self._report.end = self.at
        newest = self._checkpoints.newest
        if newest is None:
            self._report.beyond = self.at - self._report.first
            return
        self._report.beyond = max(0, self.at - max(newest.size, self._report.first))
        if proved and self._report.beyond:
            self._tell_beyond(newest.size)
        if whole and self.at < newest.size:
            self._tell_end(newest.size, head)
        await self.skip_to(newest.size)
        for name in sorted(self._leaves.damaged):
            self._report.add(
                Finding(kind=Wrong.OUTSIDE_DAMAGED, text=f"{name} is not as long as its name says")
            )

    def _tell_beyond(self, newest: int) -> None:
        text = f"no checkpoint covers it: the newest is of {newest} rows, or older than these files"
        self._report.add(
            Finding(
                kind=Wrong.INSERTED,
                sequence=self.at - self._report.beyond,
                text=text,
                audit_id=self._beyond.audit_id,
                correlation_id=self._beyond.correlation_id,
                rows=self._report.beyond,
            )
        )

    def _tell_end(self, newest: int, head: int | None) -> None:
        kind, text = Wrong.CUT_TAIL, "the rows end here"
        if head is not None and head < newest:
            kind, text = Wrong.ROLLED_BACK, f"the log has {head} rows"
        text = f"{text}; a checkpoint of {newest} was signed"
        self._report.add(Finding(kind=kind, sequence=self.at, text=text, rows=newest - self.at))
