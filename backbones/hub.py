"""Weights files from the Hugging Face hub or from a URL, kept on this disk.

A file that is on the disk is used without asking the network.  Every file that comes with a
checksum is checked against it each time it is handed out: on the hub a large file is stored under
its SHA-256, and the older releases carry the first eight digits in their name
(`selecsls42b-8af30141.pth`).  A file is seen under its name only when it is whole.

The environment variables are those of huggingface_hub and torch: `HF_HOME`, `HF_HUB_CACHE`,
`HF_TOKEN` (read by huggingface_hub), `HF_ENDPOINT`, `HF_HUB_OFFLINE` (read here at every call) and
`TORCH_HOME` (files from URLs lie where `torch.hub` and timm keep theirs).
"""

from __future__ import annotations

import hashlib
import os
import re
import urllib.error
import urllib.parse
import urllib.request
import uuid
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""What a repository of weights may hold, best first."""

TIMEOUT_S = 20.0
"""How long a silent server is waited for."""

_SHA_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+$")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tar")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_PREFIXES = ("hf-hub:", "hf_hub:")
_CHUNK = 1 << 20


class DownloadError(OSError):
    """Weights that cannot be had; the text is one sentence for the user."""


def download(
    source: str, *, cache_dir: str | Path | None = None, offline: bool | None = None
) -> Path:
    """The file on this disk that holds the weights of `source`.

    Args:
        source: A hub id (`timm/selecsls42b.in1k`, with `@REVISION` if wanted), an http(s) URL, or a
            file or folder on this disk (of a folder `model.safetensors` or `pytorch_model.bin`).
        cache_dir: Where downloads are kept; None for the usual places of huggingface_hub and torch.
        offline: Never use the network; None asks `HF_HUB_OFFLINE`.

    Raises:
        DownloadError: Not on this disk and not to be had, or not what its checksum says.
    """
    if offline is None:
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    if source.startswith(("http://", "https://")):
        return _from_url(source, cache_dir, offline=offline)
    for prefix in _PREFIXES:
        if source.startswith(prefix):
            return _from_hub(source.removeprefix(prefix), cache_dir, offline=offline)
    if Path(source).exists():
        return _from_disk(Path(source))
    return _from_hub(source, cache_dir, offline=offline)


def sha256_of(path: Path) -> str:
    """64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _from_disk(path: Path) -> Path:
    if path.is_file():
        return path
    for name in HUB_FILES:
        if (path / name).is_file():
            return path / name
    raise DownloadError(f"the folder {path} holds neither {' nor '.join(HUB_FILES)}")


# --- hub


def _from_hub(hub_id: str, cache_dir: str | Path | None, *, offline: bool) -> Path:
    repository, _, revision = hub_id.partition("@")
    if hub_id.endswith(_FILE_SUFFIXES):
        raise DownloadError(f"there is no file {hub_id}")
    if not _HUB_ID.fullmatch(repository):
        raise DownloadError(
            f"{hub_id!r} is neither a file nor a hub id such as timm/selecsls42b.in1k, nor a URL"
        )
    try:
        import huggingface_hub  # noqa: F401
    except ImportError:
        raise DownloadError(
            f"{hub_id} lies on the hub, and huggingface_hub is not installed; "
            "pip install huggingface_hub, or give a file"
        ) from None
    for local_only in (True,) if offline else (True, False):
        for name in HUB_FILES:
            if path := _hub_file(repository, name, revision or None, cache_dir, local_only):
                return _checked_blob(path, hub_id)
    if offline:
        raise DownloadError(
            f"{hub_id} is not on this disk and the network is not to be used (HF_HUB_OFFLINE); "
            "download it once, or give a file"
        )
    raise DownloadError(f"{hub_id} holds neither {' nor '.join(HUB_FILES)}")


