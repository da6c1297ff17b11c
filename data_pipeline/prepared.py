"""Records with what `dualdub data prepare` has stored of them: video features and codec tokens.

What is not stored is computed on the fly (`video_features.py`, `stem_tokens.py`), to the same values. What
another encoder has stored is refused by name.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dualdub_jax.config import Config
from dualdub_jax.data_pipeline import record as record_lib
from dualdub_jax.data_pipeline.derivations import FEATURES, token_kind
from dualdub_jax.data_pipeline.mixture import Source
from dualdub_jax.data_pipeline.record import Record, text
from dualdub_jax.data_pipeline.sidecars import SidecarStore, sidecar_folder
from dualdub_jax.data_pipeline.video_features import FRAME_SPEC
from dualdub_jax.encoders.base import FeatureExtractor
from dualdub_jax.encoders.extraction import make_extractor
from dualdub_jax.types import Stream


def with_features(config: Config, sources: list[Source]) -> list[Source]:
    """`with_features_of` the config's extractor."""
    if not config.video_features.extractor:
        return sources
    return with_features_of(make_extractor(config), sources)


def with_features_of(extractor: FeatureExtractor | None, sources: list[Source]) -> list[Source]:
    """Sources whose records have the video features of an extractor, or its frame spec under `FRAME_SPEC`.

    Features that came with the corpus are kept.

    Raises:
        UserError: a dataset whose features were made by another extractor, or are not complete.
    """
    if extractor is None:
        return sources

    def of(source: Source) -> Callable[[Record], Mapping[str, Any]]:
        store = _store(source, FEATURES, extractor.fingerprint)
        if store is None:
            return _AddFrameSpec(extractor.frame_spec)
        return _AddFeatures(store, float(extractor.frame_spec.frame_rate))

    return [_completed(source, of(source)) for source in sources]


def with_tokens(fingerprints: Mapping[Stream, str], sources: list[Source]) -> list[Source]:
    """Sources whose records have codec tokens where they are stored, under `derivations.token_kind`.

    Args:
        fingerprints: of the codecs, see `derivations.token_fingerprint`; other streams are left alone.
        sources: of a mixture.

    Raises:
        UserError: a dataset whose tokens were made by another codec, or are not complete.
    """
    found = []
    for source in sources:
        stores = {}
        for stream, fingerprint in fingerprints.items():
            store = _store(source, token_kind(stream), fingerprint)
            if store is not None:
                stores[stream] = store
        found.append(_completed(source, _AddTokens(stores)) if stores else source)
    return found


def _store(source: Source, kind: str, fingerprint: str) -> SidecarStore | None:
    if not sidecar_folder(source.folder, kind, fingerprint).parent.is_dir():
        return None
    return SidecarStore.open(source.folder, kind, fingerprint)


def _completed(source: Source, add: Callable[[Record], Mapping[str, Any]]) -> Source:
    return dataclasses.replace(source, records=_Completed(source.records, add))


class _Completed(Sequence):
    """Records with further fields; safe to send to processes."""

    def __init__(self, records: Sequence[Record], add: Callable[[Record], Mapping[str, Any]]) -> None:
        self._records, self._add = records, add

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        record = self._records[index]
        return {**record, **self._add(record)}


@dataclasses.dataclass(frozen=True)
class _AddFeatures:
    store: SidecarStore
    rate_hz: float

    def __call__(self, record: Record) -> Mapping[str, Any]:
        if not record["video"]:
            return {}
        features = record_lib.encode_features(self.store.get(text(record["id"])))
        return {"video_features": features, "video_features_rate_hz": self.rate_hz}


@dataclasses.dataclass(frozen=True)
class _AddFrameSpec:
    spec: Any

    def __call__(self, record: Record) -> Mapping[str, Any]:
        return {} if record["video_features"] or not record["video"] else {FRAME_SPEC: self.spec}


@dataclasses.dataclass(frozen=True)
class _AddTokens:
    stores: Mapping[Stream, SidecarStore]

    def __call__(self, record: Record) -> Mapping[str, Any]:
        clip, found = text(record["id"]), {}
        for stream, store in self.stores.items():
            # A clip that was left out when tokens were prepared is a record that cannot be used.
            if record[stream] and clip in store:
                found[token_kind(stream)] = store.get(clip)
        return found
