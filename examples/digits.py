"""Handwritten digits of 28 x 28 pixels with a multilayer perceptron, one image at a time.

The network is a function of ONE image; the 64 graphs of an update run as a handful of matrix
products. Baseline to beat: a linear classifier, about 92 % on the test images.
"""

from __future__ import annotations

import argparse

import data
import numpy as np
from tqdm import tqdm

import lazynet as ln


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="made-up digits, a few updates")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=200)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1; default: %(default)s")
    options = parser.parse_args()

    (images, labels), (test_images, test_labels) = (
        data.synthetic_digits() if options.smoke else data.mnist()
    )
    epochs = 1 if options.smoke else options.epochs
    print(f"{len(images)} training and {len(test_images)} test images")

    ln.seed(options.seed)
    model = ln.Model(seed=options.seed, device=options.device)
    network = ln.nn.MLP(model, [28 * 28, options.hidden, 10], activation="relu", dropout=0.2)
    updates = epochs * -(-len(images) // options.batch)
    optimizer = ln.optim.Adam(model, lr=2e-3, schedule=ln.optim.Cosine(updates))

    def scores(image: np.ndarray) -> ln.Expression:
        pixels = image.reshape(-1).astype(np.float32) / 255
        return network(ln.constant(pixels))

    order = np.random.default_rng(options.seed)
    with tqdm(total=updates, unit="update", desc="training") as bar:
        for _ in range(epochs):
            shuffled = order.permutation(len(images))
            for i in range(0, len(images), options.batch):
                part = shuffled[i : i + options.batch]
                losses = [ln.cross_entropy(scores(images[k]), int(labels[k])) for k in part]
                loss = ln.mean(losses)
                loss.backward()
                optimizer.step()
                bar.set_postfix(loss=f"{loss.value():.3f}", refresh=False)
                bar.update()

    right = 0
    with ln.no_grad(), ln.training(False):
        for i in tqdm(range(0, len(test_images), 500), desc="testing"):
            found = ln.values([scores(image) for image in test_images[i : i + 500]])
            right += int((np.argmax(found, axis=1) == test_labels[i : i + 500]).sum())
    print(f"test accuracy: {right / len(test_images):.2%}")


if __name__ == "__main__":
    main()
