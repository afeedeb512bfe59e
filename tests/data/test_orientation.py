"""Photos with each of the eight EXIF orientations: read, labelled in either frame, predicted, and written."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from torch import Tensor, nn

from fbnetv5.base.distributed import World
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import BOXES, TargetKind
from fbnetv5.config.schema import DataConfig, EvaluateConfig, FilesConfig, RunConfig, RuntimeConfig
from fbnetv5.data.images import image_header, read_image, read_stored
from fbnetv5.data.inputs import InputSpec
from fbnetv5.data.orientation import inverse, to_stored, turn_boxes, turn_pixels, turned_size
from fbnetv5.data.sources import build_folder_source, build_source
from fbnetv5.jobs.evaluate import evaluate_and_report
from fbnetv5.labeling.labeler import Labeler
from fbnetv5.labeling.loading import ImageFiles
from fbnetv5.labeling.plan import Entry
from fbnetv5.labeling.teacher import Boxes
from fbnetv5.model.task_net import TaskNet

ORIENTATIONS = range(1, 9)
SIZE = (48, 32)  # width and height of the picture, upright
BOX = [8.0, 4.0, 20.0, 12.0]  # of the red thing in it
ALONE = World(0, 1, torch.device("cpu"))


def picture() -> Tensor:
    image = torch.zeros(3, SIZE[1], SIZE[0], dtype=torch.uint8)
    image[0, 4:12, 8:20] = 255
    image[1, 0, 0] = 100  # no orientation looks like another
    return image


def red_box(image: Tensor) -> list[float]:
    """The box of what is red in an image [3, H, W]."""
    rows, columns = torch.nonzero(image[0] > image[0].float().mean(), as_tuple=True)
    return [float(v) for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]


def photo(path: Path, orientation: int) -> Path:
    """Store the picture as a camera does that was held in some way."""
    stored = turn_pixels(picture(), inverse(orientation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored.permute(1, 2, 0).numpy()).save(path, exif=exif)
    return path


def boxes_in(frame: str, orientation: int) -> tuple[list[float], tuple[int, int]]:
    """The box of the red thing in a frame, and the size of the image there."""
    if frame == "upright":
        return BOX, SIZE
    back = inverse(orientation)
    return turn_boxes(torch.tensor([BOX]), SIZE, back)[0].tolist(), turned_size(SIZE, back)


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for orientation in ORIENTATIONS:
        photo(folder / f"{orientation}.png", orientation)
    return folder


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_images_are_turned_as_pillow_turns_them_and_boxes_with_them(tmp_path, orientation):
    path = photo(tmp_path / "a.png", orientation)
    stored, read = read_stored(path)
    assert read == orientation
    assert image_header(path) == ((stored.shape[2], stored.shape[1]), orientation)
    with Image.open(path) as image:
        seen = torch.frombuffer(bytearray(ImageOps.exif_transpose(image).tobytes()), dtype=torch.uint8)
    assert torch.equal(read_image(path, upright=True), picture())
    assert torch.equal(seen.reshape(SIZE[1], SIZE[0], 3).permute(2, 0, 1), picture())
    box, size = boxes_in("stored", orientation)
    assert red_box(stored) == box
    assert turn_boxes(torch.tensor([box]), size, orientation)[0].tolist() == BOX


@pytest.mark.parametrize("kind", [TargetKind.MASK, TargetKind.KEYPOINTS, TargetKind.SCALAR])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_predictions_come_back_in_the_stored_frame(kind, orientation):
    mask = picture()[0]
    stored_mask = turn_pixels(mask, inverse(orientation))
    if kind is TargetKind.MASK:
        assert torch.equal(to_stored(mask, kind, SIZE, orientation), stored_mask)
    elif kind is TargetKind.KEYPOINTS:  # the centres of two red pixels stay on red
        points = torch.tensor([[8.5, 4.5, 0.7], [19.5, 11.5, 0.2]])
        moved = to_stored(points, kind, SIZE, orientation)
        assert all(stored_mask[int(y), int(x)] == 255 for x, y, _ in moved.tolist())
        assert torch.equal(moved[:, 2], points[:, 2])
    else:
        assert to_stored(mask, kind, SIZE, orientation) is mask


def write_labels(root: Path, frame: str, sizes: bool = True) -> None:
    """COCO boxes and masks of the photos, in a frame."""
    images, annotations = [], []
    (root / "masks").mkdir()
    for orientation in ORIENTATIONS:
        box, (width, height) = boxes_in(frame, orientation)
        entry = {"id": orientation, "file_name": f"{orientation}.png"}
        images.append(entry | ({"width": width, "height": height} if sizes else {}))
        bbox = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
        annotations.append({"id": orientation, "image_id": orientation, "category_id": 1, "bbox": bbox})
        mask = (picture()[0] > 0).to(torch.uint8)
        mask = mask if frame == "upright" else turn_pixels(mask, inverse(orientation))
        Image.fromarray(mask.numpy()).save(root / "masks" / f"{orientation}.png")
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    (root / "boxes.json").write_text(json.dumps(content))


def opened(root: Path, exif: str = "auto", boxes: str | None = "boxes.json", masks: str | None = "masks"):
    files = FilesConfig(images="photos", boxes=boxes, masks=masks)
    return build_source(DataConfig(root=str(root), train=files, mask_classes=["ground", "thing"], exif=exif))


@pytest.mark.parametrize(("boxes", "masks"), [("boxes.json", None), (None, "masks"), ("boxes.json", "masks")])
@pytest.mark.parametrize("frame", ["upright", "stored"])
def test_labels_in_either_frame_lie_on_what_they_label_and_the_choice_is_told(photos, frame, boxes, masks, caplog):
    write_labels(photos.parent, frame)
    source = opened(photos.parent, boxes=boxes, masks=masks)
    (line,) = caplog.messages
    assert "7 images have an EXIF orientation" in line
    assert f"read {'as stored' if frame == 'stored' else 'upright'}" in line
    assert ("upright image 4 times, of the stored one 0 times" in line) == (frame == "upright")
    for row, orientation in enumerate(ORIENTATIONS):
        sample = source.load(row)
        expected, (width, height) = boxes_in(frame, orientation)
        assert sample.image.shape == (3, height, width)
        assert red_box(sample.image) == expected
        if boxes:
            assert sample.target["boxes"].tolist() == [expected]
        if masks:
            assert torch.equal(sample.target["segmentation"], (sample.image[0] > 0).to(torch.uint8))


def test_without_a_size_boxes_that_fit_one_frame_alone_tell(photos):
    write_labels(photos.parent, "upright", sizes=False)
    source = opened(photos.parent, masks=None)
    assert all(red_box(source.load(row).image) == BOX for row in range(8))
    assert source.index.value("width", 5) is None  # it fits both
    path = photos.parent / "boxes.json"
    path.write_text(path.read_text().replace("[8.0, 4.0, 12.0, 8.0]", "[40, 4, 6, 8]"))
    assert opened(photos.parent, masks=None).index.value("width", 5) == SIZE[0]


@pytest.mark.parametrize(("exif", "frame", "said"), [("apply", "stored", "applied"), ("ignore", "upright", "ignored")])
@pytest.mark.parametrize(("boxes", "masks"), [("boxes.json", None), (None, "masks")])
def test_a_size_that_exif_explains_names_exif(photos, exif, frame, said, boxes, masks):
    write_labels(photos.parent, frame)
    source = opened(photos.parent, exif, boxes, masks)
    with pytest.raises(
        InputError, match=rf"6.png: \d+x\d+ pixels .* EXIF orientation \(6\) {said}: set data.exif=auto"
    ):
        source.load(5)
    other = opened(photos.parent, {"apply": "ignore", "ignore": "apply"}[exif], boxes, masks)
    assert red_box(other.load(5).image) == boxes_in(frame, 6)[0]


class Finder(nn.Module):
    """A trained model that finds what is red."""

    predict, predict_tensors = TaskNet.predict, TaskNet.predict_tensors
    typed, in_stored_frame = TaskNet.typed, TaskNet.in_stored_frame

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.head = SimpleNamespace(target=BOXES)
        self.spec = SimpleNamespace(classes=("thing",), input=InputSpec(short_side=min(SIZE)))

    def forward(self, images, targets=None, true_sizes=None, output_sizes=None):
        found = [{"boxes": torch.tensor([red_box(image)]), "box_labels": torch.tensor([0])} for image in images]
        return [prediction | {"scores": torch.tensor([0.9])} for prediction in found]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_photo_is_predicted_as_a_person_sees_it_in_the_frame_that_is_asked_for(photos, orientation):
    path, model = photos / f"{orientation}.png", Finder()
    stored, _ = boxes_in("stored", orientation)
    with Image.open(path) as opened_photo:
        for image in (path, opened_photo):
            assert model.predict(image)["boxes"].tolist() == [BOX]
            assert model.predict(image, frame="stored")["boxes"].tolist() == [stored]


@pytest.mark.parametrize("frame", ["upright", "stored"])
def test_predictions_of_a_folder_are_written_in_the_frame_that_is_asked_for(photos, tmp_path, frame, capsys):
    (photos / "truncated.png").write_bytes((photos / "1.png").read_bytes()[:60])
    config = RunConfig(name="it", evaluate=EvaluateConfig(images=str(photos), frame=frame, num_drawn=2))
    config.runtime = RuntimeConfig(workers=0)
    evaluate_and_report(config, Finder(), build_folder_source(photos), tmp_path / "out", ALONE)
    assert "1 of 9 images could not be read and were left out" in capsys.readouterr().err
    content = json.loads((tmp_path / "out" / "predictions" / "predictions.json").read_text())
    for image, annotation in zip(content["images"], content["annotations"], strict=True):
        box, size = boxes_in(frame, int(Path(image["file_name"]).stem))
        assert (image["width"], image["height"]) == size
        assert annotation["bbox"] == [box[0], box[1], box[2] - box[0], box[3] - box[1]]
    assert (tmp_path / "out" / "predictions" / "drawn.png").is_file()


def test_one_photo_is_a_source_and_a_damaged_one_alone_is_an_error(photos, tmp_path):
    source = build_folder_source(photos / "6.png")
    assert (len(source), source.load(0).name, red_box(source.load(0).image)) == (1, "6.png", BOX)
    (photos / "6.png").write_bytes(b"damaged")
    config = RunConfig(name="it", evaluate=EvaluateConfig(images=str(photos / "6.png")))
    config.runtime = RuntimeConfig(workers=0)
    with pytest.raises(InputError, match="none of the 1 images could be read"):
        evaluate_and_report(config, Finder(), build_folder_source(photos / "6.png"), tmp_path / "out", ALONE)


class Teacher:
    """Finds what is red."""

    classes = ("thing",)

    def __call__(self, images):
        return [Boxes(torch.tensor([red_box(i)]), torch.tensor([0]), torch.tensor([1.0])) for i in images]


@pytest.mark.parametrize("frame", ["upright", "stored"])
def test_labels_are_made_in_the_frame_that_is_asked_for(photos, frame):
    loaded = [ImageFiles(photos)[0, Entry(f"{orientation}.png", None)] for orientation in ORIENTATIONS]
    for orientation, (row, _) in zip(ORIENTATIONS, Labeler(Teacher(), None, frame=frame)(loaded), strict=True):
        box, size = boxes_in(frame, orientation)
        assert (row["boxes"], (row["width"], row["height"])) == ([box], size)


def test_a_damaged_tag_turns_nothing(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 77
    Image.new("RGB", (5, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert image_header(tmp_path / "a.jpg") == ((5, 4), 1)
    exif[0x0112] = 6
    Image.new("RGB", (5, 4)).save(tmp_path / "b.jpg", exif=exif)
    assert image_header(tmp_path / "b.jpg") == ((5, 4), 6)
    assert read_image(tmp_path / "b.jpg", upright=True).shape == (3, 5, 4)


@pytest.mark.parametrize("kind", ["ImageMagick's", "XMP"])
def test_the_header_of_a_png_tells_what_reading_it_does(tmp_path, kind):
    tag = PngInfo()
    if kind == "XMP":
        tag.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    else:
        exif = Image.Exif()
        exif[0x0112] = 6
        content = exif.tobytes()
        tag.add_text("Raw profile type exif", f"\nexif\n{len(content):8}\n{content.hex()}\n")
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png", pnginfo=tag)
    assert image_header(tmp_path / "a.png") == ((6, 4), 6)
    assert read_stored(tmp_path / "a.png")[1] == 6
