"""The kinds of data that a search takes: each is trained on by a trial and by ``model.fit``.

``make docs`` writes the table of docs/keras-tuner.md from this list, which
tests/search/worker/test_kinds_of_arguments.py holds to be true. Keras is imported by what makes the
data, so that the table needs none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "keras-tuner.md"
BEGIN, END = "<!-- begin: kinds of data, made by make docs -->\n", "<!-- end of kinds -->\n"
HEAD = (
    "| data | how they travel | each trial | when the search goes on |\n| --- | --- | --- | --- |\n"
)
SHARED, ANEW, PICKLED = "shared arrays", "made anew in the worker", "pickled"
READ = "read once in the driver"
COPY = "trains on a copy of its own"
GRAPH = "makes the pipeline from its graph"
SAMPLES, STEPS, BATCH = 24, 3, 8


@dataclass(frozen=True)
class Kind:
    """A kind of data.

    Attributes:
        name: What it is called on the page.
        make: Makes the arguments of ``fit``, given an empty folder.
        way: How the data travel.
        trial: What each trial does with them.
        model: Which model trains on them: ``images``, ``table`` or ``texts``.
        may_differ: Whether the record says that they may differ each time.
        is_compared: Whether a search that goes on compares their contents.
        is_short: Whether the short tier trains on it.
    """

    name: str
    make: Callable[[Path], dict[str, Any]]
    way: str
    trial: str
    model: str = "images"
    may_differ: bool = False
    is_compared: bool = True
    is_short: bool = False


def images():
    """Return seeded images, float32 of shape (24, 6, 6, 1), and labels 0 or 1, int64."""
    import numpy as np

    rng = np.random.default_rng(0)
    labels = np.arange(SAMPLES) % 2
    pictures = rng.random((SAMPLES, 6, 6, 1)) + labels[:, None, None, None]
    return pictures.astype("float32"), labels


def slices():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(images())


# --- In memory ------------------------------------------------------------------------------------


def arrays(_folder):
    x, y = images()
    return {"x": x, "y": y, "validation_data": (x, y), "batch_size": BATCH, "shuffle": False}


def texts(_folder):
    import numpy as np

    words = np.array(["a plain shirt", "an ankle boot"] * (SAMPLES // 2), dtype=object)
    return {"x": words, "y": images()[1], "validation_data": (words, images()[1]), "shuffle": False}


def frames(_folder):
    import pandas as pd

    x, y = images()
    frame, series = pd.DataFrame(x.reshape(SAMPLES, -1)[:, :4]), pd.Series(y)
    return {"x": frame, "y": series, "validation_data": (frame, series), "shuffle": False}


def sparse(_folder):
    import scipy.sparse

    x, y = images()
    matrix = scipy.sparse.csr_matrix((x > 1).reshape(SAMPLES, -1)[:, :4].astype("float32"))
    return {"x": matrix, "y": y, "validation_data": (matrix, y), "shuffle": False}


def tensors(_folder):
    import tensorflow as tf

    x, y = map(tf.constant, images())
    return {"x": x, "y": y, "validation_data": (x, y), "shuffle": False}


def h5py_arrays(folder):
    import h5py

    x, y = images()
    file = h5py.File(folder / f"images{len(list(folder.iterdir()))}.h5", "w")
    datasets = [file.create_dataset(name, data=data) for name, data in (("x", x), ("y", y))]
    return {"x": datasets[0], "y": datasets[1], "validation_data": (x, y), "shuffle": False}


# --- tf.data --------------------------------------------------------------------------------------


def pipeline(_folder):
    dataset = slices().shuffle(SAMPLES, seed=3).batch(BATCH).prefetch(1)
    return {"x": dataset, "validation_data": slices().batch(BATCH).cache()}


def endless_pipeline(_folder):
    dataset = slices().repeat().shuffle(9, seed=3).batch(5)
    return {
        "x": dataset, "steps_per_epoch": STEPS, "validation_data": slices().repeat().batch(5),
        "validation_steps": 2,
    }  # fmt: skip


def augmented(_folder):
    import tensorflow as tf

    def flipped(image, label):
        return tf.image.random_flip_left_right(image, seed=4), label

    return {"x": slices().map(flipped).batch(BATCH), "validation_data": slices().batch(BATCH)}


def augmented_by_layers(_folder):
    import keras

    layer = keras.layers.RandomRotation(0.2, seed=5)
    dataset = slices().batch(BATCH).map(lambda image, label: (layer(image, training=True), label))
    return {"x": dataset, "validation_data": slices().batch(BATCH)}


def adapted(_folder):
    import keras
    import tensorflow as tf

    x, _ = images()
    normalization = keras.layers.Normalization()
    normalization.adapt(x)
    letters = keras.layers.StringLookup(vocabulary=["boot", "shirt"], num_oov_indices=0)
    words = tf.data.Dataset.from_tensor_slices(["boot", "shirt"]).repeat().map(letters)
    dataset = tf.data.Dataset.zip(tf.data.Dataset.from_tensor_slices(x), words).batch(BATCH)
    dataset = dataset.map(lambda image, label: (normalization(image), label))
    return {"x": dataset, "validation_data": dataset}


def from_generator(_folder):
    import tensorflow as tf

    x, y = images()

    def samples():
        yield from zip(x, y, strict=True)

    signature = (tf.TensorSpec((6, 6, 1), tf.float32), tf.TensorSpec((), tf.int64))
    dataset = tf.data.Dataset.from_generator(samples, output_signature=signature)
    return {"x": dataset.batch(BATCH), "validation_data": dataset.batch(BATCH)}


def numpy_function(_folder):
    import numpy as np
    import tensorflow as tf

    def mirrored(image, label):
        image = tf.numpy_function(
            lambda pixels: np.ascontiguousarray(pixels[::-1]), [image], tf.float32
        )
        return tf.ensure_shape(image, (6, 6, 1)), label

    dataset = slices().map(mirrored).batch(BATCH)
    return {"x": dataset, "validation_data": dataset}


def files(folder):
    import tensorflow as tf

    x, y = images()
    with tf.io.TFRecordWriter(str(folder / "images.tfrecord")) as file:
        for image, label in zip(x, y, strict=True):
            file.write(
                tf.io.serialize_tensor(tf.constant([*image.flat, label], tf.float32)).numpy()
            )

    def parsed(record):
        values = tf.ensure_shape(tf.io.parse_tensor(record, tf.float32), (37,))
        return tf.reshape(values[:36], (6, 6, 1)), values[36]

    dataset = tf.data.TFRecordDataset(str(folder / "images.tfrecord")).map(parsed)
    cached = dataset.cache(str(folder / "cached"))
    return {"x": cached.batch(BATCH), "validation_data": dataset.batch(BATCH)}


# --- Python objects -------------------------------------------------------------------------------


def py_dataset(_folder):
    import keras

    x, y = images()

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return SAMPLES // BATCH

        def __getitem__(self, index):
            rows = slice(index * BATCH, (index + 1) * BATCH)
            return x[rows], y[rows]

    return {"x": Batches(), "validation_data": Batches(), "shuffle": False}


def image_generator(**options):
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    return ImageDataGenerator(horizontal_flip=True, **options)


def flow(_folder):
    x, y = images()
    iterator = image_generator(rotation_range=20).flow(x, y, batch_size=BATCH, seed=6)
    next(iterator)  # as a script does that looks at the images
    return {
        "x": iterator,
        "validation_data": image_generator().flow(x, y, batch_size=BATCH, seed=6),
    }


def saved_images(folder):
    """Save the images to a folder for each label; return their paths and labels."""
    import keras

    paths, labels = [], []
    for number, (image, label) in enumerate(zip(*images(), strict=True)):
        path = folder / "images" / ("boot", "shirt")[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(path, image, scale=False, data_format="channels_last")
        paths.append(str(path))
        labels.append(("boot", "shirt")[label])
    return paths, labels


READING = {
    "target_size": (6, 6), "color_mode": "grayscale", "class_mode": "binary", "batch_size": BATCH,
    "seed": 7,
}  # fmt: skip


def flow_from_directory(folder):
    saved_images(folder)
    read = image_generator().flow_from_directory
    return {
        "x": read(folder / "images", **READING),
        "validation_data": read(folder / "images", **READING),
    }


def flow_from_dataframe(folder):
    import pandas as pd

    paths, labels = saved_images(folder)
    frame = pd.DataFrame({"filename": paths, "class": labels})
    read = image_generator().flow_from_dataframe
    return {"x": read(frame, **READING), "validation_data": read(frame, **READING)}


def batches_for_ever(x, y, seed):
    """Yield batches of random images for ever."""
    import numpy as np

    random = np.random.default_rng(seed)  # its own: Keras reads ahead, while it validates too
    while True:
        rows = random.permutation(len(x))[:BATCH]
        yield x[rows], y[rows]


def generator(_folder):
    return {
        "x": batches_for_ever(*images(), 8), "steps_per_epoch": STEPS,
        "validation_data": batches_for_ever(*images(), 9), "validation_steps": 2,
    }  # fmt: skip


def begun_generator(_folder):
    batches = batches_for_ever(*images(), 8)
    next(batches)
    return {"x": batches, "steps_per_epoch": STEPS}


KINDS = [
    Kind("NumPy arrays, also in lists, tuples and dicts", arrays, SHARED, "trains on them"),
    Kind("arrays of texts (objects)", texts, SHARED, "trains on them", "texts"),
    Kind("datasets of h5py", h5py_arrays, SHARED, "trains on them: they are read once, whole"),
    Kind("pandas DataFrame and Series", frames, PICKLED, COPY, "table"),
    Kind("SciPy sparse matrices", sparse, PICKLED, COPY, "table"),
    Kind("tensors", tensors, PICKLED, COPY),
    Kind("`tf.data`, in memory; with `shuffle`, `batch`, `cache`, `prefetch`", pipeline, ANEW, GRAPH),
    Kind("`tf.data` that repeats, with `steps_per_epoch`", endless_pipeline, ANEW, GRAPH),
    Kind("`tf.data` with random augmentation in `map`", augmented, ANEW, GRAPH, may_differ=True),
    Kind("`tf.data` with a Keras augmentation layer in `map`", augmented_by_layers, ANEW, GRAPH,
         may_differ=True, is_short=True),
    Kind("`tf.data` with adapted layers and lookup tables in `map`", adapted, ANEW, GRAPH),
    Kind("`tf.data.Dataset.from_generator`", from_generator, ANEW,
         f"{GRAPH}, with a copy of the function", may_differ=True, is_short=True),
    Kind("`tf.data` with `numpy_function` or `py_function`", numpy_function, ANEW,
         f"{GRAPH}, with a copy of the function", may_differ=True),
    Kind("`tf.data` from files, larger than memory or disk; `cache` in a file", files, ANEW,
         f"{GRAPH} and reads the files, which each node must have; has a cache of its own"),
    Kind("`keras.utils.PyDataset`", py_dataset, PICKLED, COPY),
    Kind("`ImageDataGenerator.flow`", flow, ANEW, COPY, is_short=True),
    Kind("`flow_from_directory`", flow_from_directory, ANEW,
         "reads the files, which each node must have"),
    Kind("`flow_from_dataframe`", flow_from_dataframe, ANEW,
         "reads the files, which each node must have"),
    Kind("a Python generator, with `steps_per_epoch`", generator, ANEW,
         "calls its function with copies of its arguments", is_short=True),
    Kind("a Python generator that has begun, or holds what only its process can use", begun_generator,
         READ, "trains on the batches that were read, in their order", is_compared=False),
]  # fmt: skip


def page():
    """Return the page for a keras-tuner user with the table of the kinds."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = "".join(
        f"| {kind.name} | {kind.way} | {kind.trial} | "
        f"{'contents are compared' if kind.is_compared else 'a line says that they are not known'} |\n"
        for kind in KINDS
    )
    return before + BEGIN + HEAD + rows + END + after


if __name__ == "__main__":
    PAGE.write_text(page())
