"""Image sets to measure on: a folder of the user's, or a known set that is found, fetched and checked.

A known set is one entry of `DATASETS`: those of arXiv 2411.16727, section 4. Checksums, where they are known, are
SHA-256 over the decoded RGB bytes, not over the file, so that a re-compressed PNG still counts and a silently converted
image does not. What is not known of a set (licence, number of images, checksums) is left out.

Anyone above `codec` may import this file.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from regcodec.errors import RegcodecError, UsageError
from regcodec.files import files_below, write_atomically

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})
TIMEOUT = 30
"""Seconds without an answer before a fetch is given up."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A published image set."""

    name: str
    title: str
    home: str
    """The page a person would open."""
    instructions: str
    """How to get the files by hand."""
    file_url: str | None = None
    """Where one file is fetched from, with `{file}` for its name; None where files cannot be fetched one by one."""
    licence: str | None = None
    """None where its home states none that we found."""
    images: int | None = None
    """How many are measured; None where it is not known."""
    first: bool = False
    """The images are the first so many of a larger set, sorted by path."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """File name -> SHA-256 of its decoded RGB bytes (row by row, hexadecimal)."""


@dataclass(frozen=True)
class ImageSet:
    """Images on disk, in the order they are measured."""

    name: str
    root: Path
    paths: tuple[Path, ...]
    checked: bool = False
    """All images of a known set, and each of the pixels that its checksum states."""

    def label(self, path: Path) -> str:
        """The image's name in reports: its path below `root`, with forward slashes."""
        return path.relative_to(self.root).as_posix()


def open_dataset(name_or_folder: str, data_dir: Path | None) -> ImageSet:
    """The images of a folder, or of a known set.

    A folder is read as it is (recursively, sorted by path; hidden files and other suffixes left out). A known set is
    looked for in `data_dir`/NAME, here, $REGCODEC_DATA/NAME and the user's cache; what is missing in the cache is
    fetched, where it can be. A set without checksums is read as a folder is, and its images are counted.

    Raises `UsageError` for a name that is neither, `RegcodecError` for a folder without images or with one below it
    that cannot be read, an image that is not the published one, an incomplete set, or a fetch that fails.
    """
    if not name_or_folder:
        raise UsageError("--dataset: the name is empty; give a folder or a known set.")
    folder, dataset = Path(name_or_folder), DATASETS.get(name_or_folder)
    if dataset is None:
        if folder.is_dir():
            return open_folder(folder)
        raise UsageError(f"--dataset {name_or_folder}: neither a folder nor a known set. Known: {', '.join(DATASETS)}.")
    cache = _cache_dir() / dataset.name
    parents = data_dir, Path() if folder.is_dir() else None, os.environ.get("REGCODEC_DATA")
    given = [Path(parent).absolute() / dataset.name for parent in parents if parent]
    found = next((place for place in given if place.is_dir()), None)
    if found is None and (dataset.file_url is not None or cache.is_dir()):
        found = cache
        _fetch_missing(dataset, cache, advise=(given or [cache])[0])
    if found is None:
        licence = f"Licence: {dataset.licence}. " if dataset.licence else ""
        raise RegcodecError(
            f"{dataset.name} is not on this machine and cannot be fetched by this program. {dataset.instructions} "
            f"{licence}Put the images in {(given or [cache])[0]}, or give any folder of images: --dataset FOLDER."
        )
    return _checked(dataset, found) if dataset.checksums else _counted(dataset, found)


def open_folder(folder: Path) -> ImageSet:
    """The images of a folder whatever its name, as `open_dataset` reads one; raises `RegcodecError` likewise.

    The plot of a report that `regcodec eval` wrote into the folder is none of them.
    """
    root = folder.absolute()
    found = (
        path
        for path in files_below(root)
        if path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
        and not (path.name == "rd.png" and path.with_name("points.jsonl").exists())
    )
    paths = sorted(found, key=lambda path: path.parts)  # not by the paths: Windows compares them without case
    if not paths:
        raise RegcodecError(f"{folder}: no images here or below. Known suffixes: {' '.join(sorted(SUFFIXES))}.")
    printable = root.name.encode(errors="backslashreplace").decode()  # a name of bytes that are no UTF-8
    return ImageSet(printable, root, tuple(paths))


