"""Figures of recordings, training and evaluation, with one color per model, emotion and gender in all of them.

All colors have a contrast of at least 3:1 on white (WCAG 2.2, 1.4.11) and stay distinguishable with protanopia,
deuteranopia and tritanopia; tests/test_plotting.py checks both.
"""

import matplotlib.pyplot as plt
import numpy as np

from ser_utils.datasets.core import EMOTIONS
from ser_utils.evaluation import metrics
from ser_utils.features.spectral import FeatureConfig, log_mel_spectrogram, mel_frequencies

SEQUENTIAL_CMAP = "Blues"  # light to dark, so that zero recedes into the page
DIVERGING_CMAP = "PuOr"  # for signed values; its ends differ under every color vision deficiency
SPECTROGRAM_CMAP = "magma"  # librosa's
COLORS = ["#0072B2", "#BB7700", "#779966", "#AA3311", "#3399DD", "#994477", "#000000"]
MARKERS = "os^DvPX*<>hpdH"
MODEL_COLORS = {
    "chance": "#777777", "svm": "#D55E00", "original_cnn": "#000000", "mlp": "#11AA66", "lstm": "#882255",
    "cnn": "#0072B2", "cnn_robust": "#4422AA", "ensemble": "#665522", "svm_egemaps": "#660000",
    "svm_compare": "#9977FF", "tdnn": "#660066", "crnn": "#AA88BB", "cnn_attention": "#3322FF",
    "ensemble_weighted": "#333333"}
PRETRAINED_COLORS = {"whisper_logreg": "#0072B2", "whisper_mlp": "#11AA66", "whisper_attention": "#882255",
                     "whisper_robust": "#BB6600", "fusion": "#000000"}
PRETRAINED_MARKERS = ((4, 1, 0), (6, 1, 0), (3, 1, 0), (5, 1, 0), (8, 1, 0))  # stars with 4, 6, 3, 5 and 8 points
EMOTION_COLORS = dict(zip(EMOTIONS, (
    "#666666", "#229977", "#BB8811", "#4455FF", "#CC1133", "#7733AA", "#006600", "#DD44AA"), strict=True))
GENDER_COLORS = {"female": "#D55E00", "male": "#2A4B8D"}
STYLES: dict[str, dict] = {
    name: {"color": color, "marker": MARKERS[index]} for colors in (MODEL_COLORS, EMOTION_COLORS, GENDER_COLORS)
    for index, (name, color) in enumerate(colors.items())}
STYLES |= {name: {"color": color, "marker": marker}
           for (name, color), marker in zip(PRETRAINED_COLORS.items(), PRETRAINED_MARKERS, strict=True)}
TICK_FREQUENCIES = (250, 500, 1000, 2000, 4000, 8000)  # Hz


def get_style(name, index=0):
    """Return color and marker of a model, an emotion or a gender.

    Parameters
    ----------
    name : str
        Key of `MODEL_COLORS`, `PRETRAINED_COLORS`, `EMOTION_COLORS` or `GENDER_COLORS`, or any other name.
    index : int, default 0
        Position in `COLORS` and `MARKERS` for names that are in none of them.

    Returns
    -------
    dict
        Keyword arguments `color` and `marker` of `Axes.plot`.

    Examples
    --------
    >>> get_style("cnn"), get_style("my_model", 1)
    ({'color': '#0072B2', 'marker': 'P'}, {'color': '#BB7700', 'marker': 's'})
    """
    return STYLES.get(name, {"color": COLORS[index % len(COLORS)], "marker": MARKERS[index % len(MARKERS)]})


