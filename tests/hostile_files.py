"""Damaged and hostile files for the readers: what is read, small valid files to begin with, ways to spoil them."""

from __future__ import annotations

import io
import itertools
import json
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import h5py
import numpy as np
from foreign_files import CISTEM, PAR_8, PAR_9, lst_text, structured
from foreign_files import cs_columns as _cs_columns
from mrc_files import images_of, make_stack
from particle_files import loop, star_30, star_31

from pycryo.cli.commands.select import suggested_threshold
from pycryo.errors import InputError, RunError
from pycryo.io.foreign.conversion import Given
from pycryo.io.foreign.formats import convert
from pycryo.io.mrc import read_map, write_map
from pycryo.io.mrc_header import read_header
from pycryo.io.mrc_stacks import read_stack
from pycryo.io.particles import read_particles, write_particles
from pycryo.io.selection import read_particle_table, write_rows
from pycryo.io.star import read_comments, read_tables, write_star
from pycryo.io.table import Table
from pycryo.maps.atoms import model_density
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.files.finished_run import FinishedRun
from pycryo.refinement.files.saved.array_file import read_arrays, sign, write_arrays
from pycryo.report.run_files import ITERATION_NUMBERS, RunFiles

# Numbers at the edges of the types that headers and tables are read into.
INTEGERS = (0, 1, -1, 2, 3, 127, 128, 255, 1024, 32767, 65536, 10**6, 2**30, 2**31 - 1, -(2**31), -1024, 10**9)
FLOATS = (0.0, -0.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e-45, 3e38, 1e-30)
WORDS = (
    *(b"nan", b"inf", b"-inf", b"-1", b"0", b"1.5", b"1e400", b"1e308", b"-1e308", b"1e-400", b"9" * 25, b"9" * 5000),
    *(
        b"1_0",
        b"0x10",
        b"",
        b'"',
        b"'",
        b'""',
        b"' '",
        b"#",
        b"_",
        b"_rlnImageName",
        b"loop_",
        b"data_",
        b"data_optics",
    ),
    *(
        b"[1,2]",
        b"[nan]",
        b"[]",
        b"[1e308,1e308]",
        b"None",
        b"True",
        b"\xff\xfe",
        b"\xc2\xa0",
        b"\xe2\x80\x83",
        b"\x00",
    ),
    *(b"../../x", b"/dev/zero", b"000001@/dev/zero", b"1@", b"@", b"@a.mrcs", b"0@a.mrcs", b"-1@a.mrcs", b"2147483648"),
    *(b"9" * 5000 + b"@a.mrcs", b"1@" + b"a" * 5000, b"1@../../../etc/passwd", b"1@.", b"99999999999999999999@a.mrcs"),
    *(b"\xef\xbb\xbf", b"\x1f", b"\x1a", b"\x85", b"\x0b", b"\x0c", b"\r", b"x" * 100_000, b'"x ' * 2000),
)


