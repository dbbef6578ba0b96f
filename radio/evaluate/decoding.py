"""How fast a model reads a prompt and writes greedily after it, in torch and in llama.cpp."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from radio.runtime.errors import RadioError
from radio.runtime.progress import progress


class Times(NamedTuple):
    """Seconds for the prompt, whose last position gives a first token, and for those after it."""

    prefill_s: float
    decode_s: float


# times of reading a prompt and writing so many tokens after its first
Decoder = Callable[[Sequence[int], int], Times]


def torch_decoder(model: PreTrainedModel) -> Decoder:
    """Greedy decoding with a key-value cache, one sequence, without a sampler's overhead."""

    @torch.inference_mode()
    def decode(prompt: Sequence[int], new_tokens: int) -> Times:
        run: Any = model
        start = perf_counter()
        output = run(input_ids=torch.tensor([prompt]), use_cache=True, logits_to_keep=1)
        token = output.logits[:, -1:].argmax(-1)
        between = perf_counter()
        for _ in range(new_tokens):
            output = run(
                input_ids=token,
                past_key_values=output.past_key_values,
                use_cache=True,
                logits_to_keep=1,
            )
            token = output.logits[:, -1:].argmax(-1)
        return Times(between - start, perf_counter() - between)

    return decode


def llama_cpp_decoder(gguf: Path, context_tokens: int) -> Decoder:
    """Greedy decoding by llama.cpp with as many threads as torch's, by llama.cpp's own clock.

    Needs the wheel `xllamacpp`.
    """
    xllamacpp = import_module("xllamacpp")
    settings = xllamacpp.CommonParams()
    settings.model.path = str(gguf)
    settings.n_ctx, settings.n_parallel = context_tokens, 1
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = torch.get_num_threads()
    server = xllamacpp.Server(settings)

    def decode(prompt: Sequence[int], new_tokens: int) -> Times:
        asked = {"prompt": list(prompt), "n_predict": 1 + new_tokens}
        greedy = {"temperature": 0, "top_k": 1, "ignore_eos": True, "cache_prompt": False}
        told = server.handle_completions(asked | greedy)["timings"]
        if (told["prompt_n"], told["predicted_n"]) != (len(prompt), 1 + new_tokens):
            raise RadioError(
                f"llama.cpp read {told['prompt_n']} tokens and wrote {told['predicted_n']}, not "
                f"{len(prompt)} and {1 + new_tokens}: install another version of xllamacpp, or none"
            )
        return Times(told["prompt_ms"] / 1e3, told["predicted_ms"] / 1e3)

    return decode


def measure(
    decoders: Sequence[Decoder],
    vocabulary: int,
    prompt_tokens: Sequence[int],
    new_tokens: int,
    rounds: int,
) -> list[dict[str, float]]:
    """Tokens a second of each decoder: medians over `rounds` turns, after one to warm up.

    Args:
        decoders: they take turns.
        vocabulary: size; prompts are of random tokens.
        prompt_tokens: lengths of prompts; what is written is timed after the first.
        new_tokens: written after the first.
        rounds: turns whose median counts.
    """
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(vocabulary, (n,), generator=generator).tolist() for n in prompt_tokens]
    turns: list[list[list[Times]]] = [[] for _ in decoders]
    for _ in progress(range(1 + rounds), "turns"):
        for past, decode in zip(turns, decoders, strict=True):
            past.append([decode(p, new_tokens if p is prompts[0] else 0) for p in prompts])
    rates = []
    for _, *timed in turns:
        rate = {"decode_tokens_per_s": new_tokens / median(turn[0].decode_s for turn in timed)}
        for i, n in enumerate(prompt_tokens):
            seconds = median(turn[i].prefill_s for turn in timed)
            rate[f"prefill_{n}_tokens_per_s"] = n / seconds
        rates.append(rate)
    return rates