def _hub_file(
    repository: str,
    name: str,
    revision: str | None,
    cache_dir: str | Path | None,
    local_only: bool,
) -> Path | None:
    """The file in the cache of huggingface_hub; None when repository or cache lack it."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    try:
        if not local_only:  # asks once; hf_hub_download would ask for half a minute
            url = hf_hub_url(repository, name, revision=revision, endpoint=where)
            get_hf_file_metadata(url, timeout=TIMEOUT_S, endpoint=where)
        return Path(
            hf_hub_download(
                repository, name, revision=revision, cache_dir=cache_dir,
                local_files_only=local_only, endpoint=where, etag_timeout=TIMEOUT_S,
                library_name="xnect",
            )
        )  # fmt: skip
    except LocalEntryNotFoundError:
        return None
    except GatedRepoError as error:
        raise DownloadError(
            f"{repository} on {where} asks for an agreement first; accept it there and set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise DownloadError(
            f"there is no repository {repository} on {where}, or it is private"
        ) from error
    except RevisionNotFoundError as error:
        raise DownloadError(f"{repository} has no revision {revision!r}") from error
    except EntryNotFoundError:
        return None
    except Exception as error:  # of the HTTP client, of the Xet transfer, of the disk
        raise DownloadError(
            f"cannot fetch {name} of {repository} from {where} ({_cause(error)}); "
            "try again, or give a file"
        ) from error


def _checked_blob(path: Path, hub_id: str) -> Path:
    """The path itself; the cache names the content of large files by their SHA-256."""
    blob = path.resolve()
    if _SHA256.fullmatch(blob.name) and (found := sha256_of(blob)) != blob.name:
        raise DownloadError(
            f"{path.name} of {hub_id} was damaged (its SHA-256 begins with {found[:8]}, not "
            f"{blob.name[:8]}){_removed(path, blob)}; download it again"
        )
    return path


def _removed(*paths: Path) -> str:
    """Remove damaged files; what to say of it."""
    try:
        for path in paths:
            path.unlink(missing_ok=True)
    except OSError:
        return f" and cannot be removed: delete {paths[-1]}"
    return " and was removed"


# --- URL


def _from_url(url: str, cache_dir: str | Path | None, *, offline: bool) -> Path:
    try:
        name = Path(urllib.parse.unquote(urllib.parse.urlparse(url).path)).name
    except ValueError:
        name = ""
    if not name:
        raise DownloadError(f"{url} names no file")
    match = _SHA_IN_NAME.search(name)
    sha = match[1] if match else ""
    folder = _url_folder() if cache_dir is None else Path(cache_dir)
    if not sha:  # names without a checksum are not unique: one folder for each address
        folder = folder / hashlib.sha256(url.encode()).hexdigest()[:16]
    path = folder / name
    if not path.is_file():
        if offline:
            raise DownloadError(
                f"{name} is not on this disk and the network is not to be used (HF_HUB_OFFLINE); "
                "download it once, or give a file"
            )
        _fetch(url, path)
    if sha and not (found := sha256_of(path)).startswith(sha):
        raise DownloadError(
            f"{name} from {url} was damaged (its SHA-256 begins with {found[:8]}, not {sha})"
            f"{_removed(path)}; download it again"
        )
    return path


def _url_folder() -> Path:
    from torch.hub import get_dir

    return Path(get_dir()) / "checkpoints"


def _fetch(url: str, path: Path) -> None:
    """Write the body of `url` to `path`, which appears only when everything has arrived."""
    request = urllib.request.Request(url, headers={"User-Agent": "xnect"})
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file, urllib.request.urlopen(request, timeout=TIMEOUT_S) as body:
            wanted = body.headers.get("Content-Length")
            arrived = _copy(body, file, int(wanted) if wanted else None, path.name)
        if wanted and arrived != int(wanted):
            raise DownloadError(f"only {arrived} of {wanted} bytes of {url} arrived; try again")
        os.replace(beside, path)
    except urllib.error.HTTPError as error:
        error.close()  # it is an open response as well
        raise DownloadError(f"{url} cannot be had: {error.code} {error.reason}") from error
    except DownloadError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a malformed address
        raise DownloadError(
            f"cannot fetch {url} ({_cause(error)}); connect to the network, or give a file"
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink()


def _copy(body: BinaryIO, file: BinaryIO, total: int | None, name: str) -> int:
    """Number of bytes; with a progress bar where somebody can see it."""
    from tqdm import tqdm

    arrived = 0
    with tqdm(total=total, unit="B", unit_scale=True, desc=name, disable=None) as bar:
        while chunk := body.read(_CHUNK):
            arrived += file.write(chunk)
            bar.update(len(chunk))
    return arrived


def _cause(error: BaseException) -> str:
    """What happened at the bottom, in the words of whoever said it, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return " ".join(str(text).split())[:200]
