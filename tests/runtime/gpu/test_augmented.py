"""Mirrored tiles on a GPU, whose results come one feed late and are overwritten."""

from contextlib import closing

import numpy as np
from gpu_case import GpuCase, random_feed

from runtime.augmented import augmented
from runtime.backends import BackendChoice
from runtime.bundle import Bundle
from runtime.model import open_model


def test_mirrored_tiles_give_what_they_give_on_a_processor(case: GpuCase, small: Bundle) -> None:
    feeds = [random_feed(small, batch=3, seed=seed) for seed in range(4)]
    choice = BackendChoice(name="onnxruntime", reason="a test")
    with closing(open_model(small, choice, variant="probabilities", batch=3)) as processor:
        expected = [augmented(processor, "dihedral").run(feed)["probabilities"] for feed in feeds]
    with closing(case.open(small, variant="probabilities", batch=3)) as gpu:
        found = augmented(gpu, "dihedral").run_many(feeds)
        for right, result in zip(expected, found, strict=True):
            np.testing.assert_allclose(result["probabilities"], right, atol=1e-6)
