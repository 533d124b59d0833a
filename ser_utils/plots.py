"""Figures: who is taken for what, how training went, and what a voice looks like."""

import matplotlib.pyplot as plt
import numpy as np

from ser_utils import corpora, features, scores

SEQUENTIAL = "viridis"  # even in lightness: readable in grey and to every eye
SIGNED = "PuOr"  # around zero; its ends differ to every eye
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000"]  # Okabe & Ito 2008
MARKS = "os^DvPX*"
MODELS = {"cnn": "#0072B2", "svm": "#D55E00", "lstm": "#882255", "mlp": "#56B4E9", "average": "#DDCC77",
          "cnn_live": "#999999", "original_cnn": "#000000"}
EMOTIONS = dict(zip(corpora.EMOTIONS, (  # Tol 2021, "muted"
    "#999933", "#88CCEE", "#DDCC77", "#332288", "#882255", "#AA4499", "#117733", "#44AA99"), strict=True))
GENDERS = {"female": "#EE8866", "male": "#2A4B8D"}
STYLES = {name: {"color": colour, "marker": MARKS[number]} for kind in (MODELS, EMOTIONS, GENDERS)
          for number, (name, colour) in enumerate(kind.items())}


def style(name, number=0):
    """Colour and mark of a model, an emotion or a gender, the same in every figure; of others by number. dict

    >>> style("cnn"), style("my model", 1)
    ({'color': '#0072B2', 'marker': 'o'}, {'color': '#E69F00', 'marker': 's'})
    """
    plain = {"color": COLOURS[number % len(COLOURS)], "marker": MARKS[number % len(MARKS)]}
    return STYLES.get(name, plain)


def _axes(ax, size):
    return ax if ax is not None else plt.subplots(figsize=size, layout="constrained")[1]


def confusion(counts, classes, title="", normalise=True, ax=None, colorbar=True):
    """Actual (rows) against predicted (columns): each row as shares of its class in per cent, or counts.

    `counts` [shape=(n_classes, n_classes)] come from `scores.confusion`, `classes` in their order. Returns the Axes.

    >>> ax = confusion(np.array([[8, 2], [1, 9]]), ["happy", "sad"], title="CNN")
    >>> ax.get_title(), ax.get_xlabel(), ax.get_ylabel()
    ('CNN', 'predicted', 'actual')
    >>> [text.get_text() for text in ax.texts]
    ['80', '20', '10', '90']
    """
    import seaborn as sns

    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.6 + 0.6 * len(classes)
    ax = _axes(ax, (side + 0.8, side))
    names = [name.replace("_", " ") for name in classes]
    shown = shares if normalise else counts
    written = [["" if normalise and value < 0.5 else f"{value:.0f}" for value in row] for row in shown]
    sns.heatmap(shown, annot=written, fmt="", cmap=SEQUENTIAL, vmin=0, vmax=100 if normalise else None,
                square=True, linewidths=0.5,
                xticklabels=names, yticklabels=names, ax=ax, annot_kws={"size": 9}, cbar=colorbar,
                cbar_kws={"label": "% of the actual class" if normalise else "clips", "shrink": 0.8})
    ax.set(xlabel="predicted", ylabel="actual", title=title)
    ax.tick_params(axis="y", rotation=0)
    ax.tick_params(axis="x", rotation=45)
    plt.setp(ax.get_xticklabels(), ha="right", rotation_mode="anchor")
    return ax


def recall_by_class(predictions, ax=None):
    """Recall of each class for each model of one protocol and labelling, and chance. Returns the Axes.

    >>> import pandas as pd
    >>> rows = pd.DataFrame({"model": "svm", "emotion": ["happy", "sad"], "p_happy": [0.9, 0.6], "p_sad": [0.1, 0.4]})
    >>> ax = recall_by_class(rows)
    >>> [line.get_label() for line in ax.lines], ax.lines[0].get_ydata().tolist()
    (['svm', 'chance'], [100.0, 0.0])
    """
    classes = scores.classes(predictions)
    ax = _axes(ax, (7.4, 4))
    for number, (model, rows) in enumerate(predictions.groupby("model", sort=False)):
        ax.plot(100 * scores.recalls(scores.confusion(rows)), **style(model, number), linestyle=":", label=model)
    ax.axhline(100 / len(classes), color="0.4", linewidth=1, linestyle="--", label="chance")
    ax.set_xticks(range(len(classes)), [name.replace("_", " ") for name in classes], rotation=30, ha="right")
    ax.set(ylabel="recall (%)", ylim=(0, 100))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.15), ncols=7, frameon=False)
    return ax