REFUSED: Counter[str] = Counter()


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader of files from others.

    `seeds` makes valid files in a folder, and what they need beside them; `name` is that of the file to be read there;
    `read` gets its path.
    """

    name: str
    seeds: Callable[[Path], list[bytes]]
    read: Callable[[Path], None]
    spoil: Callable[[bytes, Random], bytes]


@contextmanager
def only_own_errors() -> Iterator[None]:
    """Errors of the project, which must say something, are counted in `REFUSED`; any other is passed on."""
    try:
        yield
    except (InputError, RunError) as error:
        REFUSED[type(error).__name__] += 1
        text = str(error)
        if not text.strip():
            raise AssertionError("an error without a message") from error


# --- STAR ---


def _star_seeds(folder: Path) -> list[bytes]:
    texts = [star_31(folder).read_bytes(), star_30(folder).read_bytes()]
    quoted = loop("", [{"a": '"x y"', "b": "'z'", "c": "1.5"}, {"a": '""', "b": '"it\'s"', "c": "-2e3"}])
    pairs = "# a comment\n\ndata_general\n\n_rlnOne 1\n_rlnTwo 'a b' # why\n\ndata_general\n_three x\n"
    return [*texts, quoted.encode(), pairs.encode(), b"\xef\xbb\xbfdata_\nloop_\n_a\n_b\n\xef\xbb\xbf1 2\n3 4\n"]


def _same_table(one: Table | dict[str, str], other: Table | dict[str, str]) -> bool:
    if not (isinstance(one, Table) and isinstance(other, Table)):
        return one == other
    values, others = one.values(texts=one.columns), other.values(texts=other.columns)
    return one.columns == other.columns and all((values[name] == others[name]).all() for name in one.columns)


def _read_star(path: Path) -> None:
    """Read; each column as text and as numbers; what is written again is read as the same."""
    tables = read_tables(path)
    comments = read_comments(path)
    for table in tables.values():
        if isinstance(table, Table):
            texts = table.values(texts=table.columns)
            assert all(len(column) == len(table) for column in texts.values())
            for name in table.columns[:8]:
                with only_own_errors():
                    assert len(table.values([name])[name]) == len(table)
    again = path.with_name("again.star")
    write_star(again, tables, comments=comments, version=None)
    found = read_tables(again)
    if any(re.search(r"#\d+$", name) for name in tables):
        return  # a name of its own, or of a second table
    assert list(found) == list(tables)
    assert all(_same_table(found[name], table) for name, table in tables.items())


def _read_particles(path: Path) -> None:
    for validate in (True, False):
        with only_own_errors():
            particles = read_particles(path, validate=validate)
            assert len(particles.rot) == particles.n > 0
            write_particles(path.with_name("again.star"), particles, {"rlnAngleRot": np.zeros(particles.n)})


def _read_selection(path: Path) -> None:
    source = read_particle_table(path)
    for name in ("rlnDefocusU", "rlnClassNumber"):
        with only_own_errors():
            assert len(source.numbers(name)) == len(source.table)
    write_rows(path.with_name("again.star"), source, np.arange(0, len(source.table), 2))


def spoil_star(data: bytes, random: Random) -> bytes:
    """Damage of the kinds that a table of text can have."""
    lines = data.split(b"\n")
    row = random.randrange(len(lines))
    words = lines[row].split(b" ")
    place = random.randrange(len(words))
    kind = random.randrange(12)
    if kind < 4:
        words[place] = random.choice(WORDS)
        lines[row] = b" ".join(words)
    elif kind == 4:
        lines[row] = b" ".join([*words, *random.choices(WORDS, k=random.choice((1, 1, 50)))])
    elif kind == 5:
        lines[row] = b" ".join(words[:place])
    elif kind == 6:
        lines.insert(row, lines[random.randrange(len(lines))])
    elif kind == 7:
        other = random.randrange(len(lines))
        lines[row], lines[other] = lines[other], lines[row]
    elif kind == 8:
        del lines[row : row + random.randrange(1, 4)]
    elif kind == 9:
        lines[row:row] = lines[row:] * random.choice((1, 2, 40))
    elif kind == 10:
        label = random.choice((b"_x" * 20_000, b"_", b"_\xff", b"_rlnImageName", b"_rlnOpticsGroup", b"_rlnImageSize"))
        lines.insert(row, label)
    else:
        return spoil_bytes(data, random)
    return b"\n".join(lines)


def spoil_bytes(data: bytes, random: Random) -> bytes:
    """Damage of the kinds that any file can have: cut, flipped, filled, taken out, repeated."""
    found = bytearray(data)
    place = random.randrange(len(found) + 1)
    end = min(len(found), place + random.choice((1, 2, 4, 8, 100)))
    kind = random.randrange(6)
    if kind == 0:
        del found[place:]
    elif kind == 1 and place < len(found):
        found[place] ^= 1 << random.randrange(8)
    elif kind == 2:
        found[place:end] = bytes([random.choice((0, 255, 10, 34))]) * (end - place)
    elif kind == 3:
        del found[place:end]
    elif kind == 4:
        found[place:place] = found[place:end] * random.choice((1, 3, 500))
    else:
        found[place:end] = random.randbytes(end - place)
    return bytes(found)


# --- MRC ---


def _mrc_seeds(folder: Path) -> list[bytes]:
    random = np.random.default_rng(1)
    path = folder / "seed.mrc"
    write_map(path, random.normal(size=(4, 4, 4)), 1.5)
    found = [path.read_bytes()]
    for kind, options in (("f4", {"big_endian": True}), ("i1", {}), ("i2", {"extended": b"x" * 80}), ("f2", {})):
        found.append(make_stack(path, images_of(kind, random, (3, 4, 4)), **options).read_bytes())
    return found


def _read_mrc(path: Path) -> None:
    with only_own_errors():
        header = read_header(path)
        with np.errstate(all="ignore"):  # a signalling NaN
            read_stack(header, [header.nz - 1, 0])
    with only_own_errors():
        assert np.isfinite(read_map(path).data).all()


def spoil_mrc(data: bytes, random: Random) -> bytes:
    """One or two fields of the header at an edge of their type, or damage of any file."""
    found = bytearray(data)
    if len(found) < 1024 or random.random() < 0.3:
        return spoil_bytes(data, random)
    for _ in range(random.choice((1, 1, 2, 3))):
        order = random.choice("<>")
        place = 4 * random.choice((*range(27), 53, random.randrange(256)))
        if random.random() < 0.7:
            found[place : place + 4] = struct.pack(f"{order}i", random.choice((*INTEGERS, random.getrandbits(31))))
        else:
            found[place : place + 4] = struct.pack(f"{order}f", random.choice(FLOATS))
    return bytes(found)


# --- checkpoints ---

_STATE_HEADER = {"format": 10, "number": 3, "schedule": {"stage": "global"}, "history": [], "particles": {"n": 5}}


def _checkpoint_seeds(folder: Path) -> list[bytes]:
    path = folder / "seed.h5"
    with write_arrays(SerialComm(), path, _STATE_HEADER) as sink:
        sink.write("noise", np.ones((2, 5)))
        sink.write_pieces({"references/class1/half1": np.ones((4, 4, 4), np.float32), "empty": np.ones((0, 3))})
    found = [path.read_bytes()]
    with h5py.File(path, "w") as file:
        file["header"] = json.dumps(_STATE_HEADER)
        file.create_dataset("packed", (64, 8), "f4", data=np.ones((64, 8)), chunks=(8, 8), compression="gzip")
        file.create_dataset("bare", (10**4,), "f8", chunks=(100,), fillvalue=1.0)
    with open(path, "r+b") as raw:
        sign(raw)
    return [*found, path.read_bytes()]


def _read_checkpoint(path: Path) -> None:
    with read_arrays(SerialComm(), path) as source:
        assert isinstance(source.header, dict)
        size = path.stat().st_size
        for name, (shape, kind) in itertools.islice(source.layout.items(), 16):
            with only_own_errors():
                found = source.read(name)
                assert found.shape == shape
                assert found.dtype == kind
                assert found.nbytes <= size


# --- run.json ---


def _run_seeds(folder: Path) -> list[bytes]:
    each = {"number": 1, "score_threshold": 0.25, "r_high": 9.5, "seconds": {"total": 1.5}, "stage": "global"}
    each |= {"spread_rotation": 2.0, "decision": "go on", **dict.fromkeys(ITERATION_NUMBERS, 1.5)}
    run = {
        "pycryo": "0.1.0",
        "sampling_factor": 0.9,
        "inputs": {"particles": "particles.star"},
        "machine": {"ranks": 1, "threads": 1},
        "versions": {"python": "3.12"},
        "status": "done",
        "resolution": 8.5,
        "box": 32,
        "pixel_size": 4.0,
        "diameter": 80.0,
        "symmetry": "C1",
        "particles": {"total": 40, "suggested_threshold": 0.5, "half_sets": [20, 20], "left_out": []},
        "options": {"ini_high": 40.0, "particles_dir": None},
        "iterations": [each],
    }
    return [json.dumps(run).encode(), json.dumps(run, indent=1).encode()]


def _read_run(path: Path) -> None:
    for star in ("run_data.star", "run_it001_data.star"):
        with only_own_errors():
            assert isinstance(suggested_threshold(path.with_name(star)), float)
    with only_own_errors():
        RunFiles.read(path.parent)
    with only_own_errors():
        read_finished(path.parent)


def read_finished(folder: Path) -> None:
    """What `pycryo ctf-refine` and `pycryo validate` read of a refinement."""
    found = FinishedRun.read(folder, "box", "pixel_size", "diameter", "inputs", "options")
    assert isinstance(found.input_particles, str)
    assert found.mask is None


_JSON_WORDS = (
    *(b"null", b"[]", b"{}", b'""', b'"x"', b"NaN", b"Infinity", b"-Infinity", b"1e400", b"1" * 400, b"9" * 5000),
    *(b"[" * 3000, b'{"a":' * 3000, b"true", b"-1", b"[[1]]", b'"\\ud800"', b"\xff", b'{"number": [1]}', b"[null]"),
)


def spoil_json(data: bytes, random: Random) -> bytes:
    """A value in place of another one, or damage of any file."""
    if random.random() < 0.3:
        return spoil_bytes(data, random)
    if random.random() < 0.1:
        return random.choice(_JSON_WORDS)
    starts = [place for place, char in enumerate(data) if char in b":,["]
    if not starts:
        return spoil_bytes(data, random)
    begin = random.choice(starts) + 1
    end = next((place for place in range(begin, len(data)) if data[place] in b",]}"), len(data))
    return data[:begin] + random.choice(_JSON_WORDS) + data[end:]


# --- atomic models ---

_PDB = b"".join(
    b"ATOM  %5d  CA  ALA A%4d    %8.3f%8.3f%8.3f  1.00 20.00           C  \n" % (i, i, 3 * i, i % 3, -i)
    for i in range(1, 6)
)
_CIF = b"data_x\nloop_\n" + b"".join(
    b"_atom_site.%s\n" % name
    for name in (
        *(b"group_PDB", b"id", b"type_symbol", b"label_atom_id", b"label_alt_id", b"label_comp_id", b"label_asym_id"),
        *(b"label_seq_id", b"Cartn_x", b"Cartn_y", b"Cartn_z", b"occupancy", b"B_iso_or_equiv", b"auth_seq_id"),
        *(b"auth_asym_id", b"pdbx_PDB_model_num"),
    )
)
_CIF += b"".join(b"ATOM %d C CA . ALA A %d %.1f 2.0 %.1f 1.0 20.0 %d A 1\n" % (i, i, 3 * i, -i, i) for i in range(1, 5))


def _model_seeds(folder: Path) -> list[bytes]:
    return [_PDB + b"END\n", _CIF]


def _read_model(path: Path) -> None:
    """As PDB and as mmCIF, whatever it is."""
    data = path.read_bytes()
    for name in ("again.pdb", "again.cif"):
        other = path.with_name(name)
        other.write_bytes(data)
        with only_own_errors():
            assert np.isfinite(model_density(other, 16, 4.0).data).all()


def spoil_model(data: bytes, random: Random) -> bytes:
    """The number or word at a place replaced, in its columns or not."""
    if random.random() < 0.3:
        return spoil_bytes(data, random)
    word = random.choice((*WORDS, b"1e30", b"-9999999", b"99999999", b"********", b"Xx", b"ATOM", b"MODEL"))
    if random.random() < 0.5:
        return spoil_star(data, random)
    place = random.randrange(len(data) + 1)
    return data[:place] + word[:8].ljust(8) + data[place + 8 :]


# --- other programs' particles ---


def _cs_seeds(folder: Path) -> list[bytes]:
    rng = np.random.default_rng(1)
    (folder / "J3" / "extract").mkdir(parents=True)
    make_stack(folder / "J3" / "extract" / "a.mrcs", images_of("f4", rng, (4, 8, 8)))
    without = {f"alignments3D__{name}": None for name in ("pose", "shift", "split", "psize_A", "alpha", "class")}
    multi = {"class_posterior": (), "pose": (3,), "shift": (2,), "class": ()}
    classes = {f"alignments3D_multi__{name}": rng.random((3, 2, *inner), np.float32) for name, inner in multi.items()}
    plane = {"alignments2D__pose": np.ones(3, np.float32), "alignments2D__shift": np.ones((3, 2), np.float32)}
    optics = {"ctf__tilt_A": np.full((3, 2), 1e4, np.float32), "ctf__tetra_A": np.full((3, 4), 1e4, np.float32)}
    found = []
    for columns in ({}, {**without, **classes, **optics}, {**without, **plane}):
        file = io.BytesIO()
        np.lib.format.write_array(file, structured(_cs_columns(3, **columns)), allow_pickle=False)
        found.append(file.getvalue())
    return found


def _read_cs(path: Path) -> None:
    _read_particles(path)
    _read_foreign(path)


def _read_foreign(path: Path) -> None:
    """What is converted is a STAR file of as many particles."""
    found = convert([path], Given(stack="a.mrcs", pixel_size=1.5))
    write_star(path.with_name("again.star"), found.tables())
    assert read_particles(path.with_name("again.star"), validate=False).n == found.n


def spoil_cs(data: bytes, random: Random) -> bytes:
    """A word of the header, a number in the table, or damage of any file."""
    kind, begin = random.random(), data.find(b"\n") + 1
    if kind < 0.3 or not begin:
        return spoil_bytes(data, random)
    if kind < 0.6:
        words = (
            b"<f4",
            b"|O",
            b"'O'",
            b"|S0",
            b"<U9",
            b"(2,)",
            b"(0,)",
            b"(9999999999,)",
            b"()",
            b"True",
            b"blob/path",
        )
        old = random.choice((b"<f4", b"<u4", b"|S40", b"(2,)", b"(3,)", b"False", b"ctf/df1_A", b"uid", b"(3,), }"))
        return data.replace(old, random.choice(words), random.choice((1, 100)))
    place = begin + 4 * random.randrange(max(1, (len(data) - begin) // 4))
    return data[:place] + struct.pack("<f", random.choice(FLOATS)) + data[place + 4 :]


def _text_seeds(*texts: str) -> Callable[[Path], list[bytes]]:
    return lambda folder: [text.encode() for text in texts]


READERS = {
    "star": Reader("in.star", _star_seeds, _read_star, spoil_star),
    "particles": Reader("in.star", _star_seeds, _read_particles, spoil_star),
    "selection": Reader("in.star", _star_seeds, _read_selection, spoil_star),
    "mrc": Reader("in.mrc", _mrc_seeds, _read_mrc, spoil_mrc),
    "checkpoint": Reader("state.h5", _checkpoint_seeds, _read_checkpoint, spoil_bytes),
    "run_json": Reader("run.json", _run_seeds, _read_run, spoil_json),
    "model": Reader("in.pdb", _model_seeds, _read_model, spoil_model),
    "cs": Reader("in.cs", _cs_seeds, _read_cs, spoil_cs),
    "cistem": Reader("in.star", _text_seeds(CISTEM), _read_foreign, spoil_star),
    "par": Reader("in.par", _text_seeds(PAR_8, PAR_9), _read_foreign, spoil_star),
    "lst": Reader("in.lst", _text_seeds(lst_text(), lst_text("LST", "text")), _read_foreign, spoil_json),
}
