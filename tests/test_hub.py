"""Weights from a hub and from URLs, without the internet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import COMMIT, REPOSITORY, Server, hub_server

from xnect.backbones.hub import DownloadError, download, sha256_of

WEIGHTS = bytes(range(256)) * 64
SHA = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def server() -> Iterator[Server]:
    with hub_server() as made:
        yield made


@pytest.fixture
def hub(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="it fetches hub ids")
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    server.files["model.safetensors"] = WEIGHTS
    yield server
    huggingface_hub.close_session()  # its open connections would wait for the next server


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens at the hub's address, and nothing is waited for."""
    pytest.importorskip("huggingface_hub", reason="it fetches hub ids")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def refused(source: str, cache: Path, **options: bool) -> str:
    """The one sentence that is said."""
    with pytest.raises(DownloadError) as error:
        download(source, cache_dir=cache, **options)
    text = str(error.value)
    assert "\n" not in text
    return text


def leftovers(folder: Path) -> list[Path]:
    """Files that are not whole."""
    return [p for p in folder.rglob("*") if p.name.endswith((".part", ".incomplete"))]


# --- hub


@pytest.mark.parametrize("prefix", ["", "hf-hub:", "hf_hub:"])
def test_a_hub_id_becomes_a_file(hub: Server, tmp_path: Path, prefix: str) -> None:
    path = download(prefix + REPOSITORY, cache_dir=tmp_path)
    assert path.name == "model.safetensors"
    assert path.read_bytes() == WEIGHTS
    assert not leftovers(tmp_path)


def test_a_file_on_the_disk_is_used_without_asking(hub: Server, tmp_path: Path) -> None:
    first = download(REPOSITORY, cache_dir=tmp_path)
    hub.asked.clear()
    assert download(REPOSITORY, cache_dir=tmp_path) == first
    assert download(REPOSITORY, cache_dir=tmp_path, offline=True) == first
    assert not hub.asked


def test_the_older_file_is_taken_where_there_is_no_safetensors(hub: Server, tmp_path: Path) -> None:
    hub.files = {"pytorch_model.bin": b"old"}
    path = download(REPOSITORY, cache_dir=tmp_path)
    assert (path.name, path.read_bytes()) == ("pytorch_model.bin", b"old")
    hub.asked.clear()
    assert download(REPOSITORY, cache_dir=tmp_path) == path
    assert not hub.asked


def test_a_revision_can_be_named(hub: Server, tmp_path: Path) -> None:
    path = download(f"{REPOSITORY}@{COMMIT}", cache_dir=tmp_path)
    assert path.read_bytes() == WEIGHTS
    assert f"no revision {'b' * 40!r}" in refused(f"{REPOSITORY}@{'b' * 40}", tmp_path)


def test_what_the_hub_lacks_is_said(hub: Server, tmp_path: Path) -> None:
    assert "no repository timm/nothing" in refused("timm/nothing", tmp_path)
    hub.files.clear()
    assert "holds neither model.safetensors nor" in refused(REPOSITORY, tmp_path)


def test_content_that_is_not_what_was_promised_is_removed(hub: Server, tmp_path: Path) -> None:
    hub.promised["model.safetensors"] = "0" * 64
    told = refused(REPOSITORY, tmp_path)
    assert f"begins with {SHA[:8]}, not 00000000" in told
    assert not list(tmp_path.rglob("model.safetensors"))
    assert not list(tmp_path.rglob("0" * 64))
    hub.promised.clear()
    assert download(REPOSITORY, cache_dir=tmp_path).read_bytes() == WEIGHTS


def test_a_file_that_was_damaged_on_the_disk_is_removed_and_fetched_again(
    hub: Server, tmp_path: Path
) -> None:
    path = download(REPOSITORY, cache_dir=tmp_path)
    blob = path.resolve()
    if blob == path:
        pytest.skip("this file system has no links: the cache does not tell the checksum")
    blob.write_bytes(WEIGHTS[:-1] + b"?")
    assert "was damaged" in refused(REPOSITORY, tmp_path)
    assert download(REPOSITORY, cache_dir=tmp_path).read_bytes() == WEIGHTS


