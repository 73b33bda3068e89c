import pytest

from mvcn.audit.pictures import faults_of_image, find_faulty_images
from mvcn.types import ImageFacts

GOOD = {"digest": "0", "width_px": 300, "height_px": 200, "perceptual_hash": 5, "contrast": 40.0}


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        ({}, []),
        ({"contrast": 0.5}, ["blank"]),
        ({"width_px": 31}, ["tiny", "extreme_aspect_ratio"]),
        ({"width_px": 32, "height_px": 32}, []),
        ({"width_px": 1001}, ["extreme_aspect_ratio"]),
        ({"width_px": 1000}, []),
        ({"problem": "it is damaged"}, ["broken"]),
        ({"truncation": "rows are missing"}, ["truncated"]),
        ({"problem": "it does not exist", "digest": ""}, ["missing"]),
    ],
)
def test_faults_of_an_image(change, faults):
    assert faults_of_image(ImageFacts(**GOOD | change)) == faults


def test_a_post_counts_once_and_a_broken_one_has_its_reason(audited):
    facts = [
        ImageFacts(**GOOD | {"width_px": 10}),
        None,
        ImageFacts("1", problem="Image x is damaged."),
    ]
    facts.append(ImageFacts(**GOOD, truncation="Image y is truncated."))
    finding = find_faulty_images(audited(text=["a", "b", "c", "d"], facts=facts))
    assert finding.count == 3
    assert finding.details["truncated"] == ["p3"]
    assert finding.details["tiny"] == finding.details["extreme_aspect_ratio"] == ["p0"]
    assert finding.details["broken"] == ["p2"]
    assert finding.details["reasons"] == {
        "p2": "Image x is damaged.",
        "p3": "Image y is truncated.",
    }
