from __future__ import annotations

import sys

import pytest
import torch

from locallearn.errors import InputError

pytest.importorskip("pycocotools")
from locallearn.metrics.average_precision import AveragePrecision

torch.set_num_threads(1)
# Widths of 10 and 20 pixels; a box moved by s of w pixels overlaps (w - s) / (w + s).
BOXES = torch.tensor([[10.0, 10, 20, 20], [30, 5, 50, 25]])


def target(boxes=BOXES, labels=(1, 2), *, masks=True, **more):
    found = {"boxes": boxes, "labels": torch.tensor(labels)} | more
    return found | ({"masks": painted(boxes)} if masks else {})


def painted(boxes):
    masks = torch.zeros(len(boxes), 40, 60, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    return masks


def detections(boxes=BOXES, labels=(1, 2), scores=(0.9, 0.8), *, masks=True):
    found = {"boxes": boxes, "labels": torch.tensor(labels), "scores": torch.tensor(scores)}
    return found | ({"masks": painted(boxes)[:, None].float() * 0.7} if masks else {})


def results(found, truth, num_classes=2):
    metric = AveragePrecision(num_classes)
    metric.update(found, truth)
    return metric.results()


def test_perfect_detections_have_all_points():
    found = results([detections()], [target()])
    assert list(found) == ["box_ap", "box_ap50", "box_ap75", "mask_ap", "mask_ap50", "mask_ap75"]
    assert all(value == pytest.approx(100) for value in found.values())
    assert AveragePrecision.name in found


def test_moved_boxes_count_up_to_their_overlap():
    # 10 pixels moved by 2: 8/12 = 0.667, found at 0.50 to 0.65, 4 of 10; 20 moved by 2: 18/22 = 0.818, 7 of 10.
    moved = BOXES + torch.tensor([2.0, 0, 2, 0])
    found = results([detections(moved)], [target()])
    for kind in ("box", "mask"):
        assert found[f"{kind}_ap"] == pytest.approx(100 * (0.4 + 0.7) / 2)
        assert found[f"{kind}_ap50"] == pytest.approx(100) and found[f"{kind}_ap75"] == pytest.approx(50)


def test_masks_count_apart_from_boxes():
    found = detections()
    found["masks"][0, 0, :, :15] = 0.4
    # Half of the first object's mask is below the threshold: overlap 0.5, a hit at 0.50 alone.
    values = results([found], [target()])
    assert values["box_ap"] == pytest.approx(100)
    assert values["mask_ap"] == pytest.approx(100 * (0.1 + 1) / 2) and values["mask_ap50"] == pytest.approx(100)


def test_wrong_classes_and_missing_ones():
    assert results([detections(labels=(2, 1))], [target()])["box_ap"] == 0
    one = detections(BOXES[:1], (1,), (0.9,))
    assert results([one], [target()])["box_ap"] == pytest.approx(50)
    # A class without objects does not count.
    assert results([one], [target(BOXES[:1], (1,))], num_classes=7)["box_ap"] == pytest.approx(100)


def test_a_false_alarm_counts_by_its_score():
    # Precision where the object is found: 1 if it is the better one, 1/2 if the false alarm is.
    two = torch.cat([BOXES[:1], BOXES[1:]])
    for scores, expected in (((0.9, 0.1), 100), ((0.1, 0.9), 50)):
        found = results([detections(two, (1, 1), scores)], [target(BOXES[:1], (1,))], num_classes=1)
        assert found["box_ap"] == pytest.approx(expected)


def test_crowds_are_neither_found_nor_missed():
    crowd = target(iscrowd=torch.tensor([0, 1]))
    one = detections(BOXES[:1], (1,), (0.9,))
    assert results([one], [crowd])["box_ap"] == pytest.approx(100)
    # Two detections within the crowd are no false alarms of its class, of which there is another object.
    boxes = torch.cat([BOXES, torch.tensor([[32.0, 8, 40, 16]])])
    truth = target(labels=(1, 1), iscrowd=torch.tensor([0, 1]))
    found = results([detections(boxes, (1, 1, 1), (0.5, 0.9, 0.8))], [truth], num_classes=1)
    assert found["box_ap"] == pytest.approx(100) and found["mask_ap"] == pytest.approx(100)


def test_batches_and_images_are_kept_apart():
    metric = AveragePrecision(2)
    other = BOXES + 4
    metric.update([detections()], [target()])
    metric.update([detections(other), detections()], [target(other), target()])
    assert metric.results()["box_ap"] == pytest.approx(100)
    assert metric.results() == metric.results()
    swapped = results([detections(other), detections()], [target(), target(other)])
    assert swapped["box_ap"] < 50


def test_without_masks_only_boxes_are_counted():
    for found, truth in ((detections(masks=False), target()), (detections(), target(masks=False))):
        assert list(results([found], [truth])) == ["box_ap", "box_ap50", "box_ap75"]


def test_nothing_found_and_nothing_there(capsys):
    none = detections(torch.zeros(0, 4), (), ())
    empty = target(torch.zeros(0, 4), ())
    assert set(results([none], [target()]).values()) == {0.0}
    assert set(results([none], [empty]).values()) == {0.0}
    assert set(results([detections()], [empty]).values()) == {0.0}
    assert set(AveragePrecision(2).results().values()) == {0.0}
    assert capsys.readouterr() == ("", "")


def test_the_remedy_is_told_where_pycocotools_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.cocoeval", None)
    with pytest.raises(InputError, match=r"pip install 'locallearn\[detection\]'"):
        AveragePrecision(2)


def test_what_two_metrics_found_is_found_by_one():
    moved = BOXES + torch.tensor([2.0, 0, 3, 0])
    crowd = target(iscrowd=torch.tensor([0, 1]))
    images = [
        (detections(moved), target()),
        (detections(BOXES[:1], (1,), (0.3,)), target()),
        (detections(moved, scores=(0.2, 0.95)), crowd),
        (detections(labels=(2, 1)), target()),
    ]
    whole, empty = AveragePrecision(2), AveragePrecision(2)
    parts = [AveragePrecision(2) for _ in range(3)]
    for index, (found, truth) in enumerate(images):
        parts[index % 2].update([found], [truth])
    for index in (0, 2, 1, 3):
        whole.update([images[index][0]], [images[index][1]])
    for part in parts:
        empty.absorb(part)
    assert 0 < whole.results()["mask_ap"] < 100 and empty.results() == whole.results()
    assert [each["id"] for each in empty._found] == list(range(1, len(whole._found) + 1))
    boxes_alone = AveragePrecision(2)
    boxes_alone.update([detections(masks=False)], [target(masks=False)])
    empty.absorb(boxes_alone)
    assert list(empty.results()) == ["box_ap", "box_ap50", "box_ap75"]
