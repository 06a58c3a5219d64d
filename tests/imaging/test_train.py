"""The network of one sequence: small boxes and few epochs, since what is held here does not depend on size."""

import json
import os
import signal
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from dlrs import cohort, results
from dlrs.config import ROOT, InputError, sha256
from dlrs.imaging import resnet, textures, training
from dlrs_site import intake
from networks import build_network

SMALL = {"images": 16, "size": 32, "batch_size": 8}
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def machine():
    """Leave torch's global settings as they were."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def examples(n=24, slices=4, size=32, seed=0):
    """Boxes whose coarse texture tells the target, and the target."""
    draws = torch.Generator().manual_seed(seed)
    target = np.arange(n) % 3 == 0
    boxes = torch.randn(n, slices, size, size, generator=draws)
    smooth = nn.functional.avg_pool2d(boxes, 5, stride=1, padding=2) * 5
    return torch.where(torch.tensor(target)[:, None, None, None], smooth, boxes), target.astype(float)


def small_fit(boxes, target, held_out, *, seed=3, max_epochs=2, patience=9, network=None, augment=training.augment):
    """Train the study's network for a moment; return it and what `fit` returned."""
    device = resnet.repeatable(seed, device="cpu")
    network = network or build_network(n_slices=boxes.shape[1])
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    fitted = training.fit(
        network,
        boxes,
        target,
        held_out,
        loss=nn.functional.binary_cross_entropy_with_logits,
        optimiser=optimiser,
        schedule=torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0),
        augment=augment,
        max_epochs=max_epochs,
        patience=patience,
        batch_size=8,
        seed=seed,
        device=device,
    )
    return network, fitted


def same(one, other):
    """Whether two networks' weights are equal bit for bit."""
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# ---------------------------------------------------------------- the network


def test_network_has_the_papers_shape():
    network = build_network()
    assert network.mix.weight.shape == (3, 20, 1, 1)
    # torchvision counts 11,689,512 parameters with its 1000-class layer of 513,000; ours are 63 and 513 instead
    assert sum(p.numel() for p in network.parameters()) == 11_689_512 - 513_000 + 63 + 513
    with torch.inference_mode():
        assert network.eval()(torch.zeros(2, 20, 112, 112)).shape == (2, 1)


def test_device_is_the_processor_where_there_is_no_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resnet.repeatable(1) == CPU
    with pytest.raises(ValueError, match="device must be there; found 'cuda'"):
        resnet.repeatable(1, device="cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resnet.repeatable(1).type == "cuda"
    assert resnet.repeatable(1, device="cpu") == CPU


@pytest.mark.parametrize(("found", "kind"), [({"avx512_bf16": True}, torch.bfloat16), ({"avx512_f": True}, None)])
def test_bfloat16_only_where_the_processor_multiplies_it(monkeypatch, found, kind):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert resnet.mixed_precision(CPU) is kind
    with resnet.autocast(CPU):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (kind or torch.float32)


def test_each_channel_starts_as_a_few_neighbouring_slices():
    weight = resnet.slice_mix(20).weight.detach()[..., 0, 0]
    assert weight.argmax(1).tolist() == [2, 5, 8]  # a tenth, a quarter and two fifths of 20
    np.testing.assert_allclose((weight**2).sum(1), 1, rtol=1e-6)  # independent slices would keep their variance


# ---------------------------------------------------------------- weights to start from


def test_textures_follow_their_parameters():
    images, parameters = textures.textures(400, 56, resnet.generator(1, "test"))
    assert images.shape == (400, 3, 56, 56)
    assert parameters.shape == (400, len(textures.TEXTURE_TARGETS))
    assert parameters.abs().max() <= 1
    assert torch.isfinite(images).all()
    roughness = (images.diff(dim=-1).std((-2, -1)) / images.std((-2, -1))).mean(1)
    scale, grain = (parameters[:, textures.TEXTURE_TARGETS.index(name)] for name in ("scale", "grain"))
    assert torch.corrcoef(torch.stack([scale, roughness]))[0, 1] > 0.5  # a higher frequency is rougher
    assert torch.corrcoef(torch.stack([grain, roughness]))[0, 1] > 0.2


@pytest.mark.slow
def test_textures_are_learnt_once_and_cached_by_their_parameters(tmp_path, monkeypatch):
    torch.manual_seed(5)
    first = textures.pretrain_textures(tmp_path, SMALL, device="cpu")
    drawn_next = torch.rand(3)
    written = first.stat().st_mtime_ns
    monkeypatch.setattr(resnet, "repeatable", lambda *_, **__: pytest.fail("the cache was not used"))
    torch.manual_seed(5)
    assert textures.pretrain_textures(tmp_path, SMALL, device="cpu") == first
    assert torch.equal(torch.rand(3), drawn_next)  # what follows is drawn alike, cached or not
    assert first.stat().st_mtime_ns == written
    assert textures.textures_file(tmp_path, {**SMALL, "images": 17}) != first
    assert textures.textures_file(tmp_path, {**SMALL, "seed": 2}) != first
    with pytest.raises(ValueError, match="parameters must be among images, size.*; found epochs"):
        textures.pretrain_textures(tmp_path, {"epochs": 3})


def test_backbone_has_the_textures_weights(tmp_path):
    from safetensors.torch import load_file

    network = resnet.backbone("textures", cache_dir=tmp_path, textures=SMALL, device="cpu")
    cached = load_file(textures.textures_file(tmp_path, SMALL))
    assert torch.equal(network.layer4[1].conv2.weight, cached["layer4.1.conv2.weight"])
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 512)


