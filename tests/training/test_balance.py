import torch

from regcodec.training.balance import Balance

QUALITY = torch.tensor([0, 1, 1, 0])


def test_relative_weights_give_the_gradient_of_the_mean_logarithm() -> None:
    balance = Balance("relative", 2)
    losses = torch.tensor([0.5, 4.0, 2.0, 0.3], dtype=torch.float64)
    means = torch.tensor([0.4, 3.0], dtype=torch.float64)
    torch.testing.assert_close(balance(losses, QUALITY), 1 / means[QUALITY])


def test_equal_balance_and_a_single_rate_weigh_nothing() -> None:
    losses = torch.tensor([0.5, 4.0, 2.0, 0.3])
    assert Balance("equal", 2)(losses, QUALITY).eq(1).all()
    assert Balance("relative", 1)(losses, torch.zeros(4, dtype=torch.int64)).eq(1).all()
