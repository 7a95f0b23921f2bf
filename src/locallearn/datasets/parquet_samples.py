"""Images in parquet files, read row group by row group and decoded when they are asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from locallearn.datasets.arrays import DataProblems, problems_in
from locallearn.datasets.decode import decode_colour, opener
from locallearn.datasets.parquet import LABEL_COLUMN, class_names, column_problems, image_column, opened
from locallearn.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from torch import Tensor

IN_MEMORY_BYTES = 2 << 30
"""Files of one split that are smaller than this together are kept in memory, encoded."""
_GROUPS_KEPT = 4


class ParquetSamples:
    """The rows of one split, in order.

    Labels are in memory. Of the encoded images, small splits keep everything once read; of larger ones each process
    keeps the row groups used last, so images are best read in the files' order: an order that jumps reads a whole row
    group for every image. No file stays open, and what was read is not pickled.

    Args:
        paths: The files of the split.

    Raises:
        InputError: Files are unreadable, lack columns or labels, or state different classes; all are told.

    Attributes:
        classes: The class names that the files state; none if they state none. May be set.
        labels: (N,), int64.
        group_size: Images per row group, at the most.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        labels, groups, problems, stated = [], [], [], {}
        for number, path in enumerate(paths):
            try:
                with opened(path) as file:
                    labels.append(_labels(path, file))
                    stated[path] = tuple(class_names(file.schema_arrow))
                    metadata = file.metadata
            except InputError as error:
                problems += problems_in(error)
                continue
            groups += [(number, group, metadata.row_group(group).num_rows) for group in range(metadata.num_row_groups)]
        first = next(iter(stated), None)
        problems += [f"{path} has other classes than {first}." for path in stated if stated[path] != stated[first]]
        if problems:
            raise DataProblems(problems)
        self.classes: tuple[str, ...] = stated[first] if first else ()
        self.labels = np.concatenate(labels) if labels else np.empty(0, np.int64)
        self._groups = np.array(groups, np.int64).reshape(-1, 3)
        self._ends = self._groups[:, 2].cumsum()
        self.group_size = int(self._groups[:, 2].max(initial=0))
        self.in_memory = sum(path.stat().st_size for path in paths) < IN_MEMORY_BYTES
        self._kept: OrderedDict[int, pa.ChunkedArray] = OrderedDict()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One image, decoded.

        Args:
            index: Which one, from 0.

        Returns:
            (3, H, W) uint8, and its label.

        Raises:
            InputError: The row cannot be used as an image; file and row are named.
        """
        import torch

        content, name = self.encoded(index)
        return torch.from_numpy(decode_colour(opener(content), name)), int(self.labels[index])

    def encoded(self, index: int) -> tuple[bytes | None, str]:
        """One image as it stands in the file.

        Args:
            index: Which one, from 0.

        Returns:
            Its bytes, None where they are missing, and its file and row.

        Raises:
            IndexError: There is no such image.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        group = int(np.searchsorted(self._ends, index, side="right"))
        number, _, rows = (int(value) for value in self._groups[group])
        row = index - int(self._ends[group]) + rows
        found = self._images(group)[row].as_py()
        before = self._groups[:group][self._groups[:group, 0] == number, 2].sum()
        return (found["bytes"] if isinstance(found, dict) else found), f"{self._paths[number]} row {before + row}"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": OrderedDict()}

    def _images(self, group: int) -> pa.ChunkedArray:
        # The encoded images of a row group; without threads, which a forked process may not have.
        if group not in self._kept:
            number, inner, _ = (int(value) for value in self._groups[group])
            with opened(self._paths[number]) as file:
                table = file.read_row_group(inner, columns=[image_column(file.schema_arrow)], use_threads=False)
            self._kept[group] = table.column(0)
            if not self.in_memory and len(self._kept) > _GROUPS_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(group)
        return self._kept[group]


def unpack(samples: ParquetSamples, folder: Path) -> None:
    """Write each image into a folder of its class, where images in any order are read fast.

    Args:
        samples: One split as `imagenet.open_splits` gives it.
        folder: Gets a folder `LABEL NAME` for each class, so that their order stays; files are named by their position.

    Raises:
        InputError: An image has no bytes.
    """
    width = len(str(len(samples.classes) - 1))
    named = enumerate(samples.classes)
    folders = [folder / f"{label:0{width}} {name.replace('/', '-')}" for label, name in named]
    for path in folders:
        path.mkdir(parents=True, exist_ok=True)
    for index, label in enumerate(samples.labels.tolist()):
        content, where = samples.encoded(index)
        if content is None:
            raise InputError(f"{where} has no image bytes: remove the row.")
        suffix = ".png" if content.startswith(b"\x89PNG") else ".jpeg"
        (folders[label] / f"{index:08}{suffix}").write_bytes(content)


def _labels(path: Path, file: pq.ParquetFile) -> np.ndarray:
    if problems := column_problems(path, file.schema_arrow):
        raise DataProblems(problems)
    column = file.read(columns=[LABEL_COLUMN]).column(0)
    if column.null_count:
        raise InputError(f"{path}: {column.null_count} rows have no label; remove them.")
    return column.to_numpy().astype(np.int64)
