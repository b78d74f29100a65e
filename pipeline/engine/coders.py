"""Coders of blocks, batches and ids: how runners ship them, and how large they are."""

import pickle
from typing import Any

from apache_beam.coders import Coder, RowCoder, registry
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from pipeline.formats.decoding import AnyBlock
from pipeline.model.events import Batch, Ids
from pipeline.model.table import HourlyRow


class SizedCoder(Coder):  # type: ignore[misc]
    """Pickles values that know their nbytes.

    Beam measures the elements between fused steps by encoding samples, nearly all where they are few and large:
    a third of a run on 10 M events went into pickling blocks that were never shipped.
    """

    def __init__(self, kind: Any = Any) -> None:
        self._kind = kind

    @classmethod
    def from_type_hint(cls, typehint: Any, registry: Any) -> "SizedCoder":
        """The coder that the registry makes of its class."""
        return cls(typehint)

    def to_type_hint(self) -> Any:
        """The type of the values, without which a graph cannot be read back from its proto."""
        return self._kind

    def encode(self, value: Any) -> bytes:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def decode(self, encoded: bytes) -> Any:
        return pickle.loads(encoded)

    def estimate_size(self, value: Any) -> int:
        return int(value.nbytes)

    def is_deterministic(self) -> bool:
        return False


def typed(values: Any, kind: Any) -> Any:
    """A PCollection, with the type of its elements set.

    With Beam's check of types off, hints do not set it; elements without a coder are pickled to be measured.
    """
    values.element_type = convert_to_beam_type(kind)
    return values


for kind in (AnyBlock, Batch, Ids):
    registry.register_coder(kind, SizedCoder)
registry.register_coder(HourlyRow, RowCoder)
