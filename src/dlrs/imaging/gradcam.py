"""Grad-CAM: which places of a box raise the log odds of metastasis, and controls of the maps.

A map has the size of the layer that it is taken from: at the last one 4x4
for a box of 112x112. The first convolution mixes a box's slices before
anything else happens, so one map stands for all slices and cannot name one.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import ArrayLike

from dlrs.imaging.cropping import rectangle, resize, select_slices
from dlrs.imaging.volumes import axial
from dlrs.stats.groups import spearman

if TYPE_CHECKING:
    import torch
    from torch import nn

LAST_LAYER = "backbone.layer4"
HEAT = LinearSegmentedColormap.from_list("heat", ["#D55E0000", "#D55E00A6"])  # from clear to the strongest colour
HEAT_ON_WHITE = LinearSegmentedColormap.from_list("heat on white", ["white", "#E39659"])  # the same, for a colour bar


def grad_cam(
    network: nn.Module,
    boxes: torch.Tensor,
    *,
    layer: str = LAST_LAYER,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
) -> np.ndarray:
    """Return each patient's Grad-CAM map: where a layer's features raise the log odds of metastasis.

    The network is copied and stays as it is. What lowers the log odds is cut
    off at 0, so a patient in whom the network finds nothing that raises them
    has a map of zeros.

    Parameters
    ----------
    network
        From `resnet.load_model`, or as notebook 03 builds it; predicts as in evaluation.
    boxes : tensor of shape (n, slices, height, width)
    layer
        Name of the layer, as `network.named_modules()` has it; by default the
        last one that still has a place for everything.
    batch_size, device
        As in `training.predict`.

    Returns
    -------
    array of shape (n, rows, columns)
        At the layer's own resolution, at least 0, not scaled: maps of
        different networks have different units.

    Raises
    ------
    ValueError
        There is no such layer, or what it puts out has no rows and columns.

    Notes
    -----
    max(0, sum over channels c of w_c A_c), where A are the layer's outputs
    and w_c is the mean over all places of the derivative of the log odds by
    A_c. At the last layer, before global averaging and one linear layer, w_c
    is the linear layer's weight over the number of places. Computed by
    `monai.visualize.GradCAM`, whose default postprocessing would turn the map
    upside down.

    References
    ----------
    Selvaraju et al., ICCV 2017, equations 1 and 2.

    Examples
    --------
    >>> from dlrs import train  # doctest: +SKIP
    >>> grad_cam(resnet.load_model(folder)[0], torch.zeros(2, 20, 112, 112)).shape  # doctest: +SKIP
    (2, 4, 4)
    """
    import torch
    from monai.visualize import GradCAM

    # A copy that shares the weights' memory: MONAI's hooks cannot be taken off again and keep what they hang on alive.
    fixed = {id(p): torch.nn.Parameter(p.detach(), requires_grad=False) for p in network.parameters()}
    network = copy.deepcopy(network, fixed).to(device).eval()
    layers = dict(network.named_modules())
    if not layer or layer not in layers:
        top = [name for name in layers if name and name.count(".") < 2]
        raise ValueError(f"layer must be one of {', '.join(top)} or inside one of them; found {layer!r}")
    # Derivatives are needed from this layer on only, and those of the weights not at all.
    layers[layer].register_forward_pre_hook(lambda _, given: (given[0].detach().requires_grad_(), *given[1:]))
    cam = GradCAM(network, layer)
    # The logit is asked for by its number: otherwise MONAI counts it once for every patient of the batch.
    shape = cam.feature_map_size(boxes[:1].shape, device, class_idx=0)
    if len(shape) != 4:
        raise ValueError(f"layer must put out rows and columns; found {layer!r}, which puts out one row of numbers")
    maps = [
        cam.compute_map(batch.to(device), class_idx=0)[:, 0].detach().cpu().numpy() for batch in boxes.split(batch_size)
    ]
    return np.concatenate(maps)


def parts_of(network: nn.Module) -> list[str]:
    """Name a network's parts with weights from the output back to the box, the order in which they are randomised.

    A backbone counts layer by layer.
    """
    names = []
    for name, child in network.named_children():
        inside = [f"{name}.{part}" for part, module in child.named_children() if any(True for _ in module.parameters())]
        names += inside or ([name] if any(True for _ in child.parameters()) else [])
    return names[::-1]


def randomised(network: nn.Module, *, seed: int, parts: Sequence[str] | None = None) -> nn.Module:
    """Return a copy of a network in which some parts have random weights again.

    A map that stays the same shows the network's architecture and the
    image's edges, not what was trained (Adebayo 2018).

    Parameters
    ----------
    network
        Stays as it is.
    seed
        Draws the weights; torch's own random state is not touched.
    parts
        Names of modules, each replaced with all that is in it; `parts_of(network)` if not said.

    Returns
    -------
    Module
        Weights as the layers' own initialisation draws them, normalisation as
        before training.

    Raises
    ------
    ValueError
        There is no such part.

    References
    ----------
    Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018.
    """
    import torch

    network = copy.deepcopy(network)
    names = dict(network.named_modules())
    parts = parts_of(network) if parts is None else parts
    unknown = [part for part in parts if part not in names]
    if unknown:
        top = [name for name in names if name and name.count(".") < 2]
        raise ValueError(f"parts must be among {', '.join(top)}, or inside one of them; found {', '.join(unknown)}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for part in parts:
            for module in names[part].modules():
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()
    return network


def roi_box(roi: np.ndarray, *, box_size: int = 112, n_slices: int = 20) -> np.ndarray:
    """Return where in its box a tumour's ROI lies, cut and resized as `cropping.make_box` does with the image.

    Parameters
    ----------
    roi
        Boolean mask of the volume, axes (x, y, z), not empty.
    box_size, n_slices
        As the box was made.

    Returns
    -------
    array of bool, shape (n_slices, box_size, box_size)
        Slices without any True are padding.
    """
    inside = np.zeros((n_slices, box_size, box_size), dtype=bool)
    for place, z in enumerate(select_slices(roi, n_slices)):
        mask = axial(roi, z)
        inside[place] = resize(mask[rectangle(mask)], box_size, "nearest") > 0.5
    return inside


def _scaled(heat: np.ndarray) -> np.ndarray:
    """Return a map whose highest value is 1; one of zeros stays so."""
    return heat / (heat.max() or 1.0)


def heat_shares(heat: ArrayLike, rois: ArrayLike, *, slice_weights: ArrayLike | None = None) -> pd.DataFrame:
    """Return which share of each map's heat lies inside the ROI, beside it in the box, and in padding.

    To be read beside the shares of an even map, which are those of the area:
    a box fits its ROI closely, so most of any map lies inside.

    Parameters
    ----------
    heat : array of shape (n, rows, columns)
        From `grad_cam`, at least 0; a place's heat is spread evenly over the pixels that it stands for.
    rois : boolean array of shape (n, slices, height, width)
        From `roi_box`; a slice without ROI is padding.
    slice_weights : array of shape (slices,), optional
        How a map is spread over the slices it stands for, at least 0. Without
        it every slice has the same part, and the share in padding is the
        share of padded slices whatever the network does; the first
        convolution's weights are the other choice.

    Returns
    -------
    DataFrame
        A row per map: inside_roi, beside_roi, padding, which sum to 1; NaN
        where a map is 0 everywhere.

    Raises
    ------
    ValueError
        Heat or weights are negative or not finite, or shapes do not fit.

    Examples
    --------
    >>> roi = np.zeros((1, 2, 4, 4), dtype=bool)
    >>> roi[0, 0, :, :2] = True  # the left half of the first slice; the second slice is padding
    >>> heat_shares(np.ones((1, 4, 4)), roi).round(2).values.tolist()
    [[0.25, 0.25, 0.5]]
    """
    heat, rois = np.asarray(heat, dtype=float), np.asarray(rois, dtype=bool)
    if heat.ndim != 3 or rois.ndim != 4 or len(heat) != len(rois) or rois.shape[2] != rois.shape[3]:
        expected = "heat must be (n, rows, columns) and rois (n, slices, size, size)"
        raise ValueError(f"{expected}; found {heat.shape} and {rois.shape}")
    weights = np.ones(rois.shape[1]) if slice_weights is None else np.asarray(slice_weights, dtype=float)
    if weights.shape != rois.shape[1:2] or not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise ValueError(f"slice_weights must be {rois.shape[1]} numbers from 0 on, not all 0; found {slice_weights}")
    rows = []
    for number, (heat_map, roi) in enumerate(zip(heat, rois, strict=True)):
        if not (np.isfinite(heat_map).all() and heat_map.min() >= 0):
            raise ValueError(f"heat must be finite and at least 0; found {heat_map.min():g} in map {number}")
        fine = resize(_scaled(heat_map), roi.shape[1], "nearest").astype(float)
        padded = ~roi.any(axis=(1, 2))
        inside = weights @ (fine * roi).sum(axis=(1, 2))
        padding = weights[padded].sum() * fine.sum()
        total = weights.sum() * fine.sum()
        rows.append(np.array([inside, total - inside - padding, padding]) / (total or np.nan))
    return pd.DataFrame(rows, columns=["inside_roi", "beside_roi", "padding"])


def rank_agreement(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Return Spearman's rank correlation between two sets of maps, pair by pair.

    Parameters
    ----------
    first, second : arrays of shape (n, rows, columns)
        Maps as `grad_cam` returns them. Take them before they are enlarged:
        interpolation adds pixels, not information.

    Returns
    -------
    array of shape (n,)
        1 for the same order of places from cold to hot, 0 for unrelated, -1
        for the opposite one; ties have their mean rank; NaN where a map has
        the same value everywhere.
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first.shape != second.shape:
        raise ValueError(f"second must have the shape of first, {first.shape}; found {second.shape}")
    pairs = [(a.ravel(), b.ravel()) for a, b in zip(first, second, strict=True)]
    return np.array([spearman(a, b).rho if np.ptp(a) > 0 and np.ptp(b) > 0 else np.nan for a, b in pairs])


def overlay(image: np.ndarray, roi: np.ndarray, heat: np.ndarray | None = None, *, ax=None):
    """Draw one slice of a box with the ROI's outline and, if given, a heat map over it.

    Parameters
    ----------
    image, roi : arrays of shape (size, size)
        A box's slice (z-scored: black at -2.5, white at 2.5) and the ROI in it.
    heat : array of shape (rows, columns), optional
        From `grad_cam`; the strongest colour is this map's own highest value,
        none is 0.

    Returns
    -------
    matplotlib Axes
    """
    import matplotlib.pyplot as plt

    ax = ax or plt.gca()
    ax.imshow(image, cmap="gray", vmin=-2.5, vmax=2.5, interpolation="nearest")
    if heat is not None:
        fine = resize(
            _scaled(heat), len(image), "nearest"
        )  # places stay squares, so that nobody sees more than there is
        ax.imshow(fine, cmap=HEAT, vmin=0, vmax=1, interpolation="nearest")
    # A frame of False lets the outline close where the ROI touches the box's edge, as it always does somewhere.
    edge = np.arange(-1, len(roi) + 1)
    ax.contour(edge, edge, np.pad(roi, 1).astype(float), [0.5], colors="#56B4E9", linewidths=0.9)
    ax.set(xticks=[], yticks=[], xlim=(-1.5, len(roi) + 0.5), ylim=(len(roi) + 0.5, -1.5))
    ax.spines[:].set_visible(False)
    return ax


def features(network: nn.Module, boxes: torch.Tensor, *, batch_size: int = 32) -> np.ndarray:
    """Return what the network's last layer sees of each patient, shape (n, 512).

    A property that these numbers give away, such as the centre, is one that the probability may rest on.

    Parameters
    ----------
    network
        From `resnet.load_model`, or as notebook 03 builds it; used as in evaluation.
    boxes : tensor of shape (n, slices, height, width)
    """
    import torch

    network = network.eval()
    with torch.inference_mode():
        parts = [network[:-1](x).float() for x in boxes.split(batch_size)]
    return torch.cat(parts).numpy()
