"""Errors of an exhausted machine, not of its input: no memory, no disk, no network.

Such an error may disappear when resources are free again, so it is never recorded as the reason why
a model is unavailable (`radio.runtime.unavailable`).
"""

import errno

from radio.runtime.errors import MachineError
from radio.runtime.memory import available_bytes

GB = 1e9
# messages of torch's and safetensors' own error classes
WORDS = (
    *("can't allocate memory", "Cannot allocate memory"),
    *("not enough memory", "out of memory", "bad_alloc"),
)
# CUDA's class is matched by name, so that torch need not be imported
CLASSES = ("OutOfMemoryError",)


def exhausted(error: BaseException, doing: str, needed_bytes: int | None) -> MachineError | None:
    """Return a `MachineError` if `error` means too little memory, else None.

    Args:
        error: the exception.
        doing: what the memory was for ("reading DIR").
        needed_bytes: least memory that this takes; None if unknown.
    """
    if not _of_memory(error):
        return None
    needed = "" if needed_bytes is None else f", which takes at least {needed_bytes / GB:.3g} GB"
    return MachineError(
        f"not enough memory for {doing}{needed}: {available_bytes() / GB:.3g} GB is available; "
        "free some memory, or set streaming=true where the step has it"
    )


def _of_memory(error: BaseException) -> bool:
    """Return whether this error, or one that caused it, means that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ in CLASSES:
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    of_library = isinstance(error, RuntimeError | OSError) or "Safetensor" in type(error).__name__
    if of_library and any(words in str(error) for words in WORDS):
        return True
    cause = error.__cause__
    return cause is not None and _of_memory(cause)
