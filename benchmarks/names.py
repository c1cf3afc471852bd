"""How the contenders are called, in the table, the results and the page."""

from typing import Final

OURS: Final = "ours"
FLOOR: Final = "floor"
BONES: Final = "our workflow, commits alone"
EQUAL: Final = "floor, our commits"
PLAIN_TUNED: Final = "plain, our steps, tuned server"
PLAIN_STOCK: Final = "plain, our steps, stock server"
COMMITS_ALONE: Final = "plain, commits alone, stock server"
NAMES: Final = (OURS, BONES, EQUAL, FLOOR, PLAIN_TUNED, PLAIN_STOCK, COMMITS_ALONE)
TOPOLOGIES: Final = ("compact", "isolated")
