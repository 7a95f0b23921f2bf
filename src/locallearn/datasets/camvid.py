"""CamVid, street scenes with a class for every pixel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from locallearn.datasets.annotated_images import VOID, Annotated, AnnotatedImages, Encoded
from locallearn.datasets.arrays import DataProblems, problems_in, where_to_put
from locallearn.datasets.parquet import opened
from locallearn.datasets.scale_crop import ScaleCrop
from locallearn.datasets.spec import DatasetSpec
from locallearn.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from locallearn.datasets.image_set import Splits

SPEC = DatasetSpec(
    name="camvid",
    title="CamVid, 11 classes",
    classes=(
        *("sky", "building", "pole", "road", "pavement", "tree"),
        *("sign_symbol", "fence", "car", "pedestrian", "bicyclist"),
    ),
    shape=(3, 360, 480),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    augmentation=ScaleCrop(crop=(360, 480)),
    source="G. Brostow et al.: Semantic object classes in video, 2009; classes and splits: V. Badrinarayanan et al.: "
    "SegNet, 2017; constants: ImageNet's",
    licence="none stated; the authors ask to be cited",
    files="train.parquet, val.parquet and test.parquet with the columns image and annotation (encoded bytes each)",
    address="http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
    notes="Ids 0 to 10 are the classes, 11 is void and does not count. Validation is the split 'val'.",
    task="segmentation",
)
LABEL_OF = {index: index for index in range(11)} | {11: VOID}
SPLITS = ("train", "val", "test")
COLUMNS = ("image", "annotation")


def open_splits(spec: DatasetSpec, root: Path | None, *, download: bool = False) -> Splits:
    """CamVid from parquet files; encoded bytes stay in memory, images are decoded when they are asked for.

    Args:
        spec: `SPEC`, perhaps with another augmentation.
        root: The folder; None for `data/camvid`.
        download: Refused: there is nowhere to fetch it from.

    Returns:
        The three splits.

    Raises:
        DataProblems: Files or columns are missing, maps are missing or of another size than their images, ids have no
            class, or images are not in colour; all problems are told.
    """
    from locallearn.datasets.image_set import Splits

    folder = root or Path("data") / spec.name
    files = {split: _files(folder, split) for split in SPLITS}
    problems = [f"{folder} has no {split}.parquet." for split in SPLITS if not files[split]]
    if problems:
        raise DataProblems([*problems, where_to_put(spec, folder, download=download)])
    found = {}
    for split in SPLITS:
        try:
            samples = [sample for path in files[split] for sample in _read(path, spec)]
            found[split] = AnnotatedImages(spec.classes, samples, LABEL_OF)
            problems += found[split].problems() if samples else [f"{files[split][0]} holds no images."]
        except InputError as error:
            problems += problems_in(error)
    if problems:
        raise DataProblems(problems)
    return Splits(spec, found["train"], found["val"], found["test"])


def _files(folder: Path, split: str) -> list[Path]:
    return sorted([*folder.glob(f"{split}.parquet"), *folder.glob(f"{split}-*.parquet")])


def _read(path: Path, spec: DatasetSpec) -> list[Annotated]:
    with opened(path) as file:
        _check(path, file.schema_arrow, spec)
        rows = file.read(columns=list(COLUMNS)).to_pylist()
    return [
        Annotated(*(_encoded(row[column], f"{path} row {number}, {column}") for column in COLUMNS))
        for number, row in enumerate(rows)
    ]


def _encoded(cell: dict[str, object] | None, name: str) -> Encoded:
    given = cell or {}
    content, label = given.get("bytes"), given.get("path")
    return Encoded(f"{name} {label}" if label else name, content if isinstance(content, bytes) else None)


def _check(path: Path, schema: pa.Schema, spec: DatasetSpec) -> None:
    import pyarrow.types as types

    problems = []
    for column in COLUMNS:
        kind = schema.field(column).type if column in schema.names else None
        if kind is None or not types.is_struct(kind) or kind.get_field_index("bytes") < 0:
            problems.append(
                f"{path} needs a column {column!r} of structs with 'bytes'; its columns are {schema.names}."
            )
    names = (schema.metadata or {}).get(b"classes", b"").decode().removesuffix(",void")
    if names and tuple(names.split(",")) != spec.classes:
        problems.append(f"{path} has the classes {names}; {spec.name} has {','.join(spec.classes)}.")
    if problems:
        raise DataProblems(problems)