def test_killed_pretraining_leaves_nothing_that_passes_for_a_backbone(tmp_path, capsys):
    command = [
        sys.executable,
        "-m",
        "dlrs.imaging.textures",
        "textures",
        "--cache",
        str(tmp_path),
        "--images",
        "100000",
    ]
    long = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while "textures" not in long.stderr.readline(40):  # the bar is there: it trains
        assert long.poll() is None
    os.kill(long.pid, signal.SIGKILL)
    long.wait()
    long.stderr.close()
    assert list(tmp_path.glob("textures-*")) == []
    small = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    receipt = tmp_path / "receipt.json"
    textures.main(["textures", "--cache", str(tmp_path), "--threads", "1", *small, "--receipt", str(receipt)])
    [path] = tmp_path.glob("*.safetensors")
    explained = textures.explained_variance(tmp_path, SMALL)
    assert tuple(explained) == textures.TEXTURE_TARGETS and all(value < 1 for value in explained.values())
    assert "explained variance: " + ", ".join(f"{k} {v:.2f}" for k, v in explained.items()) in capsys.readouterr().out
    assert json.loads(receipt.read_text())["sha256"] == sha256(path)


def test_imagenet_without_network_names_the_file_and_its_place(tmp_path, monkeypatch):
    import urllib.request

    def refuse(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    with pytest.raises(InputError, match="could not be downloaded .*no network") as error:
        resnet.backbone("imagenet")
    place = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    assert str(place) in str(error.value)
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in str(error.value)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"half a file")
    with pytest.raises(InputError, match="hash is not the one in its name"):
        resnet.backbone("imagenet")


def test_imagenet_comes_through_torchvisions_own_cache(tmp_path, monkeypatch):
    from torchvision.models import resnet18

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    place.parent.mkdir(parents=True)
    torch.save(resnet18().state_dict(), place)
    monkeypatch.setattr(resnet, "sha256", lambda _: "f37072fd" + 56 * "0")
    expected = torch.load(place, weights_only=True)["layer1.0.conv1.weight"]
    assert torch.equal(resnet.backbone("imagenet").layer1[0].conv1.weight, expected)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_weights_from_a_file(tmp_path, name):
    from safetensors.torch import save_file
    from torchvision.models import resnet18

    state = resnet18(num_classes=4).state_dict()
    (save_file if name.endswith("safetensors") else torch.save)(state, tmp_path / name)
    assert torch.equal(resnet.backbone(tmp_path / name).conv1.weight, state["conv1.weight"])
    del state["bn1.weight"]
    (save_file if name.endswith("safetensors") else torch.save)(state, tmp_path / name)
    with pytest.raises(InputError, match=r"1 tensors do not fit, first bn1.weight; expected the 120 tensors"):
        resnet.backbone(tmp_path / name)


