"""The networks themselves, in plain Keras 3: each function returns a keras.Model that names the emotion of clips.

Inputs are `x [shape=(batch, frames, n_mfcc)]` and `mask [shape=(batch, frames, 1)]`, 1 on real frames. Whatever a layer
writes on padding is set back to zero before the next one looks, so padding and batch-mates never change a prediction.
"""

from ser_utils.sequence import quiet_keras

keras = quiet_keras()
layers, ops = keras.layers, keras.ops
EPSILON = 1e-4  # under the square root, whose slope at 0 is infinite


@keras.saving.register_keras_serializable("ser_utils")
class AttentionPooling(layers.Layer):  # type: ignore[name-defined]
    """Mean and SD over time, weighted by a learned attention (Okabe et al. 2018, attentive statistics pooling).

    [shape=(batch, frames, channels)] -> [shape=(batch, 2 * channels)]

    >>> import numpy as np
    >>> x, mask = np.ones((2, 20, 5), "float32"), np.ones((2, 20, 1), "float32")
    >>> pooled = AttentionPooling()(x, mask)
    >>> tuple(pooled.shape)
    (2, 10)
    >>> [round(float(value), 2) for value in pooled[0]]  # of what never changes, the mean and no SD but EPSILON's
    [1.0, 1.0, 1.0, 1.0, 1.0, 0.01, 0.01, 0.01, 0.01, 0.01]
    """

    def __init__(self, units=64, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.hidden = layers.Dense(units, activation="tanh")
        self.score = layers.Dense(1)

    def build(self, x_shape, mask_shape=None):
        """Weights, once the number of channels is known."""
        self.hidden.build(x_shape)
        self.score.build((*x_shape[:-1], self.units))

    def call(self, x, mask):
        """The statistics; `mask [shape=(batch, frames, 1)]` is 1 on real frames."""
        weights = ops.softmax(self.score(self.hidden(x)) - 1e4 * (1 - mask), axis=1)
        mean = ops.sum(weights * x, axis=1)
        variance = ops.sum(weights * ops.square(x - mean[:, None]), axis=1)
        return ops.concatenate([mean, ops.sqrt(variance + EPSILON)], axis=-1)

    def get_config(self):
        """What makes the layer again when a saved model is opened."""
        return {**super().get_config(), "units": self.units}


def _inputs(n_mfcc):
    return keras.Input((None, n_mfcc), name="frames"), keras.Input((None, 1), name="mask")


def _convolution(x, mask, width, kernel, step=1):
    """What a convolution hears, every `step` frames, and which of it is real."""
    x = layers.Conv1D(width, kernel, strides=step, padding="same", use_bias=False)(x)
    mask = layers.MaxPooling1D(step)(mask) if step > 1 else mask
    x = layers.BatchNormalization(momentum=0.9)(x, mask=ops.squeeze(mask, -1) > 0)
    return layers.ReLU()(x) * mask, mask


def _halve(x, mask):
    """Half as many frames. After a ReLU nothing is below the zeros of the padding, so they never win."""
    return layers.MaxPooling1D(2)(x), layers.MaxPooling1D(2)(mask)


def _ear(x, mask, width, dropout):
    """Two convolutions, eight frames to one: where LSTM and CNN begin."""
    hidden, left = _convolution(x * mask, mask, width, 5, step=2)
    hidden, left = _halve(hidden, left)
    hidden, left = _convolution(layers.SpatialDropout1D(dropout / 3)(hidden), left, width, 5)
    hidden, left = _halve(hidden, left)
    return layers.SpatialDropout1D(dropout / 3)(hidden), left


def _attend(x, mask, n_classes, dropout):
    pooled = layers.Dropout(dropout)(AttentionPooling()(x, mask))
    return layers.Dense(n_classes, activation="softmax")(pooled)


def mlp(n_mfcc, n_classes, width=512, window=21, dropout=0.3):
    """Two layers over windows of 21 frames (0.4 s), attention over the windows: it hears moments, in no order.

    The same layers on every window are convolutions whose windows never meet again before the end.

    >>> network = mlp(n_mfcc=40, n_classes=8)
    >>> network.input_shape, network.output_shape  # any number of clips, any number of frames
    ([(None, None, 40), (None, None, 1)], (None, 8))
    >>> network.count_params()
    737417
    """
    x, mask = _inputs(n_mfcc)
    hidden, left = _convolution(x * mask, mask, width, window, step=4)
    hidden, left = _convolution(layers.SpatialDropout1D(dropout / 3)(hidden), left, width, 1)
    return keras.Model([x, mask], _attend(hidden, left, n_classes, dropout), name="mlp")


def lstm(n_mfcc, n_classes, width=256, memory=128, dropout=0.3):
    """Two convolutions, an LSTM beside what they heard, attention over both: it hears the clip in order.

    An LSTM alone learns its speakers by heart; what the convolutions heard stays visible past it, as in ResLSTM
    (arXiv:2606.03359).

    >>> import numpy as np
    >>> x, mask = np.ones((3, 64, 40), "float32"), np.ones((3, 64, 1), "float32")
    >>> p = lstm(n_mfcc=40, n_classes=8, width=16, memory=16)([x, mask]).numpy()
    >>> p.shape, bool(np.allclose(p.sum(axis=1), 1))
    ((3, 8), True)
    """
    x, mask = _inputs(n_mfcc)
    hidden, left = _ear(x, mask, width, dropout)
    remembered = layers.LSTM(memory, return_sequences=True)(hidden, mask=ops.squeeze(left, -1) > 0) * left
    return keras.Model([x, mask], _attend(layers.Concatenate()([hidden, remembered]), left, n_classes, dropout),
                       name="lstm")


def cnn(n_mfcc, n_classes, width=256, dropout=0.3):
    """Four convolutions over time, attention over what is left: it hears short gestures anywhere in the clip.

    >>> import numpy as np
    >>> from ser_utils.augment import pad
    >>> clip, network = np.ones((20, 40), "float32"), cnn(n_mfcc=40, n_classes=8, width=16)
    >>> short, long = (network(list(pad([clip], frames))) for frames in (32, 64))
    >>> bool(np.allclose(short, long, atol=1e-5))  # padding changes nothing
    True
    """
    x, mask = _inputs(n_mfcc)
    hidden, left = _ear(x, mask, width, dropout)
    for _ in range(2):
        hidden, left = _convolution(hidden, left, width, 5)
        hidden = layers.SpatialDropout1D(dropout / 3)(hidden)
    return keras.Model([x, mask], _attend(hidden, left, n_classes, dropout), name="cnn")


def original_cnn(n_mfcc, n_classes, frames=216):
    """The original project's network, layer by layer, over its contour of 216 frames. It knows no mask.

    >>> network = original_cnn(n_mfcc=1, n_classes=10)
    >>> network.input_shape, network.output_shape
    ([(None, 216, 1), (None, 216, 1)], (None, 10))
    >>> [layer.filters for layer in network.layers if hasattr(layer, "filters")]
    [128, 128, 128, 128, 128, 128]
    """
    x, mask = keras.Input((frames, n_mfcc), name="frames"), keras.Input((frames, 1), name="mask")
    hidden = layers.Conv1D(128, 5, padding="same", activation="relu")(x)
    hidden = layers.Conv1D(128, 5, padding="same", activation="relu")(hidden)
    hidden = layers.MaxPooling1D(8)(layers.Dropout(0.1)(hidden))
    for _ in range(3):
        hidden = layers.Conv1D(128, 5, padding="same", activation="relu")(hidden)
    hidden = layers.Conv1D(128, 5, padding="same", activation="relu")(layers.Dropout(0.2)(hidden))
    probabilities = layers.Dense(n_classes, activation="softmax")(layers.Flatten()(hidden))
    return keras.Model([x, mask], probabilities, name="original_cnn")
