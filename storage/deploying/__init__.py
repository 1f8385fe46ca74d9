"""What a deployment is begun or changed with, whoever asks for it: a request, or a push to a repository."""

from storage.deploying.acting import acting_for
from storage.deploying.beginning import Keeper, begin, roll_out
from storage.deploying.contents import check_scaling, content_of, with_image_of
from storage.deploying.merging import MergedDeployments
from storage.deploying.owners import check_owner, concerns
from storage.deploying.quotas import check_quota

__all__ = [
    "Keeper",
    "MergedDeployments",
    "acting_for",
    "begin",
    "check_owner",
    "check_quota",
    "check_scaling",
    "concerns",
    "content_of",
    "roll_out",
    "with_image_of",
]
