"""Models spread over devices: by accelerate's hooks, and not where there is no room."""

import pytest
import torch

from radio.calibrate.random_sign import RandomSign
from radio.calibrate.statistics import tensors_of
from radio.models import device_map, final_hidden, load_model, place
from radio.runtime.device import ON_CPU
from radio.runtime.errors import RadioError
from tests.tiny import state_in, tiny_llama, tiny_opt

IDS = torch.randint(2, 300, (3, 16), generator=torch.Generator().manual_seed(3))
TWO = tuple(torch.device("cuda", index) for index in range(2))
BLOCKS = 4


@pytest.fixture(params=[tiny_llama, tiny_opt])
def checkpoint(request, tmp_path):
    return request.param(tmp_path / "model", num_hidden_layers=BLOCKS)


@pytest.fixture
def layouts(monkeypatch):
    """Module by device of every model that is spread; all are on the CPU behind the hooks."""
    seen, dispatch = [], device_map.dispatch_model

    def on_the_cpu(model, layout, main_device):
        seen.append(layout)
        return dispatch(model, dict.fromkeys(layout, "cpu"), force_hooks=True)

    monkeypatch.setattr(device_map, "dispatch_model", on_the_cpu)
    monkeypatch.setattr(device_map, "free_bytes", lambda gpu: 1 << 30)
    return seen


def test_spread_gives_the_same_numbers(checkpoint, layouts, tmp_path):
    """Every module under a hook of accelerate's, forward and backward; each GPU has its part."""
    estimator = RandomSign(8, 3, 1, "float32", "kl")
    wanted, found = (
        tensors_of(estimator.run(load_model(checkpoint), IDS, 0, state_in(tmp_path), devices))
        for devices in (ON_CPU, TWO)
    )
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    (layout,) = layouts
    blocks = {name: device for name, device in layout.items() if ".layers." in name}
    assert len(blocks) == BLOCKS and set(blocks.values()) == set(TWO)


def test_a_cast_on_the_way(checkpoint, layouts):
    wanted = final_hidden(load_model(checkpoint).to(torch.bfloat16), IDS)
    for devices in (ON_CPU, TWO):
        placed = place(load_model(checkpoint), devices, torch.bfloat16)
        assert torch.equal(final_hidden(placed, IDS), wanted)


def test_no_room(checkpoint, layouts, monkeypatch):
    monkeypatch.setattr(device_map, "free_bytes", lambda gpu: 100_000)
    with pytest.raises(RadioError, match=r"spread has room for 0\.00016 GB .* the model has"):
        place(load_model(checkpoint), TWO)
