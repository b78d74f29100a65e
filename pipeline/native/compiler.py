"""Compiles functions with numba to one object file, which `loader.py` caches and loads. Imports numba."""

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
import numba
from numba import types

# Align jump targets to 32 bytes, the fetch size of the CPU: otherwise the scanner's speed varies by up to 11 % with the
# length of the code before its loops.
llvm.set_option("hourly-report", "-align-all-nofallthru-blocks=5")


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a function of numbers and addresses to be compiled; it must not raise or allocate."""
    decorate = numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
    return decorate(function)  # type: ignore[no-any-return]


def build(module: str, names: Sequence[str], machine: llvm.TargetMachine) -> bytes:
    """Compiles functions of a module, which take int64 arguments, and their callees to an object file.

    Uses numba's calling convention: `int32 name(int64 *result, void *unused, int64 ...)`. Optimizes once as a whole:
    faster code, in a fifth less time than numba's optimization of single functions.
    """
    before = numba.config.OPT
    numba.config.OPT = type(before)(0)
    try:
        whole = llvm.parse_assembly("")
        for name in names:
            whole.link_in(_translate(name, getattr(importlib.import_module(module), name)))
    finally:
        numba.config.OPT = before
    for function in whole.functions:
        if not function.is_declaration and function.name not in names:
            function.linkage = "internal"
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(whole, passes)
    return machine.emit_object(whole)  # type: ignore[no-any-return]


def _translate(name: str, function: Any) -> llvm.ModuleRef:
    """Returns the LLVM module of a function under this name, with its callees."""
    arguments = (types.int64,) * len(inspect.signature(function.py_func).parameters)
    function.compile(arguments)
    found = function.overloads[arguments]
    module = llvm.parse_assembly(found.library.get_llvm_str())
    module.get_function(found.fndesc.llvm_func_name).name = name
    return module
