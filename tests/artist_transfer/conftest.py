import pytest


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Run on one thread: the networks here are tiny, and more threads only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
