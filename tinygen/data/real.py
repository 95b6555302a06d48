"""The real sets of images, and published parameters: which files, with which sums, and where they can be had.

| set      | what                                                                | size    | train  | test   |
|----------|---------------------------------------------------------------------|---------|--------|--------|
| mnist    | handwritten digits (LeCun, Cortes, Burges 1998)                     | 28 × 28 | 60,000 | 10,000 |
| notmnist | letters A to J from fonts (Bulatov 2011), a subset                  | 28 × 28 | 16,000 | 3,000  |
| fashion  | clothes (Xiao, Rasul, Vollgraf 2017, MIT licence)                   | 28 × 28 | 60,000 | 10,000 |
|          | the same, a subset                                                  | 28 × 28 | 20,000 | 5,000  |
| olivetti | 400 photographs of 40 faces (AT&T Laboratories Cambridge 1992-1994) | 64 × 64 | 320    | 80     |

Each set is a folder of its name under the root, and holds the files under the names they have always had. A file is
accepted by its SHA-256. The addresses are those of the publishers and of well-known mirrors. Nothing here is ever
fetched unless `download(name)` is called with the set's name. `PARAMETERS` lists what `published` reads.
"""

from __future__ import annotations

from typing import NamedTuple


class Version(NamedTuple):
    """What a file may be: its size in bytes, its SHA-256, and the shape of its array."""

    size: int
    sha256: str
    shape: tuple[int, ...]


class Source(NamedTuple):
    """Where a file can be had: its name, the size and sum it then has, and addresses to try in turn."""

    file: str
    size: int
    sha256: str
    urls: tuple[str, ...]


class Parameters(NamedTuple):
    """A file of a published model's parameters: its size and sum, the shapes of its arrays, and where it can be had."""

    size: int
    sha256: str
    shapes: dict[str, tuple[int, ...]]
    fix: str


TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
FACE_IMAGES, FACE_LABELS = "faces-images-idx3-ubyte.gz", "faces-labels-idx1-ubyte.gz"
FACE_MATLAB = "olivettifaces.mat"

FILES: dict[str, dict[str, tuple[Version, ...]]] = {
    "mnist": {
        TRAIN_IMAGES: (
            Version(9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", (60000, 28, 28)),
        ),
        TRAIN_LABELS: (Version(28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", (60000,)),),
        TEST_IMAGES: (
            Version(1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", (10000, 28, 28)),
        ),
        TEST_LABELS: (Version(4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", (10000,)),),
    },
    "notmnist": {
        TRAIN_IMAGES: (
            Version(5171659, "5d826be4545a0de38e6417b762ac96ea312e56fdc3e87ef8fb10386c4981358d", (16000, 28, 28)),
        ),
        TRAIN_LABELS: (Version(8141, "f8de9953374d302f2cf5b0898ca88db99c36abc534fa095d21c68b5b6fbfeeab", (16000,)),),
        TEST_IMAGES: (
            Version(965097, "85a85aa9068513ea068c3a4f9782e52b2e14c5bb1feec5e06a973bdb9115a47f", (3000, 28, 28)),
        ),
        TEST_LABELS: (Version(1547, "d47dec2a4d54d20cb0cbc73250d5e53b6e05ea9075ad181a3c3e014f145b4fd0", (3000,)),),
    },
    "fashion": {  # in full as published, or the subset
        TRAIN_IMAGES: (
            Version(26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", (60000, 28, 28)),
            Version(8733727, "eb65d6c1b5fb46fec9570c756e6c2c55006391153ace4eff8409f45658ca9144", (20000, 28, 28)),
        ),
        TRAIN_LABELS: (
            Version(29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", (60000,)),
            Version(10110, "64042f07847bea10f03831309cfaad6fd107e2eaab9ecf825758b44f2a3730ed", (20000,)),
        ),
        TEST_IMAGES: (
            Version(4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", (10000, 28, 28)),
            Version(2193339, "67b07cd50427a7989a8646657b5eff7584ca86f3be95e0b9979cd2929e8b4356", (5000, 28, 28)),
        ),
        TEST_LABELS: (
            Version(5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", (10000,)),
            Version(2573, "a626530b5eeef5d6a3067be831d7ebc69f8b2e81ede26708fdac1391992b94ed", (5000,)),
        ),
    },
    "olivetti": {
        FACE_IMAGES: (
            Version(1412530, "5795d6a7c3203d5293a83b7e230ed525c830d04e1f83e6f868b7be88fe1010ec", (400, 64, 64)),
        ),
        FACE_LABELS: (Version(89, "93de941da6e4ad3b70caebc1bc8f472e68c37e22471a378be6d8245e2c091124", (400,)),),
    },
}

CLASSES: dict[str, tuple[str, ...]] = {
    "mnist": tuple("0123456789"),
    "notmnist": tuple("ABCDEFGHIJ"),
    "fashion": (
        "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    ),
    "olivetti": tuple([f"person {i}" for i in range(40)]),
}  # fmt: skip


def _sources(name: str, *roots: str) -> tuple[Source, ...]:
    """The four files of a set as published: the first version of each."""
    files = [(file, versions[0]) for file, versions in FILES[name].items()]
    return tuple([Source(file, v.size, v.sha256, tuple([root + file for root in roots])) for file, v in files])


SOURCES: dict[str, tuple[Source, ...]] = {
    "mnist": _sources(
        "mnist", "https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"
    ),
    "fashion": _sources(
        "fashion",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
}

ELSEWHERE = {  # sets that no list with sums offers: what to do by hand
    "notmnist": "search for Bulatov's notMNIST as IDX files with MNIST's names, and load with verify=False",
    "celeba": "get img_align_celeba and list_attr_celeba.txt from mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    "olivetti": "write what scikit-learn's fetch_olivetti_faces gets with tinygen.data.write_idx as "
    "faces-images-idx3-ubyte.gz and faces-labels-idx1-ubyte.gz, and load with verify=False",
}

PARAMETERS = {
    "rbm_cd25_500": Parameters(
        1452195,
        "1c065bfb5b96b9749c6957f75dfdad369c8395cbf54940347d9cd17fdd362003",
        {"weight": (784, 500), "visible_bias": (784,), "hidden_bias": (500,)},
        "get the file again, or make it with numpy.savez from data/rbm/rbm_CD25_500.mat of the GitHub repository "
        "gpapamak/distilling_model_knowledge (BSD licence; bring its pixels, columns first, into rows), and pass "
        "verify=False",
    )
}
