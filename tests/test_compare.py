"""The comparison in real processes: alone, together, killed and resumed; looks at test folds; a model of one's own."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier

from conftest import QUICK
from ser_utils import compare, corpora, models, publish, store


@pytest.fixture
def place(tmp_path):
    """An empty folder with a module of the user's in it, and the environment that finds it."""
    (tmp_path / "mine.py").write_text(QUICK)
    return tmp_path, {**os.environ, "PYTHONPATH": f"{corpora.ROOT}{os.pathsep}{tmp_path}"}


def command(place, *arguments, program=("-m", "ser_utils")):
    return subprocess.run([sys.executable, *program, *map(str, arguments)], capture_output=True, text=True,
                          cwd=place[0], env=place[1], check=False)


def kept(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "build" / "units").glob("*.csv.gz"))}


def test_alone_in_parallel_killed_and_resumed_give_the_same(place, miniature, tmp_path_factory):
    arguments = ("compare", "--model", "mine:Network", "--features", miniature, "--fold", 0, 1, 2)
    alone = tmp_path_factory.mktemp("alone")
    done = command((alone, place[1]), *arguments, "--jobs", 1)
    assert done.returncode == 0, done.stderr
    expected = kept(alone)
    assert len(expected) == 3

    running = subprocess.Popen([sys.executable, "-m", "ser_utils", *map(str, arguments), "--jobs", "2"], cwd=place[0],
                               env=place[1], start_new_session=True, stderr=subprocess.DEVNULL)
    while not kept(place[0]) and running.poll() is None:
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    before = kept(place[0])
    assert before
    stamps = {name: (place[0] / "build" / "units" / name).stat().st_mtime_ns for name in before}
    done = command(place, *arguments, "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert kept(place[0]) == expected
    assert stamps == {name: (place[0] / "build" / "units" / name).stat().st_mtime_ns for name in stamps}
    assert "SYNTHETIC" in done.stdout
    about = json.loads((place[0] / "build" / "compare" / "about.json").read_text())
    assert "SYNTHETIC" in about["note"]
    assert set(about["curves"]["mine:Network"]) >= {"loss", "accuracy", "val_loss", "val_accuracy"}


def test_a_model_of_ones_own_is_set_beside_ours(place):
    done = command(place, "compare", "--model", "mine:Regression", "svm", "--fold", 0)
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert {"mine:Regression", "svm"} <= set(lines)
    [published] = [row["uar"] for row in json.loads(command(place, "report", "--json").stdout)
                   if [row[key] for key in publish.KEYS] == ["svm", "speaker-independent", "emotion"]]
    assert f"{100 * published:.1f}" in lines["svm"]
    rows = publish.load(place[0] / "build" / "compare")
    assert set(rows["speaker"]) == {"03", "06"}  # fold 0's validation actors
    assert not (place[0] / "build" / "results").exists()
    page = command(place, "--out", "page", program=[corpora.ROOT / "tools" / "pages.py"])
    assert page.returncode == 0, page.stderr
    text = (place[0] / "page" / "index.html").read_text()
    assert "mine:Regression" in text
    assert "http" not in text


def test_a_look_leaves_a_trace_and_replaces_its_own_rows_only(place, miniature):
    for names in (["mine:Regression", "chance"], ["chance"]):
        done = command(place, "compare", "--publish", "--model", *names, "--features", miniature)
        assert done.returncode == 0, done.stderr
    results = place[0] / "build" / "results"
    looks = pd.read_csv(results / "looks.csv")
    assert looks["model"].tolist() == ["mine:Regression", "chance", "chance"] or \
        looks["model"].tolist() == ["chance", "mine:Regression", "chance"]
    rows = publish.load(results)
    assert rows.groupby("model")["clip"].nunique().to_dict() == {"chance": 128, "mine:Regression": 128}
    assert not rows.duplicated(["model", "clip"]).any()
    made = json.loads((results / "made.json").read_text())
    assert made["chance speaker-independent emotion"]["versions"] == compare.versions()


def test_published_rows_insist_on_a_committed_tree(tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "PUBLISHED", tmp_path / "results")
    monkeypatch.setattr(corpora, "ROOT", tmp_path)

    def git(*arguments):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=tmp_path, check=True,
                       capture_output=True)

    with pytest.raises(publish.UncommittedError, match="no git checkout"):
        publish.require_committed(tmp_path / "results" / "ravdess")
    git("init")
    (tmp_path / "a.py").write_text("1")
    git("add", "a.py")
    git("commit", "-m", "one")
    publish.require_committed(tmp_path / "results" / "ravdess")
    (tmp_path / "a.py").write_text("2")
    with pytest.raises(publish.UncommittedError, match=r"1 files are in none \(a.py\)"):
        publish.require_committed(tmp_path / "results" / "ravdess")
    publish.require_committed(tmp_path / "build" / "results")


