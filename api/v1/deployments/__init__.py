"""`/api/v1/deployments`: running MCPs."""

from api.v1.deployments import deploying, lifecycle, reading

ROUTERS = (reading.router, deploying.router, lifecycle.router)
"""The one that is asked most comes first."""
