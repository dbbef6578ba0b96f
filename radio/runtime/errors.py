"""Exceptions whose messages are written for the user."""


class RadioError(Exception):
    """Bad input or an exhausted machine; the message is one sentence that names the remedy.

    `radio.cli` prints the message and exits with status 2. Any other exception is a bug: its
    traceback is written to a file (`radio.runtime.failure`), and the exit status is 1.
    """


class MachineError(RadioError):
    """An exhausted machine (memory, disk, network): the same input may work later or elsewhere.

    It is never recorded as the reason why a model is unavailable.
    """
