"""A public language model on an object store: its files are copied, and no others."""

import os
import pathlib

import pytest

from dualdub_jax.curriculum.init_from import check_backbone
from dualdub_jax.errors import UserError
from dualdub_jax.stores.commit import upload_file
from tests.convert.language_models import config_of, write_folder


def test_a_folder_on_a_store_is_read_from_a_copy(store, tmp_path):
    local = write_folder(tmp_path / "hub", "qwen3", num_files=2)
    (local / "README.md").write_text(f"of {store}")
    for file in local.iterdir():
        upload_file(file, store / "hub" / file.name)
    taken = check_backbone(config_of("qwen3", str(store / "hub")))
    assert taken == check_backbone(config_of("qwen3", local))
    copies = pathlib.Path(os.environ["XDG_CACHE_HOME"]).rglob("README.md")
    assert not any(str(store) in copy.read_text() for copy in copies)
    with pytest.raises(UserError, match="other: no such folder; download a model"):
        check_backbone(config_of("qwen3", str(store / "other")))
