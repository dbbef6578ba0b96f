"""GPUs for a machine without one: tensors of the CPU that say they are elsewhere.

While `pretend_gpus` lasts, torch's functions know for every tensor which device it is said to be
on, and refuse what a GPU would: to compute with tensors of two devices, to hand a GPU's tensor to
numpy, and to draw on a GPU from a generator of the CPU. Numbers are the CPU's, so that what is
computed on such a device has to equal it bit for bit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

CPU = torch.device("cpu")
ROOM_BYTES = 1 << 30

DEVICE, GRAD, DATA = (getattr(torch.Tensor, name) for name in ("device", "grad", "data"))
# from one device to another
CROSSING = {torch.Tensor.copy_, torch._has_compatible_shallow_copy_type}
OF_THE_CPU = {torch.Tensor.numpy, torch.Tensor.__array__}


class Gpus(TorchFunctionMode):
    """Knows where every tensor is said to be; those it has not seen are where they are."""

    def __init__(self) -> None:
        super().__init__()
        self.used: set[torch.device] = set()

    def of(self, tensor: Tensor) -> torch.device:
        return tensor.__dict__.get("said_to_be_on") or DEVICE.__get__(tensor)

    def put(self, made: Any, device: torch.device) -> Any:
        """Say that the tensors in `made` are on `device`."""
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                tensor.__dict__.pop("said_to_be_on", None)
                if device.type == "cuda":
                    tensor.said_to_be_on = device
                    self.used.add(device)
        return made

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func == DEVICE.__get__:
            return self.of(args[0])
        if func == GRAD.__get__:
            return self.put(func(*args), self.of(args[0]))
        if func == DATA.__set__:
            func(*args)
            self.put(args[0], self.of(args[1]))
            return None
        if func is torch.Tensor.register_post_accumulate_grad_hook:
            return func(args[0], self._seen(args[1]))
        if func in (torch.Tensor.to, torch.Tensor.cpu):
            return self._to(func, args, kwargs)
        device = None
        if kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cuda":
            device = torch.device(kwargs.pop("device"))
        if kwargs.get("generator") is not None and device is not None:
            raise RuntimeError(f"a generator of the CPU cannot draw on {device}")
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        homes = {self.of(each) for each in tensors if each.dim()}
        homes |= {self.of(each) for each in tensors} - {CPU}
        if func in OF_THE_CPU and homes - {CPU}:
            raise RuntimeError(f"{func.__name__} of a tensor on {next(iter(homes))}")
        if len(homes) > 1 and func not in CROSSING:
            raise RuntimeError(f"{func.__name__} of tensors on {sorted(map(str, homes))}")
        made = func(*args, **kwargs)
        if func in CROSSING:
            return made
        home = device or next(iter(homes), CPU)
        return self.put(made, home) if home.type == "cuda" and "device" not in kwargs else made

    def _seen(self, hook):
        """A hook as it is, though autograd calls it where nobody would see what it does."""

        def seen(parameter):
            with self:
                hook(parameter)

        return seen

    def _to(self, func, args, kwargs):
        tensor, *asked = args
        home = target = self.of(tensor)
        dtypes = []
        for each in [CPU] if func is torch.Tensor.cpu else [*asked, kwargs.get("device")]:
            if isinstance(each, Tensor):
                target = self.of(each)
                dtypes.append(each.dtype)
            elif isinstance(each, torch.device | str):
                target = torch.device(each)
            elif isinstance(each, torch.dtype):
                dtypes.append(each)  # and not whether to wait
        if "cuda" not in (home.type, target.type):
            return func(*args, **kwargs)
        kwargs.pop("device", None)
        moved = tensor.to(*dtypes, **kwargs) if dtypes or kwargs else tensor
        return self.put(moved.clone() if target != home and moved is tensor else moved, target)


@contextmanager
def pretend_gpus(count: int = 1) -> Iterator[Gpus]:
    """Inside, torch computes on so many GPUs as if they were there, and radio sees them."""
    gpus, made = Gpus(), torch.Tensor._make_subclass

    def make(cls, data, *args, **kwargs):
        """A parameter is where its values are, which torch does by itself without telling."""
        return gpus.put(made(cls, data, *args, **kwargs), gpus.of(data))

    there = tuple(torch.device("cuda", index) for index in range(count))
    with (
        mock.patch("radio.runtime.device.gpus", lambda: there),
        mock.patch("torch.cuda.mem_get_info", lambda _device: (ROOM_BYTES, ROOM_BYTES)),
        mock.patch.object(torch.Tensor, "_make_subclass", staticmethod(make)),
        gpus,
    ):
        yield gpus
