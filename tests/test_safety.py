"""What SECURITY.md promises: nothing that is read is run."""

import ast
import json
import re
import sys
import urllib.error
import urllib.request

import numpy as np
import pandas as pd
import pytest

from ser_utils import cli, compare, corpora, fetch, recorder, store

sys.path.insert(0, str(corpora.ROOT / "tools"))
RUNS = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "eval", "exec", "yaml", "read_pickle"}
SOURCES = [path for folder in ("ser_utils", "tools", "benchmarks") for path in (corpora.ROOT / folder).glob("*.py")]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_that_is_read_is_run(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        named = {getattr(node, "id", ""), getattr(node, "attr", "")}
        if isinstance(node, ast.Import | ast.ImportFrom):
            named |= {alias.name.split(".")[0] for alias in node.names} | {getattr(node, "module", "")}
        assert not named & RUNS, f"{path.name}, line {node.lineno}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "np.load":
            assert "allow_pickle=False" in ast.unparse(node)
        assert "safe_mode" not in ast.unparse(node)  # on, unless somebody turns it off
        assert not (named & {"load", "dump"} and "joblib" in ast.unparse(node))


def test_the_limits_it_names_are_those_of_the_code():
    text = " ".join((corpora.ROOT / "SECURITY.md").read_text(encoding="utf-8").split())
    assert f"more than {fetch.MOST_BYTES // 2 ** 30} GB or {fetch.MOST_FILES:,} files" in text
    assert f"at most {recorder.MOST_BYTES // 2 ** 20} MB, a WAV" in text


@pytest.mark.parametrize("name", ["live_emotion.npz", "live_gender.npz"])
def test_models_are_arrays_of_numbers_and_names(name):
    with np.load(corpora.ROOT / "models" / name, allow_pickle=False) as arrays:
        assert all(arrays[key].dtype.kind in "fiubU" for key in arrays.files)


def test_what_a_table_says_cannot_act_in_the_report(miniature, tmp_path):
    import pages

    evil = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'
    whole = store.load(miniature)
    clips = whole.clips.assign(emotion=whole.clips["emotion"].replace("sad", evil),
                               speaker=whole.clips["speaker"].replace("01", evil), clip=evil + whole.clips["clip"])
    made = store.FeatureSet(clips, whole.frames, whole.starts, whole.contours, whole.settings)
    store.save(made, tmp_path / "features")
    units = compare.plan(["chance"], clips=store.load(tmp_path / "features").clips)
    rows, histories = compare.run(units, tmp_path / "features", tmp_path / "units", jobs=1, progress=False)
    compare.keep(tmp_path / "compared", rows, histories, evil)
    text = pages.index(tmp_path / "page", *pages.read_live(tmp_path / "compared")).read_text(encoding="utf-8")
    assert "&lt;script&gt;" in text
    assert not re.search(r"<script|<img(?! src=\"[\w.-]+\.png\")|onerror=(?!alert\(1\)&gt;)", text)


@pytest.mark.parametrize(("wav", "why"), [
    (b"RIFF" + bytes(11 * 2 ** 20), "no short WAV"), (b"<script>", "no short WAV"), (b"RIFF nonsense", "no sound came"),
    (b"\x80\x04\x95pickle", "no short WAV")])
def test_the_recorder_takes_nothing_but_a_short_wav(wav, why):
    microphone = recorder.Recorder()
    microphone.wav = wav
    with pytest.raises(recorder.RecorderError, match=why):
        microphone.samples()


def test_a_wav_of_the_wrong_type_is_refused():
    with pytest.raises(Exception, match="wav"):
        recorder.Recorder().wav = "text"


def test_jupyterlab_answers_nobody_without_its_token(lab):
    base, token, _ = lab
    assert base.startswith("http://127.0.0.1:")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{base}/api/contents", timeout=10)
    assert refused.value.code == 403
    with urllib.request.urlopen(f"{base}/api/contents?token={token}", timeout=10) as allowed:
        assert json.load(allowed)["type"] == "directory"


def test_make_lab_listens_to_this_machine_alone():
    [line] = [line for line in (corpora.ROOT / "Makefile").read_text().splitlines() if "jupyter lab" in line]
    assert "--ip=127.0.0.1" in line
    assert not re.search(r"token|password|0\.0\.0\.0|allow.origin", line)


def test_a_name_with_terminal_codes_is_shown_not_obeyed(tmp_path, capsys):
    path = tmp_path / "a\x1b[31m\nb.wav"
    path.write_bytes(b"nonsense")
    assert cli.main(["predict", str(path)]) == 1
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert said.count("\n") == 1
    assert r"a\x1b[31m\nb.wav" in said


def test_cells_that_look_like_formulas_are_text(tmp_path):
    rows = pd.DataFrame({"clip": ["=1+1"], "emotion": ["@a"]})
    compare.write(rows, tmp_path / "rows.csv.gz")
    assert pd.read_csv(tmp_path / "rows.csv.gz", **store.READ).equals(rows)