def test_half_a_file_is_never_used(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the attempts
    hub.keep_back = 100
    assert "cannot fetch model.safetensors of" in refused(REPOSITORY, tmp_path)
    assert not list(tmp_path.rglob("model.safetensors"))
    refused(REPOSITORY, tmp_path, offline=True)
    hub.keep_back = 0
    assert download(REPOSITORY, cache_dir=tmp_path).read_bytes() == WEIGHTS


def test_offline_is_said_and_asks_nobody(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    told = refused(REPOSITORY, tmp_path)
    assert REPOSITORY in told
    assert "HF_HUB_OFFLINE" in told
    assert not hub.asked
    assert download(REPOSITORY, cache_dir=tmp_path, offline=False).read_bytes() == WEIGHTS


def test_no_network_is_one_sentence(no_network: None, tmp_path: Path) -> None:
    told = refused(REPOSITORY, tmp_path)
    assert f"{REPOSITORY} from http://127.0.0.1:9 (" in told
    assert "give a file" in told


@pytest.mark.parametrize("word", ["selecsls", "a/b/c", "weights/missing.pth", "../x", ""])
def test_what_is_neither_file_nor_hub_id_is_refused(
    word: str, no_network: None, tmp_path: Path
) -> None:
    assert repr(word).strip("'") in refused(word, tmp_path)


# --- disk


def test_a_local_folder_shaped_like_a_repository(tmp_path: Path) -> None:
    assert "holds neither" in refused(str(tmp_path), tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"old")
    assert download(str(tmp_path)).name == "pytorch_model.bin"
    (tmp_path / "model.safetensors").write_bytes(b"new")
    assert download(str(tmp_path)).name == "model.safetensors"
    assert download(str(tmp_path / "pytorch_model.bin")).read_bytes() == b"old"


# --- URL


def test_a_url_with_a_checksum_in_its_name(server: Server, tmp_path: Path) -> None:
    name = f"selecsls42b-{SHA[:8]}.pth"
    server.files[name] = WEIGHTS
    path = download(f"{server.address}/v0.1/{name}?download=1", cache_dir=tmp_path)
    assert path == tmp_path / name
    assert sha256_of(path) == SHA
    server.asked.clear()
    assert download(f"{server.address}/v0.1/{name}", cache_dir=tmp_path, offline=True) == path
    assert not server.asked
    path.write_bytes(b"damaged")
    assert "was damaged" in refused(f"{server.address}/v0.1/{name}", tmp_path)
    assert not path.exists()


def test_a_url_whose_content_has_another_checksum(server: Server, tmp_path: Path) -> None:
    server.files["x-8af30141.pth"] = WEIGHTS
    told = refused(f"{server.address}/x-8af30141.pth", tmp_path)
    assert f"begins with {SHA[:8]}, not 8af30141" in told
    assert not list(tmp_path.iterdir())


def test_equal_names_at_different_addresses_stay_apart(server: Server, tmp_path: Path) -> None:
    server.files["model.pth"] = b"one"
    first = download(f"{server.address}/a/model.pth", cache_dir=tmp_path)
    server.files["model.pth"] = b"two"
    second = download(f"{server.address}/b/model.pth", cache_dir=tmp_path)
    assert (first.read_bytes(), second.read_bytes()) == (b"one", b"two")
    assert first.name == second.name == "model.pth"


def test_half_a_url_is_never_used(server: Server, tmp_path: Path) -> None:
    server.files["model.pth"] = WEIGHTS
    server.keep_back = 1
    told = refused(f"{server.address}/model.pth", tmp_path)
    assert f"only {len(WEIGHTS) - 1} of {len(WEIGHTS)} bytes" in told
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1:9/model.pth", "cannot fetch http://127.0.0.1:9/model.pth (Connection"),
        ("http://127.0.0.1:9/", "names no file"),
        ("http://[bad/model.pth", "bad"),
    ],
)
def test_a_url_that_does_not_answer(url: str, told: str, tmp_path: Path) -> None:
    assert told in refused(url, tmp_path)


def test_a_url_that_does_not_exist_and_one_offline(server: Server, tmp_path: Path) -> None:
    url = f"{server.address}/missing.pth"
    assert f"{url} cannot be had: 404" in refused(url, tmp_path)
    server.asked.clear()
    assert "HF_HUB_OFFLINE" in refused(url, tmp_path, offline=True)
    assert not server.asked
