"""What openapi.json cannot say: with rejects=skip a report is made of whatever records are valid, be they none."""

from typing import Any

import schemathesis
from schemathesis.core.parameters import ParameterLocation


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Lets invalid bodies be refused, so that it is seen that they are."""
    body = case.meta and case.meta.components.get(ParameterLocation.BODY)
    if body and body.mode.is_negative and case.query.get("rejects") == "skip":
        case.query["rejects"] = "refuse"
