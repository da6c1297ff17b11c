"""Nothing in the project unpickles code: what is read from a file never runs."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).parent.parent
PICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}

# The reader of PyTorch's files knows tensors and containers only; tests/convert/test_torch_zip.py has it read
# a file that would run code.
ALLOWED = {
    "dualdub_jax/convert/torch_pickle.py": ("imports pickle", "pickle.Unpickler", "pickle.UnpicklingError"),
    "dualdub_jax/convert/torch_file.py": ("imports pickle", "pickle.UnpicklingError"),
}


def _offences(source: str) -> list[str]:
    """What in the source could unpickle."""
    found = []
    tree = ast.parse(source)
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found += [f"imports {name}" for name in names if name.split(".")[0] in PICKLERS]
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in PICKLERS:
            found.append(ast.unparse(node))
        if isinstance(node, ast.Call):
            keywords = {item.arg: item.value for item in node.keywords}
            if ast.unparse(node.func) == "torch.load" and not _is(keywords.get("weights_only"), True):
                found.append("torch.load without weights_only=True")
            if "allow_pickle" in keywords and not _is(keywords["allow_pickle"], False):
                found.append("allow_pickle")
    return found


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_the_check_sees_what_it_should():
    for bad in (
        "import pickle",
        "from joblib import load",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "numpy.load(f, allow_pickle=True)",
        "pickle.loads(b)",
    ):
        assert _offences(bad), bad
    assert not _offences("torch.load(f, weights_only=True)\nnumpy.load(f)")


def test_nothing_unpickles():
    offences = {}
    for part in ("dualdub_jax", "data_pipeline", "configs"):
        for path in (ROOT / part).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            found = [
                text
                for text in _offences(path.read_text(encoding="utf-8"))
                if text not in ALLOWED.get(name, ())
            ]
            offences |= {name: found} if found else {}
    assert not offences
