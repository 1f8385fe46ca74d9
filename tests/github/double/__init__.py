"""A GitHub of the tests: its REST endpoints over HTTP, with real Git repositories behind them."""

from tests.github.double.repositories import Pull as Pull
from tests.github.double.repositories import Repository as Repository
from tests.github.double.server import Account as Account
from tests.github.double.server import GitHubDouble as GitHubDouble
