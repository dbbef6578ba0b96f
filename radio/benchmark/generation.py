"""Speed of greedy generation: prefill and decoding, in torch and llama.cpp."""

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
    """Seconds for the prompt, which also yields the first new token, and for all further tokens."""

    prefill_s: float
    decode_s: float


# maps a prompt and the number of tokens to generate after the first one to times
Decoder = Callable[[Sequence[int], int], Times]


def torch_decoder(model: PreTrainedModel) -> Decoder:
    """Return a greedy decoder of one sequence with a key-value cache, without a sampler."""

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
    """Return llama.cpp's greedy decoder, with torch's number of threads and llama.cpp's clock.

    The wheel `xllamacpp` must be installed.
    """
    xllamacpp = import_module("xllamacpp")
    settings = xllamacpp.CommonParams()
    settings.model.path = str(gguf)
    settings.n_ctx, settings.n_parallel = context_tokens, 1
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = torch.get_num_threads()
    server = xllamacpp.Server(settings)

    def decode(prompt: Sequence[int], new_tokens: int) -> Times:
        request = {"prompt": list(prompt), "n_predict": 1 + new_tokens}
        greedy = {"temperature": 0, "top_k": 1, "ignore_eos": True, "cache_prompt": False}
        timings = server.handle_completions(request | greedy)["timings"]
        if (timings["prompt_n"], timings["predicted_n"]) != (len(prompt), 1 + new_tokens):
            raise RadioError(
                f"llama.cpp read {timings['prompt_n']} tokens and wrote {timings['predicted_n']}, "
                f"not {len(prompt)} and {1 + new_tokens}: install another version of xllamacpp, or "
                "uninstall it"
            )
        return Times(timings["prompt_ms"] / 1e3, timings["predicted_ms"] / 1e3)

    return decode


def measure(
    decoders: Sequence[Decoder],
    vocabulary: int,
    prompt_tokens: Sequence[int],
    new_tokens: int,
    rounds: int,
) -> list[dict[str, float]]:
    """Return tokens per second of each decoder: medians over `rounds` turns, after a warm-up.

    Args:
        decoders: decoders, which take turns.
        vocabulary: size of the vocabulary; prompts are random tokens.
        prompt_tokens: lengths of the prompts; generation is timed after the first prompt.
        new_tokens: number of tokens to generate after the first one.
        rounds: number of turns.
    """
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(vocabulary, (n,), generator=generator).tolist() for n in prompt_tokens]
    turns: list[list[list[Times]]] = [[] for _ in decoders]
    for _ in progress(range(1 + rounds), "turns"):
        for history, decode in zip(turns, decoders, strict=True):
            history.append([decode(p, new_tokens if p is prompts[0] else 0) for p in prompts])
    rates = []
    for _warm_up, *measured in turns:
        rate = {"decode_tokens_per_s": new_tokens / median(turn[0].decode_s for turn in measured)}
        for i, n in enumerate(prompt_tokens):
            seconds = median(turn[i].prefill_s for turn in measured)
            rate[f"prefill_{n}_tokens_per_s"] = n / seconds
        rates.append(rate)
    return rates
