"""W&B gets every job, and no job waits or fails for it."""

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from omegaconf import OmegaConf

from radio.runtime import tracking
from radio.runtime.errors import RadioError
from radio.runtime.tracking import choose_mode, log_job, run_group, run_id, run_name
from tests.runtime.wandb_log import read_run

KEY = "0" * 40


@pytest.fixture(autouse=True)
def empty_layer(monkeypatch, tmp_path):
    """No key, no settings of whoever runs the tests, and no network."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # the port that discards
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "logs"))


@pytest.fixture
def cfg():
    return OmegaConf.create(
        {
            "out": "results/smollm2-135m/evaluation/radio/3/wikipedia.csv",
            "seed": 0,
            "threads": 1,
            "model": {"name": "smollm2-135m"},
            "wandb": {"mode": "auto", "project": "radio", "entity": None},
        }
    )


@pytest.fixture
def server():
    """A server that answers everything with 404: W&B's own is reached, but is not W&B."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            self.send_error(404)

        do_GET = do_HEAD = do_POST = answer

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


@pytest.fixture
def silent_server():
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_without_a_key_auto_is_offline_and_asks_no_server(cfg, monkeypatch):
    monkeypatch.setattr(tracking, "_answers", lambda server: pytest.fail("asked"))
    assert choose_mode(cfg) == "offline"


def test_with_a_key_and_a_server_auto_is_online(cfg, monkeypatch, server):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", server)
    assert choose_mode(cfg) == "online"


def test_a_key_in_netrc_counts(cfg, monkeypatch, server, tmp_path):
    monkeypatch.setenv("WANDB_BASE_URL", server)
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login user password {KEY}\n")
    (tmp_path / "netrc").chmod(0o600)
    assert choose_mode(cfg) == "online"


@pytest.mark.parametrize("mode", ["auto", "online"])
def test_without_a_network_it_is_offline_soon(cfg, monkeypatch, silent_server, caplog, mode):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(tracking, "REACH_TIMEOUT_S", 0.3)
    cfg.wandb.mode = mode
    # refused, silent, and a name whose look-up would hang
    monkeypatch.setattr(socket, "getaddrinfo", slow_for("unknown.invalid", socket.getaddrinfo))
    for url in ("http://127.0.0.1:9", silent_server, "http://unknown.invalid"):
        monkeypatch.setenv("WANDB_BASE_URL", url)
        start = time.perf_counter()
        assert choose_mode(cfg) == "offline"
        assert time.perf_counter() - start < 1.5
    assert len(caplog.records) == (3 if mode == "online" else 0)


def test_two_seconds_are_enough_to_know():
    assert tracking.REACH_TIMEOUT_S <= 2


def slow_for(name, look_up):
    """`getaddrinfo` with a name server that does not answer for `name`."""

    def answer(host, *args, **options):
        if host == name:
            time.sleep(4)
            raise socket.gaierror("no answer")
        return look_up(host, *args, **options)

    return answer


@pytest.mark.parametrize(
    "variable, config, chosen",
    [
        ("disabled", "auto", "disabled"),
        ("offline", "auto", "offline"),
        ("disabled", "offline", "offline"),
    ],
)
def test_wandb_mode_decides_over_auto_only(cfg, monkeypatch, variable, config, chosen):
    monkeypatch.setenv("WANDB_MODE", variable)
    cfg.wandb.mode = config
    assert choose_mode(cfg) == chosen


def test_unknown_modes_are_one_sentence(cfg, monkeypatch):
    cfg.wandb.mode = "ofline"
    with pytest.raises(RadioError, match=r"wandb\.mode=ofline .*: choose one of auto, online"):
        choose_mode(cfg)
    cfg.wandb.mode = "auto"
    monkeypatch.setenv("WANDB_MODE", "of")
    with pytest.raises(RadioError, match=r"\$WANDB_MODE=of "):
        choose_mode(cfg)