def test_weights_files_that_are_refused(tmp_path):
    with pytest.raises(InputError, match="the file is missing"):
        resnet.backbone(tmp_path / "none.pt")
    for name in ("torn.pt", "torn.safetensors"):
        (tmp_path / name).write_bytes(b"not weights")
        with pytest.raises(InputError, match="cannot be read"):
            resnet.backbone(tmp_path / name)
    torch.save({"run": os.getcwd}, tmp_path / "code.pt")  # a file may not bring code to run
    with pytest.raises(InputError, match="cannot be read"):
        resnet.backbone(tmp_path / "code.pt")
    torch.save({"epoch": 3}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="something else than tensors"):
        resnet.backbone(tmp_path / "other.pt")


# ---------------------------------------------------------------- the patients


@pytest.fixture
def index(tmp_path):
    """A table of boxes of two sequences and three patients, with its files."""
    rows = []
    for sequence in ("ADC", "T2W"):
        for number in range(3):
            box = np.full((4, 8, 8), number + 10 * (sequence == "ADC"), dtype=np.float32)
            file = f"boxes/{sequence}/P{number}.npy"
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / file, box)
            rows.append((f"P{number}", sequence, file, sha256(tmp_path / file)))
    pd.DataFrame(rows, columns=["patient_id", "sequence", "file", "sha256"]).to_csv(tmp_path / "boxes.csv", index=False)
    return tmp_path / "boxes.csv"


def test_boxes_come_in_the_order_asked_for(index):
    boxes = training.load_boxes(index, "ADC", ["P2", "P0"])
    assert boxes.shape == (2, 4, 8, 8)
    assert boxes.dtype == torch.float32
    assert boxes[:, 0, 0, 0].tolist() == [12, 10]


def test_bad_boxes_are_named_by_row_and_never_by_patient(index):
    def message(sequence="T2W", patients=("P0", "P1", "P2"), kind=InputError):
        with pytest.raises(kind) as error:
            training.load_boxes(index, sequence, patients)
        assert "P1" not in str(error.value).replace(str(index.parent), "")
        return str(error.value)

    assert "sequence must be one of T2W, ADC; found 'DWI'" in message("DWI", kind=ValueError)
    assert "no T2W box for included patient 2 of 2" in message(patients=("P0", "P9"))
    path, table = index.parent / "boxes/T2W/P1.npy", index.read_text()
    indexed = sha256(path)

    def replaced_by(content):
        path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
        index.write_text(table.replace(indexed, sha256(path)))
        return message()

    nan = np.full((4, 8, 8), np.nan, dtype=np.float32)
    assert "boxes.csv, row 6, column file: the box holds NaN or infinite values" in replaced_by(nan)
    assert "the box has shape (4, 8, 9); expected (4, 8, 8)" in replaced_by(np.zeros((4, 8, 9), dtype=np.float32))
    assert "row 6, column file: the box cannot be read" in replaced_by(path.read_bytes()[:100])
    path.write_bytes(b"changed afterwards")
    assert "row 6, column file: the box is not the one that was indexed" in message()
    path.unlink()
    assert "row 6, column file: the box is missing" in message()
    index.write_text("patient_id,sequence\nP0,T2W\n")
    assert "no column file, sha256" in message()
    index.unlink()
    assert "the file is missing" in message()


def test_held_out_patients_are_a_share_of_each_class():
    target = np.repeat([1.0, 0.0], [36, 126])
    held = training.hold_out(target, share=0.2, seed=1)
    # 20 % of 36 is 7.2, of 126 is 25.2
    assert held[:36].sum() == 7
    assert held[36:].sum() == 25
    assert not np.array_equal(held, training.hold_out(target, share=0.2, seed=2))


def test_too_few_patients_stop_before_training():
    with pytest.raises(ValueError, match="at least 5 patients with metastasis .*; found 4 of 30"):
        training.hold_out(np.arange(30) < 4, share=0.2, seed=1)
    with pytest.raises(ValueError, match="at least 5 patients without metastasis"):
        training.hold_out(np.ones(30), share=0.2, seed=1)
    with pytest.raises(ValueError, match="target must be 0 or 1; found nan at row 2"):
        training.hold_out([0, 1, np.nan], share=0.2, seed=1)
    with pytest.raises(ValueError, match="share must lie between 0 and 1; found 0"):
        training.hold_out(np.arange(30) < 9, share=0, seed=1)