def use_style():
    """Set Matplotlib's defaults for this project: color cycle, font sizes, no upper and right spines, high resolution.

    In Jupyter, figures are rendered at twice the resolution of the page.
    """
    plt.rcParams.update({
        "axes.prop_cycle": plt.cycler(color=COLORS), "axes.spines.top": False, "axes.spines.right": False,
        "axes.titlesize": "medium", "axes.titleweight": "bold", "figure.constrained_layout.use": True,
        "font.size": 10, "image.cmap": SPECTROGRAM_CMAP, "legend.frameon": False, "savefig.dpi": 200})
    if "inline" in plt.get_backend():
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("retina")


def plot_confusion_matrix(cm, classes, title="", *, normalize=True, show_counts=True, colorbar=False, ax=None):
    """Plot a confusion matrix, true classes in rows and predicted classes in columns.

    Each row label states the number of predictions of the class. Cells without predictions show a faint 0.

    Parameters
    ----------
    cm : np.ndarray [shape=(n_classes, n_classes)]
        Counts, as `ser_utils.evaluation.metrics.confusion_matrix` returns them.
    classes : sequence of str
        Class names in the order of the rows.
    title : str, default ""
        Title of the axes.
    normalize : bool, default True
        Whether to show each row in per cent of its sum, so that the diagonal is the recall, or else counts.
    show_counts : bool, default True
        Whether to add the counts in parentheses below the percentages.
    colorbar : bool, default False
        Whether to add a color bar.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on.

    Returns
    -------
    matplotlib.axes.Axes
        Axes of the plot.

    See Also
    --------
    ser_utils.evaluation.metrics.confusion_matrix : Count a confusion matrix.

    Examples
    --------
    >>> ax = plot_confusion_matrix(np.array([[8, 2], [0, 10]]), ["happy", "sad"], title="CNN")
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['happy (n = 10)', 'sad (n = 10)']
    >>> [text.get_text() for text in ax.texts]
    ['80', '(8)', '20', '(2)', '0', '100', '(10)']
    """
    from seaborn.utils import relative_luminance

    n = cm.sum(axis=1)
    values = 100 * cm / np.maximum(n, 1)[:, None] if normalize else cm
    ax = _get_axes(ax, (2.1 + 0.6 * len(classes), 1.5 + 0.6 * len(classes)))
    image = ax.imshow(values, cmap=SEQUENTIAL_CMAP, vmin=0, vmax=100 if normalize else None)
    names = [name.replace("_", " ") for name in classes]
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(names)), [f"{name} (n = {total:,})" for name, total in zip(names, n, strict=True)])
    ax.set(xlabel="predicted class", ylabel="true class", title=title)
    ax.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=1)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    for row, column in np.ndindex(cm.shape):
        text = "<1" if 0 < values[row, column] < 0.5 else f"{values[row, column]:.0f}"
        # black or white, whichever has the higher contrast (WCAG)
        color = ("0.6" if cm[row, column] == 0 else
                 "black" if relative_luminance(image.to_rgba(values[row, column])) > 0.179 else "white")
        has_count = normalize and show_counts and cm[row, column] > 0
        ax.text(column, row - 0.16 * has_count, text, ha="center", va="center", color=color, fontsize=10)
        if has_count:
            ax.text(column, row + 0.21, f"({cm[row, column]:,})", ha="center", va="center", color=color, fontsize=9)
    if colorbar:
        ax.figure.colorbar(image, ax=ax, shrink=0.8, label="share of the true class (%)" if normalize else "clips")
    return ax


