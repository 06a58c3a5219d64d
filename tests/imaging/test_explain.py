"""Grad-CAM: maps against the formula, shares of heat on maps made by hand, networks that forget, changed ROIs."""

import copy
from collections import OrderedDict

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from dlrs.imaging import cropping, gradcam, resnet, volumes
from networks import build_network

SLICES, SIZE = 4, 64


@pytest.fixture(scope="module")
def network():
    """A small network with normalisation and weights that are not those of a fresh one."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = build_network(n_slices=SLICES)
        with torch.inference_mode():
            network.train()(torch.randn(8, SLICES, SIZE, SIZE))  # moves the normalisation's running means
    return network.eval()


@pytest.fixture(scope="module")
def boxes():
    return torch.randn(5, SLICES, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def weights(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


# ---------------------------------------------------------------- maps


def test_a_map_is_the_last_features_weighted_by_the_last_layer(network, boxes):
    # logit = b + sum_c w_c mean_places(A_c), so d logit / d A_c = w_c / places everywhere:
    # the map is max(0, sum_c w_c A_c) / places, and before the cut at 0 its sum is logit - b
    with torch.inference_mode():
        x = network.backbone
        features = x.maxpool(x.relu(x.bn1(x.conv1(network.mix(boxes)))))
        for layer in (x.layer1, x.layer2, x.layer3, x.layer4):
            features = layer(features)
        uncut = torch.einsum("c,nchw->nhw", network.logit.weight[0], features) / features[0, 0].numel()
        logit = network(boxes)[:, 0]
    assert torch.allclose(uncut.sum((1, 2)) + network.logit.bias, logit, atol=1e-5)
    maps = gradcam.grad_cam(network, boxes)
    assert maps.shape == (5, SLICES, 2, 2) and maps.min() >= 0  # 64 pixels, halved five times
    np.testing.assert_allclose(maps.sum(axis=1), uncut.clamp_min(0).numpy(), atol=1e-6)
    mixed = network.mix.weight.detach().abs().sum(dim=(0, 2, 3)).numpy()  # how slices are weighed
    np.testing.assert_allclose(maps, maps.sum(axis=1)[:, None] * (mixed / mixed.sum())[:, None, None], atol=1e-6)


def by_slices(network, n_heads=3):
    """The frozen recipe's network: every slice read alone, several heads."""
    with torch.random.fork_rng():
        torch.manual_seed(4)  # of others every map may be flat
        parts = dict(slices=resnet.MeanOfSlices(network.backbone), logit=torch.nn.Linear(512, n_heads))
    return torch.nn.Sequential(OrderedDict(parts)).eval()


def test_a_network_that_reads_slices_has_a_map_of_each_and_none_of_padding(network, boxes):
    boxes = boxes.clone()
    boxes[1, 2:] = 0  # padding
    sliced = by_slices(network)
    maps = gradcam.grad_cam(sliced, boxes, batch_size=2)
    assert maps.shape == (5, SLICES, 2, 2) and not maps[1, 2:].any() and maps[1, :2].any()
    # of the mean log odds over the heads, each slice having its share in the mean of features; turned back by hand
    weights, x = sliced.logit.weight.mean(dim=0), network.backbone
    turns = [
        (lambda m: m, lambda m: m),
        (lambda m: m.flip(2), lambda m: m.flip(2)),
        (lambda m: m.transpose(1, 2), lambda m: m.transpose(1, 2)),
        (lambda m: m.transpose(1, 2).flip(2), lambda m: m.flip(2).transpose(1, 2)),
    ]
    expected = 0
    for there, back in turns:
        with torch.inference_mode():
            pictures = torch.nn.functional.adaptive_avg_pool2d(there(boxes[1, :2]), 56)
            features = x.maxpool(x.relu(x.bn1(x.conv1(pictures[:, None].expand(-1, 3, -1, -1)))))
            for layer in (x.layer1, x.layer2, x.layer3, x.layer4):
                features = layer(features)
            uncut = torch.einsum("c,nchw->nhw", weights, features) / features[0, 0].numel()
        expected = expected + back(uncut.clamp_min(0)) / 4 / 2  # four orientations, two slices
    np.testing.assert_allclose(maps[1, :2], expected.numpy(), atol=1e-6)
    even = gradcam.even_maps(sliced, boxes)
    assert even.shape == (5, SLICES, 1, 1) and even[1, :, 0, 0].tolist() == [1, 1, 0, 0]
    np.testing.assert_allclose(gradcam.even_maps(network, boxes).sum(axis=1), 1, rtol=1e-6)