def test_folds_hold_the_same_share_of_each_status():
    target = np.repeat([1.0, 0.0, np.nan], [36, 126, 8])
    fold = training.folds(target, 5, seed=1)
    sizes = pd.crosstab(np.nan_to_num(target, nan=2), fold)
    assert list(sizes) == [1, 2, 3, 4, 5] and (np.ptp(sizes.to_numpy(), axis=1) <= 1).all()
    assert not np.array_equal(fold, training.folds(target, 5, seed=2))
    for few, found in [(np.arange(30) < 4, "5 patients with metastasis .* found 4 of 30"), (np.ones(30), "without")]:
        with pytest.raises(ValueError, match=f"target must hold at least .*{found}"):
            training.folds(few, 5, seed=1)
    with pytest.raises(ValueError, match="n_folds must be 2 or more; found 1"):
        training.folds(target, 1, seed=1)


def test_augmentation_moves_pixels_and_keeps_what_they_show():
    boxes = torch.arange(8 * 5 * 6 * 6, dtype=torch.float32).reshape(8, 5, 6, 6) + 1
    still = dict(flip=0, shift=0, slices=0, gain=0)

    def moved(**change):
        return training.augment(boxes, resnet.generator(1), **{**still, **change})

    assert torch.equal(moved(), boxes)
    turned = moved(flip=0.5)
    assert torch.equal(turned.flatten(2).sort().values, boxes.flatten(2))  # each slice keeps its pixels
    assert not torch.equal(turned, boxes)
    across = moved(shift=2)
    assert {int(rows.sum()) for rows in across[:, 0].sum(2) > 0} <= {4, 5, 6}  # at most two rows are lost
    assert across.flatten(1).unique().numel() <= boxes.numel() + 1  # no new value but 0
    along = moved(slices=2)
    for box, there in zip(along, boxes, strict=True):  # whole slices, in their order
        kept = [row for row in box.flatten(1).tolist() if any(row)]
        assert 3 <= len(kept) <= 5
        assert str(kept)[1:-1] in str(there.flatten(1).tolist())
    brighter = moved(gain=0.1) / boxes
    assert torch.allclose(brighter, brighter[:, :1, :1, :1].expand_as(brighter))  # one factor a patient
    assert torch.equal(*(training.augment(boxes, resnet.generator(7)) for _ in range(2)))


# ---------------------------------------------------------------- training


def test_a_network_learns_a_texture():
    boxes, target = examples()
    _, fitted = small_fit(boxes, target, np.arange(24) % 6 < 2, max_epochs=8, augment=lambda x, draws: x)
    assert list(fitted.history) == ["epoch", "learning_rate", "train_loss", "heldout_loss"]
    assert fitted.history["train_loss"].iloc[-2:].mean() < 0.5 * fitted.history["train_loss"].iloc[0]


def test_the_epoch_is_chosen_by_the_patients_held_out_and_patience_ends_it():
    # A "network" of one number b, its log odds for everybody. Those learnt from all have metastasis,
    # so b rises by 1 an epoch with plain gradient steps made long enough: 0 -> 1 -> 2 -> 3. Of those held out
    # half have metastasis, so their loss log(1+e^b) - b/2 is lowest at b = 0 and rises from the first step on.
    class Constant(nn.Module):
        def __init__(self, start):
            super().__init__()
            self.b = nn.Parameter(torch.tensor(start))

        def forward(self, x):
            return self.b.expand(len(x), 1)

    class Step(torch.optim.SGD):
        def step(self):
            with torch.no_grad():
                self.param_groups[0]["params"][0].add_(1.0)

    target = np.array([1, 1, 1, 1, 1, 0], dtype=float)
    held = np.array([0, 0, 0, 0, 1, 1], dtype=bool)
    network = Constant(-3.0)
    optimiser = Step(network.parameters(), lr=1.0)
    fitted = training.fit(
        network,
        torch.zeros(6, 1, 4, 4),
        target,
        held,
        loss=nn.functional.binary_cross_entropy_with_logits,
        optimiser=optimiser,
        schedule=torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0),
        augment=lambda x, draws: x,
        max_epochs=20,
        patience=2,
        batch_size=4,
        seed=1,
        device=CPU,
    )
    # b after epochs 1-5: -2, -1, 0, 1, 2; the best is epoch 3, and two epochs without a better one end it at 5.
    assert fitted.best_epoch == 3
    assert fitted.history["epoch"].tolist() == [1, 2, 3, 4, 5]
    assert network.b.item() == 0
    np.testing.assert_allclose(fitted.history["heldout_loss"][2], np.log(2), rtol=1e-6)
    # The training loss falls to the end: it has no say in the choice.
    assert fitted.history["train_loss"].is_monotonic_decreasing


