"""The search space as plain values, mirrored from keras-tuner."""