def _cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "regcodec" / "datasets"


def _checked(dataset: Dataset, folder: Path) -> ImageSet:
    missing = [file for file in dataset.checksums if not (folder / file).is_file()]
    if missing:
        raise RegcodecError(
            f"{folder}: {len(missing)} of the {len(dataset.checksums)} files of {dataset.name} are missing, "
            f"first {missing[0]}. {dataset.instructions}"
        )
    for file, checksum in dataset.checksums.items():
        if _pixel_checksum((folder / file).read_bytes()) != checksum:
            raise RegcodecError(
                f"{folder / file}: not the published image of {dataset.name} (its pixels differ). "
                f"Replace it with the one from {dataset.home}"
            )
    paths = tuple(folder / file for file in dataset.checksums)
    return ImageSet(dataset.name, folder, paths, checked=True)


def _counted(dataset: Dataset, folder: Path) -> ImageSet:
    found = open_folder(folder)
    wanted = len(found.paths) if dataset.images is None else dataset.images
    if len(found.paths) < wanted or (len(found.paths) > wanted and not dataset.first):
        raise RegcodecError(
            f"{folder}: has {len(found.paths)} images, {dataset.name} has {wanted}. {dataset.instructions}"
        )
    return replace(found, name=dataset.name, paths=found.paths[:wanted])


