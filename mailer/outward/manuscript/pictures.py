"""Pictures of a digest: taken from the source's own folder, stripped of what they tell of who took them, made small."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote

from PIL import Image, ImageCms, ImageOps

PICTURE_BYTES = 32 * 1024 * 1024
PIXELS = 64_000_000  # a phone's largest setting; decoding more would take over 256 MB
LARGEST = (1280, 2560)  # two pixels for each of the column's on a sharp screen
JPEG_QUALITY = 82
_READ = ("JPEG", "PNG", "GIF", "WEBP")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it travels. content_id: unguessable, without angle brackets (RFC 2392 §2). width: pixels."""

    name: str
    content_id: str
    content_type: str
    content: bytes
    width: int


class PictureUnusable(Exception):
    """A picture cannot go into a letter; the reason says why and what to do."""


class Album:
    """The pictures of one digest, each once, in the order of their first use."""

    def __init__(self, folder: Path, random: Callable[[int], bytes]) -> None:
        self._folder = folder.resolve()
        self._random = random
        self._pictures: dict[Path, Picture] = {}

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All that were added."""
        return tuple(self._pictures.values())

    def add(self, reference: str) -> Picture:
        """Return the picture that `reference`, as written in the source, names; raises PictureUnusable."""
        path = self._find(reference)
        if path not in self._pictures:
            content_type, content, width = shrink(path)
            content_id = f"{self._random(12).hex()}@{self._random(6).hex()}"
            self._pictures[path] = Picture(path.name, content_id, content_type, content, width)
        return self._pictures[path]

    def _find(self, reference: str) -> Path:
        name = unquote(reference)
        if "://" in name or name.startswith("//"):
            raise PictureUnusable("this picture is on the web, where its server would see who reads; save it here")
        try:
            path = (self._folder / name).resolve()
            is_there = path.is_file()
        except (OSError, ValueError) as error:  # a NUL, a name too long, a link that leads to itself
            raise PictureUnusable("that is no name of a file; save the picture beside the file") from error
        # After resolving, so that neither `..` nor a symbolic link leads out of the folder.
        if not path.is_relative_to(self._folder):
            raise PictureUnusable("this picture lies outside the folder of the file; copy it there")
        if not is_there:
            raise PictureUnusable("there is no such picture; look at its name, which counts from the file's folder")
        return path


def shrink(path: Path) -> tuple[str, bytes, int]:
    """Return content type, bytes and width of the picture at `path`, made anew from its pixels; raises PictureUnusable.

    Made anew, so that no place, time, camera, thumbnail or comment comes along: neither in a field that we know of nor
    in one that we do not. Turned upright first, since the orientation is such a field.
    """
    try:
        if path.stat().st_size > PICTURE_BYTES:
            raise PictureUnusable(f"this picture is larger than {PICTURE_BYTES // 1024**2} MiB; make it smaller")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged fields that are dropped, and of sizes that are checked below
            return _encode(_open(path.read_bytes()), path)
    except Image.DecompressionBombError as error:
        raise PictureUnusable(_TOO_MANY_PIXELS) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise PictureUnusable("this is no whole JPEG, PNG, GIF or WebP picture; export it as JPEG or PNG") from error


_TOO_MANY_PIXELS = f"this picture has more than {PIXELS // 1_000_000} million pixels; make it smaller"


def _open(blob: bytes) -> Image.Image:
    image: Image.Image = Image.open(BytesIO(blob), formats=_READ)
    if image.width * image.height > PIXELS:
        raise PictureUnusable(_TOO_MANY_PIXELS)
    # MPO: a phone's JPEG with a second picture behind it, which nobody sees.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise PictureUnusable("this picture moves; save one frame of it as PNG")
    image.draft("RGB", LARGEST)
    is_see_through = image.has_transparency_data
    image = _to_srgb(ImageOps.exif_transpose(image), "RGBA" if is_see_through else "RGB")
    image.thumbnail(LARGEST, Image.Resampling.LANCZOS)
    image.info = {}  # or Pillow writes comment and colour profile again
    return image


def _to_srgb(image: Image.Image, mode: str) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "RGBA", "CMYK"):
        try:
            given = ImageCms.ImageCmsProfile(BytesIO(profile))
            shown = ImageCms.profileToProfile(image, given, ImageCms.createProfile("sRGB"), outputMode=mode)
            return shown or image.convert(mode)
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a damaged or unfit profile: the colours as they stand
    return image.convert(mode)


def _encode(image: Image.Image, path: Path) -> tuple[str, bytes, int]:
    jpeg = b""
    if image.mode == "RGB":
        jpeg = _save(image, "JPEG", quality=JPEG_QUALITY, optimize=True, progressive=True)
        if path.suffix.lower() in (".jpg", ".jpeg"):
            return "image/jpeg", jpeg, image.width
    png = _save(image, "PNG", optimize=True)
    # A photograph saved as PNG; drawings and screenshots stay sharp.
    if jpeg and len(jpeg) * 2 < len(png):
        return "image/jpeg", jpeg, image.width
    return "image/png", png, image.width


def _save(image: Image.Image, form: str, **settings: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **settings)
    return buffer.getvalue()
