"""Atomic writes, checksums and CSV tables."""

import io

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_utils._utils import files

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), min_size=1)


def test_write_atomic_keeps_the_previous_file_after_an_error(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    files.write_atomic(path, b"first")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomic(path, b"second")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.csv", b"first")]


@settings(max_examples=25, deadline=None)
@given(content=st.binary(min_size=1, max_size=200), data=st.data())
def test_read_verified_detects_a_flipped_bit_or_missing_checksum(tmp_path_factory, content, data):
    path = tmp_path_factory.getbasetemp() / "a.bin"
    files.write_atomic(path, content)
    files.write_checksums(path.parent, [path.name])
    assert files.read_verified(path, "") == content
    bit, damaged = data.draw(st.integers(0, 8 * len(content) - 1)), bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    for _ in range(2):
        with pytest.raises(files.IntegrityError, match=r"a\.bin: .*; restore it"):
            files.read_verified(path, "restore it")
        files.write_checksums(path.parent, [])


@pytest.mark.parametrize("folder", ["data/ravdess", "models"])
def test_shipped_files_match_their_checksums(folder):
    names = [line.split()[1] for line in (files.ROOT / folder / files.CHECKSUM_FILE).read_text().splitlines()]
    assert {path.name for path in (files.ROOT / folder).iterdir() if path.suffix != ".md"} == {
        files.CHECKSUM_FILE, *names}
    for name in names:
        files.read_verified(files.ROOT / folder / name, "")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.fixed_dictionaries({
    "clip": st.one_of(TEXT, st.sampled_from(["=1+1", "@a", "01", "1e5", "NA", "None", "nan", "True", "\udcff.wav"])),
    "label": st.one_of(st.none(), TEXT), "seed": st.integers(0, 100), "p_happy": st.floats(0, 1)}), min_size=1))
def test_csv_round_trip(rows):
    table = pd.DataFrame(rows).astype({"clip": str, "label": str})
    restored = files.read_csv(io.BytesIO(files.to_csv_bytes(table)))
    pd.testing.assert_frame_equal(restored, table, check_dtype=False)
    assert files.to_csv_bytes(restored) == files.to_csv_bytes(table)