def plot_recall_per_class(predictions, ax=None):
    """Plot the recall of each class for each model, with chance level.

    Error bars are 95 % bootstrap confidence intervals over speakers, drawn if `has_unseen_speakers`.

    Parameters
    ----------
    predictions : pd.DataFrame
        Predictions table of one split and target, with one or several models.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on.

    Returns
    -------
    matplotlib.axes.Axes
        Axes of the plot.

    Examples
    --------
    >>> import pandas as pd
    >>> predictions = pd.DataFrame({"model": "svm", "split": "random-split", "speaker": "01", "label": ["happy", "sad"],
    ...                             "p_happy": [0.9, 0.6], "p_sad": [0.1, 0.4]})
    >>> ax = plot_recall_per_class(predictions)
    >>> ax.lines[0].get_ydata().tolist(), ax.get_ylabel()
    ([100.0, 0.0], 'recall (%)')
    """
    classes = metrics.get_class_names(predictions)
    models = list(predictions.groupby("model", sort=False))
    ax = _get_axes(ax, (8.4, 3.8))
    for index, (model, rows) in enumerate(models):
        x = np.arange(len(classes)) + 0.6 * ((index + 0.5) / len(models) - 0.5)  # side by side within a class
        recall, error = metrics.recall_per_class(metrics.confusion_matrix(rows)), None
        if metrics.has_unseen_speakers(rows):
            resampled = metrics.recall_per_class(metrics.resample_speakers(rows.assign(seed=0))[0])  # all seeds pooled
            error = 100 * np.abs(np.nanquantile(resampled, [0.025, 0.975], axis=0) - recall)
        ax.errorbar(x, 100 * recall, error, **get_style(model, index), linestyle="", capsize=2, label=model)
    ax.axhline(100 / len(classes), color="0.4", linewidth=1, linestyle="--", label="chance")
    ax.set_xticks(range(len(classes)), [name.replace("_", " ") for name in classes], rotation=30, ha="right")
    ax.set(xlabel="class", ylabel="recall (%)", ylim=(0, 100))
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def plot_training_curves(histories, axes=None, chance=None):
    """Plot loss and accuracy per epoch, training as solid and validation as dashed lines.

    Parameters
    ----------
    histories : dict of str to dict
        `history_` of each model: lists under `loss`, `accuracy` and, where present, `val_loss`, `val_accuracy`.
    axes : sequence of two matplotlib.axes.Axes, optional
        Axes to draw on.
    chance : float, optional
        Chance level in [0, 1], drawn as a dotted line on the axes of the accuracy.

    Returns
    -------
    sequence of two matplotlib.axes.Axes
        Axes of the loss and of the accuracy.

    Examples
    --------
    >>> history = {"loss": [2.0, 1.5], "val_loss": [2.1, 1.8], "accuracy": [0.2, 0.4], "val_accuracy": [0.2, 0.3]}
    >>> loss, accuracy = plot_training_curves({"cnn": history})
    >>> accuracy.get_ylabel(), [line.get_label() for line in accuracy.lines]
    ('accuracy (%)', ['cnn, training', 'cnn, validation'])
    """
    axes = axes if axes is not None else plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")[1]
    for ax, metric, label, scale in zip(axes, ("loss", "accuracy"), ("cross-entropy loss (nats)", "accuracy (%)"),
                                        (1, 100), strict=True):
        for index, (name, history) in enumerate(histories.items()):
            for key, subset, line in ((metric, "training", "-"), (f"val_{metric}", "validation", "--")):
                if key in history:
                    ax.plot(np.arange(1, len(history[key]) + 1), scale * np.asarray(history[key]), line,
                            color=get_style(name, index)["color"], label=f"{name}, {subset}")
        ax.set(xlabel="epoch", ylabel=label)
        ax.xaxis.get_major_locator().set_params(integer=True)
    if chance is not None:
        axes[1].axhline(100 * chance, color="0.4", linewidth=1, linestyle=":", label="chance")
    axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return axes


def plot_waveform(y, sr, title="", ax=None):
    """Plot amplitude over time.

    Parameters
    ----------
    y : np.ndarray [shape=(n_samples,)]
        Samples in [-1, 1].
    sr : int
        Sampling rate in Hz.
    title : str, default ""
        Title of the axes.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on.

    Returns
    -------
    matplotlib.axes.Axes
        Axes of the plot.

    Examples
    --------
    >>> ax = plot_waveform(np.zeros(16000), sr=16000)
    >>> ax.get_xlabel(), [float(limit) for limit in ax.get_xlim()]
    ('time (s)', [0.0, 1.0])
    """
    ax = _get_axes(ax, (8, 2))
    ax.plot(np.arange(len(y)) / sr, y, linewidth=0.6, color=COLORS[0])
    ax.set(xlabel="time (s)", ylabel="amplitude", title=title, xlim=(0, len(y) / sr))
    return ax


