"""Coders of blocks, batches and ids."""

import pickle
from typing import Any

from apache_beam.coders import Coder, RowCoder, registry
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from pipeline.formats.decoding import AnyBlock
from pipeline.model.events import Batch, Ids
from pipeline.model.table import HourlyRow


class SizedCoder(Coder):  # type: ignore[misc]
    """Pickles values, and estimates their size by nbytes.

    Beam estimates sizes between fused steps by encoding samples, nearly all if elements are few and large: that took a
    third of a run on 10 M events.
    """

    def __init__(self, kind: Any = Any) -> None:
        self._kind = kind

    @classmethod
    def from_type_hint(cls, typehint: Any, registry: Any) -> "SizedCoder":
        """Called by the registry."""
        return cls(typehint)

    def to_type_hint(self) -> Any:
        """Returns the type of the values, needed to restore a graph from its proto."""
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
    """Sets the element type of a PCollection, since type hints have no effect if Beam's type check is off.

    Elements of unknown type are pickled to estimate their size.
    """
    values.element_type = convert_to_beam_type(kind)
    return values


for kind in (AnyBlock, Batch, Ids):
    registry.register_coder(kind, SizedCoder)
registry.register_coder(HourlyRow, RowCoder)
