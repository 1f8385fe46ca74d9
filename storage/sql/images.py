"""Which images are in use."""

from sqlalchemy import select

from storage.sql.engine import SessionT
from storage.sql.repository import Repository
from storage.sql.tables import DeploymentRow, RevisionRow


class ImageRepository(Repository[SessionT]):
    """Images, as revisions refer to them."""

    async def in_use(self) -> set[str]:
        """List the images that a revision of a deployment which is not stopped refers to."""
        query = (
            select(RevisionRow.image)
            .join(DeploymentRow, DeploymentRow.id == RevisionRow.deployment_id)
            .where(RevisionRow.image.is_not(None), DeploymentRow.active_slug.is_not(None))
            .distinct()
        )
        return {image for image in await self._session.scalars(query) if image}
