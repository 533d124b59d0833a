"""Bits that turn over on a disk: noticed when they are read; what can be made again is, what ships is refused."""

import shutil

import numpy as np
import pytest

from conftest import MINIATURE
from ser_utils import compare, corpora, files, live, publish, store


@pytest.fixture
def few(tmp_path_factory):
    """Recordings of one voice of the miniature."""
    folder = tmp_path_factory.mktemp("few")
    shutil.copytree(MINIATURE / "Actor_02", folder / "Actor_02")
    shutil.copy(MINIATURE / corpora.MARK, folder)
    return folder


def flipped(path, rng):
    """A file with one bit of it turned over."""
    data = bytearray(path.read_bytes())
    at = rng.integers(len(data))
    data[at] ^= 1 << rng.integers(8)
    path.write_bytes(data)


@pytest.mark.parametrize("name", [*store.FILES, files.SUMS])
def test_a_flipped_bit_in_features_is_noticed(name, miniature, tmp_path):
    whole, rng = store.load(miniature), np.random.default_rng(0)
    for _ in range(10):
        shutil.copytree(miniature, tmp_path, dirs_exist_ok=True)
        flipped(tmp_path / name, rng)
        try:
            found = store.load(tmp_path).digest
        except files.DamagedError as error:
            found = str(error)
        # a bit of the blank between the columns of the sums says nothing
        assert "not what was written" in found or (name == files.SUMS and found == whole.digest)


@pytest.mark.parametrize("name", [*store.FILES, files.SUMS])
def test_damaged_features_are_made_again(name, few, tmp_path):
    first, _ = store.extract(few, tmp_path, pitch=False, jobs=1, progress=False)
    content = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    flipped(tmp_path / name, np.random.default_rng(1))
    again, errors = store.extract(few, tmp_path, pitch=False, jobs=1, progress=False)
    assert not errors
    assert again.digest == first.digest
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == content


def test_a_flipped_bit_in_a_result_is_noticed(tmp_path):
    rng, whole = np.random.default_rng(0), publish.load()
    found = []
    for _ in range(10):
        shutil.copy(publish.PUBLISHED / "ravdess" / "predictions.csv.gz", tmp_path)
        flipped(tmp_path / "predictions.csv.gz", rng)
        try:
            found.append(publish.load(tmp_path).equals(whole))  # it hit the time in the header, say
        except files.DamagedError as error:
            found.append(str(error))
    assert all(one is True or "git checkout it, or make it again" in one for one in found)
    assert found.count(True) < 3


def test_a_flipped_bit_in_a_kept_unit_is_noticed_and_the_unit_done_again(miniature, tmp_path):
    units = compare.plan(["chance"], folds=[0], clips=store.load(miniature).clips)
    rows, _ = compare.run(units, miniature, tmp_path, jobs=1, progress=False)
    [path] = tmp_path.glob("*.csv.gz")
    data = path.read_bytes()
    path.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
    with pytest.warns(UserWarning, match="damaged .* this unit is done again"):
        again, _ = compare.run(units, miniature, tmp_path, jobs=1, progress=False)
    assert again.equals(rows)
    assert path.read_bytes() == data


def test_a_flipped_bit_in_a_model_is_refused(tmp_path, monkeypatch):
    shutil.copytree(live.MODELS, tmp_path / "models")
    monkeypatch.setattr(live, "MODELS", tmp_path / "models")
    flipped(tmp_path / "models" / "live_emotion.npz", np.random.default_rng(0))
    live.networks.cache_clear()
    try:
        with pytest.raises(files.DamagedError, match=r"live_emotion.npz: not what was written .* git checkout it"):
            live.networks()
    finally:
        live.networks.cache_clear()


@pytest.mark.parametrize("folder", ["data/ravdess", "models"])
def test_what_ships_is_what_its_sums_say(folder):
    names = [line.split()[1] for line in (corpora.ROOT / folder / files.SUMS).read_text().splitlines()]
    there = {path.name for path in (corpora.ROOT / folder).iterdir()}
    assert {name for name in there if name.endswith((".npz", ".csv", ".json"))} == set(names)
    for name in names:
        files.verified(corpora.ROOT / folder / name, "")


def test_other_code_makes_features_anew(few, tmp_path, monkeypatch):
    store.extract(few, tmp_path, pitch=False, jobs=1, progress=False)
    monkeypatch.setattr(store, "_one", lambda *_: pytest.fail("extracted again"))
    store.extract(few, tmp_path, pitch=False, jobs=1, progress=False)
    monkeypatch.setattr(store, "code_here", lambda: "other code")
    with pytest.raises(BaseException, match="extracted again"):
        store.extract(few, tmp_path, pitch=False, jobs=1, progress=False)
