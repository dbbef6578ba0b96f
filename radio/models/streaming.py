"""A checkpoint read on demand: decoder blocks are loaded and freed, the rest stays in memory.

Memory holds the embeddings, the head and two blocks: the one that computes and the next, which a
thread reads meanwhile. Everything else is the model's own code: the inputs of the first block are
captured (`first_block_inputs`), and the layers after the last block run with the decoder's blocks
replaced by one that returns given states (`after_blocks`).
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from radio.models.blocks import decoder_blocks, first_block_inputs
from radio.models.check import check_checkpoint
from radio.models.load import DECODER, check_finite, decoder_linears, final_hidden
from radio.models.stored import opened, stored_tensors
from radio.runtime.device import CPU, to_device
from radio.runtime.errors import RadioError
from radio.runtime.memory import release_free_memory
from radio.runtime.progress import progress


class StreamedModel:
    """A model whose decoder blocks are on disk.

    Attributes:
        model: the whole model in evaluation mode, its decoder blocks on the meta device.
        dtype: type of all computations.
        device: device of all computations.
        block_count: number of decoder blocks.
        weights: float32 weights of the linear layers by name, read on each access.
        edit: function applied to each block after reading it, with the block's full name; a no-op
            at first.
    """

    edit: Callable[[str, nn.Module], None] | None = None

    def __init__(self, path: Path, dtype: torch.dtype, device: torch.device = CPU) -> None:
        """Read all parameters outside the decoder blocks of the checkpoint in directory `path`.

        Args:
            path: directory of a checkpoint.
            dtype: type of all computations.
            device: device of the blocks and all other parameters.

        Raises:
            RadioError: the checkpoint is absent, corrupt or incomplete, its architecture is
                unsupported, or a weight is NaN or infinite; for blocks, this is raised on reading
                them.
        """
        config = check_checkpoint(path)
        self.dtype, self.device = dtype, device
        self._stored = _Stored(path)
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
        assert isinstance(model, PreTrainedModel)
        self.model = model.eval().requires_grad_(False)
        inside = f"{DECODER[model.config.model_type]}.layers."
        outside = {name for name in model.state_dict() if not name.startswith(inside)}
        there = {name for name in outside if self._stored.place(name) is not None}
        held = to_device(self._stored.read({name: name for name in there}, dtype), device)
        _fill(model, held, path, strict=False)
        for module in model.modules():
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, buffer.to(device))
        # as in transformers: a tied matrix may be stored under either name, and matrices that
        # differ stay separate, whatever config.json says
        model.tie_weights(missing_keys=outside - there, recompute_mapping=False)
        self.block_count = len(decoder_blocks(model))
        self.weights: Mapping[str, Tensor] = _Weights(self._stored, decoder_linears(model))

    @property
    def weights_read_bytes(self) -> int:
        """Return the bytes of the stored tensors that were read so far."""
        return self._stored.read_bytes

    def blocks(self, *, backward: bool = False, start: int = 0) -> Iterator[tuple[str, nn.Module]]:
        """Yield each decoder block from `start` with its full name, forward or in reverse.

        The next block is read while the caller computes with the current one. At most two blocks
        are in memory, one of them on `device`, unless the caller keeps some.

        Raises:
            RadioError: a block's weights are absent, damaged, or not finite.
        """
        order = list(decoder_blocks(self.model).items())[start:]
        if backward:
            order.reverse()
        if not order:
            return
        with ThreadPoolExecutor(max_workers=1) as reader:
            reading: Future[tuple[str, nn.Module]] = reader.submit(self._filled, *order[0])
            for following in order[1:]:
                name, block = reading.result()
                reading = reader.submit(self._filled, *following)
                yield name, block.to(self.device)
                del block
                release_free_memory()
            name, block = reading.result()
            yield name, block.to(self.device)

    @torch.no_grad()
    def through_blocks(
        self,
        ids: Int[Tensor, "sequences length"],
        what: str,
        entering: Callable[[str, Tensor], None] | None = None,
    ) -> tuple[Float[Tensor, "sequences length width"], dict[str, Any]]:
        """Return the hidden states after the last block (on the CPU) and the blocks' other inputs.

        Args:
            ids: token ids; sequences pass a block one at a time.
            what: label of the progress bar.
            entering: called with each block's name and its inputs.
        """
        hidden, others = first_block_inputs(self.model, ids, self.dtype)
        for name, block in progress(self.blocks(), what, self.block_count):
            if entering is not None:
                entering(name, hidden)
            outputs = [block(each.to(self.device), **others).cpu() for each in hidden.split(1)]
            hidden = torch.cat(outputs)
        return hidden, others

    @torch.no_grad()
    def final_states(
        self, ids: Int[Tensor, "sequences length"], what: str
    ) -> Iterator[Float[Tensor, "length width"]]:
        """Yield the inputs of the head for each sequence, after all have passed all blocks."""
        hidden, _ = self.through_blocks(ids, what)
        for sequence, states in zip(ids.split(1), hidden.split(1), strict=True):
            with self.after_blocks(states.to(self.device)):
                final = final_hidden(self.model, sequence)[0]
            yield final

    @contextmanager
    def after_blocks(self, states: Float[Tensor, "batch length width"]) -> Iterator[None]:
        """Inside, a forward pass of `model` uses `states` as the output of its blocks."""
        decoder: Any = self.model.get_submodule(DECODER[self.model.config.model_type])
        blocks = decoder.layers
        decoder.layers = nn.ModuleList([_HandOver(states)])
        try:
            yield
        finally:
            decoder.layers = blocks

    def _filled(self, name: str, empty: nn.Module) -> tuple[str, nn.Module]:
        """Return a copy of a block with its weights."""
        release_free_memory()  # the previous block may have been freed since the last call
        block = copy.deepcopy(empty)
        parameters = {key: f"{name}.{key}" for key, _ in block.named_parameters()}
        _fill(block, self._stored.read(parameters, self.dtype), self._stored.path)
        block.requires_grad_(False)
        if self.edit is not None:
            self.edit(name, block)
        return name, block


class _HandOver(nn.Module):
    """Replaces all decoder blocks: ignores its input and returns the given states."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states

    def forward(self, *_args: object, **_kwargs: object) -> Tensor:
        return self.states


