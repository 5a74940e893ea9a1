"""Draw digits: a variational autoencoder of MNIST, written for one image.

    python examples/variational_autoencoder.py             # MNIST, about one minute
    python examples/variational_autoencoder.py --smoke     # made-up digits, seconds

The encoder gives the mean and the spread of a code of 20 numbers for an image; a code drawn from
there goes through the decoder, which says how likely each pixel is to hold ink. What is trained is
a bound on -log p(image):

    E[-log p(image | code)] + KL(code given the image || standard normal)

The draw is recorded like any operation: its numbers come from a key that the node carries, so that
they are the same whatever runs beside it in a batch.

The figure is that bound in nats an image. Baseline: every pixel for itself, with the frequency of
ink that it has in the training images.

Source: D. P. Kingma and M. Welling, Auto-encoding variational Bayes, 2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import common
import data
import numpy as np

import lazynet as ln

CODE = 20
"""Numbers in a code."""


class VariationalAutoencoder:
    """Image -> code -> image.

    Args:
        model: Owns the parameters.
        pixels: Number of pixels of an image.
        hidden: Width of the hidden layer of encoder and decoder.
    """

    def __init__(self, model: ln.Model, pixels: int, hidden: int) -> None:
        self.encoder = ln.nn.MLP(model, [pixels, hidden, 2 * CODE], activation="relu")
        self.decoder = ln.nn.MLP(model, [CODE, hidden, pixels], activation="relu")

    def loss(self, image: np.ndarray) -> ln.Expression:
        """Bound on -log p(image), in nats, of one image of zeros and ones."""
        x = ln.constant(image)
        return self.bound(x, ln.normal((CODE,)))

    @ln.fuse
    def bound(self, x: ln.Expression, noise: ln.Expression) -> ln.Expression:
        """The bound, where the code is drawn with this noise."""
        mean, log_spread = ln.split(self.encoder(x), 2)
        spread = ln.exp(log_spread)
        logits = self.decoder(mean + spread * noise)
        surprise = ln.sum(ln.softplus(logits) - x * logits)
        divergence = 0.5 * ln.sum(ln.square(mean) + ln.square(spread) - 1 - 2 * log_spread)
        return surprise + divergence

    def draw(self) -> ln.Expression:
        """How likely each pixel of an image that nobody has drawn holds ink."""
        return ln.sigmoid(self.decoder(ln.normal((CODE,))))

    def mean_bound(self, images: Sequence[np.ndarray], seed: int = 0) -> float:
        """Mean bound over images, in nats; the draws come from the seed."""
        total = 0.0
        ln.seed(seed)
        with ln.no_grad(), ln.training(False):
            for part in common.in_batches(images, 500, "testing"):
                total += ln.sum([self.loss(x) for x in part]).item()
        return total / len(images)


def pixel_by_pixel(training: np.ndarray, test: np.ndarray) -> float:
    """-log p of an image, in nats, where every pixel has its own frequency of ink."""
    ink = (training.sum(axis=0) + 1) / (len(training) + 2)
    return float(-(test * np.log(ink) + (1 - test) * np.log(1 - ink)).sum(axis=1).mean())


def picture(path: Path, test: np.ndarray, drawn: Sequence[np.ndarray]) -> None:
    """Test images above, drawn ones below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    side = round(len(test[0]) ** 0.5)
    rows = [np.hstack([x.reshape(side, side) for x in images]) for images in (test, drawn)]
    figure, axes = pyplot.subplots(2, 1, figsize=(7, 1.9), layout="constrained")
    for axis, row, title in zip(axes, rows, ("from the test set", "drawn by the network")):
        axis.imshow(row, cmap="gray_r", vmin=0, vmax=1)
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    print(f"plot: {path}")


def main() -> None:
    parser = common.options(__doc__, epochs=10, hidden=400, batch=100, lr=1e-3)
    options = parser.parse_args()
    (images, _), (test_images, _) = data.synthetic_digits() if options.smoke else data.mnist()
    training, test = (
        (x.reshape(len(x), -1) > 127).astype(np.float32) for x in (images, test_images)
    )
    print(f"{len(training)} training and {len(test)} test images of {training.shape[1]} pixels")

    def fresh() -> tuple[ln.Model, VariationalAutoencoder]:
        model = ln.Model(seed=options.seed, device=options.device)
        return model, VariationalAutoencoder(model, training.shape[1], options.hidden)

    ln.seed(options.seed)
    model, network = fresh()
    common.train(
        network.loss,
        ln.optim.Adam(model, lr=options.lr),
        list(training),
        options.epochs,
        options.batch,
        options.seed,
    )
    bound = network.mean_bound(test)
    print(f"test bound: {bound:.1f} nats (pixel by pixel: {pixel_by_pixel(training, test):.1f})")

    again, loaded = fresh()
    path = options.output / "variational_autoencoder.safetensors"
    common.save_and_load(model, again, path, bound, lambda: loaded.mean_bound(test))
    ln.seed(options.seed)
    drawn = ln.values([network.draw() for _ in range(16)])
    picture(options.output / "variational_autoencoder.png", test[:16], drawn)
    common.compare(model, network.loss, list(training[: options.batch]))


if __name__ == "__main__":
    main()
