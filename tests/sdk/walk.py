"""Walking an SDK class: one method of the walk for each method of the class, by the same name."""

import inspect


def public_methods(cls: type) -> set[str]:
    """Everything a user of the class may call."""
    return {name for name, _ in inspect.getmembers(cls, callable) if not name.startswith("_")}


def steps(walk: type) -> list[str]:
    """The methods that a walk calls, in the order in which they are written."""
    return [name for name, value in vars(walk).items() if callable(value) and not name.startswith("_")]


def gaps(cls: type, walk: type, left_out: dict[str, str]) -> set[str]:
    """Methods that are neither walked nor left out for a reason, and names that the class does not have."""
    return public_methods(cls) ^ (set(steps(walk)) | set(left_out))


_METHODS_OF_HTTP = ("get", "post", "put", "patch", "delete", "response_wrapper")
PLUMBING = dict.fromkeys(_METHODS_OF_HTTP, "carries the requests of the other methods")
INSIDE_STOP = {
    "stop_ws": "what stop() runs inside the stream's own loop",
    "close": "what run() does in the end",
}
