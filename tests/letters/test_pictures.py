"""Pictures in a digest: which may go along, and that nothing in them tells who took them."""

from __future__ import annotations

import email
import re
from email.message import Message
from io import BytesIO
from itertools import count
from pathlib import Path

import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from mailer.errors import DigestUnusable
from mailer.outward.compose import compose, lay_out
from mailer.outward.manuscript import pictures

GPS_LATITUDE = 2
GPS_IFD, IMAGE_DESCRIPTION, ORIENTATION = 0x8825, 0x010E, 0x0112


def write(folder: Path, body: str) -> Path:
    path = folder / "issue.en.md"
    path.write_text(f"---\nsubject: A subject\n---\n{body}", encoding="utf-8")
    return path


def parts_of(payload: bytes) -> list[Message]:
    return list(email.message_from_bytes(payload).walk())


def save_photograph(path: Path, size: tuple[int, int] = (64, 48), comment: bytes = b"") -> Path:
    image = Image.new("RGB", size, (200, 30, 30))
    exif = Image.Exif()
    exif[IMAGE_DESCRIPTION] = "Taken by Chan Tai Man"
    exif.get_ifd(GPS_IFD)[GPS_LATITUDE] = (22.0, 16.0, 40.0)
    image.save(path, exif=exif, comment=comment)
    return path


def test_a_picture_travels_inside_the_letter_under_a_name_that_tells_nothing(tmp_path: Path) -> None:
    save_photograph(tmp_path / "chan tai man.jpg")
    payload = compose(write(tmp_path, "![The quay](<chan tai man.jpg>)\n\n![Again](./chan%20tai%20man.jpg)")).payload
    types = [part.get_content_type() for part in parts_of(payload)]
    assert types == ["multipart/alternative", "text/plain", "multipart/related", "text/html", "image/jpeg"]
    image = parts_of(payload)[-1]
    content_id = image["Content-ID"].strip("<>")
    assert re.fullmatch(r"[0-9a-f]{24}@[0-9a-f]{12}", content_id)
    html = parts_of(payload)[3].get_payload(decode=True)
    assert isinstance(html, bytes)
    assert html.count(f'src="cid:{content_id}"'.encode()) == 2
    assert b"chan" not in html
    assert b"chan" not in payload


def test_names_of_pictures_come_from_the_given_chance(tmp_path: Path) -> None:
    save_photograph(tmp_path / "a.jpg")
    numbers = count(1)
    sheet = lay_out(write(tmp_path, "![x](a.jpg)"), random=lambda size: next(numbers).to_bytes(size, "big"))
    assert sheet.pictures[0].content_id == f"{1:024x}@{2:012x}"


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_nothing_in_a_picture_tells_who_took_it_or_where(tmp_path: Path, name: str) -> None:
    path = save_photograph(tmp_path / name, comment=b"Chan Tai Man")
    path.write_bytes(path.read_bytes() + b"Chan Tai Man")  # behind the end of the picture
    assert b"Chan Tai Man" in path.read_bytes()
    picture = lay_out(write(tmp_path, f"![x]({name})")).pictures[0]
    assert b"Chan Tai Man" not in picture.content
    assert b"Exif" not in picture.content
    assert not Image.open(BytesIO(picture.content)).getexif()
    assert not set(Image.open(BytesIO(picture.content)).info) & {"exif", "comment", "icc_profile", "xmp", "photoshop"}


def test_png_texts_and_times_are_left_behind(tmp_path: Path) -> None:
    notes = PngInfo()
    notes.add_text("Author", "Chan Tai Man")
    notes.add_itxt("XML:com.adobe.xmp", "<x>Chan Tai Man</x>", zip=False)
    Image.new("RGBA", (20, 20), (1, 2, 3, 100)).save(tmp_path / "a.png", pnginfo=notes, dpi=(300, 300))
    picture = lay_out(write(tmp_path, "![x](a.png)")).pictures[0]
    assert re.findall(rb"IHDR|[a-z]{2}[A-Z][a-z]|IDAT|IEND", picture.content[:60])[0] == b"IHDR"
    assert not Image.open(BytesIO(picture.content)).info
    assert Image.open(BytesIO(picture.content)).mode == "RGBA"


def test_a_picture_taken_sideways_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.new("RGB", (60, 30)).save(tmp_path / "a.jpg", exif=exif)
    picture = lay_out(write(tmp_path, "![x](a.jpg)")).pictures[0]
    assert Image.open(BytesIO(picture.content)).size == (30, 60)