def test_without_patience_the_last_epoch_is_kept_and_those_held_out_choose_nothing():
    boxes, target = examples()
    held = np.arange(24) % 4 == 0
    others = boxes.clone()
    others[torch.tensor(held)] *= -2
    (one, first), (other, _) = (small_fit(x, target, held, max_epochs=3, patience=None) for x in (boxes, others))
    assert first.best_epoch == len(first.history) == 3
    assert same(one, other)


# ---------------------------------------------------------------- the frozen backbone


def sliced(n_heads=2):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        parts = dict(slices=resnet.MeanOfSlices(resnet.backbone("none")), logit=nn.Linear(512, n_heads))
        return nn.Sequential(OrderedDict(parts)).eval()


def test_a_boxs_features_are_the_mean_over_its_slices_and_padding_has_no_part():
    boxes, _ = examples(n=3)
    boxes[1, 1:] = 0
    boxes[2] = 0
    reader = sliced().slices
    found = training.features(reader, boxes, batch_size=2)
    assert found.shape == (3, 512)
    alone = 0
    for turned in (boxes, boxes.flip(3), boxes.transpose(2, 3), boxes.transpose(2, 3).flip(3)):
        with torch.inference_mode():
            alone += (
                reader.backbone(turned.flatten(0, 1)[:, None].expand(-1, 3, -1, -1)).unflatten(0, (3, 4)).numpy() / 4
            )
    np.testing.assert_allclose(found[0], alone[0].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found[1], alone[1, 0], atol=1e-5)
    assert not found[2].any()
    np.testing.assert_allclose(training.features(reader, boxes[:, [2, 0, 3, 1]])[0], found[0], atol=1e-5)
    back = resnet.turned_back(torch.stack(resnet.orientations(boxes)))
    assert all(torch.equal(picture, boxes) for picture in back)
    # a larger box is averaged to the size of pre-training
    large = boxes[:1].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    reader.size = 32
    np.testing.assert_allclose(training.features(reader, large), found[:1], atol=1e-5)


