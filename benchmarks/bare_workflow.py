"""The yardstick: a workflow whose one activity makes so many commits and one POST."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel

BARE_QUEUE = "bare"
PLACE = "bare.place"
PLACE_TIMEOUT = timedelta(seconds=30)


class Ask(BaseModel):
    """``name`` becomes the client_order_id; ``commits`` transactions are committed before the POST."""

    name: str
    commits: int


@workflow.defn(name="bare")
class BareWorkflow:
    """Nothing but the activity."""

    @workflow.run
    async def run(self, ask: Ask) -> None:
        """Run it once."""
        await workflow.execute_activity(PLACE, ask, start_to_close_timeout=PLACE_TIMEOUT)