def test_disabled_does_not_import_wandb(tmp_path):
    script = """
import sys
from omegaconf import OmegaConf
from radio.runtime.tracking import log_job
cfg = OmegaConf.create({"out": "x", "wandb": {"mode": "disabled"}})
log_job("prepare", cfg, {})
sys.exit("wandb" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_an_offline_run_holds_the_job(cfg, tmp_path):
    """Written by a process of its own, as in a job, and read back from W&B's file."""
    table = tmp_path / "table.csv"
    table.write_text("method,kl\nrtn,1.5\nradio,\n")
    (tmp_path / "cfg.json").write_text(json.dumps(OmegaConf.to_container(cfg)))
    script = """
import sys
from pathlib import Path
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from radio.runtime.tracking import log_job
folder = Path(sys.argv[1])
for suffix in (".png", ".pdf"):
    Figure(figsize=(1, 1)).savefig(folder / f"picture{suffix}")
log_job(
    "evaluate", OmegaConf.load(folder / "cfg.json"),
    {"kl": 0.25, "method": "radio", "rate_bits": 3.0},
    tables={"table": folder / "table.csv"}, images={"picture": folder / "picture.png"},
    vectors=[folder / "picture.pdf"], artifacts=[folder / "table.csv"],
)
"""
    answer = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    run = read_run(tmp_path / "logs" / "wandb")
    assert run["name"] == "evaluate/smollm2-135m/radio/3"
    assert run["id"] == run_id("evaluate", cfg)
    assert (run["project"], run["group"], run["job_type"]) == ("radio", "smollm2-135m", "evaluate")
    assert run["config"]["model"] == {"name": "smollm2-135m"}
    assert run["summary"]["kl"] == 0.25
    assert run["history"]["table/nrows"] == 2
    stored = next((tmp_path / "logs").rglob("*.table.json"))
    assert json.loads(stored.read_text())["data"] == [["rtn", 1.5], ["radio", None]]
    assert run["history"]["picture/_type"] == "image-file"
    assert table.as_uri() in run["artifacts"]
    assert "picture.pdf" in run["files"]
    kept = next((tmp_path / "logs").rglob("files/picture.pdf"))
    assert kept.read_bytes() == (tmp_path / "picture.pdf").read_bytes()


def test_an_online_run_that_fails_is_written_offline(cfg, monkeypatch, server, caplog, tmp_path):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", server)
    import wandb

    start = time.perf_counter()
    log_job("prepare", cfg, {"parameters": 3})
    assert time.perf_counter() - start < 2 * tracking.INIT_TIMEOUT_S
    wandb.teardown()  # as the end of the process does: the helper process writes what it holds
    assert "is not to be had online" in caplog.text
    assert "did not log" not in caplog.text
    assert read_run(tmp_path / "logs")["summary"]["parameters"] == 3


@pytest.mark.parametrize("error", [RuntimeError("broken\nlong story"), ImportError("no wandb")])
def test_whatever_wandb_raises_is_one_warning(cfg, monkeypatch, caplog, error):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(tracking, "_log", fail)
    log_job("prepare", cfg, {})
    (record,) = caplog.records
    assert record.getMessage() == (
        f"W&B did not log this job ({type(error).__name__}: {str(error).splitlines()[0]})"
    )


def test_names(cfg):
    assert run_name("evaluate", cfg, {"method": "rtn-g128", "rate_bits": 2.5}).endswith("/2.5")
    quantize = OmegaConf.merge(cfg, {"method": {"name": "radio"}, "rate_bits": 3})
    assert run_name("quantize", quantize, {}) == "quantize/smollm2-135m/radio/3"
    assert run_name("prepare", cfg, {}) == "prepare/smollm2-135m"
    table = OmegaConf.create({"out": "results/table_opt.csv"})
    assert run_name("table", table, {}) == "table/table_opt"


def test_runs_are_grouped_by_what_the_workflow_makes(monkeypatch):
    assert run_group("evaluate/smollm2-135m/radio/3") == "smollm2-135m"
    monkeypatch.setenv("WANDB_RUN_GROUP", "table_smollm2")
    assert run_group("evaluate/smollm2-135m/radio/3") == "table_smollm2"


def test_a_repeated_job_is_the_same_run(cfg):
    again = OmegaConf.merge(cfg, {"threads": 8, "wandb": {"mode": "online"}})
    assert run_id("evaluate", again) == run_id("evaluate", cfg)
    others = [
        run_id("evaluate", OmegaConf.merge(cfg, {"seed": 1})),
        run_id("evaluate", OmegaConf.merge(cfg, {"out": "elsewhere.csv"})),
        run_id("quantize", cfg),
    ]
    assert len({*others, run_id("evaluate", cfg)}) == 4
