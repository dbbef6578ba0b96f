import datasets
import pytest
import torch
from datasets import Dataset
from hydra.utils import instantiate
from omegaconf import OmegaConf

from radio.data import load_text
from radio.data.tokens import check_disjoint
from radio.runtime.errors import RadioError
from tests.data.fake_texts import CONFIG, article, document, write_json_gz, write_parquet

TRAIN, VALIDATION = "en/c4-train.00000-of-01024.json.gz", "en/c4-validation.00000-of-00008.json.gz"
TEST_PARQUET = "wikitext-2-raw-v1/test-00000-of-00001.parquet"


def spec(name, folder, **changes):
    return OmegaConf.merge(
        OmegaConf.load(CONFIG / f"{name}.yaml"), {"path": folder and str(folder)}, changes
    )


def small_wikitext(folder):
    return spec("wikitext2", folder, context_tokens=50, blocks={"calibration": 7})


def small_c4(folder, **changes):
    sizes = {"calibration": 4, "validation": 3, "test": 5}
    return spec("c4", folder, context_tokens=80, blocks=sizes, joined_documents=12, **changes)


@pytest.fixture
def asked(monkeypatch):
    """Replace the hub; every request is kept, and answered with rows of the split's name."""
    requests = []

    def load_dataset(**request):
        requests.append(request)
        rows = [document(len(requests) * 10_000 + index, 300) for index in range(150)]
        return Dataset.from_dict({"text": rows})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return requests


def test_wikitext2_asks_the_hub_for_the_pinned_files(asked, plain):
    load_text(spec("wikitext2", None, context_tokens=200), plain)
    pinned = {
        "path": "Salesforce/wikitext",
        "name": "wikitext-2-raw-v1",
        "revision": "b08601e04326c79dfdd32d625aee71d232d685c3",
    }
    assert asked == [{**pinned, "split": split} for split in ("train", "validation", "test")]


def test_c4_asks_the_hub_for_the_pinned_files(asked, plain):
    small = {"context_tokens": 200, "blocks": {"calibration": 100}, "joined_documents": 50}
    splits = load_text(spec("c4", None, **small), plain)
    pinned = {"path": "allenai/c4", "revision": "1588ec454efa1a09f29cd18ddd04fe05fc8653a2"}
    assert asked == [
        {**pinned, "split": "train", "data_files": {"train": TRAIN}},
        {**pinned, "split": "validation", "data_files": {"validation": VALIDATION}},
    ]
    assert splits["calibration"].ids.shape == (100, 200)
    assert splits["test"].ids.shape == (75, 200)


