"""Settings: flags, `dynet_config`, `DynetParams`, devices; and scripts run unchanged."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import lazynet as ln
import lazynet.dynet as dy
from lazynet.dynet import config, dynet_config
from lazynet.dynet.config import Settings, read_flags

ROOT = Path(ln.__file__).parent.parent


@pytest.fixture(autouse=True)
def settings_put_back():
    before, conf, gpu = config.settings(), dynet_config._State.conf, dynet_config._State.gpu
    yield
    dynet_config._State.conf, dynet_config._State.gpu = conf, gpu
    config._State.settings, config._State.device = before, ""
    ln.seed(0)


def python(*arguments: str, cwd: Path, status: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, done.stderr
    return done


def drawn() -> list[float]:
    return ln.normal(3).value().tolist()


# Flags


def test_flags_with_either_dash_and_either_form() -> None:
    for argv in (
        ["p", "--dynet-seed", "3", "x", "--dynet-weight-decay", "0.5", "--dynet-profiling=2"],
        ["p", "--dynet_seed=3", "--dynet_weight_decay", "0.5", "--dynet_profiling", "2"],
        ["p", "--DYNET-SEED", "3", "--dynet-l2", ".5", "--dynet-mem", "1,2", "--dynet-profiling=2"],
    ):
        assert read_flags(argv) == Settings(seed=3, weight_decay=0.5, profiling=2)


def test_flags_that_change_nothing_are_accepted() -> None:
    argv = "p --dynet-mem 512 --dynet-autobatch 1 --dynet-dynamic-mem --dynet-shared-parameters"
    assert read_flags(argv.split()) == Settings(autobatch=1)
    assert read_flags("p --dynet-gpus 0 --dynet-devices CPU --dynet-viz".split()) == Settings(
        viz=True
    )


def test_no_flags() -> None:
    assert read_flags(["--dynet-seed"]) is None, "the program's name is no flag"
    assert read_flags(["p", "--seed", "3", "dynet-seed", "4", "--dynet-hidden", "5"]) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dynet-seed"], "--dynet-seed expects an argument"),
        (["--dynet_mem"], "--dynet_mem expects an argument"),
        (["--dynet-seed", "abc"], "--dynet-seed: got 'abc'"),
        (["--dynet-weight-decay", "-1"], "--dynet-weight-decay: got '-1'"),
    ],
)
def test_bad_flags(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        read_flags(["p", *arguments])


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ("--dynet-gpu", "CPU GPU:0"),
        ("--dynet-gpus 2", "CPU GPU:0 GPU:1"),
        ("--dynet-gpus=0", "CPU"),
        ("--dynet-gpu-ids 0,3", "CPU GPU:0 GPU:3"),
        ("--dynet-devices CPU,GPU:1", "CPU GPU:1"),
        ("--dynet_devices GPU:1,CPU", "CPU GPU:1"),
        ("--dynet-devices CPU", "CPU"),
    ],
)
def test_names_of_devices(flags, names) -> None:
    assert read_flags(["p", *flags.split()]) == Settings(devices=tuple(names.split()))


@pytest.mark.parametrize(
    "flags", ["devices GPU", "devices cuda:0", "devices CPU:0", "devices GPU:x", "gpu-ids 0;1"]
)
def test_names_that_are_none(flags) -> None:
    with pytest.raises(ValueError, match=r"Bad argument to --dynet-devices.*CPU and GPU:0"):
        read_flags(["p", *f"--dynet-{flags}".split()])


@pytest.fixture
def gpus(monkeypatch):
    """Stands in for what CuPy finds: GPUs to add to."""
    found: set[str] = set()

    def device_name(name: str) -> str:
        if name not in found:
            raise ln.DeviceError(f"device {name!r}: CuPy finds no such GPU")
        return name

    monkeypatch.setattr(config, "device_name", device_name)
    return found


def test_without_a_gpu_its_devices_are_the_cpu(gpus) -> None:
    flags = read_flags(["p", "--dynet-devices", "CPU,GPU:1"])
    with pytest.warns(UserWarning, match="GPU:1 will be the CPU, because.*'cuda:1': CuPy finds no"):
        config.apply(flags)
    assert config.checked_device("GPU:1", "f") == "GPU:1"
    assert dy.available_devices() == ["CPU"]
    assert dy.ParameterCollection().model.device == "cpu"
    with pytest.raises(RuntimeError, match=r"get_device_info: .*Invalid device name: GPU:0"):
        dy.get_device_info("GPU:0")
    with pytest.raises(TypeError, match="get_device_info: got device=None"):
        dy.get_device_info(None)
    assert dy.get_device_info("CPU").name == "CPU"
    assert dy.get_device_info("").dtype == "CPU"


def test_the_first_gpu_asked_for_is_used(gpus) -> None:
    gpus.update({"cuda:1", "cuda:2"})
    config.apply(read_flags(["p", "--dynet-devices", "CPU,GPU:1"]))
    assert config.default_device() == "cuda:1"
    assert dy.available_devices() == ["GPU:1", "CPU"]
    info = dy.get_device_info("")
    assert (info.name, info.id, info.dtype) == ("GPU:1", 1, "GPU")
    with pytest.raises(RuntimeError, match="only 'CPU' and 'GPU:1'"):
        dy.get_device_info("GPU:2")
    with pytest.warns(UserWarning, match="GPU:1 will be GPU:2: a network is computed on one"):
        config.apply(read_flags(["p", "--dynet-devices", "GPU:2,GPU:1"]))
    assert config.default_device() == "cuda:2"
    config.apply(Settings())
    assert dy.available_devices() == ["CPU"]


def test_without_cupy_the_warning_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.warns(UserWarning, match=r"GPU:0 will be the CPU.*pip install 'lazynet\[cuda13\]'"):
        config.apply(Settings(devices=("CPU", "GPU:0")))
    with pytest.warns(UserWarning, match="GPU:0 will be the CPU"):
        params = dy.DynetParams()
        params.set_requested_gpus(1)
        params.init()
    params.set_cpu_mode()
    params.init()
    assert config._State.device == ""


# Settings from code


def test_the_seed_makes_runs_reproducible() -> None:
    dy.reset_random_seed(5)
    first = drawn()
    dy.reset_random_seed(5)
    assert drawn() == first
    dy.reset_random_seed(6)
    assert drawn() != first
    for bad in (None, "x", -1, 1.5):
        with pytest.raises((TypeError, ValueError), match="reset_random_seed"):
            dy.reset_random_seed(bad)


def test_the_seed_covers_all_that_is_random() -> None:
    def everything() -> list:
        dy.reset_random_seed(11)
        dy.renew_cg()
        model = dy.ParameterCollection()
        p, table = model.add_parameters((2, 3)), model.add_lookup_parameters((4, 3), init="normal")
        builder = dy.VanillaLSTMBuilder(1, 3, 4, model)
        builder.set_dropout(0.5)
        x = dy.random_normal(3)
        found = [p.as_array(), table.as_array(), x, dy.random_uniform(3, 0, 1), dy.noise(x, 1)]
        found += [dy.dropout(x, 0.5), dy.random_bernoulli(9, 0.5), dy.random_gumbel(3)]
        found += builder.initial_state().transduce([x, x])
        found.append(np.array(dy.StandardSoftmaxBuilder(3, 100, model).sample(x)))
        return [np.array(f if isinstance(f, np.ndarray) else f.npvalue()) for f in found]

    first, second = everything(), everything()
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a, b)
    dy.reset_random_seed(12)
    assert (dy.random_normal(3).npvalue() != first[2]).all()


def test_weight_decay_is_that_of_collections_made_afterwards() -> None:
    before = dy.ParameterCollection()
    config._State.settings = Settings(weight_decay=0.25)
    assert dy.ParameterCollection().get_weight_decay() == 0.25
    assert before.get_weight_decay() == 0
    assert dy.ParameterCollection().add_subcollection("part").get_weight_decay() == 0.25


def test_devices_in_calls() -> None:
    model = dy.ParameterCollection()
    calls = [
        lambda device: model.add_parameters(2, device=device),
        lambda device: model.add_lookup_parameters((2, 2), device=device),
        lambda device: dy.inputTensor([1, 2], device=device),
        lambda device: dy.scalarInput(1, device=device),
        lambda device: dy.to_device(dy.scalarInput(1), device),
    ]
    for call in calls:
        call("CPU")
        with pytest.raises(RuntimeError, match="Invalid device name: GPU:1"):
            call("GPU:1")
    config._State.settings = Settings(devices=("CPU", "GPU:1"))
    for call in calls:
        call("GPU:1")


def test_params_can_be_put_in_force_at_any_time() -> None:
    dy.reset_random_seed(5)
    first = drawn()
    params = dy.DynetParams()
    params.set_random_seed(5)
    params.set_weight_decay(0.25)
    params.set_mem(100)
    params.set_autobatch(True)
    params.set_shared_parameters(True)
    params.set_gpu_mask([0])
    params.set_requested_gpus(0)
    params.set_cpu_mode()
    params.set_profiling(0)
    params.init()
    assert drawn() == first
    assert config.settings() == Settings(seed=5, weight_decay=0.25, autobatch=1)
    dy.init_from_params(params)
    assert drawn() == first
    with pytest.raises(TypeError, match="init_from_params: got 3"):
        dy.init_from_params(3)
    with pytest.raises(TypeError, match="random seed: got None"):
        params.set_random_seed(None)
    with pytest.raises(ValueError, match="weight decay: got -1"):
        params.set_weight_decay(-1)


def test_without_a_seed_runs_differ() -> None:
    params = dy.DynetParams()
    params.init()
    first = drawn()
    params.init()
    assert drawn() != first


def test_init_reads_the_flags_again_where_they_say_something_new(monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["p", "--dynet-seed", "5"])
    dy.init()
    first = drawn()
    dy.init()
    assert drawn() != first, "nothing new: the numbers go on"
    params = dy.DynetParams()
    params.from_args()
    params.init()
    assert drawn() == first
    assert sys.argv == ["p", "--dynet-seed", "5"]


def test_dynet_config() -> None:
    dy.reset_random_seed(7)
    first = drawn()
    dynet_config.set(mem=4, random_seed=7, weight_decay=0.5)
    assert drawn() == first
    assert dynet_config.get() == {
        "mem": 4,
        "seed": 7,
        "autobatch": 0,
        "profiling": 0,
        "weight_decay": 0.5,
        "shared_params": 0,
        "requested_gpus": 0,
        "gpu_mask": [],
    }
    assert config.settings().weight_decay == 0.5
    before = dynet_config.get()
    with pytest.raises(TypeError, match="random seed: got 'x'"):
        dynet_config.set(random_seed="x")
    assert dynet_config.get() == before
    with pytest.warns(UserWarning, match="no such GPU here"):
        dynet_config.set_gpu()
    assert dynet_config.gpu() is True
    assert dynet_config.get()["requested_gpus"] == 1
    dynet_config.set_gpu(False)
    assert dynet_config.get()["requested_gpus"] == 0
    with pytest.raises(KeyError, match="mem"):
        dy.DynetParams().from_config({})


def test_importing_leaves_the_random_numbers_of_a_program_alone(tmp_path) -> None:
    code = "import lazynet as ln; ln.seed(3); import lazynet.dynet; print(ln.normal(2).value())"
    ln.seed(3)
    assert python("-c", code, cwd=tmp_path).stdout.strip() == str(ln.normal(2).value())


# Scripts


def write(path: Path, text: str) -> Path:
    path.write_text(textwrap.dedent(text))
    return path


def test_a_script_runs_unchanged(tmp_path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub" / "helper.py", "WORD = 'neighbour'")
    write(
        tmp_path / "sub" / "script.py",
        """
        import pickle, sys
        import helper
        import dynet_config
        dynet_config.set(random_seed=3, weight_decay=0.5)
        import dynet as dy
        import _dynet, dynet_viz
        from dynet import *

        class Kept:
            pass

        assert dy is _dynet and dy.dynet_config is dynet_config
        assert type(pickle.loads(pickle.dumps(Kept()))) is Kept
        print(__name__, __file__, sys.argv, sys.path[0], helper.WORD)
        print(cmult(scalarInput(2), scalarInput(3)).value())
        """,
    )
    done = python(
        "-m", "lazynet.dynet", "sub/script.py", "a", "--dynet-viz", "--dynet-seed", "9",
        cwd=tmp_path,
    )  # fmt: skip
    where = tmp_path / "sub" / "script.py"
    argv = ["sub/script.py", "a", "--dynet-seed", "9"]
    assert done.stdout.splitlines() == [
        f"__main__ {where} {argv} {where.parent} neighbour",
        "6.0",
    ]
    assert done.stderr == ""


def test_flags_are_read_when_the_script_imports_dynet(tmp_path) -> None:
    script = write(
        tmp_path / "script.py",
        """
        import sys
        sys.argv += ["--dynet-seed", "4"]
        import dynet
        import lazynet
        print(lazynet.normal(2).value())
        """,
    )
    ln.seed(4)
    done = python("-m", "lazynet.dynet", str(script), cwd=tmp_path)
    with ln.use_device("cpu"):  # which is where the script runs: last digits differ
        assert done.stdout.strip() == str(ln.normal(2).value())
    script = write(tmp_path / "plain.py", "import dynet")
    done = python("-m", "lazynet.dynet", str(script), "--dynet-seed", "x", cwd=tmp_path, status=1)
    assert "--dynet-seed: got 'x'" in done.stderr.splitlines()[-1]


def test_errors_look_like_those_of_the_script_alone(tmp_path) -> None:
    failing = write(tmp_path / "failing.py", "def f():\n    raise KeyError('boo')\nf()\n")
    for script in (failing, write(tmp_path / "broken.py", "x = (\n")):
        mine = python("-m", "lazynet.dynet", str(script), cwd=tmp_path, status=1)
        plain = python(str(script), cwd=tmp_path, status=1)
        assert mine.stderr == plain.stderr
    leaving = write(tmp_path / "leaving.py", "import sys\nsys.exit(7)\n")
    assert python("-m", "lazynet.dynet", str(leaving), cwd=tmp_path, status=7).stderr == ""
    missing = python("-m", "lazynet.dynet", "missing.py", cwd=tmp_path, status=2)
    assert "can't open file 'missing.py': [Errno 2] No such file" in missing.stderr
    assert "usage" in python("-m", "lazynet.dynet", cwd=tmp_path, status=2).stderr
    assert "usage" in python("-m", "lazynet.dynet", "--help", cwd=tmp_path).stdout


def test_install_from_code(tmp_path) -> None:
    code = """
    import sys
    import lazynet.dynet
    lazynet.dynet.install()
    lazynet.dynet.install()
    import dynet, dynet_config
    assert dynet is lazynet.dynet and dynet_config is lazynet.dynet.dynet_config
    assert lazynet.dynet.__spec__.name == "lazynet.dynet"
    """
    python("-c", textwrap.dedent(code), cwd=tmp_path)
    (tmp_path / "dynet.py").write_text("")
    code = "import dynet, lazynet.dynet\nlazynet.dynet.install()"
    done = python("-c", code, cwd=tmp_path, status=1)
    assert "install: dynet was imported already" in done.stderr


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_processes_that_a_script_starts(method, tmp_path) -> None:
    script = write(
        tmp_path / "script.py",
        f"""
        import multiprocessing
        import dynet as dy

        def work(x):
            return dy.__name__, (dy.scalarInput(x) * 2).value()

        if __name__ == "__main__":
            with multiprocessing.get_context("{method}").Pool(1) as pool:
                print(pool.map(work, [1, 2]))
        """,
    )
    done = python("-W", "ignore", "-m", "lazynet.dynet", str(script), cwd=tmp_path)
    assert done.stdout.strip() == "[('lazynet.dynet', 2.0), ('lazynet.dynet', 4.0)]"


def test_profiling_prints_times_at_the_end(tmp_path) -> None:
    script = write(
        tmp_path / "script.py",
        """
        import dynet as dy
        W = dy.ParameterCollection().add_parameters((3, 2))
        xs = [dy.inputTensor([1, i]) for i in range(5)]
        ys = [dy.sum_elems(W * x) for x in xs]
        loss = ys[0] + ys[1] + ys[2]
        loss.backward()
        """,
    )
    plain = python("-m", "lazynet.dynet", str(script), cwd=tmp_path)
    assert plain.stderr == ""
    done = python("-m", "lazynet.dynet", str(script), "--dynet-profiling", "2", cwd=tmp_path)
    lines = done.stderr.splitlines()
    assert "FWD BatchSize:3 matmul((3, 2), (2,))" in lines
    table = lines[lines.index("Timing Info: seconds, share, batches, rows") + 1 :]
    assert table[-1].endswith("100.0%  (total time)")
    seconds = [float(line.split()[0]) for line in table[:-1]]
    assert seconds == sorted(seconds)
    assert np.isclose(sum(seconds), float(table[-1].split()[0]), rtol=1e-2)
    for name in ("FWD matmul((3, 2), (2,))", "BWD shared matmul((3, 2), (2,))", "BWD add("):
        assert any(name in line for line in table), name
