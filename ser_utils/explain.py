"""Attribution of a prediction to frequency bands and time segments by occlusion of the log-mel spectrogram."""

from itertools import pairwise

import numpy as np

from ser_utils.features.spectral import mel_to_mfcc, mfcc_to_mel

N_BANDS = 16  # of four mel bands each
N_SEGMENTS = 12  # of about 0.1 s each in a RAVDESS sentence
MIN_PROBABILITY = 1e-7  # keeps the log-odds of a float32 probability of 0 or 1 finite


def occlusion(predict_proba, sequence, class_index, baseline, n_bands=N_BANDS, n_segments=N_SEGMENTS):
    """Compute the occlusion attribution of a class: the decrease of its log-odds without one band or time segment.

    The method was introduced for images [1]_. The log-mel spectrogram of the clip is computed from its MFCCs, a band or
    segment of it is replaced by the baseline, and the MFCCs of the result are classified. A positive value means that
    the part supports the class.

    Parameters
    ----------
    predict_proba : callable
        Function from a list of sequences [shape=(n_frames, n_mfcc)] to probabilities [shape=(n_clips, n_classes)].
    sequence : np.ndarray [shape=(n_frames, n_mfcc)]
        MFCCs of one clip, as many as mel bands, so that the log-mel spectrogram can be recovered.
    class_index : int
        Column of the class in the output of `predict_proba`.
    baseline : np.ndarray [shape=(n_mels,)]
        Log-mel spectrum in dB that replaces the occluded part, for example the mean over the training frames.
    n_bands : int, default 16
        Number of frequency bands.
    n_segments : int, default 12
        Number of time segments.

    Returns
    -------
    band_occlusion : np.ndarray [shape=(n_bands,)]
        Decrease of the log-odds in nats, lowest band first.
    time_occlusion : np.ndarray [shape=(n_segments,)]
        Decrease of the log-odds in nats, first segment first.

    References
    ----------
    .. [1] M. D. Zeiler and R. Fergus, "Visualizing and understanding convolutional networks", ECCV, 2014,
       doi:10.1007/978-3-319-10590-1_53.

    Examples
    --------
    A classifier whose log-odds are the mean level of the four lowest mel bands:

    >>> clip = mel_to_mfcc(np.ones((48, 64)))
    >>> predict_proba = lambda X: 1 / (1 + np.exp([[-mfcc_to_mel(x)[:, :4].mean()] for x in X]))
    >>> bands, segments = occlusion(predict_proba, clip, class_index=0, baseline=np.zeros(64))
    >>> int(bands.argmax()), round(float(bands.max()), 2), segments.round(2).tolist()[:4]
    (0, 1.0, [0.08, 0.08, 0.08, 0.08])
    """
    mel = mfcc_to_mel(sequence)
    regions = [np.s_[:, band] for band in split_range(mel.shape[1], n_bands)]
    regions += [np.s_[segment, :] for segment in split_range(len(mel), n_segments)]
    X = [sequence]
    for region in regions:
        occluded = mel.copy()
        occluded[region] = np.broadcast_to(baseline, mel.shape)[region]
        X.append(mel_to_mfcc(occluded))
    scores = log_odds(predict_proba(X)[:, class_index])
    return scores[0] - scores[1:n_bands + 1], scores[0] - scores[n_bands + 1:]


def split_range(n, n_parts):
    """Split range(n) into consecutive parts of nearly equal size.

    Parameters
    ----------
    n : int
        Length of the range.
    n_parts : int
        Number of parts; more parts than elements give empty slices.

    Returns
    -------
    list of slice
        Consecutive slices.

    Examples
    --------
    >>> [list(range(10))[part] for part in split_range(10, 3)]
    [[0, 1, 2], [3, 4, 5, 6], [7, 8, 9]]
    """
    edges = np.linspace(0, n, n_parts + 1).round().astype(int)
    return [slice(*pair) for pair in pairwise(edges)]


def log_odds(p):
    """Compute log-odds, with probabilities clipped to [1e-7, 1 - 1e-7].

    Parameters
    ----------
    p : array-like
        Probabilities.

    Returns
    -------
    np.ndarray
        Log-odds ``log(p / (1 - p))`` in nats, of the shape of `p`.

    Examples
    --------
    >>> log_odds([0.1, 0.5, 0.9, 1.0]).round(1).tolist()
    [-2.2, 0.0, 2.2, 16.1]
    """
    p = np.clip(np.asarray(p, float), MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return np.log(p / (1 - p))


def sum_over_blocks(values, n_bands=N_BANDS, n_segments=N_SEGMENTS):
    """Sum a spectrogram of attributions over frequency bands and time segments.

    Parameters
    ----------
    values : np.ndarray [shape=(n_frames, n_mels)]
        Attribution of each cell of a log-mel spectrogram.
    n_bands : int, default 16
        Number of frequency bands.
    n_segments : int, default 12
        Number of time segments.

    Returns
    -------
    np.ndarray [shape=(n_bands, n_segments)]
        Sums, of the unit of `values`.

    Examples
    --------
    >>> sums = sum_over_blocks(np.ones((24, 64)))
    >>> sums.shape, float(sums.min()), float(sums.max())
    ((16, 12), 8.0, 8.0)
    """
    segments = np.stack([values[segment].sum(axis=0) for segment in split_range(len(values), n_segments)])
    return np.stack([segments[:, band].sum(axis=1) for band in split_range(values.shape[1], n_bands)])
