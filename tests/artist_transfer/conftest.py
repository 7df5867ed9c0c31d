import pytest


@pytest.fixture(autouse=True)
def one_thread():
    """The networks here are tiny: more threads only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
