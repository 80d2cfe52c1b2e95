# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The reader of TensorFlow checkpoints, on files that TensorFlow wrote and on every kind of damage.

Damaged files, and sound ones of any layout, come from a small writer of the format.
"""

import base64
import io
import json
import random
import re
import struct
import tracemalloc
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

from hf_elmo import ElmoForPreTraining
from hf_elmo.cli import main
from hf_elmo.conversion.conversion import convert
from hf_elmo.conversion.crc32c import LAGS, WORDS_AT_ONCE, crc32c, masked_crc32c, table_row
from hf_elmo.conversion.random_weights import OPTIONS, random_weights
from hf_elmo.conversion.tensorflow_checkpoint import (
    adagrad_accumulators,
    bilm_variables,
    dataset_name,
    read_checkpoint,
    slice_key,
)
from hf_elmo.conversion.verify import verify
from hf_elmo.training.pretrain import ACCUMULATORS_FILE

# A checkpoint that TensorFlow 2.15.1 saved in two parts and merged (`MergeV2Checkpoints`): a zip file, in base 85.
# lm/softmax/W (200, 2) is partitioned in two along the rows, lm/columns (2, 7) in three along the columns.
WRITTEN_BY_TENSORFLOW = """
P)h>@6aWAK2mk;8Apn#<4*6{X002w_001BW003=oWMynFV{349Eio=+VRT_FFfcGMFfDIpEif=JFftv=PiW2o7zgktNlVh3q$TN1(vq|!y-D*<
(vtKhX-RsMv?MJ_Yor&$FuWLs;l(fvFNR_4H|Ed5VFw2Xhxg#%;IM;(gW{8?@2Btg@I>bC?uaPJkWL~h#BfB4lAVyXbNs(Lza+%ch%{O96ev=n
Ou{G?#)xc06)CDoQ$sBovNVvRkvvT_(?WqZ+UcN3CtY+?qK97kDAUgXgCvabiO-Dkg|B?0!gqe~lQDkrn?FQ-#5l$?fhs04iOHmx!c?YF&2(lk
lQgrK%^Yf&%RJ^&%K{d%hzyHaLLFI_v78k&u##1*CdV4qvW`a9vw@A|*~DhH(8N}@v7Kgiu#;W1(8?b6QeYqZIY1i+ImBVwIl@tn(ZO*}aFQaY
IL#S4Im<cD)5QfYa*1v(bA_vvxW;vE(8En`ahqQ5aF=`Zai0e~q|758^Mrn$@{H#U@Pe1TVvyIoVTgob-tvwS-t&Qv_5T1+O9KQH000080000X
05sG4Svvs$07nA=03ZMW0Bvt%Wo#~EYjAWeF)n0bbYU$pFfcGNEpKKmFfcGMGA+gDS`7dI$Kn6U&P)_CvXT*}P!XzQbRBXReQ~a*n{a$9o2&*I
$;wt_zaRXb=Y4*a?o|3O4i@sio=Q@t@p4jRs5cqr3Rk(tb#8EzTioUjBi!X4_j$lWMj2zA2_Es7NuKbOXFO+$7fkb#SG?v8Z<*m8@A<$-KJl3^
d}Wq7zVV%Te(;lD{N@jTNhxJga8l)Dfs=(!7CBk$WQmidPL?^TcCy^b3MVU_ta7s2$r>j$PS!f9b+XRMdM9;G>YZ$GveC&VCk;+EJK5r7tCMX`
8l7x+vct(vC%c^NcGBczkCSF6d!6iavfs%8CoN76IyvN|=%m$2o0G#%jyO5$q}@q}lTIhcoE&%3<>Z8ulTJ=K>2}iNq}NHw$!RBNoSb!X&Pkv5
l?qjtCdUWP_h0x2P)h>@6aWAK2mk;8ApmFc08eEB00095000sI003=oWMynFV{349Eio=>Ze(S6V_;z8V3K0uU}O*$Wys0ZPtMON&CM%jU}R)!
XliKYU=-pIV&Y%|VrB&v4GGiKqJIknnZ%o$kYt!77!~+51WYSG&1V*55^Y71Q;-45*pz?!!6GD9oS#;bn^>VA4mSQkN&`$~3RtC%#sW4|jl##%
1lc4Gq@YU!Es+B$P`P@Dm4QPrDJ>^IvBc1fgHMPB<T?pP4K`EbJAW-1Sou?P3rZ@1df9{+fKn``H(oU@V&LXa&&f|p%!w~9NiE>u6k-4x$fm(z
x|;Ro2?iG7jKrKY4q>>v88ui;W$dqgV&Kw4gbI?s*sVCYm;{)BnAwU8%wpkS6<~t1nFW}bIhEla2I}M#V&*u(2+|JLngUV?RL;VY0%0?-h?JyO
lyI<v{R8suJ~j<b)0a=oS{Z<V5kySO`l|}(9Qd?w0|O&-DZ^T3xR~7e&taRGIrcO2GY|yfzZ<$$O5JY*08mQ-0u%!j000080000X0F*us`E3CJ
089e_03ZMW00000000000Du7i0001OZ)9a`E@NwObS*J1WMOn+Eif=JFfc7|W-Tx<FfcMuO928D0~7!N00;m803iT0)B9OF0RR9;0{{RZ00000
000000001h0jmK30Bvt%Wo#~EYjAWeF)n0bbYU$pFfcGNEpKKmFfcGMGEhqa0u%!j000080000X0B7<5Ph|lB00RO501^NI00000000000Du7`
0{{SRZ)9a`E@NwObS*J1X>Md?cu-3P1^@s600RI60Nelo0J#JJ0000
"""

KINDS = {"float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int16": 5, "int8": 6, "int64": 9, "bool": 10}
KINDS |= {"uint16": 17, "float16": 19, "uint32": 22, "uint64": 23}  # of tensorflow.DataType
FLOAT = 1


# ---- A writer of the format


def varint(number: int) -> bytes:
    number, octets = number % (1 << 64), []
    while number >= 128:
        octets.append(number % 128 + 128)
        number //= 128
    return bytes([*octets, number])


def proto_field(number: int, value: int | bytes, even_zero: bool = False) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value) if value or even_zero else b""


@dataclass
class Entry:
    """A `BundleEntryProto`. A slice has (start, length), or None for all, of each axis."""

    kind: int = FLOAT
    shape: tuple[int, ...] = ()
    shard: int = 0
    offset: int = 0
    size: int = 0
    crc: int = 0
    slices: list[list[tuple[int, int] | None]] = field(default_factory=list)

    def encode(self) -> bytes:
        message = proto_field(1, self.kind)
        message += proto_field(2, b"".join(proto_field(2, proto_field(1, size)) for size in self.shape))
        message += proto_field(3, self.shard) + proto_field(4, self.offset) + proto_field(5, self.size)
        message += varint(6 << 3 | 5) + struct.pack("<I", self.crc)
        for extents in self.slices:
            parts = (b"" if e is None else proto_field(1, e[0]) + proto_field(2, e[1], even_zero=True) for e in extents)
            message += proto_field(7, b"".join(proto_field(1, part) for part in parts))
        return message


def encode_header(shards: int, endianness: int = 0, min_consumer: int = 0) -> bytes:
    version = proto_field(1, 1) + proto_field(2, min_consumer)
    return proto_field(1, shards) + proto_field(2, endianness) + proto_field(3, version)


def encode_block(pairs: list[tuple[bytes, bytes]], restart_interval: int) -> bytes:
    content, restarts, previous = b"", [0], b""
    for i, (key, value) in enumerate(pairs):
        shared = 0
        if i and i % restart_interval == 0:
            restarts.append(len(content))
        else:
            while shared < min(len(key), len(previous)) and key[shared] == previous[shared]:
                shared += 1
        content += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        previous = key
    return content + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def encode_table(pairs: dict[bytes, bytes], per_block=1000, restart_interval=16, compression=0, spoil=bytes) -> bytes:
    """A table of LevelDB's. `spoil` changes the content of the blocks with entries before their checksums are taken."""
    table, handles = b"", []

    def append(content: bytes) -> bytes:
        nonlocal table
        if compression == 1:
            content = pyarrow.compress(content, codec="snappy", asbytes=True)
        handle = varint(len(table)) + varint(len(content))
        content += bytes([compression])
        table += content + struct.pack("<I", masked_crc32c(content))
        return handle

    pairs = sorted(pairs.items())
    for start in range(0, len(pairs), per_block):
        part = pairs[start : start + per_block]
        handles.append((part[-1][0], append(spoil(encode_block(part, restart_interval)))))
    footer = append(encode_block([], 1)) + append(encode_block(handles, 1))
    return table + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def lay_out(arrays: dict[str, np.ndarray], shards=1, partition=None) -> tuple[dict[bytes, Entry], list[bytes]]:
    """Entries and data files of arrays; `partition` says in how many slices and along which axis some are stored."""
    entries, data = {}, [b""] * shards

    def append(key: bytes, array: np.ndarray):
        shard, octets = len(entries) % shards, array.tobytes()
        where = {"shard": shard, "offset": len(data[shard]), "size": len(octets), "crc": masked_crc32c(octets)}
        entries[key] = Entry(KINDS[array.dtype.name], array.shape, **where)
        data[shard] += octets

    for name, array in arrays.items():
        key = name.encode()
        if name not in (partition or {}):
            append(key, array)
            continue
        entries[key], start = Entry(KINDS[array.dtype.name], array.shape), 0
        parts, axis = partition[name]
        for part in np.array_split(array, parts, axis):
            extents = [(start, part.shape[axis]) if i == axis else None for i in range(array.ndim)]
            entries[key].slices.append(extents)
            append(slice_key(key, [extent or (0, -1) for extent in extents]), part)
            start += part.shape[axis]
    return entries, data


def write(folder: Path, entries: dict[bytes, Entry], data: list[bytes], header: bytes | None = None, **options) -> Path:
    encoded = {key: entry.encode() for key, entry in entries.items()}
    encoded[b""] = encode_header(len(data)) if header is None else header
    return write_files(folder, encode_table(encoded, **options), data)


def write_files(folder: Path, index: bytes, data: list[bytes], prefix: str = "model.ckpt-1") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{prefix}.index").write_bytes(index)
    for number, octets in enumerate(data):
        (folder / f"{prefix}.data-{number:05d}-of-{len(data):05d}").write_bytes(octets)
    return folder


def random_arrays(number: int = 40) -> dict[str, np.ndarray]:
    """Of all types and of 0 to 3 axes, some of them empty."""
    generator, arrays = np.random.default_rng(0), {}
    for i in range(number):
        dtype = list(KINDS)[i % len(KINDS)]
        shape = tuple(generator.integers(1, 7, generator.integers(0, 4)))
        arrays[f"lm/scope_{i % 5}/variable_{i}"] = np.asarray(generator.integers(0, 2, shape)).astype(dtype)
    arrays["lm/empty"] = np.zeros((3, 0), np.float32)
    arrays["lm/large"] = generator.standard_normal((300, 70)).astype(np.float32)
    return arrays


@pytest.fixture
def arrays():
    return random_arrays()


@pytest.fixture
def small():
    """Three variables, one of them in two slices, and how they are laid out."""
    arrays = {
        "lm/a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "lm/b": np.arange(20, dtype=np.float32).reshape(5, 4),
        "global_step": np.int64(426),
    }
    return lay_out(arrays, shards=2, partition={"lm/b": (2, 0)})


def assert_equal(tensors, arrays):
    assert set(tensors) == set(arrays)
    for name, array in arrays.items():
        numbers = tensors[name].read()
        assert tensors[name].shape == numbers.shape == array.shape, name
        assert numbers.dtype == array.dtype, name
        assert numbers.tobytes() == array.tobytes(), name


def complaint(folder: Path) -> str | None:
    """What is wrong with a checkpoint, told when it is opened or one of its tensors is read."""
    try:
        for tensor in read_checkpoint(folder).values():
            tensor.read()
    except ValueError as error:
        return str(error)
    return None


def refusal(folder: Path) -> str:
    message = complaint(folder)
    assert message is not None
    assert message.startswith(str(folder)), message
    assert "\n" not in message
    return message


# ---- Checksums


@pytest.mark.parametrize(
    ("message", "expected"),
    [  # RFC 3720, B.4, and the customary check value
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_crc_of_published_messages(message, expected):
    assert crc32c(message) == expected


def test_crc_equals_the_plain_definition_at_every_seam():
    longest, chunk = LAGS[-1], 8 * WORDS_AT_ONCE
    seams = (0, 4, 8, longest, LAGS[0] + longest, 8 * longest, chunk, chunk + 8 * longest, 2 * chunk)
    sizes = sorted({seam + extra for seam in seams for extra in (-1, 0, 1, 3, 9) if seam + extra >= 0})
    message = np.random.default_rng(0).bytes(sizes[-1])
    register, position, rows = 0xFFFFFFFF, 0, [table_row(octet) for octet in range(256)]
    for size in sizes:  # one walk over the longest gives the checksum of every shorter one
        for octet in message[position:size]:
            register = rows[(register ^ octet) & 0xFF] ^ (register >> 8)
        position = size
        assert crc32c(message[:size]) == register ^ 0xFFFFFFFF, size


# ---- Sound checkpoints


def test_checkpoint_written_by_tensorflow(tmp_path):
    with zipfile.ZipFile(io.BytesIO(base64.b85decode(WRITTEN_BY_TENSORFLOW.replace("\n", "")))) as files:
        files.extractall(tmp_path)
    tensors = read_checkpoint(tmp_path)
    text = tensors.pop("text")
    assert_equal(
        tensors,
        {
            "lm/softmax/W": np.arange(400, dtype=np.float32).reshape(200, 2) / 8,
            "lm/columns": -np.arange(14, dtype=np.float32).reshape(2, 7),
            "bfloat16": np.array([0x3FC00000, 0xC0000000, 0x7F620000], np.uint32).view(np.float32),
            "half": np.array([[0.5], [65504]], np.float16),
            "global_step": np.array(426),
            "empty": np.zeros((0, 4), np.float32),
        },
    )
    assert text.shape == (2,)
    with pytest.raises(ValueError, match=r"index: text must be an array of numbers, but is of TensorFlow's type 7"):
        text.read()


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("compression", [0, 1])
@pytest.mark.parametrize(("per_block", "restart_interval"), [(1000, 16), (1000, 1), (7, 3), (1, 1)])
def test_every_layout(tmp_path, arrays, shards, compression, per_block, restart_interval):
    entries, data = lay_out(arrays, shards, partition={"lm/large": (4, 0)})
    options = {"per_block": per_block, "restart_interval": restart_interval, "compression": compression}
    assert_equal(read_checkpoint(write(tmp_path, entries, data, **options)), arrays)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_along_any_axis(tmp_path, axis):
    arrays = {"lm/x": np.random.default_rng(0).standard_normal((7, 300, 5)).astype(np.float32)}
    assert_equal(read_checkpoint(write(tmp_path, *lay_out(arrays, 2, {"lm/x": (3, axis)}))), arrays)


def test_what_is_read_may_be_written_to(tmp_path, small):
    tensor = read_checkpoint(write(tmp_path, *small))["lm/a"]
    tensor.read()[:] = 7
    assert tensor.read()[0, 0] == 0


def test_only_what_is_asked_for_is_read(tmp_path):
    arrays = {f"lm/{i}": np.full((1 << 20,), i, np.float32) for i in range(8)}
    write(tmp_path, *lay_out(arrays))
    tracemalloc.start()
    for name, tensor in read_checkpoint(tmp_path).items():
        assert tensor.read()[-1] == int(name[-1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * arrays["lm/0"].nbytes  # the tensor and a piece under the checksum, of 8 tensors


# ---- Which checkpoint


@pytest.mark.parametrize("name", ["", "model.ckpt-1", "model.ckpt-1.index", "model.ckpt-1.data-00001-of-00002"])
def test_a_checkpoint_is_its_folder_its_prefix_or_any_of_its_files(tmp_path, small, name):
    write(tmp_path, *small)
    assert read_checkpoint(tmp_path / name)["global_step"].read() == 426


@pytest.mark.parametrize(
    "named",
    [
        b"model.ckpt-2",
        b"/home/me/save/model.ckpt-2",
        rb"C:\\save\\model.ckpt-2",
        rb"model\056ckpt-2",
        b"../here/model.ckpt-2",
    ],
)
def test_the_state_file_says_which(tmp_path, named):
    folder = tmp_path / "here"
    for step in (1, 2, 3):
        entries, data = lay_out({"global_step": np.int64(step)})
        encoded = {key: entry.encode() for key, entry in entries.items()} | {b"": encode_header(1)}
        write_files(folder, encode_table(encoded), data, f"model.ckpt-{step}")
    all_paths = b'all_model_checkpoint_paths: "model.ckpt-1"\n'
    (folder / "checkpoint").write_bytes(b'model_checkpoint_path: "' + named + b'"\n' + all_paths)
    assert read_checkpoint(folder)["global_step"].read() == 2


def test_a_name_with_accents_is_found(tmp_path, small):
    write(tmp_path, *small)
    for file in list(tmp_path.iterdir()):
        file.rename(tmp_path / file.name.replace("model", "modèle"))
    (tmp_path / "checkpoint").write_bytes(rb'model_checkpoint_path: "mod\303\250le.ckpt-1"')
    assert read_checkpoint(tmp_path)["global_step"].read() == 426


def test_no_checkpoint_is_refused(tmp_path, small):
    assert "expected one checkpoint (a file *.index) here, found none" in refusal(tmp_path)
    assert "model.ckpt-9.index" in refusal(tmp_path / "model.ckpt-9")
    write(tmp_path, *small)
    (tmp_path / "other.index").write_bytes(b"")
    assert "found model.ckpt-1.index, other.index" in refusal(tmp_path)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-9"')
    assert "expected the file" in refusal(tmp_path)  # and no other one in its place
    (tmp_path / "checkpoint").write_text("nothing")
    assert "model_checkpoint_path" in refusal(tmp_path)


# ---- Damage


def test_missing_and_truncated_data_files(tmp_path, small):
    write(tmp_path, *small)
    file = tmp_path / "model.ckpt-1.data-00001-of-00002"
    octets = file.read_bytes()
    file.write_bytes(octets[:-1])
    assert f"of {file.name}, which has {len(octets) - 1}; truncated?" in refusal(tmp_path)
    file.write_bytes(b"")
    assert f"of {file.name}, which has 0" in refusal(tmp_path)
    file.unlink()
    assert f"{file.name} is missing" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["lm/a", "lm/b"])
def test_a_flipped_bit_in_the_numbers_names_file_and_tensor(tmp_path, small, name):
    entries, data = small
    part = entries[name.encode()] if name == "lm/a" else entries[slice_key(b"lm/b", [(3, 2), (0, -1)])]
    spoiled = bytearray(data[part.shard])
    spoiled[part.offset + 5] ^= 16
    data[part.shard] = bytes(spoiled)
    write(tmp_path, entries, data)
    assert f"data-0000{part.shard}-of-00002: {name}: checksum mismatch" in refusal(tmp_path)
    assert read_checkpoint(tmp_path)["global_step"].read() == 426  # the others are still there


def test_every_flipped_byte_of_an_index_is_noticed(tmp_path, small):
    write(tmp_path, *small, per_block=2)
    file = tmp_path / "model.ckpt-1.index"
    index, unnoticed = file.read_bytes(), set()
    for position in range(len(index)):
        spoiled = bytearray(index)
        spoiled[position] ^= 0xFF
        file.write_bytes(spoiled)
        if not complaint(tmp_path):
            unnoticed.add(position)
    metaindex = index.rindex(encode_block([], 1) + b"\0")  # an empty block, which is never read
    assert unnoticed <= {*range(metaindex, metaindex + 13), *range(len(index) - 48, len(index) - 8)}


def test_an_index_cut_anywhere_is_refused(tmp_path, small):
    write(tmp_path, *small)
    file = tmp_path / "model.ckpt-1.index"
    index = file.read_bytes()
    for size in range(len(index)):
        file.write_bytes(index[:size])
        assert "index" in refusal(tmp_path)
    file.write_bytes(index[-48:])  # the footer is there, what it points to is not
    assert "a block should end at byte" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"shape": (2, 4)}, "lm/a: shape (2, 4) takes 32 bytes, but the index says 24"),
        ({"shape": (1 << 40, 1 << 10)}, "takes 4,503,599,627,370,496 bytes, but the index says 24"),
        ({"shape": (1 << 40, 1 << 40)}, "lm/a: its shape (1099511627776, 1099511627776) is impossible"),
        ({"shape": (0, 1 << 62, 1 << 62), "size": 0}, "is impossible"),
        ({"shape": (1,) * 65, "size": 4}, "is impossible"),
        ({"shape": (1 << 40,), "size": 1 << 42}, "bytes 0 to 4,398,046,511,104 of model.ckpt-1.data-00000-of-00002"),
        ({"shape": (-2, -3)}, "lm/a: its shape (-2, -3) is impossible"),
        ({"size": -24}, "lm/a: shape (2, 3) takes 24 bytes, but the index says -24"),
        ({"offset": 1 << 40}, "lm/a: expected at bytes 1,099,511,627,776 to 1,099,511,627,800"),
        ({"offset": -8}, "lm/a: expected at bytes -8 to 16"),
        ({"shard": 2}, "lm/a: its data file model.ckpt-1.data-00002-of-00002 is missing"),
        ({"shard": -1}, "is missing"),
        ({"crc": 1}, "lm/a: checksum mismatch"),
        ({"slices": [[(0, 2), None]]}, "lm/a: its slice of shape (2, 3) with the end (2, 3) is missing"),
        ({"slices": [[None]]}, "lm/a: its slice [(0, -1)] (start, length) is not within its shape (2, 3)"),
        ({"slices": [[(1, 2), None]]}, "lm/a: its slice [(1, 2), (0, -1)] (start, length) is not within"),
        ({"slices": [[(-1, 2), None]]}, "is not within"),
        ({"slices": [[(0, 1 << 62), None]]}, "is not within"),
    ],
)
def test_entries_that_cannot_be(tmp_path, small, change, complaint):
    entries, data = small
    for name, value in change.items():
        setattr(entries[b"lm/a"], name, value)
    write(tmp_path, entries, data)
    tracemalloc.start()
    assert complaint in refusal(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("slices", "complaint"),
    [
        ([[(0, 3), None]], "lm/b: its slices do not make up its shape (5, 4)"),
        ([[(0, 3), None], [(0, 3), None]], "do not make up"),
        ([[(0, 3), None], [(3, 2), None], [(3, 2), None]], "do not make up"),
        ([[(0, 3), None], [(3, 1), None]], "slice of shape (1, 4) with the end (4, 4) is missing"),
    ],
)
def test_slices_that_do_not_add_up(tmp_path, small, slices, complaint):
    entries, data = small
    entries[b"lm/b"].slices = slices
    assert complaint in refusal(write(tmp_path, entries, data))


def test_overlapping_slices_of_the_right_size_are_refused(tmp_path, small):
    entries, data = small
    first = entries[slice_key(b"lm/b", [(0, 3), (0, -1)])]
    entries[slice_key(b"lm/b", [(2, 2), (0, -1)])] = Entry(FLOAT, (2, 4), first.shard, first.offset, 32, 0)
    entries[b"lm/b"].slices = [[(0, 3), None], [(2, 2), None]]
    assert "do not make up" in refusal(write(tmp_path, entries, data))


@pytest.mark.parametrize("change", [{"kind": KINDS["int32"]}, {"shape": (4, 3)}])
def test_a_slice_of_another_kind_is_refused(tmp_path, small, change):
    entries, data = small
    part = slice_key(b"lm/b", [(0, 3), (0, -1)])
    entries[part] = replace(entries[part], **change)
    assert "lm/b: its slice of shape (3, 4) with the end (3, 4) is missing or of another kind" in refusal(
        write(tmp_path, entries, data)
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"header": encode_header(2, endianness=1)}, "big-endian"),
        ({"header": encode_header(2, min_consumer=2)}, "later version of the format than 1"),
        ({"header": encode_header(3)}, "data-00000-of-00003 is missing"),
        ({"header": b"\x08"}, "an entry ends too early"),
        ({"header": b"\x0b"}, "unknown wire type 3"),
        ({"header": b"\x08" + b"\xff" * 10}, "longer than 64 bits"),
        ({"header": b"\x1a\x05\x08"}, "an entry ends too early"),
        ({"header": b"\x12\x00"}, "field 2 of an entry must be a number"),
        ({"header": b"\x18\x01"}, "field 3 of an entry must be a message"),
        ({"compression": 7}, "unknown compression 7"),
        ({"spoil": lambda block: b""}, "cannot end in 4 bytes of restarts"),
        ({"spoil": lambda block: block[:-4] + b"\xff\xff\xff\xff"}, "bytes of restarts"),
        ({"spoil": lambda block: block[:40] + block[-8:]}, "an entry ends too early"),
        ({"spoil": lambda block: struct.pack("<2I", 0, 1)}, "the header is missing"),
    ],
)
def test_an_index_that_cannot_be(tmp_path, small, options, complaint):
    assert complaint in refusal(write(tmp_path, *small, **options))


def test_damage_inside_a_compressed_block_is_refused(tmp_path, small, monkeypatch):
    compress = pyarrow.compress
    for damaged in (
        lambda packed: packed[:-9],
        lambda packed: b"\xff\xff\xff\xff\x7f" + packed[1:],
        lambda packed: b"",
    ):
        spoiled = lambda *arguments, damaged=damaged, **options: damaged(compress(*arguments, **options))  # noqa: E731
        monkeypatch.setattr(pyarrow, "compress", spoiled)
        assert str(tmp_path) in refusal(write(tmp_path, *small, compression=1))


def test_a_name_that_cannot_be_printed_is_shown_in_one_line(tmp_path):
    entries, data = lay_out({"a": np.zeros(2), "line\nend": np.zeros(2)})
    entries[b"line\nend"].size = entries.pop(b"a").size + 1
    entries[b"\xff"] = entries[b"line\nend"]
    assert r"'line\nend': shape (2,) takes 16 bytes, but the index says 17" in refusal(write(tmp_path, entries, data))
    del entries[b"line\nend"]
    assert r"\xff: shape" in refusal(write(tmp_path, entries, data))


def test_an_index_of_another_kind_is_refused(tmp_path):
    (tmp_path / "model.ckpt-1.index").write_bytes(b"<!DOCTYPE html>" * 100)
    assert "not the index of a TensorFlow checkpoint" in refusal(tmp_path)


def test_random_damage_under_sound_checksums_never_escapes(tmp_path, small):
    """Whoever forges an index can make its checksums right: only `ValueError` may come of it."""
    entries, data = small
    encoded = {key: entry.encode() for key, entry in entries.items()} | {b"": encode_header(2)}
    dice = random.Random(0)
    complaints = []
    for _ in range(500):
        forged = dict(encoded)
        key = dice.choice(list(forged))
        value = bytearray(forged[key])
        for _ in range(dice.randint(1, 3)):
            value[dice.randrange(len(value))] = dice.choice([0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)])
        forged[key] = bytes(value)
        write_files(tmp_path, encode_table(forged), data)
        complaints.append(complaint(tmp_path))
    assert sum(bool(line) for line in complaints) > 300
    assert not any("\n" in line or not line.startswith(str(tmp_path)) for line in complaints if line)


# ---- bilm-tf's names


@pytest.mark.parametrize(
    ("variable", "dataset"),
    [
        ("char_embed", "char_embed"),
        ("CNN/W_cnn_0", "CNN/W_cnn_0"),
        ("CNN_high_1/b_carry", "CNN_high_1/b_carry"),
        ("softmax/W", "softmax/W"),
        ("embedding", "embedding"),
        ("RNN_0/rnn/multi_rnn_cell/cell_1/lstm_cell/kernel", "RNN_0/RNN/MultiRNNCell/Cell1/LSTMCell/W_0"),
        ("RNN_1/rnn/multi_rnn_cell/cell_0/lstm_cell/bias", "RNN_1/RNN/MultiRNNCell/Cell0/LSTMCell/B"),
        (
            "RNN_1/rnn/multi_rnn_cell/cell_10/lstm_cell/projection/kernel",
            "RNN_1/RNN/MultiRNNCell/Cell10/LSTMCell/W_P_0",
        ),
        ("RNN_0/rnn/lstm_cell/projection/kernel", "RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell/W_P_0"),
        ("RNN_0/RNN/MultiRNNCell/Cell1/rnn/lstm_cell/kernel", "RNN_0/RNN/MultiRNNCell/Cell1/LSTMCell/W_0"),
        ("RNN_0/RNN/MultiRNNCell/Cell1/LSTMCell/W_P_0", "RNN_0/RNN/MultiRNNCell/Cell1/LSTMCell/W_P_0"),
    ],
)
def test_names_of_variables(variable, dataset):
    assert dataset_name(variable) == dataset


@pytest.mark.parametrize("scope", ["lm/", "bilm/", "module/bilm/"])
def test_weights_slots_and_the_rest_are_told_apart(tmp_path, scope):
    names = [f"{scope}{name}" for name in ("char_embed", "softmax/b", "RNN_0/rnn/lstm_cell/bias")]
    arrays = {name: np.full(2, i, np.float32) for i, name in enumerate(names)}
    arrays |= {f"{name}/Adagrad": array + 10 for name, array in arrays.items()}
    arrays |= {f"{names[0]}/Adam_1": np.zeros(2), "global_step": np.int64(7), "aggregation/weights": np.zeros(3)}
    checkpoint = read_checkpoint(write(tmp_path, *lay_out(arrays)))
    bias = "RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell/B"
    assert {name: tensor.read()[0] for name, tensor in bilm_variables(checkpoint).items()} == {
        "char_embed": 0, "softmax/b": 1, bias: 2,
    }  # fmt: skip
    assert {name: tensor.read()[0] for name, tensor in adagrad_accumulators(checkpoint).items()} == {
        "char_embed": 10, "softmax/b": 11, bias: 12,
    }  # fmt: skip


def test_two_variables_of_one_meaning_are_refused(tmp_path):
    arrays = {"lm/char_embed": np.zeros(1), "bilm/char_embed": np.ones(1)}
    with pytest.raises(ValueError, match="one of two variables that mean char_embed"):
        bilm_variables(read_checkpoint(write(tmp_path, *lay_out(arrays))))


# ---- The original's checkpoints


def test_checkpoint_of_bilm(fixtures_dir):
    folder = fixtures_dir / "bilm_checkpoint"
    checkpoint = read_checkpoint(folder / "checkpoint")
    weights, slots = bilm_variables(checkpoint), adagrad_accumulators(checkpoint)
    assert len(checkpoint) == 72
    assert set(checkpoint) - {"global_step", "train_perplexity"} == {
        name for name in checkpoint if name.startswith("lm/")
    }
    assert checkpoint["global_step"].read() == 426
    with h5py.File(folder / "weights.hdf5") as file:
        datasets = []
        file.visititems(lambda name, item: datasets.append(name) if isinstance(item, h5py.Dataset) else None)
        assert set(weights) == {*datasets, "softmax/W", "softmax/b"}
        assert_equal({name: weights[name] for name in datasets}, {name: file[name][...] for name in datasets})
    assert weights["softmax/W"].shape == (5000, 16)
    assert {name: slot.shape for name, slot in slots.items()} == {name: slot.shape for name, slot in weights.items()}

    with np.load(folder / "training_trace" / "final_variables.npz") as later:
        for name, tensor in checkpoint.items():
            if name.endswith("/Adagrad"):  # sums of squares: they start at 1 and only grow
                assert (tensor.read() >= 1).all()
                assert (later[name] >= tensor.read()).all(), name


def test_variables_of_a_tensorflow_hub_module(fixtures_dir):
    folder = fixtures_dir / "tfhub_style"
    listed = json.loads((folder / "variables.json").read_text())
    tensors = read_checkpoint(folder / "variables")
    assert {name: list(tensor.shape) for name, tensor in tensors.items()} == listed["variables"]
    assert tensors["aggregation/weights"].read().tolist() == listed["aggregation/weights"]
    assert tensors["aggregation/scaling"].read() == listed["aggregation/scaling"]
    assert all(np.isfinite(tensor.read()).all() for tensor in tensors.values())
    assert set(bilm_variables(tensors)) >= {"char_embed", "RNN_1/RNN/MultiRNNCell/Cell1/LSTMCell/W_P_0"}


# ---- From a checkpoint to a model


def checkpoint_and_hdf5(folder: Path, n_layers: int = 2, words: int = 11) -> tuple[Path, Path, dict[str, np.ndarray]]:
    """One model in both formats of bilm-tf, and every variable of its checkpoint."""
    options = {**OPTIONS, "lstm": {**OPTIONS["lstm"], "dim": 12, "projection_dim": 6, "n_layers": n_layers}}
    tensors = random_weights(options, words=words)
    checkpoint, hdf5 = folder / "checkpoint", folder / "hdf5"
    for place in (checkpoint, hdf5):
        place.mkdir()
        (place / "options.json").write_text(json.dumps(options))
    with h5py.File(hdf5 / "weights.hdf5", "w") as file:
        for name, array in tensors.items():
            file[name] = array

    generator, variables = np.random.default_rng(1), {}
    for name, array in tensors.items():
        name = re.sub(r"(RNN_\d)/RNN/MultiRNNCell/Cell(\d+)/LSTMCell", r"\1/rnn/multi_rnn_cell/cell_\2/lstm_cell", name)
        if n_layers == 1:
            name = name.replace("multi_rnn_cell/cell_0/", "")
        for end, variable in (("/W_0", "/kernel"), ("/B", "/bias"), ("/W_P_0", "/projection/kernel")):
            name = name.replace(f"lstm_cell{end}", f"lstm_cell{variable}")
        variables[f"lm/{name}"] = array
        variables[f"lm/{name}/Adagrad"] = 1 + generator.random(array.shape, np.float32)
    variables |= {"global_step": np.int64(7), "train_perplexity": np.float32(99)}
    write(checkpoint, *lay_out(variables, 2, {"lm/softmax/W": (2, 0)} if words else None))
    return checkpoint, hdf5, variables


@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("words", [0, 11])
def test_a_checkpoint_and_its_hdf5_dump_become_the_same_model(tmp_path, n_layers, words):
    checkpoint, hdf5, _ = checkpoint_and_hdf5(tmp_path, n_layers, words)
    for source in (checkpoint, hdf5):
        convert(source, tmp_path / f"from_{source.name}")
    one, other = (load_file(tmp_path / f"from_{source.name}" / "model.safetensors") for source in (checkpoint, hdf5))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", ["model.ckpt-1", "model.ckpt-1.index"])
def test_a_checkpoint_among_several_is_converted_by_its_name(tmp_path, name):
    checkpoint, _, _ = checkpoint_and_hdf5(tmp_path)
    for name_of_another in ("model.ckpt-2.index", "model.ckpt-2.data-00000-of-00001"):
        (checkpoint / name_of_another).write_bytes(b"of no use")
    conversion = convert(checkpoint / name, tmp_path / "out")
    data = [f"model.ckpt-1.data-0000{shard}-of-00002" for shard in (0, 1)]
    assert list(conversion.files) == ["options.json", "model.ckpt-1.index", *data]
    with pytest.raises(ValueError, match=r"found model\.ckpt-1\.index, model\.ckpt-2\.index; give the one to read"):
        convert(checkpoint, tmp_path / "other")


def test_the_optimizer_is_kept_on_request(tmp_path):
    checkpoint, _, variables = checkpoint_and_hdf5(tmp_path)
    convert(checkpoint, tmp_path / "out", keep_optimizer=True)
    sums = load_file(tmp_path / "out" / ACCUMULATORS_FILE)
    slots = {
        name.removesuffix("/Adagrad"): torch.tensor(value) for name, value in variables.items() if "Adagrad" in name
    }
    model = ElmoForPreTraining.from_pretrained(tmp_path / "out")
    shapes = {name: weight.shape for name, weight in model.named_parameters() if "scalar_mixes" not in name}
    assert {name: value.shape for name, value in sums.items()} == shapes

    table = sums["elmo.char_encoder.embeddings.weight"]
    assert (table[0] == 1).all()
    assert torch.equal(table[1:], slots["lm/char_embed"])
    assert torch.equal(sums["lm_head.weight"], slots["lm/softmax/W"])
    cell = "lm/RNN_1/rnn/multi_rnn_cell/cell_1/lstm_cell"
    words, recurrent = slots[f"{cell}/kernel"].split(6)  # rows [x ; h], columns i, g, f, o
    i, g, f, o = words.split(12, dim=1)
    assert torch.equal(sums["elmo.layers.1.backward_lstm.input_gates.weight"], torch.cat([i, f, g, o], dim=1).T)
    i, g, f, o = recurrent.split(12, dim=1)
    assert torch.equal(sums["elmo.layers.1.backward_lstm.recurrent_gates.weight"], torch.cat([i, f, g, o], dim=1).T)
    i, g, f, o = slots[f"{cell}/bias"].split(12)
    assert torch.equal(sums["elmo.layers.1.backward_lstm.input_gates.bias"], torch.cat([i, f, g, o]))
    kernel = slots["lm/CNN/W_cnn_2"]  # (1, width, E, count)
    assert torch.equal(sums["elmo.char_encoder.convolutions.2.weight"], kernel[0].permute(2, 1, 0))
    gate = slots["lm/CNN_high_0/W_carry"]
    assert torch.equal(sums["elmo.char_encoder.highways.0.carry.weight"], gate.T)


def test_without_the_request_the_optimizer_is_left_out_and_said_so(tmp_path):
    checkpoint, _, _ = checkpoint_and_hdf5(tmp_path)
    conversion = convert(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out" / ACCUMULATORS_FILE).exists()
    assert conversion.notes == [f"{checkpoint} holds Adagrad's state; left out, as --keep-optimizer was not given"]


def test_a_mix_that_is_left_out_is_told(tmp_path):
    checkpoint, _, variables = checkpoint_and_hdf5(tmp_path)
    write(checkpoint, *lay_out(variables | {"aggregation/weights": np.zeros(3, np.float32)}, 2))
    assert "holds aggregation/weights, of a mix of layers" in convert(checkpoint, tmp_path / "out").notes[0]


def test_an_optimizer_that_cannot_be_kept_is_refused_and_nothing_is_left(tmp_path):
    checkpoint, hdf5, variables = checkpoint_and_hdf5(tmp_path)
    with pytest.raises(ValueError, match="a bilm-tf hdf5 has none"):
        convert(hdf5, tmp_path / "out", keep_optimizer=True)
    with pytest.raises(ValueError, match="hdf5 has no place for it"):
        convert(checkpoint, tmp_path / "out", to="hdf5", keep_optimizer=True)
    del variables["lm/softmax/b/Adagrad"]
    write(checkpoint, *lay_out(variables, 2))
    with pytest.raises(ValueError, match="missing softmax/b"):
        convert(checkpoint, tmp_path / "out", keep_optimizer=True)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint", "hdf5"}


def test_weights_that_are_no_floating_point_numbers_are_refused(tmp_path):
    checkpoint, _, variables = checkpoint_and_hdf5(tmp_path)
    variables["lm/CNN/b_cnn_0"] = variables["lm/CNN/b_cnn_0"].astype(np.int32)
    write(checkpoint, *lay_out(variables, 2))
    with pytest.raises(ValueError, match="lm/CNN/b_cnn_0 must hold floating-point numbers, but holds int32"):
        convert(checkpoint, tmp_path / "out")


def test_a_damaged_tensor_leaves_no_folder(tmp_path, capsys):
    checkpoint, _, _ = checkpoint_and_hdf5(tmp_path)
    file = checkpoint / "model.ckpt-1.data-00000-of-00002"
    octets = bytearray(file.read_bytes())
    octets[0] ^= 1
    file.write_bytes(octets)
    assert main(["convert", str(checkpoint), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{file}: lm/char_embed: checksum mismatch" in error
    assert not (tmp_path / "out").exists()


def test_the_checkpoint_of_bilm_gives_the_layers_of_bilm(tmp_path, fixtures_dir):
    folder = fixtures_dir / "bilm_checkpoint"
    convert(folder / "checkpoint", tmp_path / "out", vocab=folder / "vocab.txt", keep_optimizer=True)
    verification = verify(tmp_path / "out", folder / "expected_layers.npz")
    assert verification.passed
    assert max(verification.differences) > 0  # something was compared
    assert AutoTokenizer.from_pretrained(tmp_path / "out").word_vocab[:3] == ["<S>", "</S>", "<UNK>"]
    assert load_file(tmp_path / "out" / ACCUMULATORS_FILE)["lm_head.weight"].shape == (5000, 16)


def test_a_tensorflow_hub_module_gives_its_layers(tmp_path, fixtures_dir):
    folder = fixtures_dir / "tfhub_style"
    (tmp_path / "options.json").write_text(json.dumps(json.loads((folder / "variables.json").read_text())["options"]))
    conversion = convert(folder / "variables", tmp_path / "out", options=tmp_path / "options.json")
    assert [note.split()[2] for note in conversion.notes] == ["aggregation/scaling,", "aggregation/weights,"]
    model, tokenizer = (kind.from_pretrained(tmp_path / "out") for kind in (AutoModel, AutoTokenizer))
    sentences = json.loads((folder / "sentences.json").read_text())
    with np.load(folder / "expected.npz") as expected, torch.no_grad():
        for i, words in enumerate(sentences):
            batch = tokenizer([words], is_split_into_words=True, return_tensors="pt")
            output = model(**batch, output_hidden_states=True)
            layers = [output.token_embeddings, *output.hidden_states[1:]]
            for name, layer in zip(("word_emb", "lstm_outputs1", "lstm_outputs2"), layers, strict=True):
                torch.testing.assert_close(
                    layer[0, 1:-1], torch.from_numpy(expected[f"sent{i}/{name}"]), rtol=0, atol=2e-6
                )
