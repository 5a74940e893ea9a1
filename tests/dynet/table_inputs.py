"""Inputs: values and dimensions as programs write them."""

import numpy as np
from recording import Table

TABLE = Table()


def seen(x):
    dims, batch = x.dim()
    return {"value": np.array(x.npvalue()), "dim": np.array([*dims, batch])}


INPUTS = {
    "scalarInput": lambda dy, a: dy.scalarInput(a[0]),
    "scalarInput, integer": lambda dy, a: dy.scalarInput(s=3),
    "vecInput": lambda dy, a: dy.vecInput(3),
    "inputVector": lambda dy, a: dy.inputVector([1, 2.5, a[2]]),
    "inputVector, tuple": lambda dy, a: dy.inputVector((1, 2)),
    "inputVector, array": lambda dy, a: dy.inputVector(a),
    "inputTensor, vector": lambda dy, a: dy.inputTensor(a),
    "inputTensor, list": lambda dy, a: dy.inputTensor([1, 2, 3]),
    "inputTensor, lists": lambda dy, a: dy.inputTensor([[1, 2, 3], [4, 5, 6]]),
    "inputTensor, lists batched": lambda dy, a: dy.inputTensor([[1, 2, 3], [4, 5, 6]], True),
    "inputTensor, matrix": lambda dy, a: dy.inputTensor(a[:6].reshape(2, 3)),
    "inputTensor, matrix batched": lambda dy, a: dy.inputTensor(a[:6].reshape(2, 3), batched=True),
    "inputTensor, cube": lambda dy, a: dy.inputTensor(a.reshape(2, 3, 2)),
    "inputTensor, cube batched": lambda dy, a: dy.inputTensor(a.reshape(2, 3, 2), batched=True),
    "inputTensor, batch of one": lambda dy, a: dy.inputTensor(a.reshape(4, 3, 1), batched=True),
    "inputTensor, batched row": lambda dy, a: dy.inputTensor(a.reshape(1, 12), batched=True),
    "inputTensor, vectors": lambda dy, a: dy.inputTensor([a, 2 * a, 3 * a]),
    "inputTensor, matrices": lambda dy, a: dy.inputTensor([a.reshape(3, 4), a.reshape(3, 4) + 1]),
    "inputTensor, columns first": lambda dy, a: dy.inputTensor(np.asfortranarray(a.reshape(3, 4))),
    "inputTensor, reversed": lambda dy, a: dy.inputTensor(a.reshape(3, 4)[::-1, ::2]),
    "inputTensor, integers": lambda dy, a: dy.inputTensor(np.arange(6).reshape(3, 2)),
    "inputTensor, truth values": lambda dy, a: dy.inputTensor(a > 0),
    "inputTensor, single precision": lambda dy, a: dy.inputTensor(a.astype(np.float32)),
    "inputTensor, ones at the end": lambda dy, a: dy.inputTensor(a.reshape(12, 1, 1)),
    "inputTensorTranspose": lambda dy, a: dy.inputTensorTranspose(a),
    "inputTensorTranspose, matrix": lambda dy, a: dy.inputTensorTranspose(a, (3, 4)),
    "inputTensorTranspose, batch": lambda dy, a: dy.inputTensorTranspose(
        a, dim=(3, 2), batch_size=2
    ),
    "inputTensorTranspose, positions": lambda dy, a: dy.inputTensorTranspose(a, (3,), 4),
    "sparse_inputTensor": lambda dy, a: dy.sparse_inputTensor(([0, 1], [1, 2]), [5, 6], (3, 4)),
    "sparse_inputTensor, array": lambda dy, a: dy.sparse_inputTensor(
        np.array([[0, 1], [1, 2]]), a[:2], (3, 4), defval=-1
    ),
    "sparse_inputTensor, twice": lambda dy, a: dy.sparse_inputTensor(
        ([0, 0], [1, 1]), [5, 6], (3, 4)
    ),
    "sparse_inputTensor, batched": lambda dy, a: dy.sparse_inputTensor(
        ([0, 1], [1, 2], [0, 1]), [5, 6], (3, 4, 2), True, 2
    ),
    "sparse_inputTensor, vector": lambda dy, a: dy.sparse_inputTensor(([0, 1],), [5, 6], (3,)),
    "one_hot": lambda dy, a: dy.one_hot(3, 1),
    "one_hot, list": lambda dy, a: dy.one_hot(3, [2, 0, 2, 1]),
    "one_hot, list of one": lambda dy, a: dy.one_hot(d=3, idx=[1]),
    "constant": lambda dy, a: dy.constant(3, 2.5),
    "constant, batch": lambda dy, a: dy.constant((2, 3), val=2.5, batch_size=2),
    **{
        f"{name} {arguments}": lambda dy, a, name=name, arguments=arguments: getattr(dy, name)(
            *arguments
        )
        for name in ("zeros", "zeroes", "ones")
        for arguments in ((3,), ((2, 3),), ((2, 3), 2), ((2, 1),), ((1, 2, 1), 3), (0,), (1,))
    },
}
for name, function in INPUTS.items():

    @TABLE.script(name)
    def case(dy, rng, function=function):
        return seen(function(dy, rng.standard_normal(12)))


@TABLE.script("set on a scalar")
def set_scalar(dy, rng):
    x = dy.scalarInput(2)
    y = dy.square(x)
    found = {"before": y.npvalue()}
    x.set(5)
    found["after"] = y.npvalue()
    y.backward(full=True)
    found["gradient"] = np.array(x.gradient())
    return found


@TABLE.script("set on vectors")
def set_vector(dy, rng):
    x, w = dy.vecInput(3), dy.inputVector([1, 2, 3])
    y = dy.sum_elems(dy.cmult(x, w))
    found = {"before": y.npvalue()}
    x.set([1, 0, -1])
    found["after"] = y.npvalue()
    w.set((4, 5, 7))
    found["twice"] = y.npvalue()
    y.backward(full=True)
    found["gradient"] = np.array(x.gradient())
    return found


@TABLE.script("set on a tensor")
def set_tensor(dy, rng):
    x = dy.inputTensor(np.arange(6).reshape(2, 3), reusable_expr=True)
    z = dy.inputTensor(np.arange(6).reshape(2, 3), batched=True, reusable_expr=True)
    y = dy.tanh(x)
    found = {"before": y.npvalue(), "batch before": z.npvalue()}
    x.set([1, 2, 3, 4, 5, 6])
    z.set([6, 5, 4, 3, 2, 1])
    found |= {"after": y.npvalue(), "input": x.npvalue(), "batch after": z.npvalue()}
    return found


@TABLE.script("value holders")
def holders(dy, rng):
    n, r = dy.UnsignedValue(3), dy.FloatValue(2.1)
    ns, rs = dy.UnsignedVectorValue([1, 2]), dy.FloatVectorValue((0.1, 0.2))
    found = {"unsigned": np.array([n.get(), ns.size(), rs.size()]), "float": np.array([r.get()])}
    found["default"] = np.array([dy.UnsignedValue().get(), dy.FloatValue().get()])
    n.set(5)
    r.set(val=3.3)
    ns.set([7])
    rs.set([])
    found["set"] = np.array([n.get(), r.get(), *ns.get(), *rs.get()])
    return found
