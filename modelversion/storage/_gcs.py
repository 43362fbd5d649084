"""The driver of Google Cloud Storage, without what keeps an answer back.

The class that gcsfs registers asks each bucket over gRPC first whether it is a zonal one, and waits
a minute where nobody answers that. gcsfs repeats a request whose credentials were refused for half
a minute, since a token may have run out just then: longer than we wait for an answer.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from gcsfs.core import GCSFileSystem
from gcsfs.retry import is_retriable

_asked_once = GCSFileSystem._request.__wrapped__
_FIRST_PAUSE = 1.0
# How often a request is repeated: gcsfs's own number, and that for a token that may have run out.
_REPEATS = 5
_REPEATS_REFUSED = 2


class GcsDriver(GCSFileSystem):  # type: ignore[misc]  # gcsfs has no types
    """gcsfs without gRPC, which tells of a refusal before our deadline."""

    async def _request(self, *args: Any, **more: Any) -> Any:
        """Ask, and ask again where that may help."""
        return await self._ask(0, args, more)

    async def _ask(self, tried: int, args: tuple[Any, ...], more: dict[str, Any]) -> Any:
        try:
            return await _asked_once(self, *args, **more)
        except Exception as e:  # the driver knows which of them pass
            refused = str(getattr(e, "code", "")) == "401"
            most = _REPEATS_REFUSED if refused else _REPEATS
            if tried >= most or not is_retriable(e):
                raise
            # In here, a deadline that comes meanwhile has the answer as its context.
            await asyncio.sleep(_FIRST_PAUSE * (2**tried + random.random()))
            return await self._ask(tried + 1, args, more)
