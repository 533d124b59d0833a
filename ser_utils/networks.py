"""The networks themselves, in plain Keras 3: each takes a batch of padded sequences and a mask, and names the emotion.

Inputs are `x [shape=(batch, frames, n_mfcc)]` and `mask [shape=(batch, frames, 1)]`, 1 on real frames. Whatever a layer
writes on padding is set back to zero before the next one looks, so padding and batch-mates never change a prediction.
"""

from ser_utils.sequence import quiet_keras

keras = quiet_keras()
layers, ops = keras.layers, keras.ops
EPSILON = 1e-4  # under square roots: the slope of sqrt at 0 is infinite


@keras.saving.register_keras_serializable("ser_utils")
class AttentionPooling(layers.Layer):
    """Mean and SD over time, weighted by a learned attention (Okabe et al. 2018, attentive statistics pooling).

    [shape=(batch, frames, channels)] -> [shape=(batch, 2 * channels)]
    """

    def __init__(self, units=64, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.hidden = layers.Dense(units, activation="tanh")
        self.score = layers.Dense(1)

    def build(self, x_shape, mask_shape=None):
        self.hidden.build(x_shape)
        self.score.build((*x_shape[:-1], self.units))

    def call(self, x, mask):
        weights = ops.softmax(self.score(self.hidden(x)) - 1e4 * (1 - mask), axis=1)
        return ops.concatenate(_mean_and_sd(x, weights), axis=-1)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("ser_utils")
class StatisticsPooling(layers.Layer):
    """Mean and SD of each coefficient, root mean square of its slope over nine frames, and the log of the length.

    As `ser_utils.features.pooled`.

    [shape=(batch, frames, channels)] -> [shape=(batch, 3 * channels + 1)]
    """

    def call(self, x, mask):
        count = ops.sum(mask, axis=1)
        mean, sd = _mean_and_sd(x, mask / count[:, None])
        slope = sum(k * (x[:, 4 + k:k - 4 or None] - x[:, 4 - k:-4 - k])
                    for k in range(1, 5)) / 60  # the regression line through nine frames, as librosa's delta
        whole = mask[:, 8:]
        square = ops.sum(ops.square(slope) * whole, axis=1) / ops.maximum(ops.sum(whole, axis=1), 1)
        return ops.concatenate([mean, sd, ops.sqrt(square + EPSILON / 100), ops.log(count)], axis=-1)


def _mean_and_sd(x, weights):
    mean = ops.sum(weights * x, axis=1)
    variance = ops.sum(weights * ops.square(x - mean[:, None]), axis=1)
    return mean, ops.sqrt(variance + EPSILON)


def _inputs(n_mfcc):
    return keras.Input((None, n_mfcc), name="frames"), keras.Input((None, 1), name="mask")


def _convolution(x, mask, width, kernel):
    x = layers.Conv1D(width, kernel, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(momentum=0.9)(x, mask=ops.squeeze(mask, -1) > 0)
    return layers.ReLU()(x) * mask


def _halve(x, mask):
    """Half as many frames. After a ReLU nothing is below the zeros of the padding, so they never win."""
    return layers.MaxPooling1D(2)(x), layers.MaxPooling1D(2)(mask)


def _classify(x, n_classes, dropout):
    return layers.Dense(n_classes, activation="softmax")(layers.Dropout(dropout)(x))


def mlp(n_mfcc, n_classes, width=512, dropout=0.5):
    """Pooled statistics, standardised, through one hidden layer: it knows how the voice is, not how it moves.

    Returns
    -------
    keras.Model
    """
    x, mask = _inputs(n_mfcc)
    pooled = layers.BatchNormalization(momentum=0.9, center=False, scale=False)(StatisticsPooling()(x, mask))
    hidden = layers.Dense(width, activation="relu")(layers.Dropout(dropout)(pooled))
    return keras.Model([x, mask], _classify(hidden, n_classes, dropout), name="mlp")


def lstm(n_mfcc, n_classes, width=128, memory=64, dropout=0.3):
    """One convolution, four frames to one, an LSTM beside it, attention over both: it hears the clip in order.

    An LSTM alone learns its speakers by heart; what the convolution heard stays visible past it, as in ResLSTM
    (arXiv:2606.03359).

    Returns
    -------
    keras.Model
    """
    x, mask = _inputs(n_mfcc)
    hidden, left = _convolution(x * mask, mask, width, 5), mask
    for _ in range(2):
        hidden, left = _halve(hidden, left)
    hidden = layers.SpatialDropout1D(dropout / 3)(hidden)
    remembered = layers.LSTM(memory, return_sequences=True)(hidden, mask=ops.squeeze(left, -1) > 0) * left
    pooled = AttentionPooling()(layers.Concatenate()([hidden, remembered]), left)
    return keras.Model([x, mask], _classify(pooled, n_classes, dropout), name="lstm")


def cnn(n_mfcc, n_classes, width=128, dropout=0.3):
    """Four convolutions over time, two halvings, attention over what is left: it hears short gestures anywhere.

    Returns
    -------
    keras.Model
    """
    x, mask = _inputs(n_mfcc)
    hidden, left = x * mask, mask
    for depth in range(4):
        hidden = _convolution(hidden, left, width, 5)
        if depth < 2:
            hidden, left = _halve(hidden, left)
            hidden = layers.SpatialDropout1D(dropout / 3)(hidden)
    return keras.Model([x, mask], _classify(AttentionPooling()(hidden, left), n_classes, dropout), name="cnn")


def original_cnn(n_mfcc, n_classes, frames=216):
    """The original project's network, layer by layer, over its contour of 216 frames. It knows no mask.

    Returns
    -------
    keras.Model
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