def test_features_are_read_once_for_the_same_weights_and_boxes(tmp_path, monkeypatch):
    boxes, _ = examples(n=4)
    network = sliced()
    first = training.features(network.slices, boxes, cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1

    def read_again(*_):
        raise AssertionError("read although cached")

    with monkeypatch.context() as patch:
        patch.setattr(training, "_outputs", read_again)
        assert np.array_equal(training.features(network.slices, boxes, cache_dir=tmp_path), first)
        with pytest.raises(AssertionError, match="read although cached"):
            training.features(network.slices, boxes + 1e-6, cache_dir=tmp_path)
        network.slices.backbone.conv1.weight.data[0, 0, 0, 0] += 1e-3
        with pytest.raises(AssertionError, match="read although cached"):
            training.features(network.slices, boxes, cache_dir=tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def test_a_head_is_the_penalised_regression_of_the_others():
    rng = np.random.default_rng(2)
    x = (rng.normal(size=(80, 3)) * [1, 10, 0.1] + 5).astype(np.float32)
    target = (x[:, 0] + rng.normal(size=80) > 5).astype(float)
    held = [np.arange(80) % 2 == 0, np.arange(80) % 2 == 1]
    heads = training.fit_heads(x, target, held, penalty=2.0)
    for head, left_out in enumerate(held):
        fitted, y = x[~left_out].astype(float), target[~left_out]
        z = (fitted - fitted.mean(axis=0)) / fitted.std(axis=0)

        def loss(b, z=z, y=y):
            eta = b[0] + z @ b[1:]
            return np.logaddexp(0, eta).sum() - y @ eta + b[1:] @ b[1:]  # penalty 2, halved

        b = minimize(loss, np.zeros(4), tol=1e-12).x
        eta = b[0] + (x - fitted.mean(axis=0)) / fitted.std(axis=0) @ b[1:]
        prob = training.predict(heads, torch.from_numpy(x), device=CPU, each=True)[:, head]
        np.testing.assert_allclose(prob, 1 / (1 + np.exp(-eta)), atol=2e-4)
    constant = training.fit_heads(np.c_[x, np.ones(80)], target, held, penalty=2.0)
    assert not constant.weight[:, 3].any()


def test_several_log_odds_are_averaged_as_probabilities():
    boxes, _ = examples(n=5)
    network = sliced(n_heads=3)
    each = training.predict(network, boxes, device=CPU, each=True)
    assert each.shape == (5, 3)
    np.testing.assert_allclose(training.predict(network, boxes, device=CPU), each.mean(axis=1))
    both = resnet.Ensemble(build_network(n_slices=4), build_network(n_slices=4))
    alone = [training.predict(member, boxes, device=CPU) for member in both.children()]
    np.testing.assert_allclose(training.predict(both, boxes, device=CPU), np.mean(alone, axis=0))


def test_a_loss_that_is_no_number_stops_the_training():
    boxes, target = examples()
    with pytest.raises(ValueError, match="loss must stay finite; found .* at epoch 1"):
        small_fit(boxes * np.inf, target, np.arange(24) % 4 == 0)


SCRIPT = """
import sys
sys.path[:0] = sys.argv[1:]
from test_train import probabilities
sys.stdout.write(probabilities().tobytes().hex())
"""


def probabilities():
    """Probabilities from a short training on the processor."""
    boxes, target = examples()
    network, _ = small_fit(boxes, target, np.arange(24) % 4 == 0)
    return training.predict(network, boxes, device=CPU)


@pytest.mark.slow
def test_two_processes_give_the_same_probabilities_bit_for_bit():
    folders = [os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__))]
    other = subprocess.run([sys.executable, "-c", SCRIPT, *folders], capture_output=True, text=True)
    assert other.returncode == 0, other.stderr
    assert other.stdout == probabilities().tobytes().hex()
    assert len(other.stdout) == 24 * 16  # 24 numbers of 8 bytes


def test_those_predicted_have_no_part_in_the_training():
    # The validation patients' boxes are there while the network trains, and are predicted in between.
    boxes, target = examples()
    held = np.arange(24) % 4 == 0
    alone, _ = small_fit(boxes, target, held)
    validation = torch.full((6, *boxes.shape[1:]), 7.0)
    network, _ = small_fit(torch.cat([boxes, validation])[:24], target, held)
    training.predict(network, validation, device=CPU)
    assert same(alone, network)
    assert not same(alone, small_fit(boxes + 0.1, target, held)[0])


def test_the_watched_patients_choose_the_epoch_but_leave_each_epochs_weights_alone():
    boxes, target = examples()
    held = np.arange(24) % 4 == 0
    others = boxes.clone()
    others[torch.tensor(held)] *= -2
    (one, first), (other, second) = (small_fit(x, target, held, max_epochs=1) for x in (boxes, others))
    assert same(one, other)
    assert first.history["train_loss"].equals(second.history["train_loss"])
    assert not first.history["heldout_loss"].equals(second.history["heldout_loss"])


def test_prediction_does_not_depend_on_the_batch():
    boxes, _ = examples()
    network = build_network(n_slices=4)
    one = training.predict(network, boxes, batch_size=1, device=CPU)
    np.testing.assert_allclose(training.predict(network, boxes, batch_size=24, device=CPU), one, atol=1e-6)
    assert one.dtype == np.float64
    assert (one > 0).all() and (one < 1).all()


# ---------------------------------------------------------------- the saved model


