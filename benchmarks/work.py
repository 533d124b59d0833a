"""What bench.py times. Each contender is a process of its own: python benchmarks/work.py NAME ARGUMENT ...

A function below makes a contender ready (imports, models, one turn to warm up) and returns what is timed. The process
then takes orders from its input: `go`, answered by seconds, and `save PATH`, which keeps the last result.
"""

import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

EPOCHS = 4  # of the 40 that published models have
BATCH = 16


def _recordings(folder):
    from ser_utils import corpora

    return corpora.recordings(Path(folder))


def _over_two(function, paths):
    """Ours and others' functions alike: over two processes of one thread each, as `store.extract` goes."""
    from joblib import delayed

    from ser_utils.parallel import each

    return list(each(map(delayed(function), paths), len(paths), "", "clip", jobs=2, progress=False))


def _made_ready(work, warm_up):
    warm_up()
    return work


def mfcc_ours(folder):
    """Recordings to MFCCs by this package."""
    from ser_utils import features

    paths = _recordings(folder)
    return _made_ready(lambda: _over_two(features.clip_features, paths),
                       lambda: _over_two(features.clip_features, paths[:8]))


def _librosa(path):
    import librosa

    y, _ = librosa.load(path, sr=16000)
    return _librosa_mfcc(librosa.effects.trim(y, top_db=35)[0])


def _librosa_mfcc(y):
    import librosa

    return librosa.feature.mfcc(y=y, sr=16000, n_fft=1024, hop_length=256, n_mels=64, n_mfcc=64, fmin=20.0,
                                pad_mode="constant").T


def mfcc_librosa(folder):
    """The same with librosa's own calls, clip by clip, under joblib."""
    from joblib import Parallel, delayed

    paths = _recordings(folder)
    return _made_ready(lambda: Parallel(2)(delayed(_librosa)(path) for path in paths),
                       lambda: Parallel(2)(delayed(_librosa)(path) for path in paths[:8]))


def _original_feature(path):
    import librosa

    y, sr = librosa.load(path, res_type="kaiser_fast", duration=2.5, sr=22050 * 2, offset=0.5)
    return np.mean(librosa.feature.mfcc(y=y, sr=sr, n_mfcc=13), axis=0)


def mfcc_original(folder):
    """The loop of the original project's notebook: one process, kaiser_fast to 44.1 kHz, 2.5 s, 13 MFCCs."""
    paths = _recordings(folder)
    return _made_ready(lambda: [_original_feature(path) for path in paths], lambda: _original_feature(paths[0]))


def mfcc_opensmile(folder):
    """OpenSMILE's eGeMAPSv02 functionals, two workers of its own."""
    import opensmile

    smile = opensmile.Smile(feature_set=opensmile.FeatureSet.eGeMAPSv02,
                            feature_level=opensmile.FeatureLevel.Functionals, num_workers=2)
    paths = list(map(str, _recordings(folder)))
    return _made_ready(lambda: smile.process_files(paths).to_numpy(), lambda: smile.process_files(paths[:2]))


def _decoded(path):
    import soundfile

    from ser_utils import audio

    y, sr = soundfile.read(path, dtype="float32", always_2d=True)
    return len(audio.resampled(audio.mono(y), sr, 16000))


def mfcc_limit(folder):
    """Nothing but decoding and resampling, which nobody can leave out."""
    paths = _recordings(folder)
    return _made_ready(lambda: _over_two(_decoded, paths), lambda: _over_two(_decoded, paths[:8]))


def stage_ours(folder):
    """Trimmed samples in memory to MFCCs, one process."""
    from scipy.fft import rfft

    from ser_utils import features

    return _stage(folder, partial(features.mfcc, rfft=rfft))


def stage_librosa(folder):
    """The same by `librosa.feature.mfcc`."""
    return _stage(folder, _librosa_mfcc)


def stage_limit(folder):
    """Nothing but the Fourier transforms."""
    from scipy.fft import rfft

    from ser_utils import audio

    return _stage(folder, lambda y: rfft(audio.frame(y, 1024, 256)))


def _stage(folder, function):
    from threadpoolctl import threadpool_limits

    from ser_utils import audio

    clips = [audio.trim(audio.load(path)) for path in _recordings(folder)]
    threadpool_limits(1)
    return _made_ready(lambda: [function(y) for y in clips], lambda: function(clips[0]))


def cache_extract(folder, corpus="ravdess", pitch=True):
    """`extract`: MFCCs, the original's feature, and descriptors, written."""
    from ser_utils import store

    def work():
        with tempfile.TemporaryDirectory() as out:
            return store.extract(folder, out, corpus, pitch=pitch, jobs=2, progress=False)[0].frames

    one = partial(store._one, folder, settings=store.features.Settings(), pitch=pitch)
    return _made_ready(work, lambda: _over_two(one, store.corpora.read(folder, corpus).head(2).to_dict("records")))


def cache_extract_no_pitch(folder, corpus="ravdess"):
    """The same with --no-pitch."""
    return cache_extract(folder, corpus, pitch=False)


