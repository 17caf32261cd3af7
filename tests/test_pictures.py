"""The pictures of the documentation are of losses, and show something."""

import importlib
import pathlib
import sys

import jax
import numpy as np
import pytest

import jaxloss

SITE = pathlib.Path(__file__).parent.parent / "docs" / "site"
sys.path.insert(0, str(SITE))
cuts, drawn, families, pictures = map(
    importlib.import_module, ("cuts", "drawn", "families", "pictures")
)

# Building the site draws all of them.
ALWAYS = ("huber_loss", "sigmoid_binary_cross_entropy", "triplet_loss")


@pytest.fixture(autouse=True)
def as_the_site_is_built():
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ALWAYS else [pytest.mark.exhaustive])
        for name in drawn.CUTS
    ],
)
def test_a_cut_is_drawn_to_its_ends(name):
    points, found = pictures.along(drawn.CUTS[name])
    assert list(found) == list(drawn.CUTS[name].curves)
    assert len(found) <= len(pictures.COLOURS)
    for loss, gradient in found.values():
        assert loss.shape == gradient.shape == points.shape
        assert np.isfinite(loss).all() and np.isfinite(gradient).all()
        assert np.ptp(loss) > 0


def test_a_cut_that_leaves_what_is_finite_is_refused():
    curve = cuts.scalar("binary_cross_entropy", 1)
    with pytest.raises(ValueError, match="the cut leaves what is finite"):
        pictures.along(cuts.Cut("probability", 0, 1, {"": curve}))


def test_the_gradient_of_a_picture_is_the_slope_of_its_loss():
    points, found = pictures.along(drawn.CUTS["huber_loss"])
    for loss, gradient in found.values():
        slope = np.gradient(loss, points)
        np.testing.assert_allclose(gradient[1:-1], slope[1:-1], atol=0.02)


def test_a_picture_is_the_same_in_every_build():
    cut = drawn.CUTS["huber_loss"]
    picture = pictures.draw(cut)
    assert picture == pictures.draw(cut)
    text = picture.decode()
    assert text.startswith("<?xml") and "prediction - target" in text
    assert all(legend in text for legend in cut.curves)


# Families whose losses are all functions of one residual, logit, margin or score.
DRAWN = (
    "Binary and focal",
    "Margins and Fenchel-Young",
    "Regression and similarity",
    "Regression, robust and relative",
)
WITHOUT = {"make_fenchel_young_loss"}  # makes losses, and is none


def test_what_can_be_drawn_is_drawn():
    assert all(callable(getattr(jaxloss, name)) for name in drawn.CUTS)
    headings = families.families()
    for heading in DRAWN:
        assert set(headings[heading]) - set(drawn.CUTS) <= WITHOUT, heading
