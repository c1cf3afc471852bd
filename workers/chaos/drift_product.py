"""The product whose catch-up comes once a day: what the update stream does not bring, only a reconciliation finds.

``python -m workers.chaos.drift_product PROCESS``: as ``workers.run``. Patched from outside, so that the product
itself has no switch for it.
"""

import os
import sys
from typing import Final

import workers.stream_watch
from workers.run import main

SECONDS_A_DAY: Final = 86_400.0

if __name__ == "__main__":
    if not hasattr(workers.stream_watch, "CATCH_UP_SECONDS"):
        raise AttributeError("workers.stream_watch has no CATCH_UP_SECONDS: this must follow it")
    vars(workers.stream_watch)["CATCH_UP_SECONDS"] = SECONDS_A_DAY
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
