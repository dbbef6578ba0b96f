"""Estimate the memory of jobs in bytes, in memory and streaming, from a model's shape.

Measured peaks are within a quarter of these estimates, see docs/log.md.
"""

from dataclasses import dataclass

from radio.resources.model_shape import Geometry
from radio.runtime.errors import RadioError

# Python with torch and transformers (0.46 GB before a model is loaded), plus the overhead of the
# allocator and the compiled matrix products
PROCESS_BYTES = 580_000_000
# the same for an allocation, which loads no model
BARE_PROCESS_BYTES = 310_000_000
FLOAT32_BYTES = 4
# per group in an allocation: statistics, measured errors, hull vertices, depths, weight counts
GROUP_BYTES = 105
# float32 copies of a matrix during quantization, and of the second moment of its inputs
MATRIX_COPIES, MOMENT_COPIES = 6, 4
# per weight of a matrix while its codes are unpacked and decoded
UNPACKED_BYTES = 16


@dataclass(frozen=True)
class CalibrationFootprint:
    """Memory of the calibration of gradient variances.

    Attributes:
        geometry: shape of the model.
        length: tokens of a sequence.
        group_rows: rows of a weight group.
        dtype_bytes: bytes of a weight or activation in computations.
    """

    geometry: Geometry
    length: int
    group_rows: int
    dtype_bytes: int

    def in_memory_bytes(self) -> int:
        """Return the peak for a model in memory: float32 weights and a copy in the compute type."""
        of = self.geometry
        copies = FLOAT32_BYTES + (self.dtype_bytes if self.dtype_bytes < FLOAT32_BYTES else 0)
        saved = of.blocks * self._saved_bytes()
        return self._always_bytes() + copies * of.parameters + saved + self._passing_bytes()

    def on_gpu_bytes(self) -> int:
        """Return the peak for a model on GPUs; its float32 weights stay in host memory."""
        of = self.geometry
        held = self.dtype_bytes * of.parameters + of.blocks * self._saved_bytes()
        return held + self._passing_bytes() + FLOAT32_BYTES * of.groups(self.group_rows)

    def on_gpu_streaming_bytes(self) -> int:
        """Return the GPU peak for a model on disk: a block and a sequence's states at a time."""
        of = self.geometry
        held = self.dtype_bytes * (of.outside_parameters + of.block_parameters)
        sums = FLOAT32_BYTES * of.groups(self.group_rows)
        return held + self._saved_bytes() + self._passing_bytes() + sums

    def streaming_bytes(self, sequences: int, *, on_disk: bool) -> int:
        """Return the peak for a model on disk, with `sequences` per pass over the blocks."""
        of = self.geometry
        # two blocks, and the file's bytes of the one being read
        blocks = (2 * self.dtype_bytes + of.dtype_bytes) * of.block_parameters
        held = self.dtype_bytes * of.outside_parameters + blocks
        kept = sequences * self.kept_bytes(on_disk=on_disk)
        return self._always_bytes() + held + kept + self._saved_bytes() + self._passing_bytes()

    def at_once(self, allowed_bytes: int, sequences: int, *, on_disk: bool) -> int:
        """Return how many of `sequences` fit in memory per pass over the blocks; at least one."""
        spare = allowed_bytes - self.streaming_bytes(0, on_disk=on_disk)
        return min(max(spare // self.kept_bytes(on_disk=on_disk), 1), sequences)

    def kept_bytes(self, *, on_disk: bool) -> int:
        """Return the bytes of a sequence's states: inputs of all blocks or of one, and two more."""
        states = self.length * self.geometry.width * self.dtype_bytes
        return (3 if on_disk else self.geometry.blocks + 2) * states

    def _always_bytes(self) -> int:
        """Return the bytes of the process and of the statistics: three float32 values per group."""
        return PROCESS_BYTES + 3 * FLOAT32_BYTES * self.geometry.groups(self.group_rows)

    def _saved_bytes(self) -> int:
        """Return the bytes that a block's backward pass needs: inputs and outputs of its layers."""
        units = sum(rows + cols for rows, cols in self.geometry.linears)
        return self.dtype_bytes * self.length * units

    def _passing_bytes(self) -> int:
        """Return the larger of the temporary memory of the head and that of a matrix."""
        of = self.geometry
        # logits and their gradient
        logits = self.length * of.vocabulary * 2 * self.dtype_bytes
        # a gradient, its float32 copy and its square
        matrix = max(rows * cols for rows, cols in of.linears)
        return max(logits, matrix * (self.dtype_bytes + 2 * FLOAT32_BYTES))


def largest_batch(sequences: int, pilot_sequences: int) -> int:
    """Return the largest number of sequences that calibration runs per pass over the blocks.

    This is the number of pilot sequences or of the others: rows are clustered in between.

    Raises:
        RadioError: either number is zero.
    """
    if not 0 < pilot_sequences < sequences:
        raise RadioError(
            f"calibration.estimator.pilot_sequences={pilot_sequences} must lie between 0 and "
            f"calibration.estimator.sequences={sequences}: lower it or add sequences"
        )
    return max(pilot_sequences, sequences - pilot_sequences)


def whole_model_bytes(geometry: Geometry, copies: int, length: int) -> int:
    """Return the bytes of `copies` float32 copies of a model and its outputs for one sequence."""
    held = copies * FLOAT32_BYTES * geometry.parameters
    return PROCESS_BYTES + held + _logits_bytes(geometry, length)


@dataclass(frozen=True)
class EvaluationFootprint:
    """Memory of running a text through a model.

    Attributes:
        geometry: shape of the model.
        length: tokens of a sequence.
        dtype_bytes: bytes of a weight or activation in computations.
        coded_bytes: bytes of a quantized model's file, which is compared with a reference; 0 for
            the reference itself.
    """

    geometry: Geometry
    length: int
    dtype_bytes: int
    coded_bytes: int = 0

    def in_memory_bytes(self) -> int:
        """Return the peak for a model in memory, plus a byte per code."""
        codes = self.geometry.weights if self.coded_bytes else 0
        return PROCESS_BYTES + codes + self.on_gpu_bytes()

    def on_gpu_bytes(self) -> int:
        """Return the peak for a model on GPUs."""
        return self.dtype_bytes * self.geometry.parameters + self._heads_bytes()

    def streaming_bytes(self, tokens: int) -> int:
        """Return the peak for a model on disk, with `tokens` tokens of a text passing through it.

        The memory-mapped quantized file is counted, although a system short of memory reclaims it.
        """
        of = self.geometry
        # two blocks, and the file's bytes of the one being read
        blocks = (2 * self.dtype_bytes + of.dtype_bytes) * of.block_parameters
        held = self.dtype_bytes * of.outside_parameters + blocks
        if self.coded_bytes:
            matrix = max(rows * cols for rows, cols in of.linears)
            held += self.coded_bytes + UNPACKED_BYTES * matrix
        # inputs and outputs of a block
        states = 2 * tokens * of.width * self.dtype_bytes
        return PROCESS_BYTES + held + states + self._heads_bytes()

    def _heads_bytes(self) -> int:
        """Return the bytes of logits and log-probabilities; with an original's and its head."""
        of = self.geometry
        if not self.coded_bytes:
            return _logits_bytes(of, self.length, copies=3)
        return self.dtype_bytes * of.vocabulary * of.width + _logits_bytes(of, self.length)


def _logits_bytes(geometry: Geometry, length: int, copies: int = 5) -> int:
    """Return the bytes of logits, their log-probabilities, an original's, and temporaries."""
    return copies * FLOAT32_BYTES * length * geometry.vocabulary


def allocation_bytes(geometry: Geometry, group_rows: int) -> int:
    """Return the peak of an exact allocation, whose tables are in memory layer by layer."""
    return BARE_PROCESS_BYTES + GROUP_BYTES * geometry.groups(group_rows)


def quantization_bytes(geometry: Geometry) -> int:
    """Return the peak of quantization in memory: float32 weights and a byte per code."""
    return PROCESS_BYTES + FLOAT32_BYTES * geometry.parameters + geometry.weights


def streaming_quantization_bytes(
    geometry: Geometry, result_bytes: int, kept_states: int = 0
) -> int:
    """Return the peak of quantization from disk.

    Args:
        geometry: shape of the model.
        result_bytes: bytes of the quantized file, whose parts are memory-mapped while they are
            joined; counted although a system short of memory reclaims them.
        kept_states: bytes of the calibration text's hidden states, for a method that needs them.
    """
    # two float32 blocks, the file's bytes of the one being read, and a copy to run
    copies = (4 if kept_states else 2) * FLOAT32_BYTES + geometry.dtype_bytes
    outside = FLOAT32_BYTES * geometry.outside_parameters
    working = _working_bytes(geometry, of_inputs=bool(kept_states))
    coding = copies * geometry.block_parameters + working + kept_states
    return PROCESS_BYTES + outside + max(coding, result_bytes)


def quantization_on_gpu_bytes(geometry: Geometry, *, of_inputs: bool) -> int:
    """Return the GPU peak of quantization: one block, and a copy to compute its inputs."""
    copies = (2 if of_inputs else 1) * FLOAT32_BYTES
    return copies * geometry.block_parameters + _working_bytes(geometry, of_inputs=of_inputs)


def _working_bytes(geometry: Geometry, *, of_inputs: bool) -> int:
    """Return the temporary bytes of quantizing the largest matrix."""
    cols = max(cols for _, cols in geometry.linears) if of_inputs else 0
    matrix = max(rows * each for rows, each in geometry.linears)
    return FLOAT32_BYTES * (MATRIX_COPIES * matrix + MOMENT_COPIES * cols**2)