def test_a_box_of_112_pixels_has_a_map_of_4_by_4(network):
    assert gradcam.grad_cam(network, torch.randn(1, SLICES, 112, 112)).shape == (1, SLICES, 4, 4)


def test_a_map_does_not_depend_on_who_else_is_in_the_batch(network, boxes):
    together = gradcam.grad_cam(network, boxes, batch_size=5)
    np.testing.assert_allclose(gradcam.grad_cam(network, boxes, batch_size=2), together, atol=1e-6)
    np.testing.assert_allclose(gradcam.grad_cam(network, boxes[3:4]), together[3:4], atol=1e-6)


def test_the_network_stays_as_it_was(network, boxes):
    before, training = weights(network), network.training
    network.train()
    gradcam.grad_cam(network, boxes)
    gradcam.randomised(network, seed=1)
    assert network.training and all(p.requires_grad and p.grad is None for p in network.parameters())
    network.train(training)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())


def test_nothing_that_raises_the_log_odds_is_an_empty_map(network, boxes):
    silent = copy.deepcopy(network)
    torch.nn.init.constant_(silent.logit.weight, -1.0)  # features follow a ReLU, so all evidence is against
    maps = gradcam.grad_cam(silent, boxes)
    assert not maps.any()
    shares = gradcam.heat_shares(maps, np.ones((5, SLICES, 8, 8), dtype=bool))
    assert shares.isna().all(axis=None)


def test_earlier_layers_have_finer_maps(network, boxes):
    assert gradcam.grad_cam(network, boxes, layer="backbone.layer2").shape == (5, SLICES, 8, 8)
    assert gradcam.grad_cam(network, boxes, layer="backbone.layer4.1.conv2").shape == (5, SLICES, 2, 2)


@pytest.mark.parametrize("layer", ["backbone.layer5", "", "layer4"])
def test_an_unknown_layer_is_named_with_those_there_are(network, boxes, layer):
    with pytest.raises(ValueError, match=f"layer must be one of mix, .*backbone.layer4, .*found '{layer}'"):
        gradcam.grad_cam(network, boxes, layer=layer)


@pytest.mark.parametrize("layer", ["logit", "dropout", "backbone"])
def test_a_layer_without_places_is_refused(network, boxes, layer):
    with pytest.raises(ValueError, match=f"layer must put out rows and columns; found '{layer}'"):
        gradcam.grad_cam(network, boxes, layer=layer)


# ---------------------------------------------------------------- networks that forget


def test_a_randomised_network_differs_in_every_part(network, boxes):
    other = gradcam.randomised(network, seed=1)
    one = weights(network)
    for part in gradcam.parts_of(network):
        names = [name for name in one if name.startswith(part) and name.endswith("weight") and one[name].dim() > 1]
        assert all(not torch.equal(one[name], other.state_dict()[name]) for name in names), part
    assert torch.equal(other.backbone.bn1.running_mean, torch.zeros(64))  # normalisation as before training
    assert not np.allclose(gradcam.grad_cam(other, boxes), gradcam.grad_cam(network, boxes))


def test_every_weight_belongs_to_a_part_from_the_output_back(network):
    parts = gradcam.parts_of(network)
    assert parts == [
        "logit",
        *(f"backbone.{n}" for n in ("layer4", "layer3", "layer2", "layer1", "bn1", "conv1")),
        "mix",
    ]
    assert all(name.startswith(tuple(parts)) for name in network.state_dict())
    assert gradcam.parts_of(torch.nn.Sequential(*network, torch.nn.PReLU()))[0] == "4"


def test_only_the_parts_asked_for_forget(network):
    one, other = weights(network), gradcam.randomised(network, seed=1, parts=["logit"]).state_dict()
    changed = {name for name in one if not torch.equal(one[name], other[name])}
    assert changed == {"logit.weight", "logit.bias"}


