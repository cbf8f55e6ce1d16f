import pytest

from mesh import BUILD, MODEL, Mesh


def pytest_collection_modifyitems(items):
    assert (BUILD / "bin/mesh").exists(), f"{BUILD}/bin/mesh is not built: make build"
    assert MODEL.exists(), f"{MODEL} is missing: make model"


@pytest.fixture(scope="session")
def mesh(tmp_path_factory):
    """One group of two ranks, shared by the tests that break nothing."""
    running = Mesh(tmp_path_factory.mktemp("mesh"))
    yield running
    running.stop()


@pytest.fixture
def start_mesh(tmp_path):
    """A mesh of the test's own, to be broken."""
    running = []

    def start(**options):
        folder = tmp_path / str(len(running))
        folder.mkdir()
        running.append(Mesh(folder, **options))
        return running[-1]

    yield start
    for mesh in running:
        mesh.stop()
