"""What a result says about the images of a folder."""

from PIL import Image

from models.training._files import CACHE_VARIABLE
from studies._images import CIFAR10_IMAGES, Images


def test_the_place_of_the_images_is_no_part_of_a_result_but_their_content_is(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    made = []
    for place, brightness in (("here", 10), ("there", 10), ("elsewhere", 90)):
        images = tmp_path / place / "images"
        for number, name in enumerate(("ant", "bee")):
            (images / name).mkdir(parents=True)
            for i in range(12):
                picture = Image.new("RGB", (4, 4), (brightness + i, 40 * number, 7))
                picture.save(images / name / f"{i}.png")
        made.append(Images(images).read(CIFAR10_IMAGES, seed=0).making)
    assert made[0] == made[1]
    assert made[0]["name"] == made[2]["name"] == "imagefolder:images"
    assert made[0] != made[2]
