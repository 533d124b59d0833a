"""Functionals of whole clips with openSMILE: eGeMAPSv02 and ComParE 2016. Needs the optional package opensmile."""

from functools import lru_cache

import numpy as np

from ser_utils import audio

REQUIREMENT = "opensmile==2.6.0"


def compute_egemaps(y, sr):
    """Compute the 88 functionals of the extended Geneva Minimalistic Acoustic Parameter Set, eGeMAPSv02 [1]_.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Samples of one clip, without silence at both ends. Clips shorter than 0.1 s are padded with zeros.
    sr : int
        Sampling rate, in Hz.

    Returns
    -------
    np.ndarray [shape=(88,)]
        float32; NaN and infinite values, of functionals that are undefined for the clip, are replaced by 0.

    Raises
    ------
    ValueError
        If opensmile is not installed.

    References
    ----------
    .. [1] F. Eyben et al., "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS) for voice research and affective
       computing", IEEE Transactions on Affective Computing 7(2), 2016.
    """
    return _compute("eGeMAPSv02", y, sr)


def compute_compare(y, sr):
    """Compute the 6,373 functionals of the ComParE 2016 feature set [1]_.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Samples of one clip, without silence at both ends. Clips shorter than 0.1 s are padded with zeros.
    sr : int
        Sampling rate, in Hz.

    Returns
    -------
    np.ndarray [shape=(6373,)]
        float32; NaN and infinite values, of functionals that are undefined for the clip, are replaced by 0.

    Raises
    ------
    ValueError
        If opensmile is not installed.

    References
    ----------
    .. [1] B. Schuller et al., "The INTERSPEECH 2016 Computational Paralinguistics Challenge: deception, sincerity and
       native language", Interspeech, 2016.
    """
    return _compute("ComParE_2016", y, sr)


def get_feature_names(feature_set):
    """Get the names of the functionals, in the order of the values.

    Parameters
    ----------
    feature_set : {"eGeMAPSv02", "ComParE_2016"}

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If opensmile is not installed.
    """
    return _get_smile(feature_set).feature_names


def _compute(feature_set, y, sr):
    y = np.pad(y, (0, max(0, round(audio.MIN_DURATION * sr) - len(y))))  # openSMILE needs about 0.06 s
    values = _get_smile(feature_set)(np.asarray(y, np.float32), sr).ravel()
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)


@lru_cache
def _get_smile(feature_set):
    """Configure the extractor, once per process."""
    try:
        import opensmile
    except ImportError as error:
        raise ValueError("features egemaps and compare need openSMILE, which cannot be imported "
                         f"({error}); pip install {REQUIREMENT}") from error
    return opensmile.Smile(opensmile.FeatureSet[feature_set], opensmile.FeatureLevel.Functionals)