def test_a_recipe_changes_with_what_it_depends_on(shipped):
    first = compare.recipe("cnn", shipped)
    assert first == compare.recipe("cnn", shipped)
    assert first != compare.recipe("mlp", shipped)
    other = store.FeatureSet(shipped.clips, shipped.frames + 1, shipped.starts, shipped.contours, shipped.settings)
    assert first != compare.recipe("cnn", other)


def test_validation_never_reads_test_rows(shipped, monkeypatch):
    whose = dict(zip((x.tobytes() for x in shipped.sequences), shipped.clips["speaker"], strict=True))
    met = {}

    class Spy(DummyClassifier):
        def fit(self, X, y):
            met["learned"] = {whose[x.tobytes()] for x in X}
            return super().fit(np.zeros((len(y), 1)), y)

        def predict_proba(self, X):
            met["asked"] = {whose[x.tobytes()] for x in X}
            return super().predict_proba(np.zeros((len(X), 1)))

    monkeypatch.setitem(models.MODELS, "spy", models.Model("spy", Spy))
    everybody, validated, tested = set(whose.values()), {"08", "17"}, {"10", "11", "12", "19", "20"}
    for part, asked in (("validation", validated), ("test", tested)):
        rows, _ = compare.run_unit(compare.Unit("spy", "speaker-independent", "emotion", 0, 2, part), store.load())
        assert set(rows["speaker"]) == met["asked"] == asked
        assert met["learned"] == everybody - tested - asked


def test_an_error_in_ones_own_model_shows_where(place):
    (place[0] / "broken.py").write_text(QUICK + """
class Broken(Regression):
    def fit(self, X, y):
        raise ValueError("my own mistake")
""")
    done = command(place, "compare", "--model", "broken:Broken", "--fold", 0, "--jobs", 1)
    assert done.returncode == 2
    assert 'raise ValueError("my own mistake")' in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: Unit(model='broken:Broken'")


def test_editing_ones_own_model_makes_its_results_anew(place, shipped, monkeypatch):
    monkeypatch.syspath_prepend(place[0])
    first = compare.recipe("mine:Network", shipped)
    assert first == compare.recipe("mine:Network", shipped)
    (place[0] / "mine.py").write_text(QUICK.replace("epochs=2", "epochs = 2"))
    assert first != compare.recipe("mine:Network", shipped)


@pytest.mark.parametrize(("arguments", "message"), [
    (["compare", "--model", "nonsense"], "model 'nonsense' is unknown"),
    (["compare", "--fold", "7"], "fold 7 of speaker-independent does not exist"),
    (["compare", "--features", "nowhere"], "no features in nowhere"),
    (["report", "--results", "nowhere"], "no predictions in nowhere"),
    (["compare", "--publish", "--seed", "5"], "name the models with --model"),
])
def test_errors_are_one_line_with_a_remedy(place, arguments, message):
    done = command(place, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_help_names_every_command(place):
    done = command(place, "--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("extract", "compare", "report"))


def test_a_checkpoint_knows_the_labels_it_was_made_with(shipped):
    other = replace(shipped, clips=shipped.clips.assign(emotion=shipped.clips["emotion"].to_numpy()[::-1]))
    assert compare.recipe("svm", other) != compare.recipe("svm", shipped)
    assert compare.recipe("svm", replace(shipped)) == compare.recipe("svm", shipped)


def test_one_class_is_nothing_to_tell_apart(shipped):
    with pytest.raises(ValueError, match=r"nothing to tell apart \(sad\)"):
        compare.plan(["chance"], clips=shipped.clips.query("emotion == 'sad'"))
    with pytest.raises(ValueError, match="no clip has one"):
        compare.plan(["chance"], labels="gender", clips=shipped.clips.assign(gender=None))
    both = pd.concat([shipped.clips, shipped.clips.assign(corpus="other", speaker="s")], ignore_index=True)
    with pytest.raises(ValueError, match="it chooses nothing; add --publish"):
        compare.plan(["chance"], ["across"], clips=both)
