"""Trainers: parameters after each of several updates."""

import numpy as np
from recording import Table

TABLE = Table()

TRAINERS = {
    "SimpleSGDTrainer": [{}, {"learning_rate": 0.5}],
    "CyclicalSGDTrainer": [
        {},
        {"learning_rate_min": 0.02, "learning_rate_max": 0.4, "step_size": 2, "gamma": 0.9},
    ],
    "MomentumSGDTrainer": [{}, {"learning_rate": 0.1, "mom": 0.5}],
    "AdagradTrainer": [{}, {"learning_rate": 0.5, "eps": 0.1}],
    "AdadeltaTrainer": [{}, {"eps": 0.1, "rho": 0.5}],
    "RMSPropTrainer": [{}, {"learning_rate": 0.1, "eps": 0.1, "rho": 0.5}],
    "AdamTrainer": [{}, {"alpha": 0.1, "beta_1": 0.5, "beta_2": 0.9, "eps": 0.1}],
    "AmsgradTrainer": [{}, {"alpha": 0.1, "beta_1": 0.5, "beta_2": 0.9, "eps": 0.1}],
}


class Run:
    """A small model and its trainer: two parameters and a table, of which steps use some parts."""

    def __init__(self, dy, rng, trainer, settings, collection=None, trained=None):
        self.dy, self.rng = dy, rng
        self.m = dy.ParameterCollection() if collection is None else collection
        self.a = self.m.parameters_from_numpy(rng.standard_normal((2, 3)))
        self.b = self.m.parameters_from_numpy(rng.standard_normal(4))
        self.table = self.m.lookup_parameters_from_numpy(rng.standard_normal((5, 3)))
        self.owned = [self.a, self.b, self.table]
        self.trainer = getattr(dy, trainer)(trained or self.m, **settings)
        self.losses = []
        self.found = {}

    def step(self, *parts, size=1.0):
        """One update. Parts are parameters, rows of the table, or a table and a row."""
        dy = self.dy
        dy.renew_cg()
        terms = []
        for part in parts:
            if isinstance(part, int):
                part = (self.table, part)
            x = part[0][part[1]] if isinstance(part, tuple) else part
            weights = dy.inputTensor(size * self.rng.standard_normal(x.dim()[0]))
            terms.append(dy.sum_elems(dy.cmult(x, weights)) + dy.sum_elems(dy.cmult(x, x)))
        if terms:
            total = terms[0]
            for term in terms[1:]:
                total = total + term
            self.losses.append(total.value())
            total.backward()
        self.trainer.update()
        arrays = [p.as_array() for p in self.owned] + [p.grad_as_array() for p in self.owned]
        found = np.concatenate([*arrays, [self.trainer.learning_rate]], axis=None)
        self.found[f"update {len(self.found)}"] = found


def script(name, trainer, settings=None):
    """A case that runs a function of a `Run`."""

    def add(function):
        def case(dy, rng):
            run = Run(dy, rng, trainer, settings or {})
            function(run)
            return {"losses": np.array(run.losses), **run.found}

        TABLE.script(f"{trainer}, {name}")(case)
        return function

    return add


def some_steps(run):
    run.step(run.a, run.b, 0, 2)
    run.step(run.a, 2, 2, 4)
    run.step(run.b, 1)
    run.step(run.a, run.b, 0, 1, 2)
    run.step(run.a, run.b, 0, 3)


