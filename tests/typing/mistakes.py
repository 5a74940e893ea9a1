"""Calls that type checkers must refuse: each line that ends in "# wrong", and no other."""

import lazynet as ln

model = ln.Model(seed=0)
x = ln.constant([1.0, 2.0])


@ln.fuse
def twice(x: ln.Expression, k: int = 2) -> ln.Expression:
    """K times x."""
    return x * k


class Layer:
    """With a fused method."""

    @ln.fuse
    def forward(self, x: ln.Expression, k: int) -> ln.Expression:
        """K times x."""
        return x * k


async def read(x: ln.Expression) -> float:
    """Its sum."""
    return float(await x.sum())


twice("x")  # wrong
twice(x, 3, 4)  # wrong
twice(x, j=3)  # wrong
Layer().forward(x)  # wrong
Layer().forward(x, k="3")  # wrong
number: int = twice(x)  # wrong
ln.Model(seed="a")  # wrong
ln.nn.LSTM(model, "a", 3)  # wrong
ln.optim.Adam(model, lr="high")  # wrong
ln.optim.Adam(model, clipping=3.0)  # wrong
ln.optim.SGD(model, sparse="dense")  # wrong
ln.cross_entropy(x, "noun")  # wrong
ln.tanh()  # wrong
ln.no_such_name()  # wrong
names: list[str] = ln.run_together([read(x)])  # wrong
more: list[float] = ln.run_together([read(x)], on_error="return")  # wrong
