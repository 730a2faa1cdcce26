"""A problem whose trials wait until a test lets them go on; imported only where trials run."""

import epoch_limit
import keras
import stormy

stormy.EPOCH_SECONDS = 0.0


class Held(stormy.Steady):
    """The same, to the bit, as the problem that does not wait."""

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        waits = keras.callbacks.LambdaCallback(on_epoch_begin=epoch_limit.wait)
        return super().fit(hp, model, *args, callbacks=[waits, *callbacks], **kwargs)