class _Stored:
    """Tensors of a checkpoint on disk; files are opened for each read, so none stays mapped."""

    def __init__(self, path: Path) -> None:
        self.path, self.read_bytes = path, 0
        self._file = {name: stored.file for name, stored in stored_tensors(path).items()}

    def read(self, names: Mapping[str, str], dtype: torch.dtype) -> dict[str, Tensor]:
        """Return copies of tensors in `dtype`, by the keys of `names`.

        Raises:
            RadioError: a tensor is not stored, its file is damaged, or a value is not finite.
        """
        places = {key: self._existing(name) for key, name in names.items()}
        found = {}
        for file in sorted({file for file, _ in places.values()}):
            with opened(file) as tensors:
                for key, (home, stored) in places.items():
                    if home == file:
                        tensor = tensors[stored]
                        self.read_bytes += tensor.nbytes
                        found[key] = tensor.to(dtype, copy=True)
        for key, tensor in found.items():
            check_finite(names[key], tensor, self.path)
        return found

    def place(self, name: str) -> tuple[Path, str] | None:
        """Return the file of a tensor and its name in the file; None if it is not stored.

        Some files hold the decoder only, without the model's prefix.
        """
        for stored in (name, name.removeprefix("model.")):
            if stored in self._file:
                return self._file[stored], stored
        return None

    def _existing(self, name: str) -> tuple[Path, str]:
        found = self.place(name)
        if found is None:
            raise RadioError(
                f"the checkpoint in {self.path} is corrupt or incomplete (no usable values for "
                f"{name}): fetch or make it again"
            )
        return found


class _Weights(Mapping[str, Tensor]):
    """Weights of linear layers by the layers' names, read on access."""

    def __init__(self, stored: _Stored, layers: Iterable[str]) -> None:
        self._stored, self._layers = stored, list(layers)

    def __getitem__(self, layer: str) -> Tensor:
        release_free_memory()
        return self._stored.read({layer: f"{layer}.weight"}, torch.float32)[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


def _fill(
    module: nn.Module, weights: Mapping[str, Tensor], path: Path, strict: bool = True
) -> None:
    """Assign parameters to a module on the meta device."""
    try:
        module.load_state_dict(weights, strict=strict, assign=True)
    except RuntimeError as error:
        raise RadioError(
            f"the checkpoint in {path} does not fit its config.json ({str(error).splitlines()[-1]}"
            "): fetch or make it again"
        ) from error