def _pixel_checksum(data: bytes) -> str | None:
    """SHA-256 of the decoded RGB bytes; None when Pillow cannot decode the file."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return None


def _fetch_missing(dataset: Dataset, folder: Path, *, advise: Path) -> None:
    """Fetch into `folder`; a failure says to put the files into `advise`."""
    for file, checksum in dataset.checksums.items():
        if (folder / file).is_file():
            continue
        url = (dataset.file_url or "").format(file=file)
        request = urllib.request.Request(url, headers={"User-Agent": "regcodec"})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise RegcodecError(
                f"{dataset.name} is not on this machine and {url} cannot be fetched ({error}). "
                f"{dataset.instructions} Put the {len(dataset.checksums)} files in {advise}"
            ) from error
        if _pixel_checksum(data) != checksum:
            raise RegcodecError(
                f"{url}: what came is not the published image {file}. "
                f"{dataset.instructions} Put the {len(dataset.checksums)} files in {advise}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / file, data)


KODAK = Dataset(
    name="kodak",
    title="Kodak Lossless True Color Image Suite: 24 photographs of 768x512 or 512x768 pixels",
    home="https://r0k.us/graphics/kodak/",
    file_url="https://r0k.us/graphics/kodak/kodak/{file}",
    images=24,
    licence="released by Eastman Kodak Company for unrestricted use",
    instructions="Get kodim01.png to kodim24.png from https://r0k.us/graphics/kodak/.",
    checksums={
        "kodim01.png": "a00210743353594464ac67e680a41710f484444ca5f9dfddeb570de25c428273",
        "kodim02.png": "ae5a495df4ec40e0941265440ccf98973915b4190ab803e37a23ca93dd43a07e",
        "kodim03.png": "234e61f585503f2a44400f5561131e8a512ef2c15328cd83d5cdbf10e2616cf2",
        "kodim04.png": "e88e788fca00e6c723bb66ff45edb8cb56091ee284dcb73e3909834f2c96eeb6",
        "kodim05.png": "ed3d1ee770909d3b27903b52ce19ee59a9bf24621a7bf1fb57b90677da880cb6",
        "kodim06.png": "7f45158999fa297d1cfbd292b3e2f3f5b27770701c3473155c211c3f512cc97f",
        "kodim07.png": "4e3664bf6fe865b49f15f7b554efa7dbecaf73ae0e8699f2e307bf07849f1264",
        "kodim08.png": "889c3740e4ed54ca53d11ae735a44d15fa24fe312b3bd1609a80618a4092c208",
        "kodim09.png": "f8453140e63a42301a6dbebb849a3cc40d34e4e59580eb1f372f7f5460df0dbe",
        "kodim10.png": "fabe11b5c4f028394e093a5b5907e5fabc8072da0d5334fb3a38547a7e1be842",
        "kodim11.png": "ab4dd9bf8431e717d33892b3ba03c63bfea3c7fa72c2610010de7df3c194c075",
        "kodim12.png": "f412db2168e599949aac26bd3264f111b23a684f30a21cfd320e9e95bc69bbae",
        "kodim13.png": "875703d56fb9396f478b5d7d3b18e2b77c17147a685c6dc2567e1c574aaf01e3",
        "kodim14.png": "2bd5029ee75ac1697542e5b05624e8afe186e3250abd7513d6a806b52084c2f0",
        "kodim15.png": "b5353e7511277009922ecbdebfc6418fec53aa1b2a08d44fc957a7540825697b",
        "kodim16.png": "ed21745fd32fce95cc2c6af7fc52b1b15e590c7a14ab18ab34bd65ecaf955ac7",
        "kodim17.png": "566bc866664e9b06dc86e2654051b454844efe17322dbf7e24156d8243f1943e",
        "kodim18.png": "3475af71066f3ca8206eb12cfc989ebe9c6e44820a96604e88ae018606e1f7bd",
        "kodim19.png": "7956408ef24222d37ac53f579bd24d5b2c3557b16c657e8b71c1b6ae9f18de1b",
        "kodim20.png": "666ce8f2db5566a123bb081e70618f6f4c4253df960f3b41bb9dcc3dd134f3cf",
        "kodim21.png": "2d6902daf7c4486b7c8c04d834091841a2b38c8f0c81cd7a963a6510b34a2a6a",
        "kodim22.png": "f430842120c108b67725ada96b8b7b2a914f6a0915eacd5595064c6c1a5d70a0",
        "kodim23.png": "81992a83592267e69125666f3e3e04c1819529b4c4c1e55fde0a6a741bac4219",
        "kodim24.png": "e3e3ccc3e795b82a3da66934409dfe98ce0f5aadc6d7767543c506453599bb98",
    },
)

CLIC = Dataset(
    name="clic2024-val",
    title="CLIC 2024 (6th Challenge on Learned Image Compression), validation set of the image track",
    home="https://clic2024.compression.cc/tasks",
    instructions="Get the image validation set from https://clic2024.compression.cc/tasks and unpack it.",
)

TECNICK = Dataset(
    name="tecnick",
    title="TESTIMAGES (Asuni and Giachetti 2014), the colour originals of 1200x1200 pixels",
    home="http://testimages.tecnick.com",
    licence="CC BY-NC-SA 3.0 (README of the archive, version 1.0.000)",
    instructions="Get the TESTIMAGES archive from http://testimages.tecnick.com or http://testimages.sf.net; the set "
    "is its folder RGB_OR_1200x1200.",
)

PIXEL_STYLE = Dataset(
    name="pixel-style",
    title="Pixel-style game images of Lv et al. 2023 (Dynamic Low-Rank Instance Adaptation)",
    home="https://github.com/llvy21/DUIC",
    images=100,
    instructions="Get the 100 images by the link under Dataset on https://github.com/llvy21/DUIC.",
)

SCREEN = Dataset(
    name="screen",
    title="SCI1K (Yang et al. 2021, Implicit Transformer Network): the first 100 images of the test set",
    home="https://github.com/codyshen0000/ITSRN",
    images=100,
    first=True,
    instructions="Get SCI1K from its authors (https://github.com/codyshen0000/ITSRN); the set is the first 100 of the "
    "test images by name.",
)

GAME = Dataset(
    name="game",
    title="CCT-CGI (Min et al. 2017): the 24 computer graphic reference images of the cross-content-type database",
    home="https://sites.google.com/site/minxiongkuo/uca",
    images=24,
    instructions="Get the CCT database from https://sites.google.com/site/minxiongkuo/uca; the set is its 24 reference "
    "images of computer graphics, without the distorted ones.",
)

PATHOLOGY = Dataset(
    name="pathology",
    title="BRACS (Brancati et al. 2022): the first 100 images of the test set",
    home="https://www.bracs.icar.cnr.it/",
    images=100,
    first=True,
    instructions="Get the regions of interest of BRACS from https://www.bracs.icar.cnr.it/; the set is the first 100 "
    "of the testing subset by path.",
)

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset for dataset in (KODAK, CLIC, TECNICK, PIXEL_STYLE, SCREEN, GAME, PATHOLOGY)
}