def _kept(folder, corpus):
    from ser_utils import store

    out = tempfile.TemporaryDirectory()
    store.extract(folder, out.name, corpus, pitch=False, jobs=2, progress=False)
    return out  # goes with whoever holds it


def cache_read(folder, corpus="ravdess"):
    """What was written, opened again."""
    from ser_utils import store

    out = _kept(folder, corpus)
    return _made_ready(lambda: store.load(out.name).frames, lambda: store.load(out.name))


def cache_limit(folder):
    """Nothing but unpacking the bytes."""
    out = _kept(folder, "ravdess")
    return lambda: np.load(Path(out.name, "features.npz"), allow_pickle=False)["frames"]


def _training():
    from ser_utils import splits, store

    data = store.load()
    rows = splits.speaker_independent(data.clips)[0].train
    return [data.sequences[row] for row in rows], splits.label(data.clips)[rows].astype(str)


def _default_threads():
    """TensorFlow as it comes: as many threads as there are cores."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import warnings

    import tensorflow as tf

    warnings.simplefilter("ignore")  # the package warns that it could not set one
    tf.config.threading.set_intra_op_parallelism_threads(os.cpu_count())
    tf.config.threading.set_inter_op_parallelism_threads(os.cpu_count())


def epoch_ours(model):
    """Epochs of `SequenceClassifier.fit`: augmented stretches of 144 frames, one thread."""
    from threadpoolctl import threadpool_limits

    from ser_utils import models, sequence

    X, y = _training()
    estimator = models.find(model).estimator(0).set_params(epochs=2).fit(X, y)
    threadpool_limits(1)
    batches = sequence._batches(sequence.quiet_keras(), estimator, X, estimator._one_hot(y))
    return lambda: estimator.network_.fit(batches, epochs=EPOCHS, verbose=0)


def _plain(model, X, y, frames=None, dropout=0.3, rate=1e-3):
    """A compiled network and whole arrays, as Keras's guides have it."""
    from ser_utils import augment, models, networks

    keras = networks.keras
    keras.utils.set_random_seed(0)
    x, mask = augment.pad([one[:frames, :models.N_MFCC] for one in X], multiple=16)
    mean, scale = (statistic(np.concatenate(X), axis=0)[:models.N_MFCC] for statistic in (np.mean, np.std))
    network = getattr(networks, model)(models.N_MFCC, 8, dropout=dropout)
    network.compile(keras.optimizers.AdamW(rate, weight_decay=1e-2, clipnorm=1.0),
                    keras.losses.CategoricalCrossentropy(label_smoothing=0.1), metrics=["accuracy"], jit_compile=False)
    return network, [(x - mean) / scale * mask, mask], np.eye(8, dtype=np.float32)[np.unique(y, return_inverse=True)[1]]


def epoch_fit(model, threads, frames=None):
    """Epochs of `model.fit` on arrays padded to the longest clip, or to so many frames and cut there."""
    if threads == "default":
        _default_threads()
    network, x, t = _plain(model, *_training(), frames and int(frames))
    return _made_ready(lambda: network.fit(x, t, batch_size=BATCH, epochs=EPOCHS, verbose=0),
                       lambda: network.fit(x, t, batch_size=BATCH, epochs=2, verbose=0))


def epoch_equal(model):
    """Losses of an epoch without padding beyond the stretch, and padded to the longest clip: the same network."""
    X, y = _training()
    short = [row for row, x in enumerate(X) if len(x) <= 144]
    X, y = [X[row] for row in short], y[short]

    def work():
        losses = []
        for more in (0, 144):
            network, x, t = _plain(model, X, y, dropout=0.0, rate=1e-5)  # small steps: rounding does not grow
            x = [np.pad(part, ((0, 0), (0, more), (0, 0))) for part in x]
            losses.append(network.fit(x, t, batch_size=BATCH, shuffle=False, verbose=0).history["loss"][0])
        return np.array(losses)

    return work


def multiply_adds(model, frames, **options):
    """Of one clip through a network: the size of each kernel by the frames it is laid on."""
    from ser_utils import models, networks

    found, left = 0, frames
    for layer in getattr(networks, model)(models.N_MFCC, 8, **options).layers:
        kind = type(layer).__name__
        left = left // layer.strides[0] if kind == "Conv1D" else left
        left = left // 2 if kind == "MaxPooling1D" and layer.output.shape[-1] > 1 else left  # the mask costs nothing
        if kind in ("Conv1D", "LSTM", "AttentionPooling", "Dense"):
            found += sum(w.size for w in layer.get_weights() if w.ndim > 1) * (1 if kind == "Dense" else left)
    return found


