"""Checks of order files: each row in one split, once, and the splits those of AVE if the data are AVE's."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from configs import SPLITS
from dataset.annotations import Annotation
from dataset.doctor.report import ERROR, NOTE, WARNING, WRONG, Report
from dataset.labels import read_order
from dataset.layout import ANNOTATIONS, ORDERS
from dataset.published import ORDER_DIGESTS, digest_of
from dataset.size import AVE
from dataset.sources import make_labels_command
from utils.errors import InputError
from utils.wording import counted, listed


def check_orders(report: Report, annotations: Sequence[Annotation] | None) -> None:
    """Check the order files that could be opened; ``annotations`` has one line per video."""
    root, orders = report.root, {}
    for name in ORDERS:
        if name in report.data:
            with report.checking(name):
                orders[name] = order = read_order(root / name, report.size.videos)
                rows, counts = np.unique(order, return_counts=True)
                if repeated := rows[counts > 1].tolist():
                    count = counted(len(repeated), "row", "rows")
                    raise InputError(f"{root / name}: names {count} more than once: {listed(repeated)}")
                if report.eventful is not None and not report.eventful[order].any():
                    message = f"{root / name}: all its videos are labelled background throughout: nothing to localize"
                    report.add(WARNING, [name], message, report.cure("right_labels.h5"))
                report.approve(name, f"ok, rows {rows[0]} to {rows[-1]}")
    for one, other in combinations(orders, 2):
        if shared := np.intersect1d(orders[one], orders[other]).tolist():
            count = counted(len(shared), "row", "rows")
            message = f"{root / one} and {other} share {count} ({listed(shared)}), expected none"
            report.add(ERROR, [one, other], message, report.cure(one))
            report.verdicts |= dict.fromkeys((one, other), WRONG)
        if annotations:
            ids = [{annotations[row].video_id for row in orders[name].tolist()} for name in (one, other)]
            if shared := sorted(set.intersection(*ids)):
                count = counted(len(shared), "video id is", "video ids are")
                message = f"{root / ANNOTATIONS}: {count} in both {one} and {other}: {listed(shared)}"
                report.add(NOTE, [one, other], message)
    if len(orders) == len(ORDERS):
        left = np.setdiff1d(np.arange(report.size.videos), np.concatenate([*orders.values()])).tolist()
        if left:
            count = counted(len(left), "row belongs", "rows belong")
            sets = " ".join(f"--{split}_set FILE" for split in SPLITS)
            cure = f"to use them, make orders from lists that have them: {make_labels_command(root, *ORDERS)} {sets}"
            report.add(NOTE, ORDERS, f"{root}: {count} to no split: {listed(left)}", cure)
    others = [name for name, order in orders.items() if digest_of(order) != ORDER_DIGESTS[name]]
    if others and report.size.videos == AVE.videos:
        message = f"{root}: {' and '.join(others)} are not AVE's own: accuracies do not compare with published ones"
        report.add(NOTE, others, message, f"for AVE's own, {report.cure(others[0])}")