def test_model_comes_back_bit_for_bit(tmp_path):
    boxes, _ = examples()
    network = build_network(n_slices=4, dropout=0.3)
    before = training.predict(network, boxes, device=CPU)
    resnet.save_model(network, tmp_path / "T2W", {"sequence": "T2W", "best_epoch": 4})
    again, about = resnet.load_model(tmp_path / "T2W")
    assert np.array_equal(training.predict(again, boxes, device=CPU), before)
    assert about["best_epoch"] == 4
    assert about["network"]["parts"]["dropout"] == {"layer": "Dropout", "settings": {"p": 0.3, "inplace": False}}
    assert repr(again) == repr(network)
    assert set(about["versions"]) == {"torch", "torchvision", "dlrs"}
    assert sorted(p.name for p in (tmp_path / "T2W").iterdir()) == ["model.json", "model.safetensors"]


@pytest.mark.parametrize("kind", ["slices", "ensemble"])
def test_a_model_of_several_parts_comes_back(tmp_path, kind):
    boxes, _ = examples(n=3)
    network = sliced() if kind == "slices" else resnet.Ensemble(build_network(n_slices=4), build_network(n_slices=4))
    resnet.save_model(network, tmp_path, {})
    again, _ = resnet.load_model(tmp_path)
    assert repr(again) == repr(network)
    assert np.array_equal(training.predict(again, boxes, device=CPU), training.predict(network, boxes, device=CPU))


def test_model_that_was_changed_is_refused(tmp_path):
    network = build_network(n_slices=4)
    resnet.save_model(network, tmp_path, {})
    torch.nn.init.zeros_(network.logit.weight)
    described = (tmp_path / "model.json").read_text()
    resnet.save_model(network, tmp_path, {})
    (tmp_path / "model.json").write_text(described)
    with pytest.raises(InputError, match="the weights are not those that model.json describes"):
        resnet.load_model(tmp_path)
    (tmp_path / "model.json").unlink()
    with pytest.raises(InputError, match="model.json: the file is missing"):
        resnet.load_model(tmp_path)


def test_data_hash_follows_boxes_and_target(index):
    first = training.data_hash(index, "T2W", ["P0", "P1"], [0, 1])
    assert first == training.data_hash(index, "T2W", ["P0", "P1"], [False, True])
    others = [("ADC", ["P0", "P1"], [0, 1]), ("T2W", ["P1", "P0"], [0, 1]), ("T2W", ["P0", "P1"], [1, 1])]
    assert all(training.data_hash(index, *other) != first for other in others)


def test_layers_are_written_down_as_they_are_and_others_are_refused_before_training(tmp_path):
    layers = [nn.Conv2d(20, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.GELU(), nn.Flatten(), nn.LayerNorm([8])]
    again = resnet._assembled(
        json.loads(json.dumps(resnet.architecture(nn.Sequential(*layers, nn.Sequential(nn.PReLU())))))
    )
    assert repr(again) == repr(nn.Sequential(*layers, nn.Sequential(nn.PReLU())))
    other = build_network(n_slices=4)
    other.backbone.conv1 = nn.Conv2d(4, 64, 7, stride=2)  # no longer torchvision's
    for network in (nn.Sequential(type("Mine", (nn.Module,), {})()), nn.MultiheadAttention(8, 2), other):
        with pytest.raises(ValueError, match="network must hold torch.nn layers"):
            resnet.save_model(network, tmp_path, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "changed", "layer"),
    [
        ("dropout=nn.Dropout(dropout)", "dropout=nn.Sequential(nn.LayerNorm(512), nn.Dropout(0.2))", "LayerNorm"),
        ("mix=resnet.slice_mix(boxes.shape[1])", "mix=nn.Conv2d(4, 3, kernel_size=3, padding=1)", "kernel_size=(3, 3)"),
        (
            "logit=nn.Linear(512, 1)",
            "hidden=nn.Linear(512, 8), act=nn.ReLU(), logit=nn.Linear(8, 1)",
            "Linear(in_features=512",
        ),
    ],
)
def test_a_layer_changed_on_the_notebooks_page_is_the_one_that_is_saved(tmp_path, line, changed, layer):
    made = run_notebook_03(tmp_path, {line: changed}, recipe="published")
    network, _ = resnet.load_model(tmp_path / "models" / "T2W")
    assert layer in repr(network)
    assert repr(network) == repr(made["network"])


