"""The exceptions that a user is meant to read."""


class RadioError(Exception):
    """Bad input or a machine at its limit, told in one sentence that names the remedy.

    `radio.cli` prints the sentence and exits with status 2. Any other exception is a bug: its
    traceback goes to a file (`radio.runtime.failure`), and the exit status is 1.
    """


class MachineError(RadioError):
    """A machine at its limit (memory, disk, network): the same input may work later or elsewhere.

    It is never kept as the reason why a model is unavailable.
    """
