"""NumPy's files, .npy and .npz, from people that we do not know: no pickle, no surprise in size."""

import io
import zipfile
from math import prod
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from rockstar_contract.errors import InvalidInputError, TooLargeError
from rockstar_contract.shapes import POSSIBLE, is_possible

_NPY = b"\x93NUMPY"
_NPZ = (b"PK\x03\x04", b"PK\x05\x06")  # a ZIP archive, an empty one
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
# As numpy.savez and savez_compressed write. Others may ask for any amount of memory to unpack.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_HINT = "numpy.save(file, array) writes one; arrays of numbers only"
_ARCHIVE_HINT = "send images themselves, as files of one form"


def is_array_file(data: bytes) -> bool:
    """Whether a file says of itself that it is .npy or .npz."""
    return data.startswith((_NPY, *_NPZ))


def read_arrays(
    data: bytes, field: str, max_arrays: int, max_bytes: int
) -> dict[str, NDArray[Any]]:
    """The arrays of a file, each by what errors call it.

    Args:
        data: a whole .npy or .npz file.
        field: what errors call it.
        max_arrays: in a .npz.
        max_bytes: of all of them together, unpacked.

    Raises:
        InvalidInputError: damaged, not of numbers, or without an array.
        TooLargeError: more than max_arrays or max_bytes.
    """
    if data.startswith(_NPY):
        return {field: _array(data, field)}
    try:
        arrays = _unpacked(data, field, max_arrays, max_bytes)
    except InvalidInputError:
        raise
    except Exception as error:
        # Damage makes zipfile stumble in many ways.
        raise InvalidInputError(
            field,
            expected="an image, or a whole .npz file of arrays",
            got=f"a damaged ZIP archive ({len(data):,} bytes)",
            hint=_ARCHIVE_HINT,
        ) from error
    if not arrays:
        raise InvalidInputError(field, expected="one or more arrays", got="an empty .npz file")
    return arrays


def _unpacked(data: bytes, field: str, max_arrays: int, max_bytes: int) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if len(members) > max_arrays:
            raise TooLargeError(
                field, expected=f"at most {max_arrays} arrays", got=str(len(members))
            )
        if any(member.compress_type not in _COMPRESSIONS for member in members):
            raise InvalidInputError(
                field,
                expected="a .npz file as numpy.savez_compressed writes it",
                got="one compressed in another way",
            )
        if other := next((m.filename for m in members if not m.filename.endswith(".npy")), None):
            raise InvalidInputError(
                field,
                expected="an image, or a .npz file of arrays",
                got=f"a ZIP archive with {other[:80]}",
                hint=_ARCHIVE_HINT,
            )
        unpacked = sum(member.file_size for member in members)
        if unpacked > max_bytes:
            raise TooLargeError(
                field, expected=f"at most {max_bytes} bytes unpacked", got=str(unpacked)
            )
        # Reading stops at the size that a member declares, so the sum above holds.
        arrays = {}
        for member in members:
            name = f"{field} ({member.filename.removesuffix('.npy')})"
            arrays[name] = _array(archive.read(member), name)
        return arrays


def _array(data: bytes, field: str) -> NDArray[Any]:
    shape, fortran_order, dtype, start = _header(data, field)
    # Before anything is allocated: a header may declare what it likes.
    if dtype.kind not in "iuf":
        raise InvalidInputError(field, expected="numbers", got=f"dtype {dtype}", hint=_HINT)
    if prod(shape) * dtype.itemsize != len(data) - start:
        raise InvalidInputError(
            field,
            expected=f"{prod(shape) * dtype.itemsize} bytes of data for shape {list(shape)}",
            got=str(len(data) - start),
            hint="check that the upload is complete",
        )
    values = np.frombuffer(data, dtype, offset=start)
    return values.reshape(shape, order="F" if fortran_order else "C")


def _header(data: bytes, field: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether columns come first, dtype, and where the values start."""
    stream = io.BytesIO(data)
    try:
        read_header = _HEADERS[npy.read_magic(stream)]
        shape, fortran_order, dtype = read_header(stream)
    except Exception as error:
        # It is a literal of Python, which may be wrong in many ways.
        raise InvalidInputError(
            field, expected="a .npy file", got="something else or a damaged one", hint=_HINT
        ) from error
    if not is_possible(shape):
        raise InvalidInputError(field, expected=f"a shape of {POSSIBLE}", got=str(shape))
    return shape, fortran_order, dtype, stream.tell()
