"""The one CSV inside a published zip: what is refused, and that no damage passes for data."""

import errno
import struct
import zipfile
from io import BytesIO, FileIO
from pathlib import Path

import pytest
from factories import kline_csv, zip_bytes
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.errors import MalformedArchive, StorageError
from core.settings import QualitySettings
from core.storage.member import open_member

NAME = "BTCUSDT-1h-2024-01"
CSV = kline_csv(rows=3)
GOOD = zip_bytes({f"{NAME}.csv": CSV})


def content_of(
    folder: Path,
    content: bytes,
    quality: QualitySettings | None = None,
    name: str = NAME,
) -> bytes:
    """The member's bytes, read to the end in small steps."""
    path = folder / f"{name}.zip"
    path.write_bytes(content)
    parts = []
    with open_member(path, quality or QualitySettings()) as member:
        while data := member.read(97):
            parts.append(data)
    return b"".join(parts)


def refusal(folder: Path, content: bytes, quality: QualitySettings | None = None) -> str:
    with pytest.raises(MalformedArchive) as caught:
        content_of(folder, content, quality)
    assert str(caught.value).startswith(f"{NAME}.zip")
    return str(caught.value)


def patched(content: bytes, local_at: int, central_at: int, layout: str, value: int) -> bytes:
    """A zip with one field of its local and its central header replaced."""
    changed = bytearray(content)
    struct.pack_into(layout, changed, content.index(b"PK\3\4") + local_at, value)
    struct.pack_into(layout, changed, content.index(b"PK\1\2") + central_at, value)
    return bytes(changed)


def compressed_by(method: int, text: bytes = CSV) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(f"{NAME}.csv", text)
    return buffer.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_a_whole_member_comes_out_as_it_went_in(tmp_path: Path, method: int) -> None:
    assert content_of(tmp_path, compressed_by(method)) == CSV


