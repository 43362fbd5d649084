"""Tensors of torch, which are arrays wherever they lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from modelversion.errors import FingerprintError
from modelversion.fingerprints._core import hash_columns
from modelversion.fingerprints._numpy import array_print, flat, source
from modelversion.fingerprints._result import Fingerprint, type_name


def accepts(value: Any) -> bool:
    """Tell whether it is a tensor."""
    return isinstance(value, torch.Tensor)


def fingerprint(value: Any) -> Fingerprint:
    """Fingerprint a tensor as the array of its values; device and gradients do not count.

    Raises:
        FingerprintError: It is sparse, quantized, or has no values.
    """
    if value.layout != torch.strided or value.is_quantized or value.device.type == "meta":
        raise FingerprintError(
            f"a tensor of layout {value.layout} and dtype {value.dtype} on {value.device.type} "
            "has no data hash; call .to_dense() or .dequantize() first"
        )
    here = value.detach().resolve_conj().resolve_neg().cpu()
    made = source(*_array(here))
    return array_print(type_name(value), value.shape, hash_columns([made])[0])


def _array(tensor: Any) -> tuple[Any, None, str | None]:
    """Give the values, and the name of a type that numpy does not have."""
    try:
        return flat(tensor.numpy()), None, None
    except TypeError:
        pass
    name = str(tensor.dtype).removeprefix("torch.")
    if tensor.dtype == torch.bfloat16:
        bits = tensor.contiguous().view(torch.int16).numpy().reshape(-1).view("u2")
        return np.where(bits & 0x7FFF > 0x7F80, np.uint16(0x7FC0), bits), None, name
    if tensor.element_size() == 1:
        return tensor.contiguous().view(torch.uint8).numpy().reshape(-1), None, name
    raise FingerprintError(f"a tensor of dtype {tensor.dtype} has no data hash; convert it")
