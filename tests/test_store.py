"""Features of a corpus: what ships, what is cached, what bad clips do."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile

from conftest import MINIATURE
from ser_utils import audio, cli, corpora, descriptors, features, models, splits, store


def test_what_ships_is_whole(shipped):
    assert len(shipped.clips) == 1440
    assert shipped.settings == features.Settings()
    assert shipped.frames.shape == (shipped.starts[-1], 64)
    assert shipped.frames.dtype == shipped.contours.dtype == np.float32
    assert shipped.contours.shape == (1440, 216)
    assert shipped.clips.columns.tolist() == corpora.COLUMNS + list(descriptors.COLUMNS)
    assert shipped.clips.drop(columns=["f0_median", "f0_range"]).notna().all(axis=None)
    frames = 1 + shipped.clips["speech_duration"].to_numpy() * 16000 / 256
    assert (np.abs(np.diff(shipped.starts) + 0.5 - frames) <= 0.5 + 1 / 16).all()  # durations are rounded to 1 ms
    files = [path.stat().st_size for path in store.SHIPPED.iterdir()]
    assert sum(files) < 20e6


def test_what_ships_is_what_the_recordings_give(recordings, shipped):
    meta = json.loads((store.SHIPPED / "settings.json").read_text())
    spread = shipped.frames.std(axis=0)
    for row in range(0, 1440, 120):
        made = store._one(recordings, shipped.clips.iloc[row], shipped.settings)
        off = np.abs(made[0] - shipped.sequences[row]) / spread
        assert off.max() <= meta["largest_error_in_sd"] + 1e-4
        np.testing.assert_allclose(made[1], shipped.contours[row], atol=meta["largest_contour_error"] + 1e-3)
        for name, value in made[2].items():
            assert value == pytest.approx(shipped.clips[name][row], abs=2e-3, nan_ok=True)


def test_bytes_move_no_score(recordings, shipped):
    """The SVM on validation speakers, from the bytes that ship and from the floats they were made of."""
    from joblib import Parallel, delayed
    from sklearn.metrics import recall_score

    paths = [recordings / path for path in shipped.clips["path"]]
    floats = Parallel(2)(delayed(features.clip_features)(path, shipped.settings) for path in paths)
    y, moved, uars = splits.label(shipped.clips).astype(str), [], []
    for fold in splits.speaker_independent(shipped.clips)[:3]:
        guesses = [models.find("svm").estimator(0).fit([X[row] for row in fold.train], y[fold.train])
                   .predict([X[row] for row in fold.validation]) for X in (shipped.sequences, floats)]
        uars.append([recall_score(y[fold.validation], guess, average="macro") for guess in guesses])
        moved.append((guesses[0] != guesses[1]).mean())
    assert np.mean(moved) < 0.02
    assert np.abs(np.diff(np.mean(uars, axis=0))) < 0.01


def test_bytes_err_by_half_a_step_at_most():
    values = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32) * [1, 10, 100, 1e-3, 0, 5] + 7
    data, step, low = store._quantise(values.astype(np.float32))
    assert data.dtype == np.uint8
    assert (np.abs(data * step + low - values) <= step / 2 * 1.01 + 1e-5).all()


def test_clips_come_back_in_order_and_in_range(miniature):
    made = store.load(miniature)
    for row in (0, 63, 127):
        expected = features.clip_features(MINIATURE / made.clips["path"][row])
        step = (made.frames.max(axis=0) - made.frames.min(axis=0)) / 255
        assert (np.abs(made.sequences[row] - expected) <= step / 2 * 1.01).all()


@pytest.fixture
def mixed(tmp_path):
    """Two good clips among every kind of bad one."""
    for number, name in enumerate(("03-01-05-01-02-01-02.flac", "03-01-02-01-01-01-02.flac")):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}" / name).write_bytes((MINIATURE / "Actor_02" / name).read_bytes())
    (tmp_path / "03-01-01-01-01-01-03.wav").write_bytes(b"")
    (tmp_path / "03-01-01-01-01-01-04.wav").write_text("not sound")
    soundfile.write(tmp_path / "03-01-01-01-01-01-05.wav", np.zeros(16000), 16000)
    soundfile.write(tmp_path / "03-01-01-01-01-01-06.wav", np.full(16000, np.nan), 16000, subtype="FLOAT")
    return tmp_path


def run(*arguments, **kwargs):
    return subprocess.run([sys.executable, "-m", "ser_utils", *map(str, arguments)], capture_output=True, text=True,
                          cwd=corpora.ROOT, check=False, **kwargs)


def test_bad_clips_are_named_counted_and_not_fatal(mixed, tmp_path):
    out = tmp_path / "out"
    done = run("extract", mixed, "--out", out, "--jobs", 1)
    assert done.returncode == 0, done.stderr
    assert "2 clips of 1 speakers" in done.stdout
    assert "4 clips left out" in done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("left out: ")]
    assert len(lines) == 4
    for line, reason in zip(lines, ("0 bytes", "not a readable", "silent", "NaN"), strict=True):
        assert reason in line
        assert ".wav: " in line
    assert "Traceback" not in done.stderr
    assert store.load(out).clips["clip"].tolist() == ["03-01-02-01-01-01-02", "03-01-05-01-02-01-02"]
    assert run("extract", mixed, "--out", out, "--strict").returncode == 1


def test_nothing_to_extract_is_an_error_with_a_remedy(tmp_path):
    done = run("extract", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no RAVDESS speech recording")
    (tmp_path / "03-01-01-01-01-01-03.wav").write_bytes(b"")
    done = run("extract", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "no recording of the 1 in" in done.stderr


@pytest.mark.filterwarnings("ignore::ser_utils.corpora.CorpusWarning")
def test_a_second_run_reads_the_first_and_a_change_is_noticed(mixed, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first, errors = store.extract(mixed, out, jobs=1, progress=False)
    monkeypatch.setattr(store, "_one", lambda *_: pytest.fail("extracted again"))
    again, same = store.extract(mixed, out, jobs=1, progress=False)
    pd.testing.assert_frame_equal(first.clips, again.clips)
    assert [str(error) for error in errors] == [str(error) for error in same]
    assert again.digest == first.digest
    monkeypatch.undo()
    other, _ = store.extract(mixed, out, settings=features.Settings(n_mfcc=20), jobs=1, progress=False)
    assert other.frames.shape[1] == 20
    soundfile.write(mixed / "03-01-01-01-01-01-05.wav", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    more, _ = store.extract(mixed, out, settings=features.Settings(n_mfcc=20), jobs=1, progress=False)
    assert len(more.clips) == 3


@pytest.mark.filterwarnings("ignore::ser_utils.corpora.CorpusWarning")
def test_without_pitch_everything_else_is_the_same(mixed, tmp_path):
    arguments = ["extract", str(mixed), "--out", str(tmp_path / "out"), "--jobs", "1"]
    assert cli.main([*arguments, "--no-pitch"]) == 0
    quick = store.load(tmp_path / "out")
    assert cli.main(arguments) == 0  # and one is not taken for the other
    whole = store.load(tmp_path / "out")
    pitch = ["f0_median", "f0_range", "voiced"]
    assert quick.clips[pitch].isna().all(axis=None)
    assert whole.clips[pitch].notna().all(axis=None)
    pd.testing.assert_frame_equal(quick.clips.drop(columns=pitch), whole.clips.drop(columns=pitch))
    assert quick.digest == whole.digest


def test_a_folder_without_features_says_how_to_make_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="python -m ser_utils extract"):
        store.load(tmp_path)


def test_an_error_crosses_processes():
    import pickle

    error = pickle.loads(pickle.dumps(audio.AudioError("a.wav", "why", "what helps")))
    assert str(error) == "a.wav: why; what helps"


def test_importing_is_light():
    code = "import sys; from ser_utils import cli, features, models, store, splits, compare; " \
           "print([name for name in ('tensorflow', 'keras', 'librosa') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], text=True, cwd=corpora.ROOT, capture_output=True, check=True)
    assert done.stdout.strip() == "[]"  # until a model is built


def test_several_folders_are_opened_as_one(miniature, tmp_path):
    ours = store.load()
    one, both = store.load(miniature), store.load([store.SHIPPED, miniature])
    assert len(both.clips) == len(ours.clips) + len(one.clips)
    assert both.clips["clip"].is_unique
    assert set(both.clips["speaker"].str.split("/").str[0]) == {"ravdess", "ravdess (synthetic)"}
    for row in (0, 1439, 1440, 1567):
        alone = ours.sequences[row] if row < 1440 else one.sequences[row - 1440]
        np.testing.assert_array_equal(both.sequences[row], alone)
        np.testing.assert_array_equal(both.contours[row], (ours if row < 1440 else one).contours[row % 1440])
    with pytest.raises(ValueError, match="give each corpus once"):
        store.load([miniature, miniature])


def test_a_table_of_ones_own_is_extracted_and_compared_by_files_alone(tmp_path, capsys):
    clips = corpora.read(MINIATURE).query("speaker < '04'")
    mine = clips[["path", "emotion"]].assign(path=[str(MINIATURE / path) for path in clips["path"]])
    mine.to_csv(tmp_path / "mine.csv", index=False)
    out = tmp_path / "features"
    assert cli.main(["extract", str(tmp_path / "mine.csv"), "--corpus", "own", "--out", str(out), "--jobs", "1"]) == 0
    command = ["compare", "--model", "chance", "--features", str(out), "--out", str(tmp_path / "compared")]
    assert cli.main(command) == 2
    assert "take --protocol random-split" in capsys.readouterr().err
    assert cli.main([*command, "--protocol", "random-split"]) == 0
    assert "random-split" in capsys.readouterr().out
    made = store.load(out)
    assert made.clips["corpus"].unique().tolist() == ["mine"]
    assert made.clips["speaker"].isna().all()
    numbered = mine.assign(emotion=clips["emotion"].map(corpora.EMOTIONS.index), speaker=clips["speaker"])
    numbered.to_csv(tmp_path / "mine.csv", index=False)  # the same recordings, and another table of them
    assert cli.main(["extract", str(tmp_path / "mine.csv"), "--corpus", "own", "--out", str(out), "--jobs", "1"]) == 0
    assert sorted(store.load(out).clips["emotion"].unique()) == [str(number) for number in range(8)]
    assert cli.main([*command, "--fold", "0"]) == 0
    shown = capsys.readouterr().out
    assert "chance" in shown.splitlines()[-3]
    assert "published" not in shown  # RAVDESS's rows are none of its
