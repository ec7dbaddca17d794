"""The container of PyTorch's `.pt` files: a zip archive of uncompressed records, each aligned to 64 bytes.

All names begin with the archive's root: "net/data.pkl", "net/data/0". The writer lays the bytes out as PyTorch does,
header by header, and needs no seeking. The reader finds records with `zipfile`, reads their bytes itself, and checks
them against their checksums. Read next: `pickling.py`, what is in "data.pkl".
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zipfile
import zlib
from typing import IO, Any

import numpy as np

__all__ = ["ALIGNMENT", "ArchiveReader", "ArchiveWriter"]

ALIGNMENT = 64
VERSION = b"3\n"  # of the container, as PyTorch writes it
NEWEST_VERSION = 10  # that can be read
LIMIT = 0xFFFFFFFF  # sizes and positions from here on stand in zip64 fields
UTF8, SIZES_FOLLOW = 0x0800, 0x0008  # flags of a zip entry: its name's encoding; sizes stand after the data
ENCRYPTED = 0x0001
LOCAL_HEADER = struct.Struct("<4s5H3I2H")


# ----- writing ----------------------------------------------------------------------------------------------------


class ArchiveWriter:
    """Writes records one after the other to anything that has `write`.

    Args:
        file: open for writing bytes.
        root: the folder in the archive in which all records lie.
    """

    def __init__(self, file: Any, root: str) -> None:
        self.file = file
        self.root = root
        self.position = 0
        self.directory: list[bytes] = []
        self.fingerprint = hashlib.blake2b(digest_size=16)

    def put(self, content: Any) -> None:
        self.file.write(content)
        self.position += len(content)

    def write(self, name: str, content: Any) -> None:
        """Write one record.

        Args:
            name: without the root.
            content: bytes, or a one-dimensional view of bytes.
        """
        full_name = f"{self.root}/{name}".encode()
        size, checksum, start = len(content), zlib.crc32(content), self.position
        self.fingerprint.update(full_name + checksum.to_bytes(4, "little"))
        large = b"".join(struct.pack("<Q", value) for value in (size, size, start) if value >= LIMIT)
        if large:
            large = struct.pack("<2H", 1, len(large)) + large
        padding = -(start + LOCAL_HEADER.size + len(full_name) + len(large) + 4) % ALIGNMENT
        extra = large + b"FB" + struct.pack("<H", padding) + b"Z" * padding
        flags = UTF8 | SIZES_FOLLOW if size else UTF8
        header = LOCAL_HEADER.pack(b"PK\x03\x04", 0, flags, 0, 0, 0, 0, 0, 0, len(full_name), len(extra))
        self.put(header + full_name + extra)
        if size:
            self.put(content)
            self.put(b"PK\x07\x08" + struct.pack("<I2Q" if large else "<3I", checksum, size, size))
        short = [0xFFFFFFFF if value >= LIMIT else value for value in (size, start)]
        entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 0, 0, UTF8 | SIZES_FOLLOW, 0, 0, 0, checksum, short[0],
                            short[0], len(full_name), len(large), 0, 0, 0, 0, short[1])  # fmt: skip
        self.directory.append(entry + full_name + large)

    def finish(self) -> None:
        """Write the format's version, a fingerprint of the content, and the directory."""
        self.write("version", VERSION)
        digest = self.fingerprint.digest()
        numbers = (int.from_bytes(half, "little") for half in (digest[:8], digest[8:]))
        self.write(".data/serialization_id", "".join(f"{number:020d}" for number in numbers).encode())
        directory, start, count = b"".join(self.directory), self.position, len(self.directory)
        self.put(directory)
        end = self.position
        self.put(struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 0x031E, 45, 0, 0, count, count, len(directory), start))
        self.put(struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1))
        counts = min(count, 0xFFFF)
        sizes = [0xFFFFFFFF if value >= LIMIT else value for value in (len(directory), start)]
        self.put(struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, counts, counts, *sizes, 0))


# ----- reading ----------------------------------------------------------------------------------------------------


