"""The bot in the README runs as it is printed there, on another port."""

import re
import subprocess
import sys

from tests.exchange.conftest import Venue
from tests.servers.processes import REPOSITORY

BOT_SECONDS = 60
KEYS = ('"demo", "demo"', '"TESTKEY", "TESTSECRET"')


def test_the_bot_of_the_readme_buys(sdk: Venue) -> None:
    (bot,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    program = bot.replace(":8900", f":{sdk.running.port}").replace(*KEYS)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=BOT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "OrderStatus.PENDING_NEW" in done.stdout
    assert any(position.symbol == "SPY" for position in sdk.client.get_all_positions())
