"""ZIPs from elsewhere: whatever they hold, memory stays bounded and each error is a known one."""

import zlib
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

# What a ZIP raises that was cut off or changed (ValueError: names that are no text, places before its beginning), asks
# for a password (RuntimeError), or is compressed in another way (NotImplementedError, which is a RuntimeError).
BROKEN_ZIP = (BadZipFile, EOFError, OSError, RuntimeError, ValueError, zlib.error)


def open_member(archive: ZipFile, name: str) -> IO[bytes]:
    """Open a file of a ZIP, to be read with a size. Raises what is in ``BROKEN_ZIP``."""
    # Of bzip2 and LZMA zipfile unpacks what it has read in one piece: 600 bytes become a gigabyte.
    if archive.getinfo(name).compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise NotImplementedError(f"{name!r} is compressed in another way than Deflate")
    return archive.open(name)