def plot_mel_spectrogram(y, config=FeatureConfig(), title="", *, colorbar=True, ax=None):
    """Plot the log-mel spectrogram of a recording.

    Parameters
    ----------
    y : np.ndarray [shape=(n_samples,)]
        Samples at `config.sr`.
    config : FeatureConfig, default FeatureConfig()
        Configuration of the spectrogram.
    title : str, default ""
        Title of the axes.
    colorbar : bool, default True
        Whether to add a color bar in dB.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on.

    Returns
    -------
    matplotlib.axes.Axes
        Axes of the plot.

    See Also
    --------
    ser_utils.features.log_mel_spectrogram : Compute the spectrogram.

    Examples
    --------
    >>> ax = plot_mel_spectrogram(np.random.default_rng(0).normal(size=16000))
    >>> ax.images[0].get_array().shape, [label.get_text() for label in ax.get_yticklabels()]
    ((64, 63), ['250', '500', '1000', '2000', '4000'])
    """
    frequencies = mel_frequencies(config)
    ax = _plot_frames(log_mel_spectrogram(y, config), config, SPECTROGRAM_CMAP, colorbar and "level (dB)", title, ax)
    ticks = [f for f in TICK_FREQUENCIES if frequencies[0] <= f <= frequencies[-1]]
    ax.set_yticks(np.interp(ticks, frequencies, np.arange(len(frequencies))), ticks)
    ax.set_ylabel("frequency (Hz)")
    return ax


def plot_mfcc(coefficients, config=FeatureConfig(), title="", *, colorbar=True, ax=None):
    """Plot the MFCCs of a recording, each coefficient standardized over the recording.

    Without standardization the variance of coefficient 0 would hide all others.

    Parameters
    ----------
    coefficients : np.ndarray [shape=(n_frames, n_mfcc)]
        MFCCs.
    config : FeatureConfig, default FeatureConfig()
        Configuration that they were computed with, for the time axis.
    title : str, default ""
        Title of the axes.
    colorbar : bool, default True
        Whether to add a color bar.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on.

    Returns
    -------
    matplotlib.axes.Axes
        Axes of the plot.

    See Also
    --------
    ser_utils.features.mfcc : Compute MFCCs.

    Examples
    --------
    >>> ax = plot_mfcc(np.random.default_rng(0).normal(size=(63, 20)))
    >>> ax.get_ylabel(), ax.images[0].get_array().shape
    ('MFCC', (20, 63))
    """
    z = (coefficients - coefficients.mean(axis=0)) / np.maximum(coefficients.std(axis=0), 1e-6)
    ax = _plot_frames(z, config, DIVERGING_CMAP, colorbar and "z-score", title, ax, limits=(-3, 3))
    ax.set_ylabel("MFCC")
    ax.yaxis.get_major_locator().set_params(integer=True)
    return ax


def _plot_frames(values, config, cmap, label, title, ax, limits=(None, None)):
    ax = _get_axes(ax, (8, 2.8))
    seconds = config.hop_length / config.sr
    image = ax.imshow(values.T, origin="lower", aspect="auto", cmap=cmap, vmin=limits[0], vmax=limits[1],
                      extent=(-seconds / 2, (len(values) - 0.5) * seconds, -0.5, values.shape[1] - 0.5))
    if label:
        ax.figure.colorbar(image, ax=ax, label=label)
    ax.set(xlabel="time (s)", title=title)
    return ax


def _get_axes(ax, figsize):
    return ax if ax is not None else plt.subplots(figsize=figsize, layout="constrained")[1]