class ArchiveReader:
    """Reads records of an archive; everything that is wrong with it is a `RuntimeError` that names the file.

    Args:
        file: open for reading bytes, seekable.
        name: of the file, for messages.
        map_path: where to map the file's memory instead of reading records.

    Raises:
        RuntimeError: the file is damaged, or is a zip file of another kind.
    """

    def __init__(self, file: IO[bytes], name: str, map_path: str | None = None) -> None:
        self.file = file
        self.name = name
        try:
            with zipfile.ZipFile(file) as directory:
                entries = directory.infolist()
            self.size = file.seek(0, io.SEEK_END)
        except OSError:
            raise
        except Exception as error:  # zipfile answers damage with many types
            raise self.damaged(f"the directory at its end is missing or broken ({error})") from None
        names = [entry.filename for entry in entries]
        if any(entry.header_offset < 0 for entry in entries):
            raise self.damaged("its beginning is missing")
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & ENCRYPTED for entry in entries):
            raise RuntimeError(
                f"{name} is compressed or encrypted: records of a checkpoint are stored as they are; save it again"
            )
        if len(set(names)) != len(names) or sum(entry.file_size for entry in entries) > self.size:
            raise self.damaged("records of its directory overlap")
        self.root = names[0].partition("/")[0] if names else ""
        self.entries = {entry.filename: entry for entry in entries}
        self.memory = None
        if map_path is not None:
            self.memory = np.memmap(map_path, np.uint8, mode="c").view(np.ndarray)

    def damaged(self, why: str) -> RuntimeError:
        return RuntimeError(f"{self.name} is damaged or incomplete: {why}")

    def __contains__(self, name: str) -> bool:
        return f"{self.root}/{name}" in self.entries

    def _find(self, name: str) -> tuple[zipfile.ZipInfo, int]:
        """A record's entry in the directory and where its bytes begin."""
        entry = self.entries.get(f"{self.root}/{name}")
        if entry is None:
            raise self.damaged(f"record {name!r} is missing")
        header = self._bytes_at(entry.header_offset, LOCAL_HEADER.size)
        if header[:4] != b"PK\x03\x04":
            raise self.damaged(f"record {name!r} is not where the directory says")
        name_length, extra_length = LOCAL_HEADER.unpack(header)[-2:]
        start = entry.header_offset + LOCAL_HEADER.size + name_length + extra_length
        if start + entry.file_size > self.size:
            raise self.damaged(f"record {name!r} ends after the file does")
        return entry, start

    def _bytes_at(self, start: int, count: int) -> bytes:
        self.file.seek(start)
        content = self.file.read(count)
        if len(content) != count:
            raise self.damaged(f"it ends after {self.size} bytes")
        return content

    def read(self, name: str) -> bytes:
        """The bytes of a small record."""
        entry, start = self._find(name)
        content = self._bytes_at(start, entry.file_size)
        self._check(entry, content)
        return content

    def read_array(self, name: str, count: int) -> Any:
        """The first `count` bytes of a record as an array: of its own, or, where the file is mapped, of the map.

        Raises:
            RuntimeError: the record is shorter; its checksum is wrong (not looked at where the file is mapped).
        """
        entry, start = self._find(name)
        if entry.file_size < count:
            raise self.damaged(f"record {name!r} has {entry.file_size} bytes, of which {count} are needed")
        if self.memory is not None:
            return self.memory[start : start + count]
        array = np.empty(entry.file_size, np.uint8)
        self._read_into(start, array.data)
        self._check(entry, array.data)
        return array[:count]

    def _read_into(self, start: int, memory: memoryview) -> None:
        self.file.seek(start)
        if hasattr(self.file, "readinto"):
            done = 0
            while done < len(memory):
                count = self.file.readinto(memory[done:])
                if not count:
                    raise self.damaged(f"it ends after {self.size} bytes")
                done += count
        else:
            memory[:] = self._bytes_at(start, len(memory))

    def _check(self, entry: zipfile.ZipInfo, content: Any) -> None:
        if zlib.crc32(content) != entry.CRC:
            raise self.damaged(f"the checksum of record {entry.filename!r} is wrong")

    def check_version(self) -> None:
        """Refuse an archive of a format that came later.

        Raises:
            RuntimeError: says which version it has.
        """
        if "version" in self:
            text = self.read("version").strip()
            if not text.isdigit() or len(text) > 9 or int(text) > NEWEST_VERSION:
                raise RuntimeError(f"{self.name} has version {text!r} of the format; at most {NEWEST_VERSION} is known")


def root_of(path: str | os.PathLike[str]) -> str:
    """The root that PyTorch gives an archive: the file's name without its last ending."""
    name = os.path.basename(os.fspath(path)).replace("\\", "/").rpartition("/")[2]
    stem = name.rpartition(".")[0] if "." in name else name
    return stem if stem.isascii() and stem else "archive"
