"""The record of what an object takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from modelversion._json import decode
from modelversion.schema import OPTIONAL_INT, OPTIONAL_TEXT, Json, json_object, plain, record, texts


@record
class SignatureRecord:
    """What an object takes and gives, as its library says it; what is not known is left out.

    `kind` is `estimator`, `booster`, `module` or `function`. `features` counts what goes in,
    `feature_names` names it, `outputs` counts what comes out, `classes` are its labels (tagged
    JSON). `parameters` are those of a module, as `name float32[10, 4]`; `call` is how a function
    is called. Of a list that is too long `left_out` has its `count` and the `sha256` of its JSON.
    """

    kind: str = plain(str)
    features: int | None = plain(OPTIONAL_INT, None)
    feature_names: tuple[str, ...] = texts()
    outputs: int | None = plain(OPTIONAL_INT, None)
    classes: tuple[Any, ...] = texts()
    parameters: tuple[str, ...] = texts()
    call: str | None = plain(OPTIONAL_TEXT, None)
    left_out: Json = json_object()
    extra: Json = attrs.field(factory=dict)

    def __str__(self) -> str:
        taken = self.call or self._some("features", self.feature_names, self.features)
        given = self._some("classes", self.classes)
        if not given and (self.outputs or 0) > 1:
            given = f"{self.outputs} outputs"
        return " → ".join(filter(None, [taken, given])) or self._some("parameters", self.parameters)

    def _some(self, what: str, values: Sequence[Any], count: int | None = None) -> str:
        """Tell how many there are, and the first of them."""
        count = count or len(values) or self._left_out(what)
        said = f"{count} {_ONE[what] if count == 1 else what}" if count else ""
        named = ", ".join(str(decode(value))[:_CHARS] for value in values[:_NAMED])
        more = ", ..." if len(values) > _NAMED else ""
        return f"{said} ({named}{more})" if named else said

    def _left_out(self, what: str) -> int:
        known = self.left_out.get("feature_names" if what == "features" else what, {})
        return int(known.get("count", 0))


_ONE = {"features": "feature", "classes": "class", "parameters": "parameter"}
_NAMED = 3
_CHARS = 40
