"""Each of two processes reads its half of a public language model."""

import json

import pytest

from tests import programs
from tests.convert.language_models import write_folder
from tests.multiprocess.test_processes import finish, free_address

pytestmark = pytest.mark.slow


def test_each_process_reads_the_slices_of_its_devices(tmp_path):
    folder, address = write_folder(tmp_path / "hub", "llama", num_files=2), free_address()
    processes = [
        programs.start(
            "tests.multiprocess.language_model_program",
            [json.dumps([address, 2, i]), str(folder)],
            num_devices=4,
        )
        for i in range(2)
    ]
    statuses, outputs = finish(processes, timeout_s=300)
    assert statuses == [0, 0], outputs
    assert [output.splitlines()[-1] for output in outputs] == ["read 0.5"] * 2
    # The first process alone reports.
    assert "initialise backbone" in outputs[0] and "initialise backbone" not in outputs[1]
