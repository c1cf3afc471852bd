"""The orders' process of another build: its order workflow begins otherwise, so no history of ours replays on it.

``python -m tests.chaos.changed_build``; ``TRADING_BUILD_ID`` says how it is called.
"""

import os
import sys

from schemas.wire import Queue
from tests.replay.changed import OtherAlarm
from workers import roles
from workers.run import main
from workflows.protection import ProtectionWorkflow

if __name__ == "__main__":
    roles.WORKFLOWS[Queue.ORDERS] = (OtherAlarm, ProtectionWorkflow)
    code = main(["orders"])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
