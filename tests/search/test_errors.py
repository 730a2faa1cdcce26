"""The errors of a trial in one line: the reason comes first, in real messages of TensorFlow."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from search.errors import MAX_MESSAGE_CHARACTERS, one_line

X = np.zeros((32, 5), "float32")
MODES = {
    "eager": {"run_eagerly": True},
    "graph": {"jit_compile": False},
    "jit": {"jit_compile": True},
}


def error_of(layers, x, y, loss, mode):
    """Return the error of a training, in one line."""
    model = keras.Sequential([keras.Input(x.shape[1:], dtype=x.dtype), *layers])
    model.compile("sgd", loss, **MODES[mode])
    with pytest.raises(Exception) as raised:
        model.fit(x, y, shuffle=False, verbose=0)
    return one_line(raised.value)


# Compiled by XLA, a label or an index out of range is no error.
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_a_label_out_of_range_is_said_first(mode):
    labels = np.full(32, 12)
    line = error_of(
        [keras.layers.Dense(7)], X, labels,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True), mode,
    )  # fmt: skip
    assert line.startswith(
        "InvalidArgumentError: Received a label value of 12 which is outside the valid range of "
        "[0, 7)."
    )
    assert "Label values" not in line  # those of the whole batch
    assert "{{" not in line
    assert "[Op:" not in line


@pytest.mark.parametrize(
    ("mode", "place"),
    [
        ("eager", r"(in Embedding.call(): inputs=tf.Tensor(shape=(32, 5)"),
        ("graph", "(in the graph at seq"),
    ],
)
def test_an_index_out_of_range_is_said_first_then_where(mode, place):
    layers = [keras.layers.Embedding(10, 3), keras.layers.Flatten(), keras.layers.Dense(1)]
    indices = np.full((32, 5), 0)
    indices[3, 0] = 12
    line = error_of(layers, indices, X[:, :1], "mse", mode)
    assert line.startswith(f"InvalidArgumentError: indices[3,0] = 12 is not in [0, 10) {place}")


def difference(target, output):
    return tf.reduce_mean(tf.square(target - output), -1)


@pytest.mark.parametrize("mode", MODES)
def test_shapes_that_do_not_fit_are_said_first(mode):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(7)])
    model.compile("sgd", difference, **MODES[mode])
    # Shapes that are known only once the graph runs.
    data = tf.data.Dataset.from_generator(
        lambda: [(X, np.zeros((32, 10)))],
        output_signature=(tf.TensorSpec((None, 5)), tf.TensorSpec((None, None))),
    )
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        model.fit(data, shuffle=False, verbose=0)
    line = one_line(raised.value)
    assert line.startswith("InvalidArgumentError: Incompatible shapes: [32,10] vs. [32,7]")
    assert "tf2xla" not in line
    assert "File" not in line


class Reading(keras.layers.Layer):
    """Calls Python code of the user that fails."""

    def call(self, inputs):
        return tf.ensure_shape(tf.numpy_function(self.read, [inputs], tf.float32), (None, 5))

    def read(self, _inputs):
        raise OSError("there is no image here")

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_the_error_of_python_code_in_a_graph_is_said_first_and_once(mode):
    line = error_of([Reading(), keras.layers.Dense(1)], X, X[:, :1], "mse", mode)
    assert "Error: there is no image here (in " in line
    assert line.count("no image") == 1


def test_of_several_errors_of_a_graph_the_reasons_are_said():
    message = """Graph execution error:

Detected at node 'model/embedding/Gather' defined at (most recent call last):
    File "train.py", line 3, in <module>
      model.fit(x)
2 root error(s) found.
  (0) INVALID_ARGUMENT:  indices[3,0] = 12 is not in [0, 10)
\t [[{{node model/embedding/Gather}}]]
\t [[model/embedding/Gather/_4]]
  (1) INVALID_ARGUMENT:  indices[3,0] = 12 is not in [0, 10)
\t [[{{node model/embedding/Gather}}]]
0 successful operations.
0 derived errors ignored. [Op:__inference_train_function_1]"""
    assert one_line(ValueError(message)) == (
        "ValueError: indices[3,0] = 12 is not in [0, 10) (in the graph at model/embedding/Gather)"
    )


def test_a_graph_error_without_a_reason_is_shown_as_it_is():
    assert one_line(ValueError("Graph execution error:")) == "ValueError: Graph execution error:"


def test_another_message_stays_and_is_shortened():
    assert one_line(ValueError("units [[1]]\n  {{0}}")) == "ValueError: units [[1]] {{0}}"
    assert one_line(ValueError()) == "ValueError: no message"
    assert len(one_line(ValueError("word " * 500))) <= len("ValueError: ") + MAX_MESSAGE_CHARACTERS
