"""The search space: a plain value, mirrored from keras-tuner."""