def test_colours_of_another_profile_are_turned_into_the_common_one(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for number, icc in enumerate((profile, b"damaged")):
        Image.new("RGB", (9, 9), (200, 30, 30)).save(tmp_path / f"{number}.png", icc_profile=icc)
        picture = lay_out(write(tmp_path, f"![x]({number}.png)")).pictures[0]
        assert Image.open(BytesIO(picture.content)).getpixel((4, 4)) == (200, 30, 30)


def test_a_picture_of_more_pixels_than_the_library_opens_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_photograph(tmp_path / "a.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)
    with pytest.raises(DigestUnusable, match=r"line 4: .*million pixels"):
        compose(write(tmp_path, "![x](a.jpg)"))


def test_a_picture_file_of_many_mebibytes_is_not_even_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "PICTURE_BYTES", 100)
    save_photograph(tmp_path / "a.jpg")
    with pytest.raises(DigestUnusable, match="line 4: this picture is larger than"):
        compose(write(tmp_path, "![x](a.jpg)"))


def test_a_large_picture_is_made_as_wide_as_a_page_needs(tmp_path: Path) -> None:
    save_photograph(tmp_path / "a.jpg", (4000, 2000))
    picture = lay_out(write(tmp_path, "![x](a.jpg)")).pictures[0]
    assert Image.open(BytesIO(picture.content)).size == (1280, 640)


def test_a_drawing_stays_png_and_a_photograph_saved_as_png_becomes_jpeg(tmp_path: Path) -> None:
    Image.new("RGB", (300, 300), "white").save(tmp_path / "drawing.png")
    Image.effect_noise((300, 300), 60).save(tmp_path / "photo.png")
    album = lay_out(write(tmp_path, "![a](drawing.png) ![b](photo.png)")).pictures
    assert [picture.content_type for picture in album] == ["image/png", "image/jpeg"]


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("gone.jpg", "no such picture"),
        ("https://tracker.example/pixel.gif", "on the web"),
        ("//tracker.example/pixel.gif", "on the web"),
        ("../outside.jpg", "outside the folder"),
        ("%2e%2e/outside.jpg", "outside the folder"),
        ("/etc/passwd", "outside the folder"),
        ("link.jpg", "outside the folder"),
        ("folder", "no such picture"),
        ("text.jpg", "no whole JPEG"),
        ("cut.png", "no whole JPEG"),
        ("drawing.svg", "no whole JPEG"),
        ("moving.gif", "moves"),
        ("vast.png", "million pixels"),
        ("a%00.jpg", "no name of a file"),
    ],
)
def test_a_picture_that_cannot_go_along_is_refused_with_its_line(tmp_path: Path, reference: str, words: str) -> None:
    folder = tmp_path / "issue"
    (folder / "folder").mkdir(parents=True)
    save_photograph(tmp_path / "outside.jpg")
    (folder / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    (folder / "text.jpg").write_text("no picture")
    (folder / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "cut.png").write_bytes(save_photograph(tmp_path / "whole.png", (400, 400)).read_bytes()[:200])
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    if reference == "vast.png":
        Image.new("1", (9000, 9000)).save(folder / "vast.png")
    with pytest.raises(DigestUnusable, match=rf"issue\.en\.md, line 6: .*{words}"):
        compose(write(folder, f"Text\n\n![x]({reference})"))


def test_a_picture_in_raw_html_is_held_to_the_same_rules(tmp_path: Path) -> None:
    save_photograph(tmp_path / "a.jpg")
    assert 'src="cid:' in lay_out(write(tmp_path, '<img src="a.jpg" srcset="https://x.example/a 2x" alt="x">')).html
    with pytest.raises(DigestUnusable, match="line 4: this picture is on the web"):
        compose(write(tmp_path, '<img src="https://x.example/a.gif" width=1>'))


def test_a_letter_that_grows_too_large_is_refused_and_says_what_is_largest(tmp_path: Path) -> None:
    Image.effect_noise((800, 800), 90).convert("RGB").save(tmp_path / "noise.jpg", quality=95)
    with pytest.raises(DigestUnusable, match=r"0\.10 MiB are allowed; the largest picture is noise\.jpg"):
        compose(write(tmp_path, "![x](noise.jpg)"), max_bytes=100 * 1024)