def test_wikitext2_joins_rows_cuts_and_drops_the_rest(wikitext_folder, plain, hub_cache):
    splits = load_text(small_wikitext(wikitext_folder), plain)
    rows = article("Eels", 6) + article("Figs", 6)
    text = "\n\n".join(rows)
    blocks = splits["test"].ids
    assert blocks.shape == (len(text) // 50, 50)
    assert plain.decode(blocks.flatten()) == text[: blocks.numel()]
    assert splits["test"].protocol == rf"wikitext2-test/50x{len(blocks)}/all/bos=none/join=\n\n"
    assert splits["calibration"].ids.shape == (7, 50)
    # documents are articles, though headings and blank rows recur in every split
    assert [len(splits[split].documents) for split in splits] == [3, 1, 2]


def test_wikitext2_has_one_bos_at_the_very_start(wikitext_folder, with_bos, hub_cache):
    blocks = load_text(small_wikitext(wikitext_folder), with_bos)["test"]
    assert int(blocks.ids[0, 0]) == with_bos.bos_token_id
    assert int((blocks.ids == with_bos.bos_token_id).sum()) == 1
    assert "/bos=once/" in blocks.protocol


def test_an_article_in_two_splits_is_refused(wikitext_folder, plain, hub_cache):
    rows = ["a line that shifts all blocks\n", *article("Hens", 3), *article("Bees", 6)]
    write_parquet(wikitext_folder / TEST_PARQUET, rows)
    with pytest.raises(RadioError, match="splits calibration and test of wikitext2 share"):
        load_text(small_wikitext(wikitext_folder), plain)


def test_c4_calibrates_on_the_first_long_documents(c4_folder, plain, hub_cache):
    blocks = load_text(small_c4(c4_folder), plain)["calibration"]
    # documents 2, 5, 8, 11 have 100 tokens; the others have 60, fewer than the 80 of a block
    want = [document(index, 100)[:80] for index in (2, 5, 8, 11)]
    assert [plain.decode(row) for row in blocks.ids] == want
    assert blocks.protocol == "c4-calibration/80x4/first-long-documents/bos=none/join=none"


def test_a_document_of_exactly_one_block_is_long_enough(c4_folder, plain, with_bos, hub_cache):
    write_json_gz(c4_folder / TRAIN, [document(index, 79 + index % 2) for index in range(40)])
    calibrate = {
        tokenizer.bos_token_id if rule else None: load_text(small_c4(c4_folder), tokenizer)
        for rule, tokenizer in enumerate((plain, with_bos))
    }
    starts = [plain.decode(row)[:5] for row in calibrate[None]["calibration"].ids]
    assert starts == ["00001", "00003", "00005", "00007"]
    # the BOS of each document counts as one of its tokens
    blocks = calibrate[with_bos.bos_token_id]["calibration"]
    assert [with_bos.decode(row)[:8] for row in blocks.ids] == [f"<s>0000{i}" for i in range(4)]
    assert "/bos=per-document/" in blocks.protocol


def test_c4_tests_on_the_first_blocks_of_joined_documents(c4_folder, plain, with_bos, hub_cache):
    splits = load_text(small_c4(c4_folder), plain)
    text = " ".join(document(index + 1000, 70) for index in range(12))
    assert plain.decode(splits["test"].ids.flatten()) == text[: 5 * 80]
    assert splits["test"].protocol == "c4-test/80x5/first/bos=none/join=space"
    every = OmegaConf.merge(small_c4(c4_folder), {"blocks": {"test": None}})
    # all of the 12 documents, and none of the 8 after them
    assert load_text(every, plain)["test"].ids.shape == (len(text) // 80, 80)
    assert (
        "c4-test/80x5/first/bos=once/" in load_text(small_c4(c4_folder), with_bos)["test"].protocol
    )


def test_c4_validates_on_documents_after_the_calibration_ones(c4_folder, plain, hub_cache):
    splits = load_text(small_c4(c4_folder), plain)
    after = " ".join(document(index, 100 if index % 3 == 2 else 60) for index in range(12, 24))
    assert plain.decode(splits["validation"].ids.flatten()) == after[: 3 * 80]
    check_disjoint(splits)


def test_c4_with_too_few_long_documents_is_refused(c4_folder, plain, hub_cache):
    many = {"blocks": {"calibration": 14}}
    with pytest.raises(RadioError, match=r"has 13 documents of at least 80 tokens .* not 14"):
        load_text(OmegaConf.merge(small_c4(c4_folder), many), plain)
    all_of_them = {"blocks": {"calibration": None}}
    with pytest.raises(RadioError, match=r"data\.blocks\.calibration=null of data=c4"):
        load_text(OmegaConf.merge(small_c4(c4_folder), all_of_them), plain)


def test_c4_without_a_text_after_calibration_is_refused(c4_folder, plain, hub_cache):
    write_json_gz(c4_folder / TRAIN, [document(index, 100) for index in range(4)])
    with pytest.raises(RadioError, match="data=c4 split validation has 0 tokens"):
        load_text(small_c4(c4_folder), plain)


@pytest.mark.parametrize("name", ["wikitext2", "c4"])
def test_no_network_is_one_sentence_with_the_remedy(name, plain, monkeypatch, hub_cache):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(RadioError) as told:
        load_text(spec(name, None), plain)
    sentence = str(told.value)
    assert "cannot be loaded (" in sentence and "\n" not in sentence
    for remedy in ("connect to the network", "HF_HOME", "HF_ENDPOINT", "data.path=DIR"):
        assert remedy in sentence


@pytest.mark.parametrize(
    "error, remedy",
    [
        (
            datasets.exceptions.DatasetNotFoundError("no such thing\nmore"),
            r"\(DatasetNotFoundError: no such thing\)",
        ),
        (OSError(28, "No space left on device"), "free some disk, or set HF_HOME"),
    ],
)
def test_other_errors_of_datasets(error, remedy, plain, monkeypatch):
    def load_dataset(**_):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(RadioError, match=remedy):
        load_text(spec("c4", None), plain)


def test_bad_local_files_are_told(c4_folder, wikitext_folder, plain, hub_cache):
    with pytest.raises(RadioError, match=r"data\.path=.* has no file en/c4-train.*allenai/c4"):
        load_text(small_c4(wikitext_folder), plain)
    shard = c4_folder / VALIDATION
    shard.write_bytes(shard.read_bytes()[:-30])
    with pytest.raises(RadioError, match=r"c4-validation.* cannot be loaded .*the file is corrupt"):
        load_text(small_c4(c4_folder), plain)
    (wikitext_folder / TEST_PARQUET).write_bytes(b"PAR1 no")
    with pytest.raises(RadioError, match=r"test-00000.* cannot be loaded .*the file is corrupt"):
        load_text(small_wikitext(wikitext_folder), plain)


def test_a_file_without_the_column_is_told(wikitext_folder, plain, hub_cache):
    Dataset.from_dict({"words": ["a"]}).to_parquet(wikitext_folder / TEST_PARQUET)
    with pytest.raises(RadioError, match="has no column 'text'"):
        load_text(small_wikitext(wikitext_folder), plain)


def test_the_paper_protocols_are_the_configured_ones():
    c4, wikitext = (instantiate(spec(name, None)) for name in ("c4", "wikitext2"))
    assert (c4.context_tokens, c4.joined_documents, c4.join) == (2048, 1100, " ")
    assert (c4.blocks["calibration"], c4.blocks["test"]) == (128, 256)
    assert (wikitext.context_tokens, wikitext.join, wikitext.blocks["test"]) == (2048, "\n\n", None)
    assert torch.iinfo(torch.int32).max > 256 * 2048