def _multiplying(count):
    """So many multiply-adds as matrix products of the size that the CNN has most of, on one thread."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    a, b = (np.random.default_rng(0).normal(size=size).astype(np.float32) for size in ((256, 1280), (1280, 256)))
    times = max(1, round(count / (256 * 1280 * 256)))

    def work():
        for _ in range(times):
            a @ b

    return _made_ready(work, lambda: a @ b)


def epoch_limit(model):
    """Nothing but their multiply-adds: forward, and twice as many backward."""
    return _multiplying(EPOCHS * 3 * multiply_adds(model, 144) * len(_training()[0]))


def _short(name):
    from ser_utils import models

    return models.find(name).estimator(0).set_params(epochs=EPOCHS)


mlp, lstm, cnn = (partial(_short, name) for name in ("mlp", "lstm", "cnn"))  # a worker finds them as work:cnn


def _units():
    from ser_utils import compare

    return compare.plan(["work:mlp", "work:lstm", "work:cnn"], part="test")


def folds_ours(jobs, few=None):
    """Fifteen units by `compare.run`, over processes of one thread; or the first few."""
    from ser_utils import compare

    def work():
        with tempfile.TemporaryDirectory() as folder:
            units = _units()[:few and int(few)]
            return compare.run(units, checkpoints=folder, jobs=int(jobs), progress=False)[0].filter(like="p_")

    return work


def folds_plain():
    """One after another in one process, TensorFlow's threads as they come."""
    _default_threads()
    from ser_utils import splits, store

    data = store.load()
    X, y, folds = data.sequences, splits.label(data.clips).astype(str), splits.speaker_independent(data.clips)

    def work():
        parts = []
        for unit in _units():
            split = folds[unit.fold]
            learned = np.concatenate([split.train, split.validation])
            fitted = globals()[unit.model.split(":")[1]]().fit([X[row] for row in learned], y[learned])
            parts.append(fitted.predict_proba([X[row] for row in split.test]))
        return np.concatenate(parts)

    return work


def warm_ours(path):
    """A file heard by `ser_utils.predict`."""
    import ser_utils

    return _made_ready(lambda: _answer(ser_utils.predict(path)), lambda: ser_utils.predict(path))


def _answer(heard):
    return np.array(list(heard["probabilities"].values()))


def warm_original(path):
    """The original's path: its feature, its network, `model.predict`."""
    _default_threads()
    from ser_utils import networks

    network = networks.original_cnn(1, 10)

    def work():
        x = np.resize(_original_feature(path), 216)[None, :, None]
        return network.predict([x, np.ones_like(x)], verbose=0)[0]

    return _made_ready(work, work)


def warm_limit(path):
    """Nothing but reading the file and multiplying: five views for the emotion, one for the gender."""
    from ser_utils import features

    clip = len(features.clip_features(path))
    multiply = _multiplying(5 * multiply_adds("cnn", -(-clip // 32) * 32) + multiply_adds("cnn", clip, width=64))

    def work():
        _decoded(path)
        multiply()

    return _made_ready(work, work)


def keras_pair(folder):
    """Our two networks for Keras, of the shipped architecture and trained on next to nothing, and for NumPy."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
    import train_live

    from ser_utils import live, models, store

    clips = store.load().sequences[:16]
    for name, recipe in live.RECIPES.items():
        classes = np.resize(live.networks()[name].classes, len(clips))
        made = models.find(recipe).estimator(0).set_params(epochs=1).fit(clips, classes)
        made.network_.save(Path(folder, f"{name}.keras"))
        train_live.export(made, Path(folder, f"live_{name}.npz"))
    return lambda: 0


def through_keras(path, folder):
    """The same two networks on a file through Keras and TensorFlow."""
    from ser_utils import features

    both = [_opened(folder, name) for name in ("emotion", "gender")]
    return lambda: np.concatenate([one.predict_proba([features.clip_features(path)])[0] for one in both])


def _opened(folder, name):
    from ser_utils import features, live, models, networks

    made = models.find(live.RECIPES[name]).estimator(0)
    with np.load(Path(folder, f"live_{name}.npz"), allow_pickle=False) as arrays:
        made.classes_, made.shares_, made.mean_, made.scale_ = (
            arrays[key] for key in ("classes", "shares", "mean", "scale"))
    made.n_features_in_ = features.Settings().n_mfcc
    made.network_ = networks.keras.saving.load_model(Path(folder, f"{name}.keras"), compile=False)
    return made


def through_numpy(path, folder):
    """And through NumPy."""
    from ser_utils import features
    from ser_utils.runtime import Network

    networks = [Network(Path(folder, f"live_{name}.npz")) for name in ("emotion", "gender")]
    return lambda: np.concatenate([one.predict_proba(features.clip_features(path)) for one in networks])


def length(path):
    """MFCCs of one clip."""
    from ser_utils import features

    return _made_ready(lambda: features.clip_features(path), lambda: features.clip_features(path))


def main(name, *arguments):
    """Make ready, then obey."""
    work, result = globals()[name](*arguments), None
    print("ready", flush=True)
    for line in sys.stdin:
        order, _, path = line.strip().partition(" ")
        if order == "save":
            kept = result if isinstance(result, list) else [np.asarray(result)]
            np.savez(path, *kept)
            print("saved", flush=True)
            continue
        before = time.perf_counter()
        result = work()
        print(time.perf_counter() - before, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