def test_the_page_has_the_papers_network(tmp_path):
    network = run_notebook_03(tmp_path, {}, recipe="published")["network"]
    assert repr(network) == repr(resnet.Ensemble(build_network(n_slices=4)))


@pytest.mark.parametrize("recipe", ["frozen", "fine-tuned", "published"])
def test_a_recipes_probabilities_are_out_of_fold_where_it_has_folds(tmp_path, recipe):
    made = run_notebook_03(tmp_path, {}, recipe=recipe, n_folds=3)
    table = pd.read_csv(tmp_path / "interim" / "prob_T2W.csv", dtype={"patient_id": str})
    each, fold, primary = made["each"], made["fold"], made["primary"]
    np.testing.assert_allclose(table["prob"], each.mean(axis=1))
    assert ("prob_oof" in table) == (recipe != "published")
    description = json.loads((tmp_path / "models/T2W/model.json").read_text())
    counted = description["learnt_from"], description["held_out"]
    if recipe == "published":
        assert each.shape[1] == 1 and not fold.any() and min(counted) > 0
        return
    assert counted == (made["known"].sum(), 0)
    np.testing.assert_allclose(table["prob_oof"][~primary], table["prob"][~primary])
    for row in np.flatnonzero(primary):
        assert table["prob_oof"][row] == pytest.approx(each[row, fold[row] - 1])
    left_out = [fold[made["known"]] == number for number in (1, 2, 3)]
    assert all(np.array_equal(a, b) for a, b in zip(made["held_out"], left_out, strict=True))


@pytest.mark.slow
def test_outcomes_of_a_fold_do_not_reach_its_own_probabilities(tmp_path):
    first = run_notebook_03(tmp_path, {}, recipe="frozen", n_folds=3)
    known, fold = np.flatnonzero(first["known"]), first["fold"]
    of_fold = fold[known] == 2
    flipped = {
        "network = nn.Sequential(OrderedDict(slices=reader, logit=heads))": f"""labels = labels.copy()
    labels[{of_fold.tolist()}] = 1 - labels[{of_fold.tolist()}]
    heads = training.fit_heads(features[known], labels, held_out, penalty=head_penalty)
    network = nn.Sequential(OrderedDict(slices=reader, logit=heads))"""
    }
    second = run_notebook_03(tmp_path, flipped, recipe="frozen", n_folds=3)
    rows = known[of_fold]
    assert np.array_equal(first["patients"]["prob_oof"][rows], second["patients"]["prob_oof"][rows])
    assert not np.allclose(first["patients"]["prob"][rows], second["patients"]["prob"][rows])


def test_an_unknown_recipe_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(ValueError, match="recipe must be one of frozen, fine-tuned, published; found 'best'"):
        run_notebook_03(tmp_path, {}, recipe="best")


def run_notebook_03(run, changes, **chosen):
    """Run notebook 03 on random boxes of 30 patients, one epoch, with lines of its cells changed; return its names."""
    intake.stage(run, ROOT / "data_synthetic")
    patients = cohort.read_study(run).patients
    patients = patients.groupby(["cohort", "event"], observed=True).head(10)
    results.save_csv(patients, run / "interim" / "patients.csv")
    rows, draws = [], np.random.default_rng(4)
    for name in patients["patient_id"]:
        np.save(run / "interim" / f"{name}.npy", draws.normal(size=(4, 32, 32)).astype(np.float32))
        rows.append({"patient_id": name, "sequence": "T2W", "file": f"{name}.npy"})
    index = pd.DataFrame(rows).assign(sha256=[sha256(run / "interim" / row["file"]) for row in rows])
    results.save_csv(index, run / "interim" / "boxes.csv")
    cells = json.loads((ROOT / "notebooks" / "03_train_sequence.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    given = dict(run_dir=str(run), cohort_dir=str(ROOT / "data_synthetic"), weights="none", max_epochs=1, device="cpu")
    given |= dict(cache_dir=str(run / "cache"), **chosen)
    code.insert(1, "\n".join(f"{name} = {value!r}" for name, value in given.items()))
    text = "\n".join(code)
    for line, changed in changes.items():
        assert text.count(line) == 1
        text = text.replace(line, changed)
    names = {}
    exec(compile(text, "03_train_sequence", "exec"), names)
    return names
