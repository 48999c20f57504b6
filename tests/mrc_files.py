"""MRC files for tests, odd ones included."""

import struct

import mrcfile
import numpy as np


def make_stack(path, data, *, big_endian=False, extended=b"", pixel_size=1.5, stamp=None):
    """A stack written by mrcfile, with the byte order, extended header and machine stamp asked for."""
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(data)
        file.set_image_stack()
        file.voxel_size = pixel_size
        if extended:
            file.set_extended_header(np.frombuffer(extended, "V1"))
    if big_endian:
        raw = path.read_bytes()
        header = np.frombuffer(raw, mrcfile.dtypes.HEADER_DTYPE, 1).astype(
            mrcfile.dtypes.HEADER_DTYPE.newbyteorder(">")
        )
        header["machst"] = (0x11, 0x11, 0, 0)
        path.write_bytes(header.tobytes() + extended + data.astype(data.dtype.newbyteorder(">")).tobytes())
    if stamp is not None:
        raw = bytearray(path.read_bytes())
        raw[212:216] = stamp
        path.write_bytes(raw)
    return path


def images_of(dtype, rng, shape=(7, 6, 6)):
    values = rng.normal(0, 40, shape) + (100 if dtype == "u2" else 0)
    return values.astype(dtype)


def patched(path, **fields):
    """Overwrite header fields of a file."""
    raw = bytearray(path.read_bytes())
    for name, value in fields.items():
        offset = mrcfile.dtypes.HEADER_DTYPE.fields[name][1]
        raw[offset : offset + 4] = struct.pack("<i", value)
    path.write_bytes(raw)