def test_the_seed_draws_the_weights_and_nothing_else(network):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (gradcam.randomised(network, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["mix.weight"], other["mix.weight"])


def test_an_unknown_part_is_named(network):
    with pytest.raises(ValueError, match="parts must be among mix, .*; found layer9"):
        gradcam.randomised(network, seed=1, parts=["logit", "layer9"])


# ---------------------------------------------------------------- shares of heat


def half_a_box():
    """One patient, 4 slices of 4 x 4: ROI in the left half of the first, all of the second; two are padding."""
    roi = np.zeros((1, 4, 4, 4), dtype=bool)
    roi[0, 0, :, :2] = True
    roi[0, 1] = True
    return roi


def test_shares_by_hand():
    # a 2 x 2 map, each place standing for 2 x 2 pixels: 3 and 1 in the left column, 0 and 4 in the right one; half of
    # the heat is left. Slices alike: padding 2/4; slice 1 has 1/4, half of it inside; slice 2 has 1/4, all inside.
    shares = gradcam.heat_shares(alike([[3, 0], [1, 4]]), half_a_box())
    assert list(shares) == ["inside_roi", "beside_roi", "padding"]
    np.testing.assert_allclose(shares, [[0.125 + 0.25, 0.125, 0.5]])
    # all heat in the upper right: beside the ROI of slice 1, inside that of slice 2
    np.testing.assert_allclose(gradcam.heat_shares(alike([[0, 7], [0, 0]]), half_a_box()), [[0.25, 0.25, 0.5]])


def alike(heat, weights=(1, 1, 1, 1)):
    """Maps of one patient whose four slices have the same one, each with its weight."""
    return (np.array(weights)[:, None, None] * np.array(heat, dtype=float))[None]


def test_shares_follow_the_heat_of_each_slice():
    heat = [[3, 0], [1, 4]]
    for weights, shares in [
        ((1, 1, 0, 0), [0.75, 0.25, 0]),
        ((2, 0, 0, 0), [0.5, 0.5, 0]),
        ((0, 0, 0, 1), [0, 0, 1]),
    ]:
        np.testing.assert_allclose(gradcam.heat_shares(alike(heat, weights), half_a_box()), [shares])


def test_an_even_maps_shares_are_those_of_the_area():
    rng = np.random.default_rng(1)
    rois = rng.random((6, 5, 12, 12)) < 0.7
    rois[3, 4:] = rois[4, 1:] = False
    shares = gradcam.heat_shares(np.full((6, 5, 3, 3), 0.2), rois)
    np.testing.assert_allclose(shares["inside_roi"], rois.mean(axis=(1, 2, 3)))
    np.testing.assert_allclose(shares["padding"], [0, 0, 0, 0.2, 0.8, 0])
    np.testing.assert_allclose(shares.sum(axis=1), 1)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_shares_sum_to_1_whatever_the_scale(scale):
    rng = np.random.default_rng(2)
    heat, rois = rng.gamma(0.5, size=(9, 20, 4, 4)), rng.random((9, 20, 28, 28)) < 0.6
    rois[:, 12:] = False
    shares = gradcam.heat_shares(heat * scale, rois)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(shares["padding"], heat[:, 12:].sum(axis=(1, 2, 3)) / heat.sum(axis=(1, 2, 3)))
    assert (shares >= 0).all(axis=None)
    np.testing.assert_allclose(shares, gradcam.heat_shares(heat, rois), rtol=1e-5)


def test_what_cannot_be_shared_out_is_refused():
    roi = half_a_box()
    with pytest.raises(ValueError, match="heat must be finite and at least 0; found -1 in map 0"):
        gradcam.heat_shares(alike([[-1.0, 2.0], [0.0, 0.0]]), roi)
    expected = r"heat must be \(n, slices, rows, columns\).*found \(2, 2, 2\) and \(1, 4, 4, 4\)"
    with pytest.raises(ValueError, match=expected):
        gradcam.heat_shares(np.ones((2, 2, 2)), roi)


# ---------------------------------------------------------------- agreement of maps


def test_rank_agreement_by_hand():
    first = np.array([[[1.0, 2.0], [3.0, 4.0]]] * 4)
    second = np.array([[[1, 8], [9, 70]], [[4, 3], [2, 1]], [[2, 1], [3, 4]], [[5, 5], [5, 5]]], dtype=float)
    # third pair: ranks 1 2 3 4 and 2 1 3 4, 1 - 6 * 2 / (4 * 15) = 0.8; the fourth has no order
    np.testing.assert_allclose(gradcam.rank_agreement(first, second), [1, -1, 0.8, np.nan])
    with pytest.raises(ValueError, match="second must have the shape of first"):
        gradcam.rank_agreement(first, second[:2])


# ---------------------------------------------------------------- ROIs


@pytest.fixture
def tumour():
    """A volume of 40 x 40 x 8 voxels, 1 x 1 x 4 mm, with an ellipse on six of its slices."""
    x, y, z = np.mgrid[:40, :40, :8]
    roi = (((x - 18) / 9) ** 2 + ((y - 22) / 6) ** 2 <= 1) & (z > 0) & (z < 7)
    image = np.random.default_rng(4).normal(size=roi.shape) + x + 2 * y
    return image.astype(np.float32), roi


def test_the_roi_lies_in_its_box_as_the_image_does(tumour):
    image, roi = tumour
    inside = gradcam.roi_box(roi, box_size=28, n_slices=10)
    # what make_box leaves when it empties the surroundings is the ROI, and the slices it fills are those with ROI
    box = cropping.make_box(image, roi, box_size=28, n_slices=10, keep_outside_roi=False).array
    assert inside.shape == box.shape and (inside == (box != 0)).all()
    assert inside.any(axis=(1, 2)).tolist() == [True] * 6 + [False] * 4
    # it fills as much of the box as of the rectangle, and touches all four sides
    mask = volumes.axial(roi, 3)
    assert inside[0].mean() == pytest.approx(mask[cropping.rectangle(mask)].mean(), abs=0.03)
    assert inside[0][0].any() and inside[0][-1].any() and inside[0][:, 0].any() and inside[0][:, -1].any()


def test_adjusting_the_roi_changes_the_box_as_expected(tumour):
    image, roi = tumour
    spacing = (1.0, 1.0, 4.0)
    options = dict(box_size=28, n_slices=10, zscore="slice")
    box = cropping.make_box(image, roi, **options).array

    def window(mask):
        rows, columns = cropping.rectangle(volumes.axial(mask, 3))
        return rows.stop - rows.start, columns.stop - columns.start, rows.start, columns.start

    rows, columns, top, left = window(roi)
    # 3 mm are 3 voxels on each side: front and back, right and left
    dilated = cropping.adjust_roi(roi, spacing, grow_mm=3)
    assert window(dilated) == (rows + 6, columns + 6, top - 3, left - 3)
    eroded = cropping.adjust_roi(roi, spacing, grow_mm=-3)
    assert window(eroded)[0] < rows and window(eroded)[1] < columns
    # axial slices are drawn front up and the patient's right at the left: to the right and front is left and up
    shifted = cropping.adjust_roi(roi, spacing, shift_mm=(2, 5))
    assert window(shifted) == (rows, columns, top - 5, left - 2)
    for changed in (dilated, eroded, shifted):
        other = cropping.make_box(image, changed, **options).array
        assert other.shape == box.shape and not np.allclose(other, box)
        assert (other[6:] == 0).all()  # slices stay as many
    # moving image and ROI together changes nothing
    moved = cropping.make_box(np.roll(image, (2, 5), axis=(0, 1)), shifted, **options).array
    np.testing.assert_array_equal(moved, box)
    # less than half a voxel is no movement
    assert (cropping.adjust_roi(roi, spacing, shift_mm=(0.4, -0.4)) == roi).all()


# ---------------------------------------------------------------- drawing


def test_overlay_draws_slice_outline_and_squares(tumour):
    image, roi = tumour
    box = cropping.make_box(image, roi, box_size=28, n_slices=10).array
    inside = gradcam.roi_box(roi, box_size=28, n_slices=10)
    figure, (plain, hot, empty) = plt.subplots(1, 3)
    gradcam.overlay(box[0], inside[0], ax=plain)
    assert len(plain.images) == 1
    heat = np.array([[0.0, 2.0], [0.0, 1.0]])
    assert gradcam.overlay(box[0], inside[0], heat, ax=hot) is hot
    alpha = hot.images[1].to_rgba(hot.images[1].get_array())[..., 3]
    strength = [alpha[3, 3], alpha[3, 20], alpha[20, 20]]
    np.testing.assert_allclose(strength, [0, 0.65, 0.325], atol=1 / 256)  # as strong as the heat, in 256 colours
    gradcam.overlay(box[0], inside[0], np.zeros((2, 2)), ax=empty)
    assert not empty.images[1].to_rgba(empty.images[1].get_array())[..., 3].any()
    figure.canvas.draw()
    plt.close(figure)
