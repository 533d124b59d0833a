"""MFCCs, acoustic descriptors and the features of a whole corpus."""

from ser_utils.features.descriptors import CONTOUR_CONFIG, compute_descriptors, mfcc_mean_contour
from ser_utils.features.spectral import (
    FeatureConfig,
    delta,
    extract_mfcc,
    functionals,
    log_mel_spectrogram,
    mfcc,
    mfcc_to_mel,
)
from ser_utils.features.store import RAVDESS_FEATURES, extract_features, load_features

__all__ = ["CONTOUR_CONFIG", "RAVDESS_FEATURES", "FeatureConfig", "compute_descriptors", "delta", "extract_features",
           "extract_mfcc", "functionals", "load_features", "log_mel_spectrogram", "mfcc", "mfcc_mean_contour",
           "mfcc_to_mel"]
