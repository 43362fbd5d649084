"""The machine: processor, memory, GPUs. What would take long, or import something, is not asked."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import sys
from glob import glob
from typing import Any

import attrs

VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_DEVICE_ORDER",
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "JAX_ENABLE_X64",
    "JAX_PLATFORMS",
    "LOCAL_RANK",
    "MKL_CBWR",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHASHSEED",
    "PYTHONOPTIMIZE",
    "RANK",
    "TF_DETERMINISTIC_OPS",
    "TF_ENABLE_ONEDNN_OPTS",
    "VECLIB_MAXIMUM_THREADS",
    "WORLD_SIZE",
)
_PROC = "/proc/driver/nvidia"
_SYS = "/sys/class/drm"


@attrs.frozen(kw_only=True)
class Gpus:
    """The names of the GPUs, the driver's version and that of CUDA, as far as they are known."""

    names: tuple[str, ...] = ()
    driver: str | None = None
    cuda: str | None = None


def variables() -> dict[str, str]:
    """Give the environment variables of the allow-list; no other is looked at."""
    return {name: os.environ[name][:200] for name in VARIABLES if name in os.environ}


def platform_name() -> str:
    """Give what `platform.platform()` gives; on Linux that would start a process."""
    import platform

    if sys.platform != "linux":
        return platform.platform()
    here, libc = os.uname(), "".join(platform.libc_ver())
    name = f"{here.sysname}-{here.release}-{here.machine}"
    return f"{name}-with-{libc}" if libc else name


def cpu() -> str | None:
    """Give the processor's name."""
    import platform

    found = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.M)
    return (found[1].strip() if found else platform.processor() or platform.machine()) or None


def cores() -> int | None:
    """Give the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def memory_bytes() -> int | None:
    """Give the machine's memory."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def peak_memory_bytes() -> int | None:
    """Give the most memory that this process has had in RAM."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def gpus() -> Gpus:
    """Give the GPUs: of the driver's files, else of NVIDIA's library; CUDA as torch has it."""
    torch: Any = sys.modules.get("torch")
    cuda = getattr(getattr(torch, "version", None), "cuda", None)
    found = _of_machine()
    return attrs.evolve(found, cuda=cuda) if isinstance(cuda, str) else found


@functools.cache
def _of_machine() -> Gpus:
    named = (_read(place) for place in sorted(glob(f"{_PROC}/gpus/*/information")))
    names = [found[1].strip() for text in named if (found := re.search(r"Model:\s*(.+)", text))]
    if names:
        driver = re.search(r"Module(?: for \S+)?\s+(\d[\d.]+)", _read(f"{_PROC}/version"))
        return Gpus(names=tuple(names), driver=driver[1] if driver else None)
    others = [_read(place).strip() for place in sorted(glob(f"{_SYS}/card*/device/product_name"))]
    if any(others):
        return Gpus(names=tuple(name for name in others if name))
    try:
        return of_nvml(ctypes.CDLL("libnvidia-ml.so.1"))
    except OSError:
        return Gpus()


def of_nvml(library: Any) -> Gpus:
    """Ask NVIDIA's management library, which needs no CUDA and holds no GPU."""
    if library.nvmlInit_v2() != 0:
        return Gpus()
    try:
        count, version = ctypes.c_uint(), ctypes.c_int()
        library.nvmlDeviceGetCount_v2(ctypes.byref(count))
        library.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(version))
        driver = ctypes.create_string_buffer(96)
        library.nvmlSystemGetDriverVersion(driver, 96)
        return Gpus(
            names=tuple(_nvml_name(library, i) for i in range(count.value)),
            driver=driver.value.decode("utf-8", "replace") or None,
            cuda=f"{version.value // 1000}.{version.value % 1000 // 10}" if version.value else None,
        )
    finally:
        library.nvmlShutdown()


def _nvml_name(library: Any, i: int) -> str:
    device, name = ctypes.c_void_p(), ctypes.create_string_buffer(96)
    library.nvmlDeviceGetHandleByIndex_v2(i, ctypes.byref(device))
    library.nvmlDeviceGetName(device, name, 96)
    return name.value.decode("utf-8", "replace")


def _read(place: str) -> str:
    try:
        with open(place, "rb") as file:
            return file.read(2**16).decode("utf-8", "replace")
    except OSError:
        return ""
