"""What is compiled to an object file: the functions asked for, with all that they call."""

import ctypes
from pathlib import Path

import llvmlite.binding as llvm
import numba
import pytest

from pipeline.native.compiler import build

SOURCE = """
from pipeline.native.compiler import compiled

@compiled
def twice(x):
    return 2 * x

@compiled
def inner(x, y):
    return twice(x) + y

@compiled
def outer(x):
    return inner(x, 1) // (x - 5)
"""


def test_functions_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    before = numba.config.OPT
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(opt=3, jit=True)
    code = build("planted", ["inner", "outer"], machine)
    assert before == numba.config.OPT
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    result = ctypes.c_int64()
    for name, arguments, wanted in (("inner", (20, 2), 42), ("outer", (7,), 7), ("inner", (2**40, -1), 2**41 - 1)):
        function = ctypes.CFUNCTYPE(ctypes.c_int32)(engine.get_function_address(name))
        assert function(ctypes.byref(result), None, *map(ctypes.c_int64, arguments)) == 0
        assert result.value == wanted
