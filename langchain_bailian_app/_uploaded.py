"""Messages whose data is uploaded before they are put to an application."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from langchain_bailian_app._local_blocks import LocalBlocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_bailian_app.files import BailianFiles


def uploaded(files: BailianFiles | None, messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
    """Return messages with session files in the places of data, if there is somewhere to upload it.

    Raises:
        ValueError: The service would not take what is in a block; nothing was sent.
        BailianError: It could not be uploaded.
    """
    if files is None:
        return messages
    blocks = LocalBlocks(messages)
    return blocks.replaced_by(files.upload_local(blocks.files, progress=False))


async def auploaded(
    files: BailianFiles | None, messages: Sequence[BaseMessage]
) -> Sequence[BaseMessage]:
    """Do what `uploaded` does, on the running event loop."""
    if files is None:
        return messages
    blocks = await asyncio.to_thread(LocalBlocks, messages)  # it decodes megabytes
    return blocks.replaced_by(await files.aupload_local(blocks.files, progress=False))
