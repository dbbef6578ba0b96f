"""Bytes of memory that calibration takes, in memory and streaming, from a model's geometry.

Measured peaks are within a quarter of these, see docs/log.md.
"""

from dataclasses import dataclass

from radio.resources.model_shape import Geometry
from radio.runtime.errors import RadioError

# Python with torch and transformers (0.46 GB before there is a model), and what the allocator and
# the compiled matrix products hold beyond what is asked of them
PROCESS_BYTES = 580_000_000
# the same of an allocation, which has no model
BARE_PROCESS_BYTES = 310_000_000
FLOAT32_BYTES = 4
# of an allocation: statistics, measured errors, the vertices of a hull, depths, numbers of weights
GROUP_BYTES = 105
# float32 copies of a matrix while it is coded, and of the second moment of its inputs
MATRIX_COPIES, MOMENT_COPIES = 6, 4
# of a weight of a matrix while its codes are unpacked and decoded
UNPACKED_BYTES = 16


@dataclass(frozen=True)
class CalibrationFootprint:
    """Memory of gradient variances of a model.

    Attributes:
        geometry: of the model.
        length: tokens of a sequence.
        group_rows: rows of a weight group.
        dtype_bytes: of a weight or an activation in computing.
    """

    geometry: Geometry
    length: int
    group_rows: int
    dtype_bytes: int

    def in_memory_bytes(self) -> int:
        """Peak of a model held whole: its float32 weights, and those that are computed with."""
        of = self.geometry
        copies = FLOAT32_BYTES + (self.dtype_bytes if self.dtype_bytes < FLOAT32_BYTES else 0)
        saved = of.blocks * self._saved_bytes()
        return self._always_bytes() + copies * of.parameters + saved + self._passing_bytes()

    def on_gpu_bytes(self) -> int:
        """Peak of a model on GPUs, whose float32 weights stay in the memory of the host."""
        of = self.geometry
        held = self.dtype_bytes * of.parameters + of.blocks * self._saved_bytes()
        return held + self._passing_bytes() + FLOAT32_BYTES * of.groups(self.group_rows)

    def on_gpu_streaming_bytes(self) -> int:
        """Peak on a GPU of a model on disk: one block at a time, and a sequence's states in it."""
        of = self.geometry
        held = self.dtype_bytes * (of.outside_parameters + of.block_parameters)
        sums = FLOAT32_BYTES * of.groups(self.group_rows)
        return held + self._saved_bytes() + self._passing_bytes() + sums

    def streaming_bytes(self, sequences: int, *, on_disk: bool) -> int:
        """Peak of a model on disk, with as many sequences going through a block together."""
        of = self.geometry
        # two blocks, and the file's bytes of the one that is read
        blocks = (2 * self.dtype_bytes + of.dtype_bytes) * of.block_parameters
        held = self.dtype_bytes * of.outside_parameters + blocks
        kept = sequences * self.kept_bytes(on_disk=on_disk)
        return self._always_bytes() + held + kept + self._saved_bytes() + self._passing_bytes()

    def at_once(self, allowed_bytes: int, sequences: int, *, on_disk: bool) -> int:
        """Of so many sequences, those that may go through a block together; one at least."""
        spare = allowed_bytes - self.streaming_bytes(0, on_disk=on_disk)
        return min(max(spare // self.kept_bytes(on_disk=on_disk), 1), sequences)

    def kept_bytes(self, *, on_disk: bool) -> int:
        """What a sequence takes on its way: inputs of all blocks, or of one, and two of its own."""
        states = self.length * self.geometry.width * self.dtype_bytes
        return (3 if on_disk else self.geometry.blocks + 2) * states

    def _always_bytes(self) -> int:
        """The process, and twice the statistics: sums and what is made of them."""
        return PROCESS_BYTES + 3 * FLOAT32_BYTES * self.geometry.groups(self.group_rows)

    def _saved_bytes(self) -> int:
        """What a backward pass needs of a block: inputs and outputs of its linear layers."""
        units = sum(rows + cols for rows, cols in self.geometry.linears)
        return self.dtype_bytes * self.length * units

    def _passing_bytes(self) -> int:
        """The larger of what the head and what a matrix takes for a moment."""
        of = self.geometry
        # logits and their gradient
        logits = self.length * of.vocabulary * 2 * self.dtype_bytes
        # a gradient, its float32 copy, its square
        matrix = max(rows * cols for rows, cols in of.linears)
        return max(logits, matrix * (self.dtype_bytes + 2 * FLOAT32_BYTES))


def largest_batch(sequences: int, pilot_sequences: int) -> int:
    """Of a calibration's sequences those that may go through a block together.

    The pilot's, or the others: rows are clustered in between.

    Raises:
        RadioError: one of the two has none.
    """
    if not 0 < pilot_sequences < sequences:
        raise RadioError(
            f"calibration.estimator.pilot_sequences={pilot_sequences} must lie between 0 and "
            f"calibration.estimator.sequences={sequences}: lower it or add sequences"
        )
    return max(pilot_sequences, sequences - pilot_sequences)


def whole_model_bytes(geometry: Geometry, copies: int, length: int) -> int:
    """So many float32 copies of a model, and its outputs of one sequence of `length` tokens."""
    held = copies * FLOAT32_BYTES * geometry.parameters
    return PROCESS_BYTES + held + _logits_bytes(geometry, length)


@dataclass(frozen=True)
class EvaluationFootprint:
    """Memory of a text that runs through a model.

    Attributes:
        geometry: of the model.
        length: tokens of a block of the text.
        dtype_bytes: of a weight or an activation in computing.
        coded_bytes: of the file of a quantized model, which is compared with a reference; 0 for the
            reference itself.
    """

    geometry: Geometry
    length: int
    dtype_bytes: int
    coded_bytes: int = 0

    def in_memory_bytes(self) -> int:
        """Peak of a model held whole, and a byte for each code."""
        codes = self.geometry.weights if self.coded_bytes else 0
        return PROCESS_BYTES + codes + self.on_gpu_bytes()

    def on_gpu_bytes(self) -> int:
        """Peak of a model on GPUs."""
        return self.dtype_bytes * self.geometry.parameters + self._heads_bytes()

    def streaming_bytes(self, tokens: int) -> int:
        """Peak of a model on disk, with `tokens` of a text on their way through it.

        The quantized file is mapped; what a system that is short of memory takes back is counted.
        """
        of = self.geometry
        # two blocks, and the file's bytes of the one that is read
        blocks = (2 * self.dtype_bytes + of.dtype_bytes) * of.block_parameters
        held = self.dtype_bytes * of.outside_parameters + blocks
        if self.coded_bytes:
            matrix = max(rows * cols for rows, cols in of.linears)
            held += self.coded_bytes + UNPACKED_BYTES * matrix
        # what goes into a block and what comes out of it
        states = 2 * tokens * of.width * self.dtype_bytes
        return PROCESS_BYTES + held + states + self._heads_bytes()

    def _heads_bytes(self) -> int:
        """Logits and their logarithms of probabilities; of an original too, and its head."""
        of = self.geometry
        if not self.coded_bytes:
            return _logits_bytes(of, self.length, copies=3)
        return self.dtype_bytes * of.vocabulary * of.width + _logits_bytes(of, self.length)


def _logits_bytes(geometry: Geometry, length: int, copies: int = 5) -> int:
    """Logits, their logarithms of probabilities, those of an original, and what is between."""
    return copies * FLOAT32_BYTES * length * geometry.vocabulary


def allocation_bytes(geometry: Geometry, group_rows: int) -> int:
    """Peak of an exact allocation, whose tables are in memory layer by layer."""
    return BARE_PROCESS_BYTES + GROUP_BYTES * geometry.groups(group_rows)


def quantization_bytes(geometry: Geometry) -> int:
    """Peak of a model that is quantized in memory: float32 weights, and a byte for each code."""
    return PROCESS_BYTES + FLOAT32_BYTES * geometry.parameters + geometry.weights


def streaming_quantization_bytes(
    geometry: Geometry, result_bytes: int, kept_states: int = 0
) -> int:
    """Peak of a model that is quantized on disk.

    Args:
        geometry: of the model.
        result_bytes: of the quantized file, whose parts are mapped while they are joined; what a
            system that is short of memory takes back is counted too.
        kept_states: hidden states of the calibration text, in bytes, for a method that needs them.
    """
    # two float32 blocks, the file's bytes of the one that is read, and a copy to run
    copies = (4 if kept_states else 2) * FLOAT32_BYTES + geometry.dtype_bytes
    outside = FLOAT32_BYTES * geometry.outside_parameters
    working = _working_bytes(geometry, of_inputs=bool(kept_states))
    coding = copies * geometry.block_parameters + working + kept_states
    return PROCESS_BYTES + outside + max(coding, result_bytes)


def quantization_on_gpu_bytes(geometry: Geometry, *, of_inputs: bool) -> int:
    """Peak on a GPU, of a model on disk or not: a block, and a copy to run for its inputs."""
    copies = (2 if of_inputs else 1) * FLOAT32_BYTES
    return copies * geometry.block_parameters + _working_bytes(geometry, of_inputs=of_inputs)


def _working_bytes(geometry: Geometry, *, of_inputs: bool) -> int:
    """What the coding of the largest matrix takes for a while."""
    cols = max(cols for _, cols in geometry.linears) if of_inputs else 0
    matrix = max(rows * each for rows, each in geometry.linears)
    return FLOAT32_BYTES * (MATRIX_COPIES * matrix + MOMENT_COPIES * cols**2)