for trainer, choices in TRAINERS.items():
    for number, settings in enumerate(choices):
        script(f"settings {number}", trainer, settings)(some_steps)
    settings = choices[1]

    @script("clipped", trainer, settings)
    def _(run):
        run.trainer.set_clip_threshold(0.5)
        some_steps(run)
        run.trainer.set_clip_threshold(0)
        run.step(run.a, run.b, 0, 1, size=30)
        run.trainer.set_clip_threshold(5)
        run.step(run.a, run.b, 0, 1, size=30)

    @script("clipped by default", trainer, settings)
    def _(run):
        run.step(run.a, run.b, 0, 1, size=30)
        run.step(run.b, 0, 1, size=30)

    @script("dense", trainer, settings)
    def _(run):
        run.trainer.set_sparse_updates(False)
        some_steps(run)
        run.step(run.a)
        run.step()

    @script("dense, then sparse, then dense", trainer, settings)
    def _(run):
        for dense in [True, False, True]:
            run.trainer.set_sparse_updates(not dense)
            run.step(run.a, 0, 1)
            run.step(run.a, 1, 2)
            run.step(run.a, 4)

    @script("the whole table", trainer, settings)
    def _(run):
        run.step(run.a, 0)
        run.step(run.b, run.table, 1)
        run.step(run.a, 1)

    @script("weight decay", trainer, settings)
    def _(run):
        run.m.set_weight_decay(0.05)
        some_steps(run)
        run.step(run.a, 1)
        run.m.set_weight_decay(0.3)
        for _ in range(6):
            run.step(run.a, run.b, 0, 2)
            run.found[f"value {len(run.found)}"] = run.table[4].npvalue()

    @script("weight decay, not updated", trainer, settings)
    def _(run):
        run.m.set_weight_decay(0.3)
        run.b.set_updated(False)
        for _ in range(5):
            run.step(run.a, 0, 2)
            run.dy.renew_cg()
            run.found[f"value {len(run.found)}"] = (run.b + 0).npvalue()

    @script("restart", trainer, settings)
    def _(run):
        run.step(run.a, run.b, 0, 2)
        run.step(run.a, run.b, 0, 2)
        run.trainer.restart()
        run.step(run.a, run.b, 0, 2)
        run.trainer.restart(0.03)
        run.step(run.a, run.b, 0, 1)
        run.trainer.restart(learning_rate=0.01)
        run.step(run.a, 2)

    @script("learning rate", trainer, settings)
    def _(run):
        run.step(run.a, run.b, 0, 2)
        run.trainer.learning_rate = 0.3
        run.step(run.a, run.b, 0, 2)
        run.trainer.set_learning_rate(0.2)
        run.step(run.a, run.b, 0, 2)
        run.trainer.learning_rate *= 0.5
        run.step(run.a, run.b, 0, 2)

    @script("not updated", trainer, settings)
    def _(run):
        # no clipping: here a parameter that is not updated gets no gradient, and so does not count
        run.trainer.set_clip_threshold(0)
        run.step(run.a, run.b, 0, 2)
        run.b.set_updated(False)
        run.table.set_updated(False)
        run.step(run.a)
        run.step(run.a)
        run.b.set_updated(True)
        run.table.set_updated(True)
        run.step(run.a, run.b, 0, 1)

    @script("added later", trainer, settings)
    def _(run):
        run.step(run.a, run.b, 0, 2)
        c = run.m.parameters_from_numpy(run.rng.standard_normal(2))
        rows = run.m.lookup_parameters_from_numpy(run.rng.standard_normal((2, 2)))
        run.owned += [c, rows]
        run.step(run.a, c, rows, 1)
        run.step(run.b, c, 2)

    @script("several tables", trainer, settings)
    def _(run):
        small, wide = (
            run.m.lookup_parameters_from_numpy(run.rng.standard_normal((4, n))) for n in (2, 90)
        )
        run.owned += [small, wide]
        for _ in range(2):
            run.step(run.a, 0, 3, 0, 0, (small, 1), (small, 3), (small, 1), (wide, 2))
            run.step(1, (wide, 0), (wide, 1), (wide, 2), (wide, 0))

    @script("many rows", trainer, settings)
    def _(run):
        rows = run.m.lookup_parameters_from_numpy(run.rng.standard_normal((80, 2)))
        run.owned.append(rows)
        run.step(*((rows, int(i)) for i in run.rng.permutation(80)[:70]))
        run.step(*((rows, int(i)) for i in run.rng.randint(0, 80, 70)))

    @script("without a gradient", trainer, settings)
    def _(run):
        run.step()
        run.step(run.a, 1)
        run.step()
        run.step()


def in_parts(dy, rng, trainer, settings, whole):
    """A collection in a collection, and a trainer of one of them."""
    m = dy.ParameterCollection()
    part = m.add_subcollection("part")
    run = Run(dy, rng, trainer, settings, part, m if whole else part)
    outside = m.parameters_from_numpy(rng.standard_normal(3))
    run.owned.append(outside)
    run.step(run.a, outside, 0)
    run.step(run.a, outside, 1)
    return run.found


for trainer in ["SimpleSGDTrainer", "AdamTrainer"]:
    for whole in [True, False]:
        TABLE.script(f"{trainer}, of {'the whole' if whole else 'a sub-collection'}")(
            lambda dy, rng, trainer=trainer, whole=whole: in_parts(
                dy, rng, trainer, TRAINERS[trainer][1], whole
            )
        )
