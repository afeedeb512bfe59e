from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from fbnetv5.archs.cost import classifier_cost, feature_sizes, measured_macs
from fbnetv5.archs.families import get_family
from fbnetv5.base.errors import InputError
from fbnetv5.base.types import LABEL
from fbnetv5.heads.classifier import Classifier, MBPoolClassifier
from fbnetv5.heads.linear_classifier import LinearClassifier

CHANNELS = (4, 6, 8, 10)
LABELS = torch.tensor([2, 0, 1])
CELLS = [(4, 3), (2, 3), (1, 2)]


def small(**options: object) -> Classifier:
    torch.manual_seed(0)
    return Classifier(CHANNELS, 5, expansion=3, hidden_channels=7, **options)


def features(count: int = 3) -> dict[int, torch.Tensor]:
    return {3: torch.randn(count, CHANNELS[3], 4, 3, generator=torch.Generator().manual_seed(1))}


def targets(teacher: list[int] | None = None) -> list[dict[str, int]]:
    rows = [{"label": label} for label in LABELS.tolist()]
    return rows if teacher is None else [{**row, "teacher_label": t} for row, t in zip(rows, teacher, strict=True)]


def log_probabilities(head: Classifier) -> torch.Tensor:
    return head.classifier(features()[3]).log_softmax(1)


def test_classifier_against_its_definition():
    """Expand, average, hidden layer, scores: written out with torch's functions (BN at its initial statistics)."""
    torch.manual_seed(0)
    head = MBPoolClassifier(in_channels=6, num_classes=5, expansion=3, hidden_channels=7).eval()
    feature = torch.randn(2, 6, 4, 3)
    expanded = F.hardswish(F.conv2d(feature, head.expand.conv.weight) / (1 + 1e-5) ** 0.5)
    hidden = F.hardswish(expanded.mean((2, 3)) @ head.hidden.weight[:, :, 0, 0].T)
    logits = hidden @ head.classify.weight.T + head.classify.bias
    assert head.expand.conv.out_channels == 18
    assert head(feature).shape == (2, 5)
    assert torch.allclose(head(feature), logits, atol=1e-5)


def test_predicts_probabilities():
    head = small().eval()
    predictions = head(features(), (128, 96))
    assert (head.target, head.paths) == (LABEL, (3,))
    assert [prediction.shape for prediction in predictions] == [(5,)] * 3
    torch.testing.assert_close(torch.stack(predictions).sum(1), torch.ones(3))
    torch.testing.assert_close(torch.stack(predictions), log_probabilities(head).exp())


def test_loss_is_the_smoothed_cross_entropy():
    head = small(label_smoothing=0.1)
    log_p = log_probabilities(head)
    expected = -0.9 * log_p[range(3), LABELS].mean() - 0.1 * log_p.mean()
    losses = head(features(), (128, 96), targets())
    assert set(losses) == {"loss_label"}
    torch.testing.assert_close(losses["loss_label"], expected)


def test_a_teacher_weighs_half_and_is_not_smoothed():
    head = small(label_smoothing=0.1)
    log_p = log_probabilities(head)
    losses = head(features(), (128, 96), targets(teacher=[4, 0, 3]))
    assert set(losses) == {"loss_label", "loss_teacher"}
    torch.testing.assert_close(losses["loss_teacher"], -0.5 * log_p[range(3), [4, 0, 3]].mean())
    torch.testing.assert_close(losses["loss_label"], 0.5 * head(features(), (128, 96), targets())["loss_label"])


def test_dropout_acts_on_what_the_last_layer_reads_and_in_training_alone():
    head = small(dropout=0.5)
    seen = []
    head.classifier.classify.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    head(features(), (128, 96), targets())
    embedded = head.classifier.embed(head.maps(features()).mean((2, 3), keepdim=True))
    dropped = seen[0] == 0
    assert 0 < dropped.sum() < dropped.numel()
    torch.testing.assert_close(seen[0][~dropped], 2 * embedded[~dropped])
    first, second = (torch.stack(head.eval()(features(), (128, 96))) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("teacher", [None, [1, 2, 3]])
def test_every_parameter_has_a_gradient(count, teacher):
    head = small()
    losses = head(features(count), (128, 96), targets(teacher)[:count])
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_macs_are_the_closed_form_of_the_family_and_fvcores_count():
    family = get_family("A")
    head = Classifier(family.channels, 1000)
    sizes = feature_sizes(family, (224, 224))
    assert head.macs(sizes) == classifier_cost(family, 1000, (224, 224)).macs
    assert head.macs(sizes) == measured_macs(head.classifier, torch.zeros(1, family.channels[3], *sizes[3]))
    other = Classifier(family.channels, 10, path=1, expansion=2, hidden_channels=64)
    assert other.macs(sizes) == measured_macs(other.classifier, torch.zeros(1, family.channels[1], *sizes[1]))


def test_bad_options_and_missing_targets_are_refused():
    with pytest.raises(InputError, match="label_smoothing=1"):
        small(label_smoothing=1.0)
    with pytest.raises(InputError, match="path 4 is out of range"):
        small(path=4)
    with pytest.raises(ValueError, match="targets"):
        small()(features(), (128, 96))


@pytest.mark.parametrize("build", [Classifier, LinearClassifier])
def test_padding_is_not_averaged(build):
    """A batch whose images cover 4 x 3, 2 x 3 and 1 x 2 cells of 32 pixels, the last ones in part."""
    torch.manual_seed(0)
    head = build(CHANNELS, 5)
    whole, sizes = features()[3], [(128, 96), (33, 96), (5, 64)]
    alone = [head.eval()({3: whole[i : i + 1, :, :h, :w]}, (32 * h, 32 * w))[0] for i, (h, w) in enumerate(CELLS)]
    together = head({3: whole}, (128, 96), true_sizes=sizes)
    torch.testing.assert_close(together, alone)
    assert torch.equal(together[0], head({3: whole}, (128, 96))[0])
    for i, size in enumerate(sizes):
        deployed = head.deployed((128, 96), ())({3: whole[i : i + 1]}, torch.tensor(size, dtype=torch.float32))
        torch.testing.assert_close(deployed["scores"], alone[i])
    assert head.deployed((128, 96), ())({3: whole[:1]}, torch.zeros(2))["scores"].isfinite().all()
    losses = head.train()({3: whole}, (128, 96), targets(), sizes)
    expected = -torch.stack(alone).log()[range(3), LABELS].mean()
    assert build is Classifier or torch.allclose(losses["loss_label"], expected)  # the other one has BN


def test_a_linear_classifier_is_one_layer_on_the_average():
    head = LinearClassifier(CHANNELS, 5, dropout=0.5, label_smoothing=0.1)
    feature = features()[3]
    layer = head.classifier.classify
    expected = feature.mean((2, 3)) @ layer.weight.T + layer.bias
    torch.testing.assert_close(torch.stack(head.eval()(features(), (128, 96))), expected.softmax(1))
    deployed = head.deployed((128, 96), ())({3: feature[:1]}, None)
    torch.testing.assert_close(deployed["scores"], expected[0].softmax(0))
    assert head.macs(((8, 8), (4, 4), (2, 2), (4, 3))) == measured_macs(head.classifier, feature[:1, :, 0, 0]) == 50
    loss = head.train()(features(), (128, 96), targets())["loss_label"]
    loss.backward()
    assert layer.weight.grad.any()
