"""Generation speeds: medians over turns, and a table of all runtimes."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from radio.benchmark import generation as decoding
from radio.benchmark.generation import Times, measure, torch_decoder
from radio.cli import run
from radio.models import load_model
from radio.pack.file import save_quantized
from radio.runtime.files import write_json
from tests.pack.test_file import quantized_by
from tests.tiny import tiny_llama


def test_rates_are_medians_without_the_first_turn():
    requests = []
    prefills, decodes = iter([99, 99, 1, 2, 9, 9, 4, 5]), iter([99, 0, 2, 0, 8, 0, 4, 0])

    def decode(prompt, new_tokens):
        requests.append((len(prompt), new_tokens))
        return Times(next(prefills), next(decodes))

    (rates,) = measure([decode], 50, [8, 20], 6, rounds=3)
    assert requests == [(8, 6), (20, 0)] * 4
    assert rates == {
        "decode_tokens_per_s": 6 / 4,
        "prefill_8_tokens_per_s": 8 / 4,
        "prefill_20_tokens_per_s": 20 / 5,
    }


def test_the_timed_run_is_greedy_generation(tmp_path, monkeypatch):
    """The model reads the same tokens as under `generate`."""
    model = load_model(tiny_llama(tmp_path / "model"))
    prompt = torch.randint(2, 300, (1, 12), generator=torch.Generator().manual_seed(0))
    expected = model.generate(prompt, max_new_tokens=6, do_sample=False, eos_token_id=None)
    fed = []
    right = model.forward

    def forward(input_ids, **settings):
        fed.append(input_ids)
        return right(input_ids=input_ids, **settings)

    monkeypatch.setattr(model, "forward", forward)
    torch_decoder(model)(prompt[0].tolist(), 6)
    assert torch.equal(torch.cat(fed, dim=1), expected)


@pytest.mark.parametrize("installed", [None, "1"])
def test_the_step_writes_a_table_for_machines_and_readers(tmp_path, monkeypatch, installed):
    checkpoint = tiny_llama(tmp_path / "model")
    write_json(tmp_path / "model.json", {"measured": {"path": str(checkpoint)}})
    save_quantized(tmp_path / "3.safetensors", quantized_by(load_model(checkpoint), "radio"))
    measured = {"method": "radio", "rate_bits": 3, "mean_depth": 3.0, "bpw": 3.5}
    write_json(tmp_path / "3.json", {"measured": measured})
    overrides = [f"artifacts.model={tmp_path}/model.json"]
    overrides += [f"artifacts.quantized=['{tmp_path}/3.safetensors']", f"model.path={checkpoint}"]
    sizes = ["prompt_tokens=[4,9]", "new_tokens=2", "rounds=1"]
    monkeypatch.setattr("radio.benchmark.ggml.installed", lambda: installed)
    run("decode", [*overrides, *sizes, f"out={tmp_path}/table.csv"])
    table = pd.read_csv(tmp_path / "table.csv")
    assert table.weights.tolist() == ["dense", "dense", "radio", "radio"]
    assert table.dtype.tolist() == ["float32", "bfloat16"] * 2
    assert bool((table[["decode_tokens_per_s", "prefill_9_tokens_per_s"]] > 0).all(axis=None))
    assert bool((table.weight_bytes[:2] > table.weight_bytes[2:].to_numpy()).all())
    text = (tmp_path / "table.md").read_text()
    assert "Prompt of 9, tokens/s" in text and ("without llama.cpp" in text) == (installed is None)


def test_answers_of_other_lengths_are_refused(monkeypatch):
    class Server:
        def __init__(self, _settings):
            pass

        def handle_completions(self, request):
            timings = {"prompt_n": len(request["prompt"]), "predicted_n": request["n_predict"] - 1}
            return {"timings": timings}

    fake = type("Fake", (), {"Server": Server, "CommonParams": ConfigResolver})
    monkeypatch.setattr(decoding, "import_module", lambda _: fake)
    with pytest.raises(decoding.RadioError, match="read 3 tokens and wrote 2, not 3 and 3"):
        decoding.llama_cpp_decoder(Path("x.gguf"), 64)([1, 2, 3], 2)


class ConfigResolver:
    """Settings of llama.cpp with arbitrary attributes."""

    def __init__(self):
        self.model, self.cpuparams, self.cpuparams_batch = (type("", (), {})() for _ in range(3))
