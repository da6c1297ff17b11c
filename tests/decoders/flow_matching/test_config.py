"""The key `streams.<stream>.decoder`: a name, a group, an import path; and configs before groups."""

import pytest

from dualdub_jax.config import from_dict, to_dict
from dualdub_jax.decoders.base import has_decoder
from dualdub_jax.decoders.flow_matching.config import FlowMatchingConfig
from dualdub_jax.errors import UserError
from tests.decoders.flow_matching.tiny_flow import MEL, flow_config


def test_names_groups_and_import_paths():
    for name in ("codec", "a.b:C", "a.b:C(num_levels=2)"):
        config = flow_config(name)
        assert config.streams.speech.decoder == name and from_dict(to_dict(config)) == config
        assert flow_config({"kind": name}).streams.speech.decoder == name
    assert not has_decoder(flow_config("codec"), "speech")
    config = flow_config(MEL)
    assert config.streams.speech.decoder.width == 16 and has_decoder(config, "speech")
    assert from_dict(to_dict(config)) == config
    # The paper's sizes are the defaults.
    named = flow_config("flow_matching").streams.speech.decoder
    assert named == FlowMatchingConfig()
    assert (named.num_layers, named.num_heads, named.width, named.source) == (8, 16, 2048, "embedding")


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        ("flow", r"decoder: 'flow' is none of codec, flow_matching, nor an import path"),
        ("flow_matching(width=3)", r"sizes of flow_matching are keys of its group: --config.streams.speech"),
        ({"kind": "flow_matching", "widht": 3}, r"decoder.widht: no such config key; the nearest .*width"),
        ({"width": 3}, r"decoder: has no kind; give kind: flow_matching"),
        ({"kind": "codec", "width": 3}, r"decoder: 'codec' has no keys, got width"),
        ({"kind": "a.b:C", "width": 3}, r"decoder: 'a.b:C' has no keys, got width; sizes .* brackets"),
        (3, r"decoder: expected a group of keys, got 3"),
    ],
)
def test_others_are_named(decoder, message):
    with pytest.raises(UserError, match=message):
        flow_config(decoder)