def test_a_name_in_another_script_is_a_name(tmp_path: Path) -> None:
    name = "币安人生USDT-1h-2025-10"
    assert content_of(tmp_path, zip_bytes({f"{name}.csv": CSV}), name=name) == CSV


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "zero bytes; the exchange's file is broken"),
        (b"<html>502 Bad Gateway</html>", "no readable zip"),
        (GOOD[: len(GOOD) // 2], "no readable zip"),
        (zip_bytes({f"{NAME}.csv": CSV, "more.csv": CSV}), "2 members; one is expected"),
        (zip_bytes({}), "0 members; one is expected"),
        (zip_bytes({"other.csv": CSV}), f"holds 'other.csv' instead of '{NAME}.csv'"),
        (zip_bytes({f"../{NAME}.csv": CSV}), f"holds '../{NAME}.csv' instead of"),
        (zip_bytes({f"/tmp/{NAME}.csv": CSV}), f"holds '/tmp/{NAME}.csv' instead of"),
        (zip_bytes({f"data/{NAME}.csv": CSV}), f"holds 'data/{NAME}.csv' instead of"),
        (patched(GOOD, 6, 8, "<H", 1), "is encrypted"),
        (patched(GOOD, 6, 8, "<H", 0x20), "holds compressed patched data; only plain deflate is read"),
        (patched(GOOD, 6, 8, "<H", 0x40), "is strongly encrypted"),
        (patched(GOOD, 4, 6, "<H", 64), "no readable zip (zip file version 6.4)"),
        (patched(GOOD, 8, 10, "<H", 99), "is compressed by method 99; only deflate is read"),
        (compressed_by(zipfile.ZIP_BZIP2), "is compressed by method 12; only deflate is read"),
        (compressed_by(zipfile.ZIP_LZMA), "is compressed by method 14; only deflate is read"),
        (patched(GOOD, 14, 16, "<I", 12345), "the zip is damaged (Bad CRC-32"),
        (patched(GOOD, 22, 24, "<I", len(CSV) - 40), "the zip is damaged"),
        (patched(GOOD, 22, 24, "<I", len(CSV) + 40), f"the zip is damaged (it declares {len(CSV) + 40} bytes)"),
        (patched(GOOD, 42, 42, "<I", 0xFFFF0000), "no readable zip"),
        (GOOD[:-10] + struct.pack("<I", 1 << 20) + GOOD[-6:], "no readable zip"),
        (GOOD[:-6] + struct.pack("<I", 1 << 20) + GOOD[-2:], "no readable zip"),
    ],
)
def test_a_bad_zip_is_refused_with_the_reason(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refusal(tmp_path, content)


def test_a_name_that_is_no_text_is_a_broken_zip(tmp_path: Path) -> None:
    broken = patched(GOOD, 6, 8, "<H", 0x800).replace(NAME.encode(), b"\xff" + NAME.encode()[1:])
    assert "no readable zip" in refusal(tmp_path, broken)


def test_a_cut_deflate_stream_is_found_although_its_directory_is_whole(tmp_path: Path) -> None:
    start, directory = 30 + len(f"{NAME}.csv"), GOOD.index(b"PK\1\2")
    packed = directory - start
    for kept in (0, 1, packed // 2, packed - 20):
        cut = bytearray(GOOD[: start + kept] + GOOD[directory:])
        struct.pack_into("<I", cut, 18, kept)
        struct.pack_into("<I", cut, start + kept + 20, kept)
        struct.pack_into("<I", cut, len(cut) - 6, start + kept)
        assert "damaged" in refusal(tmp_path, bytes(cut)), kept


def test_bombs_are_refused_before_they_unpack(tmp_path: Path) -> None:
    bomb = zip_bytes({f"{NAME}.csv": b"1" * 50_000_000})
    assert "times its size; quality.max_compression_ratio is 200" in refusal(tmp_path, bomb)
    assert "would unpack to 50,000,000 bytes; quality.max_csv_bytes is 49,999,999" in refusal(
        tmp_path, bomb, QualitySettings(max_csv_bytes=49_999_999, max_compression_ratio=10_000)
    )
    allowed = QualitySettings(max_csv_bytes=50_000_000, max_compression_ratio=10_000)
    path = tmp_path / f"{NAME}.zip"
    with open_member(path, allowed) as member:
        assert member.read(1 << 20) == b"1" * (1 << 20)


def test_a_bomb_that_declares_little_never_gives_more_than_it_declares(tmp_path: Path) -> None:
    path = tmp_path / f"{NAME}.zip"
    path.write_bytes(patched(zip_bytes({f"{NAME}.csv": b"1" * 5_000_000}), 22, 24, "<I", 1000))
    given_out = 0

    def read_all() -> None:
        nonlocal given_out
        with open_member(path, QualitySettings()) as member:
            while data := member.read(100):
                given_out += len(data)

    with pytest.raises(MalformedArchive, match="damaged"):
        read_all()
    assert given_out <= 1000


def test_a_file_that_is_not_there_is_no_fault_of_the_exchange(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=r"cannot use .*gone\.zip: No such file"),
        open_member(tmp_path / "gone.zip", QualitySettings()),
    ):
        pass


def test_a_disk_that_fails_is_no_fault_of_the_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"{NAME}.zip"
    path.write_bytes(GOOD)

    class Failing(FileIO):
        def read(self, count: int | None = -1, /) -> bytes:
            if self.tell() == 30 + len(f"{NAME}.csv"):
                raise OSError(errno.EIO, "Input/output error")
            return super().read(count)

    monkeypatch.setattr(Path, "open", lambda self, mode: Failing(self, mode))
    with (
        pytest.raises(StorageError, match="Input/output error; check the folder"),
        open_member(path, QualitySettings()) as member,
    ):
        member.read(10)


@given(steps=st.lists(st.integers(1, 500), min_size=1, max_size=20), method=st.sampled_from([0, 8]))
@hypothesis_settings(max_examples=60, deadline=None)
def test_a_read_gives_as_many_bytes_as_it_is_asked_for_until_the_end(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], method: int
) -> None:
    path = tmp_path_factory.mktemp("steps") / f"{NAME}.zip"
    path.write_bytes(compressed_by(method))
    place = 0
    with open_member(path, QualitySettings()) as member:
        for step in steps:
            assert member.read(step) == CSV[place : place + step]
            place += step
        assert member.read() == CSV[place:]
        assert member.read(1) == b""
        assert (member.size, member.declared) == (len(CSV), len(CSV))


@given(place=st.integers(0, len(GOOD) - 1), value=st.integers(0, 255), cut=st.booleans())
@example(place=GOOD.index(b"PK\1\2") + 45, value=255, cut=False)
@example(place=GOOD.index(b"PK\1\2") + 10, value=14, cut=False)
@hypothesis_settings(max_examples=300, deadline=None)
def test_a_damaged_byte_is_harmless_or_refused_and_never_other_data(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, cut: bool
) -> None:
    broken = GOOD[:place] if cut else GOOD[:place] + bytes([value]) + GOOD[place + 1 :]
    try:
        found = content_of(tmp_path_factory.mktemp("damaged"), broken)
    except MalformedArchive:
        return
    assert found == CSV
