"""Files of torch.save are read without torch, and whatever their pickles ask for, nothing runs."""

import collections
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest

from dualdub_jax.convert.torch_file import read_tensors
from dualdub_jax.convert.torch_legacy import read_torch_legacy
from dualdub_jax.convert.torch_pickle import Inert
from dualdub_jax.convert.torch_zip import read_torch_zip
from dualdub_jax.errors import UserError
from tests.convert.ports import write_torch_file


class Hyperparameters:
    def __init__(self) -> None:
        self.rate = 3


class RunsCode:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return open, (self.path, "w")


@pytest.mark.parametrize("is_legacy", [False, True])
def test_tensors_of_every_dtype_come_back(tmp_path, is_legacy):
    arrays = collections.OrderedDict(
        a=np.arange(6, dtype=np.float32).reshape(2, 3),
        b=np.array([1.5, -2.0], ml_dtypes.bfloat16),
        c=np.array(3, np.int64),
        d=np.zeros((0, 4), np.float16),
        e=np.array([True, False]),
    )
    saved = {"state_dict": arrays, "epoch": 3, "hyper": Hyperparameters()}
    write_torch_file(tmp_path / "x.ckpt", saved, is_legacy=is_legacy)
    content = (read_torch_legacy if is_legacy else read_torch_zip)(tmp_path / "x.ckpt")
    assert content["epoch"] == 3 and isinstance(content["hyper"], Inert)
    for name, x in arrays.items():
        assert content["state_dict"][name].dtype == x.dtype
        np.testing.assert_array_equal(content["state_dict"][name], x)
    tensors, _ = read_tensors(tmp_path / "x.ckpt")
    assert tensors["b"].dtype == np.float32 and tensors["c"].dtype == np.int64


@pytest.mark.parametrize("is_legacy", [False, True])
def test_code_in_a_checkpoint_does_not_run(tmp_path, is_legacy):
    trace = tmp_path / "trace"
    saved = {"state_dict": {"a": np.ones(2, np.float32)}, "evil": RunsCode(str(trace))}
    write_torch_file(tmp_path / "x.ckpt", saved, is_legacy=is_legacy)
    tensors, _ = read_tensors(tmp_path / "x.ckpt")
    assert list(tensors) == ["a"]
    assert not trace.exists()
    # The file does what it says to whoever unpickles it.
    pickle.loads(pickle.dumps(RunsCode(str(trace))))
    assert trace.exists()


@pytest.mark.parametrize("fault", ["truncated", "no storage", "short storage", "not a zip", "empty"])
def test_damaged_files_are_named(tmp_path, fault):
    path = tmp_path / "x.pt"
    write_torch_file(path, {"a": np.ones(64, np.float32)})
    content = path.read_bytes()
    if fault == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif fault == "not a zip":
        path.write_bytes(b"\x80\x02}q\x00." * 9)
    elif fault == "empty":
        path.write_bytes(b"")
    else:
        with zipfile.ZipFile(path) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                if name.endswith("data/0"):
                    data = data[:8]
                    if fault == "no storage":
                        continue
                archive.writestr(name, data)
    with pytest.raises(UserError, match=r"x.pt"):
        read_tensors(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_damaged_files_of_old_versions_are_named(tmp_path, share):
    path = tmp_path / "x.pth"
    write_torch_file(path, {"a": np.ones(64, np.float32), "b": np.ones(3, np.int64)}, is_legacy=True)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"x.pth"):
        read_tensors(path)


def test_a_tensor_that_reaches_past_its_storage_is_refused():
    from dualdub_jax.convert.torch_pickle import _tensor

    with pytest.raises(ValueError, match=r"reaches past"):
        _tensor(np.ones(4, np.float32), 1, (2, 2), (2, 1))
    with pytest.raises(ValueError, match=r"reaches past"):
        _tensor(np.ones(4, np.float32), 0, (2, 2), (-1, 1))
