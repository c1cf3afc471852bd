"""What Temporal keeps of an error: its message and stack, without secrets, and encrypted where payloads are.

An error's text is written by libraries and by the broker, and stays in a history for a month: it goes through the
same redaction as a log line before it leaves the process.
"""

from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter, PayloadConverter

from observability.redaction import redact_text

ENCODED = "Encoded failure"
"""What stands in the clear where the message is encoded: the SDK's own words."""


class RedactingFailureConverter(DefaultFailureConverter):
    """The SDK's converter, and message and stack of each cause redacted."""

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        """As the base class; called again for each cause."""
        super().to_failure(exception, payload_converter, failure)
        failure.message = redact_text(failure.message)
        failure.stack_trace = redact_text(failure.stack_trace)


class EncodingFailureConverter(RedactingFailureConverter):
    """The same with message and stack as a payload, which the codec encrypts. An error's ``type`` stays plain."""

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        """As the base class; called again for each cause."""
        super().to_failure(exception, payload_converter, failure)
        told = {"message": failure.message, "stack_trace": failure.stack_trace}
        failure.encoded_attributes.CopyFrom(payload_converter.to_payloads([told])[0])
        failure.message, failure.stack_trace = ENCODED, ""
