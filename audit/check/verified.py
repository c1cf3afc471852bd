"""Where a good check has ended, so that the next one can go on from there."""

from dataclasses import dataclass

from audit.check.tree import Tree


@dataclass(frozen=True)
class Verified:
    """What an earlier check has seen to be right: a later one goes on from there."""

    origin: str
    size: int
    root: str
    frontier: tuple[str, ...]

    def tree(self) -> Tree:
        """Its tree.

        Raises:
            ValueError: it is not what such a check leaves behind.
        """
        tree = Tree.resumed(self.size, self.frontier)
        if tree.root().hex() != self.root:
            raise ValueError("the frontier does not give the root")
        return tree
