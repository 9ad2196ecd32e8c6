"""Files brought from the internet: announced, checked by their md5, and never written outside their folder."""

import logging
import shutil
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path

log = logging.getLogger(__name__)


def fetch(url: str, folder: Path, *, md5: str, num_bytes: int | None = None) -> Path:
    """Return the file of a URL in `folder`, downloaded unless it is there already.

    Raises ValueError, naming the file to bring and the place for it, where it cannot be had whole.
    """
    from torchvision.datasets.utils import check_integrity, download_url  # takes a while to import

    path = folder / url.rpartition("/")[2]
    if check_integrity(path, md5):
        return path
    log.info(f"downloading {url}{f' ({num_bytes / 1e6:,.1f} MB)' if num_bytes else ''} into {folder}")
    try:
        download_url(url, folder, filename=path.name, md5=md5)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        size = f"{num_bytes:,} bytes, " if num_bytes else ""
        raise ValueError(
            f"cannot download {url}: {reason}; bring the file ({size}md5 {md5}) to {path} and run again"
        ) from error
    return path


def unpack(archive: Path, folder: Path, *, members: Collection[str]) -> None:
    """Write only these plain files of a tar archive into `folder`, under their last names.

    Raises ValueError if the archive cannot be read or one of `members` is missing or no plain file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive) as tar:
            for name in members:
                member = tar.getmember(name)
                content = tar.extractfile(member) if member.isfile() else None
                if content is None:
                    raise ValueError(f"{name} in {archive} is no plain file; bring the original archive")
                staged = folder / f".{Path(name).name}.part"
                staged.write_bytes(content.read())
                staged.replace(folder / Path(name).name)
    except KeyError as error:
        raise ValueError(f"{archive} holds no {name}; bring the original archive") from error
    except (OSError, EOFError, tarfile.TarError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"cannot unpack {archive} into {folder}: {reason}; fetch the archive again"
        ) from error


def unpack_whole(archive: Path, folder: Path, *, top: str) -> None:
    """Write all that a tar archive holds in its folder `top` to `folder`/`top`, whole or not at all.

    Raises ValueError if the archive cannot be read, has no such folder, or holds something that would lead out of it,
    or where that folder is there and not empty.
    """
    if any((folder / top).glob("*")):
        raise ValueError(
            f"cannot unpack {archive}: the folder {folder / top} is there already, but is not the whole set; remove it "
            "and run again"
        )
    staged = folder / f".{top}.part"
    try:
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        with tarfile.open(archive) as tar:
            tar.extractall(staged, filter="data")  # refuses links and paths that lead out, and devices
        (staged / top).replace(folder / top)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"cannot unpack {archive} into {folder}: {reason}; fetch the archive again"
        ) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