def training_curves(histories, axes=None):
    """Loss and accuracy an epoch, training solid, validation dashed, from a `history_` a model. Returns two Axes.

    >>> history = {"loss": [2.0, 1.5], "val_loss": [2.1, 1.8], "accuracy": [0.2, 0.4], "val_accuracy": [0.2, 0.3]}
    >>> loss, accuracy = training_curves({"cnn": history})
    >>> accuracy.get_ylabel(), [line.get_label() for line in accuracy.lines]
    ('accuracy (%)', ['cnn, training', 'cnn, validation'])
    """
    axes = axes if axes is not None else plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")[1]
    for number, (name, history) in enumerate(histories.items()):
        for ax, metric, unit, scale in zip(axes, ("loss", "accuracy"), ("loss", "accuracy (%)"), (1, 100), strict=True):
            for key, side, line in ((metric, "training", "-"), (f"val_{metric}", "validation", "--")):
                if key in history:
                    ax.plot(np.arange(1, len(history[key]) + 1), scale * np.asarray(history[key]), line,
                            color=style(name, number)["color"], label=f"{name}, {side}")
            ax.set(xlabel="epoch", ylabel=unit)
            ax.xaxis.get_major_locator().set_params(integer=True)
    axes[1].legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return axes


def waveform(y, sr, title="", ax=None):
    """Amplitude over time. Returns the Axes.

    >>> ax = waveform(np.zeros(16000), sr=16000, title="a second of silence")
    >>> ax.get_title(), ax.get_xlabel(), [float(end) for end in ax.get_xlim()]
    ('a second of silence', 'time (s)', [0.0, 1.0])
    """
    ax = _axes(ax, (8, 2))
    ax.plot(np.arange(len(y)) / sr, y, linewidth=0.6)
    ax.set(xlabel="time (s)", ylabel="amplitude", title=title, xlim=(0, len(y) / sr))
    return ax


def mel_spectrogram(y, settings=features.Settings(), title="", ax=None):
    """Mel spectrogram in dB, its bands named by their centre frequency. Returns the Axes.

    >>> ax = mel_spectrogram(np.random.default_rng(0).normal(size=16000), title="noise")
    >>> ax.get_title(), ax.get_ylabel(), ax.images[0].get_array().shape
    ('noise', 'frequency (Hz)', (64, 63))
    """
    ax = _heat(features.mel_spectrogram(y, settings), settings, "dB", title, ax)
    bands = np.linspace(0, settings.n_mels - 1, 5).round().astype(int)
    centres = features.mel_centres(settings)
    ax.set_yticks(bands, [f"{centres[band]:.0f}" for band in bands])
    ax.set_ylabel("frequency (Hz)")
    return ax


def mfcc(coefficients, settings=features.Settings(), title="", ax=None):
    """Heat map of MFCCs, each standardised over the clip: c0 would drown the rest. Returns the Axes.

    >>> ax = mfcc(np.random.default_rng(0).normal(size=(63, 20)), title="noise")
    >>> ax.get_title(), ax.get_ylabel(), ax.images[0].get_array().shape
    ('noise', 'coefficient', (20, 63))
    """
    z = (coefficients - coefficients.mean(axis=0)) / np.maximum(coefficients.std(axis=0), 1e-6)
    ax = _heat(z, settings, "SD from the coefficient's mean", title, ax, limit=3)
    ax.set_ylabel("coefficient")
    ax.yaxis.get_major_locator().set_params(integer=True)
    return ax


def _heat(values, settings, unit, title, ax, limit=None):
    ax = _axes(ax, (8, 2.8))
    frame = settings.hop_length / settings.sr
    image = ax.imshow(values.T, origin="lower", aspect="auto", cmap=SIGNED if limit else SEQUENTIAL,
                      vmin=-limit if limit else None, vmax=limit,
                      extent=(-frame / 2, (len(values) - 0.5) * frame, -0.5, values.shape[1] - 0.5))
    ax.figure.colorbar(image, ax=ax, label=unit)
    ax.set(xlabel="time (s)", title=title)
    return ax
