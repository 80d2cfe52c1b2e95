# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The reader of TensorFlow checkpoints: files that TensorFlow wrote, sound files of any layout, and damaged ones."""

import base64
import io
import random
import struct
import tracemalloc
import zipfile
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from checkpoint_writer import KINDS, encode_block, encode_header, encode_table, lay_out, write, write_files

from hf_elmo.conversion.leveldb_table import CHUNK, masked_crc32c
from hf_elmo.conversion.tensorflow_checkpoint import read_checkpoint

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
    """Three variables in two data files."""
    arrays = {
        "lm/a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "lm/b": np.arange(20, dtype=np.float32).reshape(5, 4),
        "global_step": np.int64(426),
    }
    return lay_out(arrays, shards=2)


def assert_equal(tensors, arrays):
    assert set(tensors) == set(arrays)
    for name, array in arrays.items():
        numbers = tensors[name].read()
        assert tensors[name].shape == numbers.shape == array.shape, name
        assert numbers.dtype == array.dtype, name
        assert numbers.tobytes() == array.tobytes(), name


def complaint(folder: Path) -> str | None:
    """Return the error of opening a checkpoint or of reading one of its tensors."""
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
    ("message", "crc"),
    [  # RFC 3720, B.4, and the customary check value
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"123456789", 0xE3069283),
        (b"", 0),
        (np.frombuffer(b"123456789", np.uint8), 0xE3069283),
    ],
)
def test_crc_of_published_messages(message, crc):
    assert masked_crc32c(message) == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_crc_of_a_message_in_several_chunks():
    message = np.random.default_rng(0).bytes(2 * CHUNK + 5)
    crc = google_crc32c.value(message)
    assert masked_crc32c(message) == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


# ---- Sound checkpoints


def test_checkpoint_written_by_tensorflow(tmp_path):
    with zipfile.ZipFile(io.BytesIO(base64.b85decode(WRITTEN_BY_TENSORFLOW.replace("\n", "")))) as files:
        files.extractall(tmp_path)
    tensors = read_checkpoint(tmp_path)
    text, *partitioned = (tensors.pop(name) for name in ("text", "lm/softmax/W", "lm/columns"))
    assert_equal(
        tensors,
        {
            "bfloat16": np.array([0x3FC00000, 0xC0000000, 0x7F620000], np.uint32).view(np.float32),
            "half": np.array([[0.5], [65504]], np.float16),
            "global_step": np.array(426),
            "empty": np.zeros((0, 4), np.float32),
        },
    )
    assert text.shape == (2,)
    with pytest.raises(ValueError, match=r"index: text must be an array of numbers, but is of TensorFlow's type 7"):
        text.read()
    for tensor in partitioned:
        with pytest.raises(ValueError, match="is partitioned, which is not supported"):
            tensor.read()


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(("per_block", "restart_interval"), [(1000, 16), (1000, 1), (7, 3), (1, 1)])
def test_every_layout(tmp_path, arrays, shards, per_block, restart_interval):
    entries, data = lay_out(arrays, shards)
    options = {"per_block": per_block, "restart_interval": restart_interval}
    assert_equal(read_checkpoint(write(tmp_path, entries, data, **options)), arrays)


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
    part = entries[name.encode()]
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
        ({"is_partitioned": True}, "lm/a must be an array of numbers, but is partitioned, which is not supported"),
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
        ({"compression": 1}, "compression 1 of the block at byte"),
        ({"spoil": lambda block: b""}, "cannot end in 4 bytes of restarts"),
        ({"spoil": lambda block: block[:-4] + b"\xff\xff\xff\xff"}, "bytes of restarts"),
        ({"spoil": lambda block: block[:40] + block[-8:]}, "an entry ends too early"),
        ({"spoil": lambda block: struct.pack("<2I", 0, 1)}, "the header is missing"),
    ],
)
def test_an_index_that_cannot_be(tmp_path, small, options, complaint):
    assert complaint in refusal(write(tmp_path, *small, **options))


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


@pytest.mark.slow
def test_random_damage_under_sound_checksums_never_escapes(tmp_path, small):
    """A forged index can have right checksums, so its content must not be trusted: only `ValueError` is raised."""
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
