"""Reads texts and numbers from TFRecord files, for layers that saw them before the search."""

import json

import keras
import keras_tuner as kt
import numpy as np
import tensorflow as tf

rng = np.random.default_rng(6)
words = np.array(["red", "green", "blue", "grey", "white"], dtype=object)
texts = np.array([" ".join(rng.choice(words, rng.integers(1, 5))) for _ in range(48)], dtype=object)
lengths = rng.normal(size=(48, 1)).astype("float32") * 100
kinds = np.array(["good" if "red" in text else "bad" for text in texts], dtype=object)


def example(text, length, kind):
    features = {
        "text": tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()])),
        "length": tf.train.Feature(float_list=tf.train.FloatList(value=length)),
        "kind": tf.train.Feature(bytes_list=tf.train.BytesList(value=[kind.encode()])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


for part in range(3):
    with tf.io.TFRecordWriter(f"part-{part}.tfrecord") as writer:
        for row in range(part * 16, part * 16 + 16):
            writer.write(example(texts[row], lengths[row], kinds[row]))

SPEC = {
    "text": tf.io.FixedLenFeature([], tf.string),
    "length": tf.io.FixedLenFeature([1], tf.float32),
    "kind": tf.io.FixedLenFeature([], tf.string),
}
table = tf.lookup.StaticHashTable(
    tf.lookup.KeyValueTensorInitializer(["bad", "good"], tf.constant([0, 1], tf.int64)), -1
)


def parse(record):
    row = tf.io.parse_single_example(record, SPEC)
    target = table.lookup(row.pop("kind"))
    return row, target, 1.0 + tf.cast(target, tf.float32)


def read(*patterns):
    files = tf.data.Dataset.list_files(list(patterns), shuffle=False)
    return files.interleave(tf.data.TFRecordDataset, cycle_length=2).map(parse)


train = read("part-0.tfrecord", "part-1.tfrecord").batch(8)
validation = read("part-2.tfrecord").batch(8)
vectorize = keras.layers.TextVectorization(output_mode="multi_hot")
vectorize.adapt(train.map(lambda x, y, w: x["text"]))
normalize = keras.layers.Normalization()
normalize.adapt(lengths)


def build_model(hp):
    text = keras.Input((), dtype="string", name="text")
    length = keras.Input((1,), name="length")
    features = keras.layers.Concatenate()([vectorize(text), normalize(length)])
    for number in range(hp.Int("layers", 0, 2)):
        units = hp.Int(f"units_{number}", 2, 8)
        initializer = keras.initializers.GlorotUniform(seed=number)
        features = keras.layers.Dense(units, "tanh", kernel_initializer=initializer)(features)
    outputs = keras.layers.Dense(1, "sigmoid", kernel_initializer="zeros")(features)
    model = keras.Model({"text": text, "length": length}, outputs)
    optimizer = keras.optimizers.SGD(hp.Float("lr", 1e-2, 1.0, sampling="log"))
    model.compile(optimizer, "binary_crossentropy", weighted_metrics=["accuracy"])
    return model


def search(name, *args, **kwargs):
    tuner = kt.RandomSearch(
        build_model, "val_loss", max_trials=3, seed=2, directory="my_dir", project_name=name
    )
    tuner.search(*args, epochs=2, shuffle=False, verbose=0, **kwargs)
    trials = [trial for _, trial in sorted(tuner.oracle.trials.items())]
    model = tuner.get_best_models()[0]
    return {
        "layers": [trial.hyperparameters.get("layers") for trial in trials],
        "scores": [round(trial.score, 3) for trial in trials],
        "metrics": sorted(trials[0].metrics.metrics),
        "vocabulary": vectorize.get_vocabulary(),
        "evaluated": round(model.evaluate(validation, verbose=0)[0], 3),
    }


x = {"text": texts, "length": lengths}
y = (kinds == "good").astype("int32")
print(
    json.dumps(
        {
            "records": search("records", train, validation_data=validation),
            "objects": search("objects", x, y, batch_size=8, validation_split=0.25),
        }
    )
)
