"""Rendering of hits as the nodes of knowledge services."""

from typing import Any

from langchain_bailian_app.emulator._knowledge.documents import Clip
from langchain_bailian_app.emulator._knowledge.knowledge_base import Hit, KnowledgeBase


def render_node(hit: Hit, knowledge_base: KnowledgeBase) -> dict[str, Any]:
    """Return a node with its score, its text and its metadata."""
    metadata = render_metadata(hit, knowledge_base)
    text = f"文档名: {metadata['doc_name']}\n标题: {metadata['title']}\n正文: {metadata['content']}"
    return {"score": hit.score, "text": text if metadata["content"] else "", "metadata": metadata}


def render_metadata(hit: Hit, knowledge_base: KnowledgeBase) -> dict[str, Any]:
    """Return the metadata of a node; the sources of a chat service are these fields alone."""
    chunk = hit.chunk
    metadata: dict[str, Any] = {
        "doc_id": chunk.data_id,
        "doc_name": chunk.name,
        "title": chunk.title,
        "content": chunk.body,
        "pipeline_id": knowledge_base.pipeline_id,
        "workspace_id": knowledge_base.workspace,
        "_id": chunk.chunk_id,
        "_score": hit.score,
        "page_number": list(chunk.page_number),
        "image_url": list(chunk.images),
        "video_url": [],
        "audio_url": [],
    }
    if chunk.hier_title:
        metadata["hier_title"] = chunk.hier_title
    if chunk.row is not None:
        metadata |= chunk.row
    if chunk.clip is not None:
        metadata |= _render_clip(chunk.clip)
    return metadata


def _render_clip(clip: Clip) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "video_url": [clip.video_url] if clip.video_url else [],
        "audio_url": [clip.audio_url] if clip.audio_url else [],
        "clip_start_time": clip.start_ms,
        "clip_end_time": clip.end_ms,
        "clip_description": clip.description,
        "_knowledge_type": "multimedia",
    }
    if clip.speakers:
        fields["audio_segments"] = [
            {
                "start_time": clip.start_ms,
                "end_time": clip.end_ms,
                "sentence_id": number,
                "speaker": {"name": speaker},
                "content": clip.text,
            }
            for number, speaker in enumerate(clip.speakers)
        ]
    return fields
