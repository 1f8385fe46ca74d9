"""The data directory: keys, databases and logs of an embedded platform."""

import os

from mcp_platform.cli.failure import Failure
from mcp_platform.settings import Settings

PASSWORD_FILE = "initial-admin-password"  # noqa: S105 - a file's name


def prepare_data_dir(settings: Settings) -> None:
    """Make the directory, for its owner alone, unless it is there.

    Raises:
        Failure: It cannot be made, or nothing can be written into it.
    """
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = settings.data_dir / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise Failure(
            f"the data directory {settings.data_dir} cannot be written ({error.strerror});"
            " choose another with --data-dir"
        ) from None


def admin_password(settings: Settings) -> str:
    """Give the administrator's password: the one that is set, or that was made at the first start.

    Raises:
        Failure: There is neither.
    """
    if settings.admin.password:
        return settings.admin.password.get_secret_value()
    try:
        return (settings.data_dir / PASSWORD_FILE).read_text().strip()
    except OSError:
        raise Failure(
            f"no password: there is no {settings.data_dir / PASSWORD_FILE};"
            " set MCP_PLATFORM_ADMIN__PASSWORD to the administrator's"
        ) from None
