"""The network of notebook 03 with random weights, for tests that train nothing."""

from collections import OrderedDict

from torch import nn

from dlrs.imaging import resnet


def build_network(*, n_slices=20, dropout=0.5):
    parts = dict(mix=resnet.slice_mix(n_slices), backbone=resnet.backbone("none"), dropout=nn.Dropout(dropout))
    return nn.Sequential(OrderedDict(parts, logit=nn.Linear(512, 1)))


def build_frozen(*, n_heads=5):
    """A network of the recipe `frozen`, untrained: a backbone that reads slice by slice, and the heads of the folds."""
    reader = resnet.MeanOfSlices(resnet.backbone("none"))
    return nn.Sequential(OrderedDict(slices=reader, logit=nn.Linear(512, n_heads)))
