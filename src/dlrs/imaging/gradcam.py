"""Grad-CAM: which places of a box raise the log odds of metastasis, and controls of the maps.

A map has the size of the layer that it is taken from: at the last one 4x4
for a picture of 112x112, at the third 4x4 for one of 56x56. A backbone that reads slice by slice has a map for
each; one whose first convolution mixes the slices has a single map, which is
spread over them as that convolution weighs them.
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

HEAT = LinearSegmentedColormap.from_list("heat", ["#D55E0000", "#D55E00A6"])  # from clear to the strongest colour
HEAT_ON_WHITE = LinearSegmentedColormap.from_list("heat on white", ["white", "#E39659"])  # the same, for a colour bar


def layer_named(network: nn.Module, name: str = "layer4") -> str:
    """Return the full name, in `network.named_modules()`, of a layer of the network's backbone."""
    names = [full for full, _ in network.named_modules() if full.endswith(f"backbone.{name}")]
    if not names:
        raise ValueError(f"network must hold a ResNet named backbone with {name!r}; found none")
    return names[-1]


def grad_cam(
    network: nn.Module,
    boxes: torch.Tensor,
    *,
    layer: str | None = None,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
) -> np.ndarray:
    """Return each patient's Grad-CAM maps: where a layer's features raise the log odds of metastasis.

    The network is copied and stays as it is. What lowers the log odds is cut
    off at 0, so a patient in whom the network finds nothing that raises them
    has maps of zeros.

    Parameters
    ----------
    network
        From `resnet.load_model`, or as notebook 03 builds it; of an
        `Ensemble` one member. Predicts as in evaluation; of several log odds their mean is explained.
    boxes : tensor of shape (n, slices, height, width)
    layer
        Name of the layer, as `network.named_modules()` has it; the backbone's last if not said.
    batch_size, device
        As in `training.predict`.

    Returns
    -------
    array of shape (n, slices, rows, columns)
        At the layer's own resolution, at least 0, not scaled: maps of
        different networks have different units. A slice of padding has zeros
        where slices are read one by one, whose four orientations are turned
        back and added; where slices are mixed, the one map times the
        slice's share of the first convolution's absolute weights.

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
    """
    import torch
    from monai.visualize import GradCAM

    # A copy that shares the weights' memory: MONAI's hooks cannot be taken off again and keep what they hang on alive.
    fixed = {id(p): torch.nn.Parameter(p.detach(), requires_grad=False) for p in network.parameters()}
    network = copy.deepcopy(network, fixed).to(device).eval()
    layers, layer = dict(network.named_modules()), layer_named(network) if layer is None else layer
    if not layer or layer not in layers:
        top = [name for name in layers if name and name.count(".") < 2]
        raise ValueError(f"layer must be one of {', '.join(top)} or inside one of them; found {layer!r}")
    # Derivatives are needed from this layer on only, and those of the weights not at all.
    layers[layer].register_forward_pre_hook(lambda _, given: (given[0].detach().requires_grad_(), *given[1:]))
    cam, maps = GradCAM(network, layer), []
    every = slice(None)  # all log odds are asked for: otherwise MONAI counts one for every patient of the batch
    for batch in boxes.split(batch_size):
        found = cam.compute_map(batch.to(device), class_idx=every).detach().cpu().numpy()
        if found.ndim != 4:
            raise ValueError(f"layer must put out rows and columns; found {layer!r}, which puts out one row of numbers")
        maps.append(_one_orientation(found[:, 0]) if _reads_slices(network) else found[:, 0])
    with torch.inference_mode():
        n_log_odds = network(boxes[:1].to(device)).shape[1]
    return _over_slices(network, boxes, np.concatenate(maps) / n_log_odds)


def even_maps(network: nn.Module, boxes: torch.Tensor) -> np.ndarray:
    """Return maps without preference, of one place a slice, for a network that reads the slices as this one does.

    What lies inside the ROI by chance alone is read from them: `heat_shares` of an even map is the area's share.
    """
    from dlrs.imaging.resnet import with_tissue

    n_maps = int(with_tissue(boxes).sum()) if _reads_slices(network) else len(boxes)
    return _over_slices(network, boxes, np.ones((n_maps, 1, 1)))


def _reads_slices(network: nn.Module) -> bool:
    from dlrs.imaging.resnet import MeanOfSlices

    return any(isinstance(module, MeanOfSlices) for module in network.modules())


def _one_orientation(maps: np.ndarray) -> np.ndarray:
    """Return each slice's heat from the four orientations in which `MeanOfSlices` reads it, turned back and added."""
    import torch

    from dlrs.imaging.resnet import turned_back

    return turned_back(torch.from_numpy(maps).unflatten(0, (4, -1))).sum(dim=0).numpy()


def _over_slices(network: nn.Module, boxes: torch.Tensor, maps: np.ndarray) -> np.ndarray:
    """Return maps of each box's slices from those that a network has: of its slices with tissue, or of its boxes."""
    from dlrs.imaging.resnet import with_tissue

    if _reads_slices(network):
        heat = np.zeros((*boxes.shape[:2], *maps.shape[1:]), dtype=maps.dtype)
        heat[with_tissue(boxes).numpy()] = maps
        return heat
    weights = network[0].weight.detach().abs().sum(dim=(0, 2, 3)).cpu().numpy()
    return maps[:, None] * (weights / weights.sum())[:, None, None]


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


def heat_shares(heat: ArrayLike, rois: ArrayLike) -> pd.DataFrame:
    """Return which share of each patient's heat lies inside the ROI, beside it in the box, and in padding.

    To be read beside the shares of `even_maps`, which are those of the area:
    a box fits its ROI closely, so most of any map lies inside.

    Parameters
    ----------
    heat : array of shape (n, slices, rows, columns)
        From `grad_cam`, at least 0; a place's heat is spread evenly over the pixels that it stands for.
    rois : boolean array of shape (n, slices, height, width)
        From `roi_box`; a slice without ROI is padding.

    Returns
    -------
    DataFrame
        A row per patient: inside_roi, beside_roi, padding, which sum to 1;
        NaN where the map is 0 everywhere.

    Raises
    ------
    ValueError
        Heat is negative or not finite, or shapes do not fit.

    Examples
    --------
    >>> roi = np.zeros((1, 2, 4, 4), dtype=bool)
    >>> roi[0, 0, :, :2] = True  # the left half of the first slice; the second slice is padding
    >>> heat_shares(np.ones((1, 2, 4, 4)), roi).round(2).values.tolist()
    [[0.25, 0.25, 0.5]]
    """
    heat, rois = np.asarray(heat, dtype=float), np.asarray(rois, dtype=bool)
    if heat.ndim != 4 or rois.ndim != 4 or heat.shape[:2] != rois.shape[:2] or rois.shape[2] != rois.shape[3]:
        expected = "heat must be (n, slices, rows, columns) and rois (n, slices, size, size)"
        raise ValueError(f"{expected}; found {heat.shape} and {rois.shape}")
    rows = []
    for number, (heat_map, roi) in enumerate(zip(heat, rois, strict=True)):
        if not (np.isfinite(heat_map).all() and heat_map.min() >= 0):
            raise ValueError(f"heat must be finite and at least 0; found {heat_map.min():g} in map {number}")
        fine = np.stack([resize(part, roi.shape[1], "nearest") for part in _scaled(heat_map)]).astype(float)
        inside, padding, total = (fine * roi).sum(), fine[~roi.any(axis=(1, 2))].sum(), fine.sum()
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
